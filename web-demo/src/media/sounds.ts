/** Everything the page plays itself, made with Web Audio: ring, ring-back, busy and key tones. */

export type Sound = 'ring' | 'waiting' | 'ringback';

/** Row and column frequencies in Hz of the sixteen DTMF signals (ITU-T Q.23). */
const ROWS = [697, 770, 852, 941];
const COLUMNS = [1209, 1336, 1477, 1633];
const KEYS = '123A456B789C*0#D';

/** The two frequencies of a DTMF digit in Hz; null for anything else. */
export function dtmfFrequencies(digit: string): [number, number] | null {
  const index = digit.length === 1 ? KEYS.indexOf(digit.toUpperCase()) : -1;
  return index < 0 ? null : [ROWS[index >> 2]!, COLUMNS[index & 3]!];
}

/** One note: frequencies in Hz, start and length in seconds within the pattern, loudness 0 to 1. */
interface Note {
  tones: number[];
  at: number;
  length: number;
  level: number;
}

/** What repeats every `period` seconds. Ring-back is the European 425 Hz, 1 s on and 4 s off. */
const PATTERNS: Record<Sound, { period: number; notes: Note[] }> = {
  ring: {
    period: 3.2,
    notes: [0, 0.75].flatMap((start) => [
      { tones: [587.3, 1174.7], at: start, length: 0.5, level: 0.16 },
      { tones: [880, 1760], at: start + 0.16, length: 0.5, level: 0.13 },
      { tones: [1174.7], at: start + 0.32, length: 0.7, level: 0.1 },
    ]),
  },
  waiting: { period: 4, notes: [{ tones: [425], at: 0, length: 0.2, level: 0.06 }, { tones: [425], at: 0.35, length: 0.2, level: 0.06 }] },
  ringback: { period: 5, notes: [{ tones: [425], at: 0, length: 1, level: 0.07 }] },
};

/** Plays at most one repeating sound at a time, and single tones on top of it. */
export class Sounds {
  #context: AudioContext | null = null;
  #playing: Sound | null = null;
  #timer = 0;
  #gain: GainNode | null = null;
  #speaker = '';

  /** Repeats `sound` until another one is asked for; null is silence. */
  loop(sound: Sound | null): void {
    if (sound === this.#playing) return;
    clearInterval(this.#timer);
    this.#gain?.disconnect();
    this.#gain = null;
    this.#playing = sound;
    if (sound === null) return;
    const { period, notes } = PATTERNS[sound];
    const context = this.#open();
    const gain = (this.#gain = context.createGain());
    gain.connect(context.destination);
    const once = () => {
      // Before the first gesture of a person a browser keeps the context suspended: notes would pile up in it.
      if (context.state !== 'running' || this.#gain !== gain) return;
      for (const note of notes) play(context, gain, note);
    };
    if (context.state === 'running') once();
    else context.addEventListener('statechange', once, { once: true });
    this.#timer = window.setInterval(once, period * 1000);
  }

  /** The tone of a key, short. */
  key(digit: string): void {
    const tones = dtmfFrequencies(digit);
    if (!tones) return;
    const context = this.#open();
    play(context, context.destination, { tones, at: 0, length: 0.14, level: 0.05 });
  }

  /** Two falling notes: the call is over. */
  farewell(): void {
    const context = this.#open();
    play(context, context.destination, { tones: [494], at: 0, length: 0.16, level: 0.06 });
    play(context, context.destination, { tones: [370], at: 0.15, length: 0.26, level: 0.06 });
  }

  /** Lets the browser play sounds; to be called from a gesture. */
  unlock(): void {
    if (this.#context?.state === 'suspended') void this.#context.resume();
  }

  /** Plays on this output device, where the browser can (AudioContext.setSinkId). */
  useSpeaker(speaker: string): void {
    this.#speaker = speaker;
    const context = this.#context as (AudioContext & { setSinkId?(id: string): Promise<void> }) | null;
    context?.setSinkId?.(speaker).catch((error: unknown) => console.warn('the chosen speaker is not available', error));
  }

  #open(): AudioContext {
    if (!this.#context) {
      this.#context = new AudioContext();
      if (this.#speaker) this.useSpeaker(this.#speaker);
    }
    this.unlock();
    return this.#context;
  }
}

function play(context: AudioContext, output: AudioNode, { tones, at, length, level }: Note): void {
  const start = context.currentTime + at + 0.01;
  const envelope = context.createGain();
  envelope.gain.setValueAtTime(0, start);
  envelope.gain.linearRampToValueAtTime(level, start + 0.012);
  envelope.gain.setValueAtTime(level, start + length * 0.6);
  envelope.gain.exponentialRampToValueAtTime(0.0001, start + length);
  envelope.connect(output);
  for (const frequency of tones) {
    const oscillator = context.createOscillator();
    oscillator.frequency.value = frequency;
    oscillator.connect(envelope);
    oscillator.start(start);
    oscillator.stop(start + length + 0.02);
  }
}
