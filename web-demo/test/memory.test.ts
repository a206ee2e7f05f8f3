import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HISTORY_LIMIT, parseHistory, remember, type HistoryEntry } from '../src/memory/history';
import { DEFAULT_SETTINGS, parseSettings } from '../src/memory/settings';
import { defaultPageInfo, readPageInfo } from '../src/page-info';
import { activeCall, type CallView } from '../src/state/model';
import { createStore } from '../src/state/store';
import { uuid } from '../src/uuid';
import { clock, figure, initials } from '../src/views/format';

const ended = (patch: Partial<CallView>): CallView =>
  ({ id: 'a', direction: 'outgoing', peer: { name: 'bob', address: 'bob' }, answeredAt: null, endedAt: 9000, outcome: null, ...patch }) as CallView;
const problem = (code: string) => ({ code, title: code, detail: '' });

test('the result of a call in the history', () => {
  const cases: [Partial<CallView>, HistoryEntry['result']][] = [
    [{ answeredAt: 1000 }, 'answered'],
    [{}, 'cancelled'],
    [{ outcome: problem('busy') }, 'failed'],
    [{ direction: 'incoming', outcome: problem('cancelled') }, 'missed'],
    [{ direction: 'incoming', outcome: problem('elsewhere') }, 'elsewhere'],
    [{ direction: 'incoming', outcome: problem('declined-here') }, 'declined'],
    [{ direction: 'incoming', outcome: problem('no-answer') }, 'missed'],
    [{ direction: 'incoming' }, 'missed'],
    [{ direction: 'incoming', outcome: problem('busy-here') }, 'missed'],
  ];
  for (const [patch, result] of cases) assert.equal(remember([], ended(patch), 0)[0]?.result, result, JSON.stringify(patch));
  assert.equal(remember([], ended({ answeredAt: 1000 }), 0)[0]?.duration, 8);
});

test('the history is bounded, newest first, and survives a spoilt storage', () => {
  let history: HistoryEntry[] = [];
  for (let count = 0; count < HISTORY_LIMIT + 5; count += 1) history = remember(history, ended({ id: String(count) }), count);
  assert.equal(history.length, HISTORY_LIMIT);
  assert.equal(history[0]?.id, String(HISTORY_LIMIT + 4));
  assert.deepEqual(parseHistory(JSON.parse(JSON.stringify(history))), history);
  for (const stored of [null, '', 3, {}, [null, 1, { id: 3 }]]) assert.deepEqual(parseHistory(stored), []);
});

test('settings of another age or shape fall back field by field', () => {
  for (const stored of [null, '', 3, [], { dtmf: 7, sounds: 'no' }]) assert.deepEqual(parseSettings(stored), DEFAULT_SETTINGS);
  assert.deepEqual(parseSettings({ dtmf: 'info', sounds: false, old: 1 }), { ...DEFAULT_SETTINGS, dtmf: 'info', sounds: false });
  assert.equal(parseSettings({ dtmf: 'odd' }).dtmf, 'rtp');
});

test('what the gateway tells about itself is taken field by field', () => {
  const defaults = defaultPageInfo('host.test');
  for (const answer of [null, 'x', 3, [], {}]) assert.deepEqual(readPageInfo(answer, defaults), defaults);
  const told = readPageInfo({ name: 'G', version: '1', domain: 'd.test', websocketPath: 'sip', caCertificate: null, iceServers: [{ urls: 'stun:s' }], tokenClaim: 'sub' }, defaults);
  assert.deepEqual(told, { name: 'G', version: '1', domain: 'd.test', websocketPath: '/sip', caCertificate: null, iceServers: [{ urls: 'stun:s' }], tokenClaim: 'sub' });
});

test('the active call is the one that is not on hold', () => {
  const call = (id: string, patch: Partial<CallView>) => ({ id, direction: 'outgoing', state: 'connected', localHold: false, ...patch }) as CallView;
  assert.equal(activeCall([]), undefined);
  assert.equal(activeCall([call('a', { localHold: true, state: 'held' }), call('b', {})])?.id, 'b');
  assert.equal(activeCall([call('a', { localHold: true }), call('b', { direction: 'incoming', state: 'ringing' })])?.id, 'a');
  assert.equal(activeCall([call('a', { state: 'ended' })]), undefined);
});

test('a store tells of changes, and of nothing else', () => {
  const store = createStore({ a: 1, b: 2 });
  let told = 0;
  const stop = store.subscribe(() => (told += 1));
  store.set({ a: 1 });
  store.set({ a: 2 });
  stop();
  store.set({ a: 3 });
  assert.equal(told, 1);
  assert.deepEqual(store.get(), { a: 3, b: 2 });
});

test('times, figures and initials', () => {
  assert.deepEqual([0, 7, 247, 3847, -1].map(clock), ['0:00', '0:07', '4:07', '1:04:07', '0:00']);
  assert.deepEqual([figure(null, 'ms'), figure(1.25, '%', 1), figure(3, 'ms')], ['–', '1.3 %', '3 ms']);
  assert.deepEqual(['bob', 'Bob Baker', '1001', '', 'a.b'].map(initials), ['B', 'BB', '10', '?', 'AB']);
});

test('a UUID is one, and another each time', () => {
  assert.match(uuid(), /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.notEqual(uuid(), uuid());
});
