import assert from 'node:assert/strict';
import { test } from 'node:test';
import { callBroken, callRefused, captureFailed, connectionLost, registrationRefused } from '../src/words';

test('every SIP failure has words of its own, and an unknown one is quoted', () => {
  const codes: [number, string][] = [
    [401, 'unauthorized'],
    [403, 'forbidden'],
    [404, 'not-found'],
    [408, 'no-answer'],
    [430, 'offline'],
    [480, 'offline'],
    [483, 'loop'],
    [484, 'incomplete'],
    [486, 'busy'],
    [487, 'cancelled'],
    [488, 'no-common-codec'],
    [600, 'busy'],
    [603, 'declined'],
    [604, 'not-found'],
    [606, 'no-common-codec'],
    [503, 'unavailable'],
    [500, 'server-error'],
    [302, 'refused'],
  ];
  for (const [status, code] of codes) {
    const problem = callRefused(status, 'Phrase', 'bob');
    assert.equal(problem.code, code, String(status));
    assert.ok(problem.title && problem.detail);
  }
  assert.match(callRefused(599, 'Odd', 'bob').detail, /599 Odd/);
  assert.match(callRefused(599, '', 'bob').detail, /599\.$/);
});

test('an ordinary end needs no words', () => {
  for (const cause of ['Terminated', 'Canceled', 'Rejected']) assert.equal(callBroken(cause, 'bob'), null);
  assert.equal(callBroken('RTP Timeout', 'bob')?.code, 'media-lost');
  assert.match(callBroken('Something else', 'bob')!.detail, /Something else/);
});

test('a refused microphone, a missing one, a busy one and an insecure page are told apart', () => {
  const codes = { NotAllowedError: 'microphone-refused', NotFoundError: 'no-microphone', NotReadableError: 'microphone-busy', InsecureContextError: 'insecure', Odd: 'microphone-failed' };
  for (const [name, code] of Object.entries(codes)) {
    assert.equal(captureFailed(Object.assign(new Error('x'), { name }), false).code, code);
  }
  assert.match(captureFailed(Object.assign(new Error('x'), { name: 'NotAllowedError' }), true).title, /camera/);
});

test('only a refusal that will not pass ends the sign-in', () => {
  for (const status of [401, 403, 407]) assert.equal(registrationRefused(status, '', 'bob')?.code, 'wrong-password');
  assert.equal(registrationRefused(401, '', 'bob', true)?.code, 'token-refused');
  assert.equal(registrationRefused(404, '', 'bob')?.code, 'unknown-user');
  for (const status of [0, 408, 480, 500, 503]) assert.equal(registrationRefused(status, '', 'bob'), null);
});

test('a refused WebSocket beside a page that loads points at the certificate', () => {
  assert.equal(connectionLost(true, false).help, 'certificate');
  assert.equal(connectionLost(true, true).code, 'websocket-lost');
  assert.equal(connectionLost(false, true).code, 'server-gone');
});
