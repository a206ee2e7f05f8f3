import type { DTMF_TRANSPORT } from 'jssip/lib/Constants';
import { newCall, type CallView, type Peer } from '../state/model';
import type { Settings } from '../memory/settings';
import { capture, captureCamera, stopTracks } from '../media/capture';
import { readQuality, type Totals } from '../media/quality';
import type { IncomingEvent, OutgoingEvent, RTCSession } from './jssip';
import { Gathering } from './gathering';
import { glareDelay, guardSession } from './guard';
import { IceRecovery } from './ice-recovery';
import { outcomeOf } from './outcome';
import { remoteStreams, removePicture, replaceTrack, senderOf, videoOf } from './streams';

/** Between two readings of the quality, in ms. */
const QUALITY_INTERVAL = 2000;
/** How long a hold or media change waits for one that is under way, in ms. */
const CHANGE_LIMIT = 4000;
/** How often a refused change is tried. */
const CHANGE_ATTEMPTS = 3;

export interface CallOptions {
  direction: CallView['direction'];
  peer: Peer;
  iceServers: RTCIceServer[];
  settings(): Settings;
  /** Whether the signalling connection is up. */
  isConnected(): boolean;
  onChange(): void;
  onEnded(): void;
  /** The far end took no part in a hold or a change of the media; the call goes on as it was. */
  onChangeRefused(): void;
}

/** One call: a JsSIP session, its streams, and what the page shows of both. */
export class Call {
  view: CallView;
  readonly startedAt = Date.now();
  readonly #options: CallOptions;
  readonly #gathering: Gathering;
  #session: RTCSession | null = null;
  #local: MediaStream | null = null;
  #recovery: IceRecovery | null = null;
  #qualityTimer = 0;
  #totals: Totals | null = null;
  /** The status this side refused the call with; 0 when it did not. */
  #refusal = 0;
  #attempts = 0;
  /** Ends the change under way, with whether it succeeded. */
  #finishChange: ((succeeded: boolean) => void) | null = null;

  constructor(options: CallOptions) {
    this.#options = options;
    this.#gathering = new Gathering(options.iceServers.length > 0);
    this.view = newCall(options.direction, options.peer);
  }

  /** The media configuration JsSIP gets for this call, with the `stream` to send. */
  mediaOptions(stream: MediaStream): { mediaStream: MediaStream; pcConfig: RTCConfiguration } {
    this.#local = stream;
    this.#update({ localVideo: videoOf(stream), cameraOn: stream.getVideoTracks().length > 0 });
    return { mediaStream: stream, pcConfig: { iceServers: this.#options.iceServers } };
  }

  /** Ties the call to its session, right after JsSIP created that. */
  bind(session: RTCSession): void {
    this.#session = session;
    guardSession(session, () => this.#changeRefused());
    if (session.connection) this.#watch(session.connection);
    session.on('peerconnection', ({ peerconnection }) => this.#watch(peerconnection));
    session.on('icecandidate', ({ candidate, ready }) => this.#gathering.candidate(candidate.candidate, ready));
    session.on('sending', () => this.#update({ state: 'calling' }));
    session.on('progress', (event: IncomingEvent | OutgoingEvent) => {
      if (this.view.direction === 'incoming') return;
      const early = 'response' in event && Boolean(event.response?.body);
      this.#update({ state: 'ringing', earlyMedia: this.view.earlyMedia || early });
    });
    session.on('accepted', () => {
      if (this.view.direction === 'incoming') this.#update({ state: 'connecting', answeredAt: Date.now() });
      else this.#established();
    });
    session.on('confirmed', () => this.#established());
    session.on('hold', () => this.#holdChanged());
    session.on('unhold', () => this.#holdChanged());
    session.on('muted', ({ audio }) => audio && this.#update({ muted: true }));
    session.on('unmuted', ({ audio }) => audio && this.#update({ muted: false }));
    // Transfers are not offered to the person yet: saying so beats leaving the far end without an answer.
    session.on('refer', ({ reject }) => reject());
    session.on('replaces', ({ reject }) => reject());
    session.on('ended', (event) => this.#finish(outcomeOf(event, this.view, this.#refusal)));
    session.on('failed', (event) => this.#finish(outcomeOf(event, this.view, this.#refusal)));
  }

  /** Ends the call before or without a session. */
  abandon(outcome: CallView['outcome']): void {
    this.#finish(outcome);
  }

  /** Answers an incoming call; rejects when the microphone cannot be opened, and the call rings on. */
  async answer(video: boolean): Promise<void> {
    const session = this.#session;
    if (!session || this.view.state !== 'ringing') return;
    this.#update({ changing: true });
    try {
      const stream = await capture(this.#options.settings(), video);
      // The far end may have given up meanwhile, and then `#finish` ran before there was a stream to stop.
      if (session.isEnded()) return stopTracks(stream);
      this.#update({ state: 'connecting' });
      session.answer(this.mediaOptions(stream));
    } finally {
      this.#update({ changing: false });
    }
  }

  /** Refuses an incoming call: 603 for every phone of the account, 486 for this one only. */
  decline(status: 486 | 603 = 603): void {
    this.#refusal = status;
    this.#terminate({ status_code: status, reason_phrase: status === 486 ? 'Busy Here' : 'Decline' });
  }

  /** Cancels, refuses or ends the call, whatever fits its state. */
  hangUp(): void {
    if (this.#session) this.#terminate();
    else this.#finish(null);
  }

  setMuted(muted: boolean): void {
    if (muted) this.#session?.mute({ audio: true });
    else this.#session?.unmute({ audio: true });
  }

  /** Holds or resumes; resolves to whether the far end took part. */
  async setHold(hold: boolean): Promise<boolean> {
    if (this.view.localHold === hold) return true;
    return this.#change((session, done) => (hold ? session.hold({}, done) : session.unhold({}, done)));
  }

  /** Adds our picture to the call, or takes it away. */
  async setCamera(on: boolean): Promise<void> {
    const connection = this.#session?.connection;
    if (!connection || this.view.cameraOn === on) return;
    if (on) {
      const stream = await captureCamera(this.#options.settings());
      if (this.view.state === ('ended' as CallView['state'])) return stopTracks(stream);
      for (const track of stream.getVideoTracks()) {
        this.#local?.addTrack(track);
        connection.addTrack(track, this.#local ?? stream);
      }
    } else {
      removePicture(connection, this.#local);
    }
    this.#update({ cameraOn: on, localVideo: videoOf(this.#local) });
    const agreed = await this.#change((session, done) => session.renegotiate({}, done));
    if (on && !agreed) {
      removePicture(connection, this.#local);
      this.#update({ cameraOn: false, localVideo: null });
    }
  }

  /** Replaces the microphone or the camera in the running call by the one now chosen in the settings. */
  async switchDevice(kind: 'audio' | 'video'): Promise<void> {
    const sender = senderOf(this.#session?.connection, kind);
    const local = this.#local;
    if (!sender || !local) return;
    const settings = this.#options.settings();
    const [track] = (kind === 'audio' ? await capture(settings, false) : await captureCamera(settings)).getTracks();
    if (!track) return;
    if (this.view.state === 'ended') return track.stop();
    await replaceTrack(sender, local, track);
    this.#update({ localVideo: videoOf(local) });
  }

  /** Sends one DTMF digit, by INFO when that is chosen or the far end takes no telephone events (RFC 4733). */
  sendDigit(digit: string): void {
    const session = this.#session;
    if (!session || this.view.answeredAt === null || this.view.state === 'ended') return;
    // Firefox has the sender without `canInsertDTMF`.
    const events = senderOf(session.connection, 'audio')?.dtmf;
    const byRtp = events != null && events.canInsertDTMF !== false && this.#options.settings().dtmf === 'rtp';
    const transportType = (byRtp ? 'RFC2833' : 'INFO') as DTMF_TRANSPORT;
    session.sendDTMF(digit, { transportType, duration: 160, interToneGap: 80 });
    this.#update({ digits: (this.view.digits + digit).slice(-64) });
  }

  /** The signalling is back on a new connection: lets the gateway bind the dialog to it, and repairs the media. */
  reconnected(): void {
    if (!this.#session?.isEstablished()) return;
    if (this.#recovery?.isLost) return this.#recovery.hurry();
    // When both ends lost the same gateway, both come back at the same time: their offers must not cross.
    const delay = this.view.direction === 'outgoing' ? 0 : 3000;
    setTimeout(() => void this.#change((session, done) => session.renegotiate({}, done)), delay);
  }

  #watch(connection: RTCPeerConnection): void {
    connection.addEventListener('track', () => this.#refreshRemote(connection));
    connection.addEventListener('signalingstatechange', () => {
      if (connection.signalingState === 'stable') this.#refreshRemote(connection);
    });
    this.#recovery = new IceRecovery(connection, {
      patience: this.view.direction === 'outgoing' ? 2500 : 5000,
      restart: () => this.#restartIce(),
      onRestoring: (restoring) => this.#update({ restoring }),
      onGivenUp: () => this.#terminate({ cause: 'RTP Timeout', status_code: 408, reason_phrase: 'Media lost' }),
    });
  }

  #restartIce(): boolean {
    const session = this.#session;
    if (!session?.isEstablished() || !this.#options.isConnected() || !session.isReadyToReOffer()) return false;
    this.#gathering.stop();
    // A refused restart is tried again by the recovery, with fresh credentials.
    this.#attempts = CHANGE_ATTEMPTS;
    return session.renegotiate({ rtcOfferConstraints: { iceRestart: true } });
  }

  #refreshRemote(connection: RTCPeerConnection): void {
    this.#update(remoteStreams(connection, this.view));
  }

  #established(): void {
    this.#update({ answeredAt: this.view.answeredAt ?? Date.now() });
    this.#holdChanged();
    if (this.#qualityTimer === 0) this.#qualityTimer = window.setInterval(() => void this.#measure(), QUALITY_INTERVAL);
    void this.#measure();
  }

  #holdChanged(): void {
    const { local, remote } = this.#session?.isOnHold() ?? { local: false, remote: false };
    this.#update({ localHold: local, remoteHold: remote, state: local || remote ? 'held' : 'connected' });
  }

  async #measure(): Promise<void> {
    const connection = this.#session?.connection;
    if (!connection || this.view.state === 'ended') return;
    const report = (await connection.getStats()) as unknown as Map<string, { type: string; id: string }>;
    const { quality, totals } = readQuality(report.values(), this.#totals);
    this.#totals = totals;
    this.#update({ quality });
  }

  /** Runs one offer/answer exchange, after the one that may be under way. */
  async #change(start: (session: RTCSession, done: () => void) => boolean): Promise<boolean> {
    const session = this.#session;
    const deadline = performance.now() + CHANGE_LIMIT;
    const occupied = () => this.#finishChange !== null || !session!.isReadyToReOffer();
    while (session && !session.isEnded() && occupied() && performance.now() < deadline) await pause(100);
    if (!session || session.isEnded() || occupied()) return false;
    return new Promise((resolve) => {
      this.#attempts = 1;
      this.#finishChange = (succeeded) => {
        this.#finishChange = null;
        this.#update({ changing: false });
        resolve(succeeded);
      };
      this.#update({ changing: true });
      if (!start(session, () => this.#finishChange?.(true))) this.#finishChange(false);
    });
  }

  /** A re-INVITE was refused, most often because another one crossed it: tries again, and else lets things be. */
  #changeRefused(): void {
    const session = this.#session;
    if (!session || session.isEnded()) return;
    if (this.#attempts >= CHANGE_ATTEMPTS) {
      if (this.#finishChange) this.#options.onChangeRefused();
      this.#finishChange?.(false);
      return;
    }
    this.#attempts += 1;
    setTimeout(() => {
      if (!session.isEnded() && !session.renegotiate({}, () => this.#finishChange?.(true))) this.#changeRefused();
    }, glareDelay(this.view.direction, Math.random()));
  }

  #terminate(options?: Parameters<RTCSession['terminate']>[0]): void {
    if (this.#session && !this.#session.isEnded()) this.#session.terminate(options);
  }

  #finish(outcome: CallView['outcome']): void {
    if (this.view.state === 'ended') return;
    clearInterval(this.#qualityTimer);
    this.#gathering.stop();
    this.#recovery?.stop();
    stopTracks(this.#local);
    this.#finishChange?.(false);
    this.#update({
      state: 'ended',
      endedAt: Date.now(),
      outcome,
      changing: false,
      restoring: false,
      cameraOn: false,
      localVideo: null,
      remoteAudio: null,
      remoteVideo: null,
    });
    this.#options.onEnded();
  }

  #update(patch: Partial<CallView>): void {
    if (this.view.state === 'ended') return;
    this.view = { ...this.view, ...patch };
    this.#options.onChange();
  }
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
