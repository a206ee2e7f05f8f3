import type { CallView } from '../state/model';
import type { RTCSession } from './jssip';

/** The reason phrases that JsSIP hangs up with when a re-INVITE of ours was refused. */
const REFUSALS = new Set(['Hold Failed', 'Unhold Failed', 'Media Renegotiation Failed']);

/** The reason phrase that JsSIP hangs up with when ICE has failed. */
const ICE_FAILED = 'RTP Timeout';

/**
 * Keeps JsSIP from hanging up an established call where the call can go on: when ICE has failed (ice-recovery.ts sees to
 * that), and when a re-INVITE of ours is refused, which leaves the session as it was (RFC 3261 section 14.1). Then
 * `onRefused` is called, once the offer was taken back.
 */
export function guardSession(session: RTCSession, onRefused: () => void): void {
  const terminate = session.terminate.bind(session);
  session.terminate = (options) => {
    const reason = options?.reason_phrase ?? '';
    if (!session.isEstablished()) return terminate(options);
    if (reason === ICE_FAILED) return;
    if (!REFUSALS.has(reason)) return terminate(options);
    const { connection } = session;
    if (connection.signalingState !== 'have-local-offer') return onRefused();
    connection.setLocalDescription({ type: 'rollback' }).then(onRefused, () => terminate(options));
  };
  // JsSIP answers 491 to an offer that crosses its own, and then applies it nevertheless.
  session.on('reinvite', ({ reject }) => {
    if (session.connection.signalingState === 'have-local-offer') reject({ status_code: 491 });
  });
}

/**
 * How long to wait after a crossing of offers, in ms (RFC 3261 section 14.1): the side that owns the Call-ID, which is
 * the caller, 2.1 to 4 s; the other 0 to 2 s. `chance` is a random number from 0 to 1.
 */
export function glareDelay(direction: CallView['direction'], chance: number): number {
  const tens = (from: number, to: number) => Math.round((from + chance * (to - from)) * 100) * 10;
  return direction === 'outgoing' ? tens(2.1, 4) : tens(0, 2);
}
