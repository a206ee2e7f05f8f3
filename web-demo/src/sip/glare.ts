import type { CallView } from '../state/model';
import type { RTCSession } from './jssip';

/** The reason phrases that JsSIP hangs up with when a re-INVITE of ours was refused. */
const REFUSALS = new Set(['Hold Failed', 'Unhold Failed', 'Media Renegotiation Failed']);

/**
 * Keeps a call when one of its re-INVITEs is refused: RFC 3261 section 14.1 lets the session go on as it was, while
 * JsSIP would hang up. `onRefused` is called instead, once the offer was taken back.
 */
export function keepWhenRefused(session: RTCSession, onRefused: () => void): void {
  const terminate = session.terminate.bind(session);
  session.terminate = (options) => {
    if (!REFUSALS.has(options?.reason_phrase ?? '') || !session.isEstablished()) return terminate(options);
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
