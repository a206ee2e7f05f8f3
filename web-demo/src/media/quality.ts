/** How well a call sounds, from the browser's own counters (webrtc-stats). */

export type Grade = 'excellent' | 'good' | 'fair' | 'poor' | 'bad' | 'silent';

/** One reading; figures that the browser does not have are null. */
export interface Quality {
  /** `opus/48000`, `PCMU/8000`, ... of what is received, else of what is sent. */
  codec: string | null;
  videoCodec: string | null;
  /** Packets lost on the way to us since the last reading, in percent. */
  lossIn: number | null;
  /** Packets lost on the way from us, as the far end reports it (RTCP RR), in percent. */
  lossOut: number | null;
  /** Interarrival jitter (RFC 3550 section 6.4.1) in ms. */
  jitter: number | null;
  roundTrip: number | null;
  /** kbit/s of sound and picture together. */
  bitrateIn: number | null;
  bitrateOut: number | null;
  /** Estimated mean opinion score, 1 to 4.5. */
  mos: number | null;
  grade: Grade | null;
  /** Size and rate of the received picture; empty without one. */
  picture: string;
  packetsIn: number;
  packetsOut: number;
  /** The microphone delivered digital silence since the last reading: off at its own switch, or a dead device. */
  microphoneSilent: boolean;
}

/** The totals of one moment; the difference of two is a reading. */
export interface Totals {
  at: number;
  received: number;
  lost: number;
  bytesIn: number;
  bytesOut: number;
  sent: number;
  /** Sound energy the microphone delivered; null where the browser does not tell. */
  energy: number | null;
}

type Stat = Record<string, unknown> & { type: string; id: string };

/** Takes the reading between the `before` totals (null at the first) and this report. */
export function readQuality(report: Iterable<Stat>, before: Totals | null): { quality: Quality; totals: Totals } {
  const stats = [...report];
  const byId = new Map(stats.map((stat) => [stat.id, stat]));
  const of = (type: string, kind: string) => stats.find((stat) => stat.type === type && stat.kind === kind);
  const audioIn = of('inbound-rtp', 'audio');
  const audioOut = of('outbound-rtp', 'audio');
  const videoIn = of('inbound-rtp', 'video');
  const videoOut = of('outbound-rtp', 'video');
  const reported = of('remote-inbound-rtp', 'audio');
  const pair = stats.find((stat) => stat.type === 'candidate-pair' && stat.nominated === true && stat.state === 'succeeded');
  const codec = (stat: Stat | undefined) => codecName(byId.get(String(stat?.codecId)));

  const totals: Totals = {
    at: number(audioIn?.timestamp) ?? number(audioOut?.timestamp) ?? 0,
    received: number(audioIn?.packetsReceived) ?? 0,
    lost: number(audioIn?.packetsLost) ?? 0,
    bytesIn: (number(audioIn?.bytesReceived) ?? 0) + (number(videoIn?.bytesReceived) ?? 0),
    bytesOut: (number(audioOut?.bytesSent) ?? 0) + (number(videoOut?.bytesSent) ?? 0),
    sent: number(audioOut?.packetsSent) ?? 0,
    energy: number(of('media-source', 'audio')?.totalAudioEnergy),
  };
  const seconds = before ? (totals.at - before.at) / 1000 : 0;
  const rate = (now: number, then: number) => (seconds > 0 ? Math.max(0, ((now - then) * 8) / 1000 / seconds) : null);
  const received = before ? totals.received - before.received : totals.received;
  const lost = Math.max(0, before ? totals.lost - before.lost : totals.lost);

  const lossIn = received + lost > 0 ? (100 * lost) / (received + lost) : null;
  const lossOut = scaled(reported?.fractionLost, 100);
  const jitter = scaled(audioIn?.jitter, 1000);
  const roundTrip = scaled(pair?.currentRoundTripTime, 1000) ?? scaled(reported?.roundTripTime, 1000);
  const silent = before !== null && seconds > 0 && received === 0;
  const mos = lossIn === null ? null : estimateMos(lossIn, jitter ?? 0, roundTrip ?? 0);
  return {
    totals,
    quality: {
      codec: codec(audioIn) ?? codec(audioOut),
      videoCodec: codec(videoIn) ?? codec(videoOut),
      lossIn,
      lossOut,
      jitter,
      roundTrip,
      bitrateIn: before && rate(totals.bytesIn, before.bytesIn),
      bitrateOut: before && rate(totals.bytesOut, before.bytesOut),
      mos,
      grade: silent ? 'silent' : mos === null ? null : gradeOf(mos),
      picture: pictureOf(videoIn),
      packetsIn: totals.received,
      packetsOut: totals.sent,
      microphoneSilent: seconds > 0 && totals.energy !== null && totals.energy === before?.energy,
    },
  };
}

/**
 * The E-model (ITU-T G.107) in its usual short form for packet voice: delay beyond 160 ms and loss lower the rating R
 * from 93.2, and R maps to MOS as in its annex B. The jitter counts twice, because the jitter buffer adds about that.
 */
export function estimateMos(lossPercent: number, jitterMs: number, roundTripMs: number): number {
  const latency = roundTripMs / 2 + jitterMs * 2 + 10;
  const delayed = latency < 160 ? 93.2 - latency / 40 : 93.2 - (latency - 120) / 10;
  const rating = Math.min(100, Math.max(0, delayed - 2.5 * lossPercent));
  const mos = 1 + 0.035 * rating + 0.000007 * rating * (rating - 60) * (100 - rating);
  return Math.min(4.5, Math.max(1, mos));
}

/** The word for a mean opinion score. */
export function gradeOf(mos: number): Grade {
  if (mos >= 4.2) return 'excellent';
  if (mos >= 3.9) return 'good';
  if (mos >= 3.4) return 'fair';
  return mos >= 2.6 ? 'poor' : 'bad';
}

function codecName(stat: Stat | undefined): string | null {
  const mimeType = stat?.mimeType;
  return typeof mimeType === 'string' ? `${mimeType.replace(/^(audio|video)\//, '')}/${number(stat?.clockRate) ?? '?'}` : null;
}

function pictureOf(video: Stat | undefined): string {
  const width = number(video?.frameWidth);
  const height = number(video?.frameHeight);
  if (!width || !height) return '';
  const rate = number(video?.framesPerSecond);
  return `${width} × ${height}${rate === null ? '' : `, ${Math.round(rate)} per second`}`;
}

function number(value: unknown): number | null {
  return typeof value === 'number' && Number.isFinite(value) ? value : null;
}

function scaled(value: unknown, factor: number): number | null {
  const plain = number(value);
  return plain === null ? null : plain * factor;
}
