import assert from 'node:assert/strict';
import { test } from 'node:test';
import { estimateMos, gradeOf, readQuality } from '../src/media/quality';
import { dtmfFrequencies } from '../src/media/sounds';

const report = (at: number, received: number, lost: number, bytes: number) => [
  { type: 'codec', id: 'C1', mimeType: 'audio/opus', clockRate: 48000 },
  { type: 'inbound-rtp', id: 'I1', kind: 'audio', codecId: 'C1', timestamp: at, packetsReceived: received, packetsLost: lost, bytesReceived: bytes, jitter: 0.004 },
  { type: 'outbound-rtp', id: 'O1', kind: 'audio', codecId: 'C1', timestamp: at, packetsSent: received, bytesSent: bytes },
  { type: 'remote-inbound-rtp', id: 'R1', kind: 'audio', fractionLost: 0.02, roundTripTime: 0.09 },
  { type: 'candidate-pair', id: 'P1', nominated: true, state: 'succeeded', currentRoundTripTime: 0.05 },
];

test('a reading is the difference of two reports', () => {
  const first = readQuality(report(1000, 100, 0, 8000), null);
  assert.equal(first.quality.bitrateIn, null);
  const { quality } = readQuality(report(3000, 190, 10, 18000), first.totals);
  assert.equal(quality.codec, 'opus/48000');
  assert.equal(quality.lossIn, 10);
  assert.equal(quality.lossOut, 2);
  assert.equal(quality.jitter, 4);
  assert.equal(quality.roundTrip, 50);
  assert.equal(quality.bitrateIn, 40);
  assert.equal(quality.grade, 'fair');
});

test('no packets since the last reading is silence, and an empty report is no reading', () => {
  const first = readQuality(report(1000, 100, 0, 8000), null);
  assert.equal(readQuality(report(3000, 100, 0, 8000), first.totals).quality.grade, 'silent');
  const { quality } = readQuality([], null);
  assert.deepEqual([quality.codec, quality.grade, quality.mos, quality.picture], [null, null, null, '']);
});

test('a microphone whose energy stands still is silent', () => {
  const source = (energy: number) => ({ type: 'media-source', id: 'S1', kind: 'audio', totalAudioEnergy: energy });
  const first = readQuality([...report(1000, 100, 0, 8000), source(0.5)], null);
  assert.equal(first.quality.microphoneSilent, false);
  assert.equal(readQuality([...report(3000, 200, 0, 9000), source(0.5)], first.totals).quality.microphoneSilent, true);
  assert.equal(readQuality([...report(3000, 200, 0, 9000), source(0.6)], first.totals).quality.microphoneSilent, false);
  assert.equal(readQuality(report(3000, 200, 0, 9000), first.totals).quality.microphoneSilent, false);
});

test('counters that run backwards (a new SSRC) are no negative loss', () => {
  const first = readQuality(report(1000, 100, 50, 8000), null);
  const { quality } = readQuality(report(3000, 150, 0, 4000), first.totals);
  assert.equal(quality.lossIn, 0);
  assert.equal(quality.bitrateIn, 0);
});

test('the score falls with loss, jitter and delay, and stays in its range', () => {
  assert.ok(estimateMos(0, 0, 0) > 4.3);
  assert.ok(estimateMos(5, 0, 0) < estimateMos(1, 0, 0));
  assert.ok(estimateMos(0, 80, 0) < estimateMos(0, 5, 0));
  assert.ok(estimateMos(0, 0, 900) < estimateMos(0, 0, 100));
  assert.equal(estimateMos(100, 1000, 5000), 1);
  assert.deepEqual([4.4, 4.0, 3.5, 3.0, 1.5].map(gradeOf), ['excellent', 'good', 'fair', 'poor', 'bad']);
});

test('DTMF frequencies are those of ITU-T Q.23', () => {
  assert.deepEqual(dtmfFrequencies('1'), [697, 1209]);
  assert.deepEqual(dtmfFrequencies('0'), [941, 1336]);
  assert.deepEqual(dtmfFrequencies('#'), [941, 1477]);
  assert.deepEqual(dtmfFrequencies('d'), [941, 1633]);
  for (const digit of ['', 'x', '12']) assert.equal(dtmfFrequencies(digit), null);
});
