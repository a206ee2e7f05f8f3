/**
 * When to stop waiting for ICE candidates. JsSIP sends the offer only once gathering is complete, which dead VPN
 * adapters and silent STUN servers stretch to 40 s. The gateway is reached directly, and it learns our real address
 * from our own checks (peer-reflexive, RFC 8445 section 7.3.1.3), so a host candidate is all it needs.
 */

/** The longest wait after the first candidate, in ms. */
export const GATHERING_LIMIT = 500;
/** After a usable candidate, how long its siblings (the other address family) may still come, in ms. */
export const GATHERING_GRACE = 40;

/** How long to go on waiting once `candidate` (an `a=candidate` value) has come, in ms. */
export function gatheringWait(candidate: string, hasIceServers: boolean): number {
  return !hasIceServers && isUsable(candidate) ? GATHERING_GRACE : GATHERING_LIMIT;
}

/** A UDP host candidate. A `.local` name (RFC 8828) counts as well: it stands for a host address that does work. */
function isUsable(candidate: string): boolean {
  const [, , transport, , , , , type] = candidate.replace(/^a?=?candidate:/, '').split(' ');
  return transport?.toLowerCase() === 'udp' && type === 'host';
}

/** Calls each `ready` it is handed once, as soon as enough candidates came. */
export class Gathering {
  #ready: (() => void) | null = null;
  #timer = 0;
  #due = Infinity;

  constructor(private readonly hasIceServers: boolean) {}

  /** A candidate came; `ready` ends the gathering it belongs to. */
  candidate(line: string, ready: () => void): void {
    const now = performance.now();
    if (this.#ready !== ready) {
      this.stop();
      this.#ready = ready;
    }
    const due = now + gatheringWait(line, this.hasIceServers);
    if (due >= this.#due) return;
    this.#due = due;
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => {
      this.stop();
      ready();
    }, due - now);
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#ready = null;
    this.#due = Infinity;
  }
}
