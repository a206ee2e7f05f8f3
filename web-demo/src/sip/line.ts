import { UA } from 'jssip';
import type { IncomingRTCSessionEvent, OutgoingRTCSessionEvent, RTCSession, UAConfiguration } from './jssip';
import type { Account, Registration } from '../state/model';
import type { KeptSecret, Secret } from '../memory/sign-in';
import { isGatewayReachable } from '../page-info';
import { connectionLost, registrationDelayed, registrationRefused, type Problem } from '../words';
import { retryDelay } from './retry';
import { GatewaySocket } from './socket';

/** How long the gateway may take to answer a sign of life before the connection counts as dead, in ms. */
const LIVENESS_LIMIT = 5000;
/** How long a registration may take on an open connection, in ms. */
const REGISTRATION_LIMIT = 10_000;

export interface LineOptions {
  account: Account;
  secret: Secret;
  websocketUrl: string;
  /** `+sip.instance` of this tab. */
  instanceId: string;
  onRegistration(registration: Registration): void;
  /** An INVITE came, with this SDP in it (empty without one). */
  onIncoming(session: RTCSession, offer: string): void;
  /** Registered again after the connection was lost: dialogs have to be bound to the new one. */
  onReconnected(): void;
}

/**
 * One account on one WebSocket: registers, stays registered, and comes back by itself. JsSIP renews the registration
 * and reopens the socket; the line sets the pace, notices dead connections, and puts the state into words.
 */
export class Line {
  readonly ua: UA;
  readonly #options: LineOptions;
  readonly #socket: GatewaySocket;
  #closed = false;
  #everConnected = false;
  #lost = false;
  #failures = 0;
  #problem: Problem | null = null;
  #retryTimer = 0;
  #livenessTimer = 0;

  constructor(options: LineOptions) {
    this.#options = options;
    this.#socket = new GatewaySocket(options.websocketUrl);
    this.ua = new UA(configuration(options, this.#socket));
    this.ua.on('connecting', () => this.#trying());
    this.ua.on('connected', () => this.#connected());
    this.ua.on('disconnected', () => this.#disconnected());
    this.ua.on('registered', () => this.#registered());
    this.ua.on('registrationFailed', ({ response, cause }) =>
      this.#refused(response?.status_code ?? 0, response?.reason_phrase ?? String(cause ?? '')),
    );
    this.ua.on('newRTCSession', (event: IncomingRTCSessionEvent | OutgoingRTCSessionEvent) => {
      if (event.originator !== ('remote' as string)) return;
      const { session, request } = event as IncomingRTCSessionEvent;
      options.onIncoming(session, request.body ?? '');
    });
  }

  start(): void {
    this.ua.start();
  }

  /** Hangs up, unregisters and closes. */
  stop(): void {
    this.#closed = true;
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#livenessTimer);
    this.ua.stop();
  }

  get isConnected(): boolean {
    return this.ua.isConnected();
  }

  /** Goes on with a later token of the same user. */
  renew(token: string): void {
    this.#options.secret = { token };
    this.ua.set('authorization_jwt', bearer(token));
    if (!this.#closed && this.ua.isConnected()) this.ua.register();
  }

  /** What signs in again: the token, or the digest HA1 that JsSIP computed at the last challenge; null before one. */
  get kept(): KeptSecret | null {
    const { secret } = this.#options;
    if ('token' in secret) return secret;
    const realm = this.ua.get('realm');
    const ha1 = this.ua.get('ha1');
    return realm && ha1 ? { realm, ha1 } : null;
  }

  /** Tries again at once instead of when the countdown is over. */
  retryNow(): void {
    if (this.#closed) return;
    clearTimeout(this.#retryTimer);
    if (this.ua.isConnected()) this.ua.register();
    else transportOf(this.ua).connect();
  }

  /**
   * The network may have changed: checks that the gateway still answers, by a REGISTER, and reconnects when it does
   * not. Without this a laptop that changed its network would wait for TCP to time out.
   */
  checkAlive(): void {
    if (this.#closed) return;
    if (!this.ua.isConnected()) return this.retryNow();
    this.#expectLife();
    this.ua.register();
  }

  /** Drops the connection unless something comes in time: JsSIP alone would wait 32 s for its answer. */
  #expectLife(): void {
    const asked = performance.now();
    clearTimeout(this.#livenessTimer);
    this.#livenessTimer = window.setTimeout(() => {
      if (!this.#closed && this.#socket.lastHeard <= asked) this.#socket.drop();
    }, LIVENESS_LIMIT);
  }

  #report(registration: Registration): void {
    if (!this.#closed) this.#options.onRegistration(registration);
  }

  /** An attempt begins: after a failure the page goes on saying what is wrong until one succeeds. */
  #trying(): void {
    this.#report(this.#problem ? { state: 'lost', retryAt: Date.now(), problem: this.#problem } : { state: 'connecting' });
  }

  #connected(): void {
    this.#everConnected = true;
    this.#trying();
    // JsSIP sends its REGISTER right after this event.
    this.#expectLife();
    // JsSIP passes over a 200 that does not list its own contact, and would wait for ever.
    clearTimeout(this.#retryTimer);
    this.#retryTimer = window.setTimeout(() => this.#refused(0, ''), REGISTRATION_LIMIT);
  }

  #registered(): void {
    clearTimeout(this.#retryTimer);
    this.#failures = 0;
    this.#problem = null;
    this.#report({ state: 'registered' });
    if (this.#lost) this.#options.onReconnected();
    this.#lost = false;
  }

  #disconnected(): void {
    if (this.#closed) return;
    clearTimeout(this.#retryTimer);
    this.#lost = this.#lost || this.#everConnected;
    const retryAt = this.#nextRetry();
    // JsSIP is about to start its own timer: equal bounds make it wait exactly as long as the page says.
    const seconds = (retryAt - Date.now()) / 1000;
    transportOf(this.ua).recovery_options = { min_interval: seconds, max_interval: seconds };
    this.#wait(retryAt, connectionLost(false, this.#everConnected));
    void isGatewayReachable().then((reachable) => {
      if (reachable && !this.ua.isConnected()) this.#wait(retryAt, connectionLost(true, this.#everConnected));
    });
  }

  #refused(status: number, reason: string): void {
    if (this.#closed || !this.ua.isConnected()) return;
    const final = registrationRefused(status, reason, this.#options.account.user, 'token' in this.#options.secret);
    if (final) {
      this.#report({ state: 'failed', problem: final });
      return;
    }
    const retryAt = this.#nextRetry();
    this.#wait(retryAt, registrationDelayed(status, reason));
    clearTimeout(this.#retryTimer);
    this.#retryTimer = window.setTimeout(() => this.retryNow(), retryAt - Date.now());
  }

  #wait(retryAt: number, problem: Problem): void {
    this.#problem = problem;
    this.#report({ state: 'lost', retryAt, problem });
  }

  #nextRetry(): number {
    this.#failures += 1;
    return Date.now() + retryDelay(this.#failures) * 1000;
  }
}

function configuration({ account, secret, instanceId }: LineOptions, socket: GatewaySocket): UAConfiguration {
  return {
    sockets: [socket],
    uri: `sip:${encodeURIComponent(account.user)}@${account.domain}`,
    authorization_user: account.user,
    instance_id: instanceId,
    register: true,
    register_expires: 600,
    session_timers: true,
    user_agent: `Causeway ${__VERSION__}`,
    ...credentials(secret),
  };
}

function credentials(secret: Secret): Partial<UAConfiguration> {
  if ('password' in secret) return { password: secret.password };
  return 'token' in secret ? { authorization_jwt: bearer(secret.token) } : { realm: secret.realm, ha1: secret.ha1 };
}

/** The value of Authorization (RFC 8898, RFC 6750 section 2.1): JsSIP sends what it is given. */
function bearer(token: string): string {
  return `Bearer ${token}`;
}

/** The parts of JsSIP's transport that its type declarations leave out. */
interface RecoveringTransport {
  connect(): void;
  recovery_options: { min_interval: number; max_interval: number };
}

function transportOf(ua: UA): RecoveringTransport {
  return (ua as unknown as { transport: RecoveringTransport }).transport;
}
