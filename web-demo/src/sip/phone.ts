import type { Account, AppState, CallView, Registration } from '../state/model';
import { isOngoing } from '../state/model';
import type { Store } from '../state/store';
import { capture, stopTracks } from '../media/capture';
import { remember, saveHistory, loadHistory } from '../memory/history';
import { forgetSignIn, keepSignIn, rememberAccount, type Secret } from '../memory/sign-in';
import { badTarget, captureFailed, problem } from '../words';
import { Call } from './call';
import type { RTCSession } from './jssip';
import { Line } from './line';
import { parseTarget, peerOf, targetUri } from './target';
import type { TokenSignIn } from './token';

/** More calls than this at once, ringing ones included, are refused with 486. */
const CALL_LIMIT = 2;
/** An ended call stays on the page for this long, in ms; longer when there is something to read. */
const FAREWELL = 6000;
const FAREWELL_WITH_WORDS = 30_000;

/** The telephone: the line of the account that is signed in, its calls, and the rules between them. */
export class Phone {
  #line: Line | null = null;
  #calls: Call[] = [];
  #keep = false;

  constructor(
    private readonly store: Store<AppState>,
    private readonly instanceId: string,
  ) {}

  /** Signs in. `keep`: a reload of this tab signs in again by itself. */
  signIn(account: Account, secret: Secret, keep: boolean): void {
    this.#line?.stop();
    this.#keep = keep;
    rememberAccount(account);
    if (!keep) forgetSignIn();
    this.store.set({ account, registration: { state: 'connecting' }, history: loadHistory(account), problem: null });
    const { websocketPath } = this.store.get().page;
    const scheme = location.protocol === 'http:' ? 'ws' : 'wss';
    try {
      this.#line = new Line({
        account,
        secret,
        instanceId: this.instanceId,
        websocketUrl: `${scheme}://${location.host}${websocketPath}`,
        onRegistration: (registration) => this.#registration(registration),
        onIncoming: (session, offer) => this.#incoming(session, offer),
        onReconnected: () => this.#calls.forEach((call) => call.reconnected()),
      });
      this.#line.start();
    } catch (error) {
      console.warn('the sign-in was refused by the SIP stack', error);
      this.#signedOut(problem('bad-account', 'That is no user name', `“${account.user}@${account.domain}” is not a SIP address.`));
    }
  }

  /** A web application signs its user in, or goes on with a later token of his; nobody is signed out for it. */
  useToken({ account, secret }: TokenSignIn): void {
    const current = this.store.get().account;
    if (!current || !this.#line) return this.signIn(account, secret, true);
    if (current.user === account.user && current.domain === account.domain) this.#line.renew(secret.token);
  }

  /** Ends all calls, unregisters, and forgets the password of this tab. */
  signOut(): void {
    forgetSignIn();
    this.#signedOut(null);
  }

  /** The page goes away: the same as signing out, but a reload may come back. */
  leave(): void {
    this.#line?.stop();
  }

  retryNow(): void {
    this.#line?.retryNow();
  }

  checkAlive(): void {
    this.#line?.checkAlive();
  }

  /** Calls what was typed. The other calls are put on hold first. */
  async dial(typed: string, video: boolean): Promise<void> {
    const { account, page, settings } = this.store.get();
    const line = this.#line;
    if (!line || !account) return;
    const address = parseTarget(typed, account.domain);
    if (address === null) return this.store.set({ problem: badTarget(typed) });
    if (this.#calls.filter(({ view }) => view.state !== 'ended').length >= CALL_LIMIT) {
      return this.store.set({ problem: problem('too-many-calls', 'Two calls at once are the most', 'End one of them first.') });
    }
    this.store.set({ problem: null });
    const at = address.lastIndexOf('@');
    const [user, host] = at < 0 ? [address, account.domain] : [address.slice(0, at), address.slice(at + 1)];
    const call = this.#add('outgoing', peerOf(null, user, host, account.domain), page.iceServers);
    await this.#holdOthers(call);
    let stream: MediaStream;
    try {
      stream = await capture(settings, video);
    } catch (error) {
      return call.abandon(captureFailed(error, video));
    }
    if (call.view.state === 'ended') return stopTracks(stream);
    if (!line.isConnected) {
      stopTracks(stream);
      return call.abandon(problem('not-connected', 'Not connected', 'The gateway cannot be reached right now.'));
    }
    call.bind(line.ua.call(targetUri(address, account.domain), call.mediaOptions(stream)));
  }

  /** Answers a waiting call; the others are put on hold first. */
  async answer(id: string, video: boolean): Promise<void> {
    const call = this.#find(id);
    if (!call) return;
    this.store.set({ problem: null });
    await this.#holdOthers(call);
    try {
      await call.answer(video);
    } catch (error) {
      this.store.set({ problem: captureFailed(error, video) });
    }
  }

  decline(id: string): void {
    this.#find(id)?.decline();
  }

  hangUp(id: string): void {
    this.#find(id)?.hangUp();
  }

  setMuted(id: string, muted: boolean): void {
    this.#find(id)?.setMuted(muted);
  }

  /** Holds a call, or resumes it after putting the others on hold. */
  async setHold(id: string, hold: boolean): Promise<void> {
    const call = this.#find(id);
    if (!call) return;
    if (!hold) await this.#holdOthers(call);
    await call.setHold(hold);
  }

  async setCamera(id: string, on: boolean): Promise<void> {
    try {
      await this.#find(id)?.setCamera(on);
    } catch (error) {
      this.store.set({ problem: captureFailed(error, true) });
    }
  }

  sendDigit(id: string, digit: string): void {
    this.#find(id)?.sendDigit(digit);
  }

  /** Takes an ended call off the page before its time. */
  dismiss(id: string): void {
    this.#calls = this.#calls.filter(({ view }) => view.id !== id || view.state !== 'ended');
    this.#publish();
  }

  /** The person chose another microphone or camera: running calls follow. */
  async switchDevices(kind: 'audio' | 'video'): Promise<void> {
    try {
      for (const call of this.#calls.filter(({ view }) => view.state !== 'ended')) await call.switchDevice(kind);
    } catch (error) {
      this.store.set({ problem: captureFailed(error, kind === 'video') });
    }
  }

  #registration(registration: Registration): void {
    const { account } = this.store.get();
    if (registration.state === 'failed') return this.#signedOut(registration.problem);
    if (registration.state === 'registered' && this.#keep && account && this.#line?.kept) {
      keepSignIn({ account, secret: this.#line.kept });
    }
    this.store.set({ registration });
  }

  #signedOut(why: AppState['problem']): void {
    if (why) forgetSignIn();
    for (const call of this.#calls) call.hangUp();
    this.#line?.stop();
    this.#line = null;
    this.#calls = [];
    this.store.set({ account: null, calls: [], problem: null, registration: { state: 'signed-out', problem: why } });
  }

  #incoming(session: RTCSession, offer: string): void {
    const { account, page, settings } = this.store.get();
    if (!account) return;
    const busy = this.#calls.filter(({ view }) => view.state !== 'ended').length >= CALL_LIMIT;
    const { display_name: name, uri } = session.remote_identity;
    const call = this.#add('incoming', peerOf(name, uri.user, uri.host, account.domain), page.iceServers);
    call.bind(session);
    call.view = { ...call.view, offersVideo: offersVideo(offer) };
    this.#publish();
    if (busy || settings.doNotDisturb) call.decline(486);
  }

  #add(direction: CallView['direction'], peer: CallView['peer'], iceServers: RTCIceServer[]): Call {
    const call: Call = new Call({
      direction,
      peer,
      iceServers,
      settings: () => this.store.get().settings,
      isConnected: () => this.#line?.isConnected ?? false,
      onChange: () => this.#publish(),
      onEnded: () => this.#ended(call),
      onChangeRefused: () =>
        this.store.set({ problem: problem('change-refused', 'The far end did not go along', `The call with ${peer.name} goes on as it was.`) }),
    });
    // A finished call gives way to the next one.
    this.#calls = [...this.#calls.filter(({ view }) => view.state !== 'ended'), call];
    this.#publish();
    return call;
  }

  #ended(call: Call): void {
    const { account, history } = this.store.get();
    if (account) {
      const longer = remember(history, call.view, call.startedAt);
      saveHistory(account, longer);
      this.store.set({ history: longer });
    }
    // What the person declined, or another phone took, needs no farewell; a missed call is worth being seen.
    if (['declined-here', 'busy-here', 'elsewhere'].includes(call.view.outcome?.code ?? '')) return this.dismiss(call.view.id);
    setTimeout(() => this.dismiss(call.view.id), call.view.outcome ? FAREWELL_WITH_WORDS : FAREWELL);
  }

  async #holdOthers(except: Call): Promise<void> {
    const others = this.#calls.filter((call) => call !== except && isOngoing(call.view) && call.view.answeredAt !== null);
    await Promise.all(others.map((call) => call.setHold(true)));
  }

  #find(id: string): Call | undefined {
    return this.#calls.find(({ view }) => view.id === id);
  }

  #publish(): void {
    this.store.set({ calls: this.#calls.map(({ view }) => view) });
  }
}

/** Whether an offer has a picture: a video section with a port (RFC 3264 section 5.1). */
function offersVideo(offer: string): boolean {
  return /^m=video (?!0 )/m.test(offer);
}
