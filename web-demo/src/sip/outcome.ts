import type { CallView } from '../state/model';
import { callBroken, callRefused, problem, type Problem } from '../words';

/** What JsSIP says about the end of a session, as far as it matters here. */
export interface SessionEnd {
  originator: string;
  cause: string;
  message: {
    status_code?: number;
    reason_phrase?: string;
    method?: string;
    getHeader?(name: string): string | undefined;
  } | null;
}

/** A Reason header (RFC 3326) of protocol SIP: its cause and text. */
export function parseReason(header: string | undefined): { cause: number; text: string } | null {
  const cause = /^\s*SIP\s*;.*?cause\s*=\s*(\d{3})/i.exec(header ?? '')?.[1];
  if (!cause) return null;
  return { cause: Number(cause), text: /text\s*=\s*"([^"]*)"/i.exec(header ?? '')?.[1] ?? '' };
}

/** Why a call ended, in words; null when it ended as calls do. `refusal`: the status this side refused it with, or 0. */
export function outcomeOf(event: SessionEnd, call: CallView, refusal: number): Problem | null {
  const { message, cause, originator } = event;
  const who = call.peer.name;
  if (refusal === 486) return problem('busy-here', 'You were busy', 'The caller was told so.');
  if (refusal) return problem('declined-here', 'Declined', 'You declined the call.');
  if (call.direction === 'incoming' && call.answeredAt === null && originator === 'remote') return missed(message, who);
  if (originator === 'remote' && message?.status_code) return callRefused(message.status_code, message.reason_phrase ?? '', who);
  const reason = originator === 'remote' ? parseReason(message?.getHeader?.('reason')) : null;
  if (reason && reason.cause >= 300 && reason.cause !== 487) {
    return problem('ended-by-far-end', 'The far end broke off', reason.text || `It gave the reason ${reason.cause}.`);
  }
  return callBroken(cause, who);
}

/** A call that stopped ringing: answered by another phone of the account, or given up by the caller. */
function missed(message: SessionEnd['message'], who: string): Problem {
  const reason = parseReason(message?.getHeader?.('reason'));
  if (reason?.cause === 200) return problem('elsewhere', 'Answered elsewhere', 'Another phone of this account took the call.');
  if (reason?.cause === 603 || reason?.cause === 600) return problem('elsewhere', 'Declined elsewhere', 'Another phone of this account declined the call.');
  return problem('cancelled', 'Missed call', `${who} hung up before you answered.`);
}
