/**
 * Brings the media of a call back after the network changed: restarts ICE (RFC 8445 section 2.4) by a re-INVITE.
 * JsSIP would hang up as soon as ICE has failed; guard.ts keeps it from that.
 */

/** Between two restarts, in ms. */
const INTERVAL = 6000;
/** When the media has been gone for this long, in ms, the call is given up. */
export const GIVE_UP_AFTER = 45_000;

export interface IceRecoveryOptions {
  /** `disconnected` often heals by itself; only after this long, in ms, ICE is restarted. Not the same at both ends. */
  patience: number;
  /** Starts the restart; false when that is impossible right now (no connection, another change under way). */
  restart(): boolean;
  /** The media is gone (true) or back (false). */
  onRestoring(restoring: boolean): void;
  /** The media did not come back. */
  onGivenUp(): void;
}

/** Watches one peer connection until `stop`. */
export class IceRecovery {
  #lostAt: number | null = null;
  #timer = 0;

  constructor(
    private readonly connection: RTCPeerConnection,
    private readonly options: IceRecoveryOptions,
  ) {
    connection.addEventListener('iceconnectionstatechange', this.#changed);
  }

  get isLost(): boolean {
    return this.#lostAt !== null;
  }

  /** There is a new path to the gateway: tries now. */
  hurry(): void {
    if (this.isLost) this.#schedule(0);
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.connection.removeEventListener('iceconnectionstatechange', this.#changed);
  }

  readonly #changed = (): void => {
    switch (this.connection.iceConnectionState) {
      case 'connected':
      case 'completed':
        clearTimeout(this.#timer);
        if (this.isLost) this.options.onRestoring(false);
        this.#lostAt = null;
        break;
      case 'disconnected':
        this.#lost(this.options.patience);
        break;
      case 'failed':
        this.#lost(0);
        break;
    }
  };

  #lost(patience: number): void {
    if (!this.isLost) {
      this.#lostAt = performance.now();
      this.options.onRestoring(true);
    }
    this.#schedule(patience);
  }

  #schedule(delay: number): void {
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => {
      if (this.#lostAt === null) return;
      if (performance.now() - this.#lostAt > GIVE_UP_AFTER) return this.options.onGivenUp();
      this.#schedule(this.options.restart() ? INTERVAL : 1000);
    }, delay);
  }
}
