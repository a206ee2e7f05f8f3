import { readTokenSignIn } from '../src/sip/token';
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gatheringWait, GATHERING_GRACE, GATHERING_LIMIT } from '../src/sip/gathering';
import { glareDelay } from '../src/sip/guard';
import { outcomeOf, parseReason, type SessionEnd } from '../src/sip/outcome';
import { retryDelay } from '../src/sip/retry';
import { parseTarget, peerOf, targetUri } from '../src/sip/target';
import type { CallView } from '../src/state/model';

test('what people type becomes an address', () => {
  const cases: [string, string | null][] = [
    ['1001', '1001'],
    [' 1001 ', '1001'],
    ['+49 (30) 123-456', '+4930123456'],
    ['030/123.456', '030123456'],
    ['tel:+49-30-123', '+4930123'],
    ['*97', '*97'],
    ['#31#', '#31#'],
    ['bob', 'bob'],
    ['bob@example.test', 'bob'],
    ['bob@EXAMPLE.test', 'bob'],
    ['sip:bob@example.test;transport=udp', 'bob'],
    ['<sip:bob@other.test:5080>', 'bob@other.test:5080'],
    ['bob@[2001:db8::1]:5060', 'bob@[2001:db8::1]:5060'],
    ['', null],
    ['   ', null],
    ['()', null],
    ['two words', null],
    ['bob@', null],
    ['@example.test', null],
    ['bob@exa mple', null],
    ['bob\r\nVia: x', null],
    ['a'.repeat(129), null],
  ];
  for (const [typed, address] of cases) assert.equal(parseTarget(typed, 'example.test'), address, JSON.stringify(typed));
});

test('an address becomes a request URI', () => {
  assert.equal(targetUri('bob', 'example.test'), 'sip:bob@example.test');
  assert.equal(targetUri('bob@other.test', 'example.test'), 'sip:bob@other.test');
  assert.equal(targetUri('#31#', 'example.test'), 'sip:%2331%23@example.test');
});

test('the far end is shown by its name and dialled by its address', () => {
  assert.deepEqual(peerOf('Bob B.', 'bob', 'example.test', 'example.test'), { name: 'Bob B.', address: 'bob' });
  assert.deepEqual(peerOf(null, 'bob', 'other.test', 'example.test'), { name: 'bob', address: 'bob@other.test' });
  assert.deepEqual(peerOf(' ', null, 'other.test', 'example.test'), { name: 'other.test', address: 'other.test' });
  assert.deepEqual(peerOf('', '%2331%23', 'example.test', 'example.test'), { name: '#31#', address: '#31#' });
  assert.deepEqual(peerOf('', '%E0%', 'example.test', 'example.test'), { name: '%E0%', address: '%E0%' });
});

test('the first UDP host candidate ends the gathering, unless servers are configured', () => {
  const host = 'candidate:1 1 udp 2122260223 192.0.2.1 54321 typ host generation 0';
  const hidden = 'candidate:1 1 UDP 2122260223 0b1c.local 54321 typ host';
  const tcp = 'candidate:1 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active';
  const reflexive = 'candidate:2 1 udp 1686052607 198.51.100.1 3478 typ srflx raddr 0.0.0.0 rport 0';
  assert.equal(gatheringWait(host, false), GATHERING_GRACE);
  assert.equal(gatheringWait(hidden, false), GATHERING_GRACE);
  for (const line of [tcp, reflexive, '', 'nonsense']) assert.equal(gatheringWait(line, false), GATHERING_LIMIT);
  assert.equal(gatheringWait(host, true), GATHERING_LIMIT);
});

test('the pause between attempts grows and is bounded', () => {
  assert.deepEqual([0, 1, 2, 3, 4, 5, 50].map(retryDelay), [2, 2, 4, 8, 16, 30, 30]);
});

test('a Reason header is read, and other protocols in it are not', () => {
  assert.deepEqual(parseReason('SIP;cause=200;text="Call completed elsewhere"'), { cause: 200, text: 'Call completed elsewhere' });
  assert.deepEqual(parseReason('SIP ;cause=603'), { cause: 603, text: '' });
  assert.equal(parseReason('Q.850;cause=16'), null);
  assert.equal(parseReason(undefined), null);
});

test('how a call ended', () => {
  const call = (direction: CallView['direction'], answeredAt: number | null) => ({ direction, answeredAt, peer: { name: 'bob', address: 'bob' } }) as CallView;
  const request = (method: string, reason?: string) => ({ method, getHeader: (name: string) => (name === 'reason' ? reason : undefined) });
  const code = (end: SessionEnd, view: CallView, refusal = 0) => outcomeOf(end, view, refusal)?.code ?? null;

  assert.equal(code({ originator: 'remote', cause: 'Terminated', message: request('BYE') }, call('outgoing', 1)), null);
  assert.equal(code({ originator: 'local', cause: 'Terminated', message: null }, call('incoming', 1)), null);
  assert.equal(code({ originator: 'remote', cause: 'Busy', message: { status_code: 486 } }, call('outgoing', null)), 'busy');
  assert.equal(code({ originator: 'remote', cause: 'Canceled', message: request('CANCEL') }, call('incoming', null)), 'cancelled');
  assert.equal(code({ originator: 'remote', cause: 'Canceled', message: request('CANCEL', 'SIP;cause=200;text="Call completed elsewhere"') }, call('incoming', null)), 'elsewhere');
  assert.equal(code({ originator: 'local', cause: 'Rejected', message: null }, call('incoming', null), 603), 'declined-here');
  assert.equal(code({ originator: 'local', cause: 'Rejected', message: null }, call('incoming', null), 486), 'busy-here');
  assert.equal(code({ originator: 'remote', cause: 'Terminated', message: request('BYE', 'SIP;cause=503;text="going down"') }, call('outgoing', 1)), 'ended-by-far-end');
  assert.equal(code({ originator: 'system', cause: 'Connection Error', message: null }, call('outgoing', 1)), 'connection');
});

test('after a crossing of offers the two ends wait for different times', () => {
  assert.deepEqual([0, 0.5, 1].map((chance) => glareDelay('outgoing', chance)), [2100, 3050, 4000]);
  assert.deepEqual([0, 0.5, 1].map((chance) => glareDelay('incoming', chance)), [0, 1000, 2000]);
});

test('a token names its user, whatever is wrong with the rest', () => {
  const encode = (text: string) => Buffer.from(text).toString('base64url');
  const token = (claims: unknown) => `${encode('{"alg":"HS256"}')}.${encode(JSON.stringify(claims))}.c2ln`;
  const read = (hash: string, claim = 'sub') => readTokenSignIn(hash, claim, 'd.test')?.account ?? null;
  assert.deepEqual(read(`#token=${token({ sub: 'alice' })}`), { user: 'alice', domain: 'd.test' });
  assert.deepEqual(read(`#x=1&token=${token({ sub: 'sip:jörg@e.test' })}`), { user: 'jörg', domain: 'e.test' });
  assert.deepEqual(read(`#token=${token({ sub: 'a', phone: 'bob' })}`, 'phone'), { user: 'bob', domain: 'd.test' });
  for (const hash of ['', '#', '#token=', '#token=x', '#token=a.b.c', `#token=${token({ sub: 7 })}`, `#token=${token('x')}`, `#token=${token({ sub: '@d' })}`]) {
    assert.equal(read(hash), null, hash);
  }
});
