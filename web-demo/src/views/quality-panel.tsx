/**
 * How the call sounds. Test ids here: `quality` (`data-grade`: excellent, good, fair, poor, bad, silent;
 * `data-packets-in`, `data-packets-out`), and inside of it `quality-codec`, `quality-loss`, `quality-jitter`,
 * `quality-rtt`, `quality-bitrate`, `quality-mos`.
 */
import type { Grade, Quality } from '../media/quality';
import { figure } from './format';

const WORDS: Record<Grade, string> = {
  excellent: 'Excellent sound',
  good: 'Good sound',
  fair: 'Fair sound',
  poor: 'Poor sound',
  bad: 'Bad sound',
  silent: 'Nothing is coming in',
};
const BARS: Record<Grade, number> = { excellent: 4, good: 3, fair: 2, poor: 1, bad: 1, silent: 0 };

export function QualityPanel({ quality, held }: { quality: Quality; held: boolean }) {
  const grade = held && quality.grade === 'silent' ? null : quality.grade;
  const bars = grade ? BARS[grade] : 0;
  return (
    <details class="quality" data-testid="quality" data-grade={grade ?? undefined} data-packets-in={quality.packetsIn} data-packets-out={quality.packetsOut}>
      <summary>
        <svg class="bars" viewBox="0 0 20 16" aria-hidden="true" focusable="false">
          {[0, 1, 2, 3].map((bar) => (
            <rect key={bar} class={bar < bars ? 'on' : undefined} x={bar * 5} y={12 - bar * 4} width="3" height={4 + bar * 4} rx="1" />
          ))}
        </svg>
        <span>{grade ? WORDS[grade] : held ? 'On hold' : 'Measuring…'}</span>
        {quality.codec && <span class="chip">{quality.codec.split('/')[0]}</span>}
      </summary>
      <dl>
        <Figure term="Codec" testid="quality-codec" value={[quality.codec, quality.videoCodec].filter(Boolean).join(', ') || '–'} />
        <Figure term="Loss in / out" testid="quality-loss" value={`${figure(quality.lossIn, '%', 1)} / ${figure(quality.lossOut, '%', 1)}`} />
        <Figure term="Jitter" testid="quality-jitter" value={figure(quality.jitter, 'ms')} />
        <Figure term="Round trip" testid="quality-rtt" value={figure(quality.roundTrip, 'ms')} />
        <Figure term="Bit rate in / out" testid="quality-bitrate" value={`${figure(quality.bitrateIn, '')} / ${figure(quality.bitrateOut, 'kbit/s')}`} />
        <Figure term="Score (MOS)" testid="quality-mos" value={figure(quality.mos, '', 1).trim()} />
        {quality.picture && <Figure term="Picture" testid="quality-picture" value={quality.picture} />}
      </dl>
    </details>
  );
}

function Figure({ term, testid, value }: { term: string; testid: string; value: string }) {
  return (
    <div>
      <dt>{term}</dt>
      <dd data-testid={testid}>{value}</dd>
    </div>
  );
}
