/** The calls of this browser, newest first, kept in localStorage per account. */
import type { Account, CallView, Peer } from '../state/model';
import { read, write } from './storage';

export type CallResult = 'answered' | 'missed' | 'declined' | 'elsewhere' | 'cancelled' | 'failed';

export interface HistoryEntry {
  id: string;
  direction: 'incoming' | 'outgoing';
  peer: Peer;
  /** ms since 1970. */
  at: number;
  /** Seconds of conversation; 0 when it was not answered. */
  duration: number;
  result: CallResult;
  /** Why it failed, in a few words. */
  reason: string;
}

/** More than this many calls are forgotten, oldest first. */
export const HISTORY_LIMIT = 100;

/** The history with the ended `call` in it. */
export function remember(history: readonly HistoryEntry[], call: CallView, startedAt: number): HistoryEntry[] {
  const entry: HistoryEntry = {
    id: call.id,
    direction: call.direction,
    peer: call.peer,
    at: startedAt,
    duration: call.answeredAt === null ? 0 : Math.round(((call.endedAt ?? call.answeredAt) - call.answeredAt) / 1000),
    result: resultOf(call),
    reason: call.outcome?.title ?? '',
  };
  return [entry, ...history.filter(({ id }) => id !== entry.id)].sort((a, b) => b.at - a.at).slice(0, HISTORY_LIMIT);
}

function resultOf(call: CallView): CallResult {
  if (call.answeredAt !== null) return 'answered';
  switch (call.outcome?.code) {
    case 'elsewhere':
    case 'declined-here':
      return call.outcome.code === 'elsewhere' ? 'elsewhere' : 'declined';
    case 'busy-here':
      return 'missed';
    case 'cancelled':
      return call.direction === 'incoming' ? 'missed' : 'cancelled';
    case 'no-answer':
      return call.direction === 'incoming' ? 'missed' : 'failed';
    default:
      return call.outcome ? 'failed' : call.direction === 'incoming' ? 'missed' : 'cancelled';
  }
}

/** Takes a stored history; entries that are not whole are left out. */
export function parseHistory(stored: unknown): HistoryEntry[] {
  return Array.isArray(stored) ? stored.filter(isEntry).slice(0, HISTORY_LIMIT) : [];
}

export function loadHistory(account: Account): HistoryEntry[] {
  return parseHistory(read('local', key(account)));
}

export function saveHistory(account: Account, history: readonly HistoryEntry[]): void {
  write('local', key(account), history);
}

function key({ user, domain }: Account): string {
  return `causeway.history.${user}@${domain}`;
}

function isEntry(value: unknown): value is HistoryEntry {
  const entry = value as Partial<HistoryEntry> | null;
  return (
    typeof entry?.id === 'string' &&
    typeof entry.at === 'number' &&
    typeof entry.duration === 'number' &&
    typeof entry.result === 'string' &&
    typeof entry.reason === 'string' &&
    typeof entry.peer?.name === 'string' &&
    typeof entry.peer.address === 'string' &&
    (entry.direction === 'incoming' || entry.direction === 'outgoing')
  );
}
