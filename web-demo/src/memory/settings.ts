/** The choices of the person, kept in localStorage. */
import { read, write } from './storage';

export interface Settings {
  /** Device ids; empty: whatever the system prefers. */
  microphone: string;
  speaker: string;
  camera: string;
  /** How DTMF travels: in the RTP stream (RFC 4733) or as SIP INFO `application/dtmf-relay`. */
  dtmf: 'rtp' | 'info';
  /** Answer every incoming call with 486 Busy Here. */
  doNotDisturb: boolean;
  /** Ring, ring-back and key tones. */
  sounds: boolean;
}

export const DEFAULT_SETTINGS: Settings = { microphone: '', speaker: '', camera: '', dtmf: 'rtp', doNotDisturb: false, sounds: true };

const KEY = 'causeway.settings';

/** Takes settings of any age: what is missing or of a wrong type is at its default. */
export function parseSettings(stored: unknown): Settings {
  const given = (typeof stored === 'object' && stored !== null ? stored : {}) as Record<string, unknown>;
  const settings: Record<string, unknown> = { ...DEFAULT_SETTINGS };
  for (const [key, otherwise] of Object.entries(DEFAULT_SETTINGS)) {
    if (typeof given[key] === typeof otherwise) settings[key] = given[key];
  }
  if (settings.dtmf !== 'info') settings.dtmf = 'rtp';
  return settings as unknown as Settings;
}

export function loadSettings(): Settings {
  return parseSettings(read('local', KEY));
}

export function saveSettings(settings: Settings): void {
  write('local', KEY, settings);
}
