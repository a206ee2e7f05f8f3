/** What the page shows: plain data, replaced at every change. The views read it and never write it. */

import type { Problem } from '../words';
import { uuid } from '../uuid';
import type { Quality } from '../media/quality';
import type { HistoryEntry } from '../memory/history';
import type { Settings } from '../memory/settings';

/** What the gateway tells the page about itself (`GET /api/page`). */
export interface PageInfo {
  name: string;
  version: string;
  /** The SIP domain that accounts of this gateway live in. */
  domain: string;
  websocketPath: string;
  /** Where the certificate of the local authority is downloaded; absent with a publicly trusted certificate. */
  caCertificate: string | null;
  iceServers: RTCIceServer[];
  /** The claim of a token that names its user; null where the gateway takes no tokens. */
  tokenClaim: string | null;
}

export interface Account {
  user: string;
  domain: string;
}

/** How the page stands with the registrar (RFC 3261 section 10). */
export type Registration =
  | { state: 'signed-out'; problem: Problem | null }
  | { state: 'connecting' }
  | { state: 'registered' }
  /** The WebSocket is gone or the registrar did not answer; tried again at `retryAt` (ms since 1970). */
  | { state: 'lost'; retryAt: number; problem: Problem }
  | { state: 'failed'; problem: Problem };

/** The other end of a call. */
export interface Peer {
  /** What a person reads: the display name, else the user part, else the host. */
  name: string;
  /** What is dialled to reach it again: `user` within the own domain, else `user@host`. */
  address: string;
}

export type CallState =
  /** The microphone is being opened; nothing was sent yet. */
  | 'preparing'
  /** The INVITE is out, the far end has not rung yet. */
  | 'calling'
  | 'ringing'
  /** Answered here, waiting for the ACK. */
  | 'connecting'
  | 'connected'
  /** Established, but one side or both put it on hold. */
  | 'held'
  | 'ended';

export interface CallView {
  id: string;
  direction: 'incoming' | 'outgoing';
  peer: Peer;
  state: CallState;
  /** The far end offers a picture in a call that was not answered yet. */
  offersVideo: boolean;
  /** The far end sends sound before it answers (183 with SDP): no ring-back of our own then. */
  earlyMedia: boolean;
  localHold: boolean;
  remoteHold: boolean;
  muted: boolean;
  /** Our picture is being sent. */
  cameraOn: boolean;
  /** A hold, resume or media change is under way; another one would be refused. */
  changing: boolean;
  /** ICE lost its path and is being restarted. */
  restoring: boolean;
  /** ms since 1970; null before it was answered. */
  answeredAt: number | null;
  endedAt: number | null;
  /** Why it ended, when that deserves words. */
  outcome: Problem | null;
  /** DTMF sent in this call, in order. */
  digits: string;
  remoteAudio: MediaStream | null;
  remoteVideo: MediaStream | null;
  localVideo: MediaStream | null;
  quality: Quality | null;
}

export interface AppState {
  page: PageInfo;
  account: Account | null;
  registration: Registration;
  calls: CallView[];
  history: HistoryEntry[];
  settings: Settings;
  devices: MediaDeviceInfo[];
  /** The one thing that went wrong last and concerns no single call. */
  problem: Problem | null;
  settingsOpen: boolean;
}

/** A call at its very beginning. */
export function newCall(direction: CallView['direction'], peer: Peer): CallView {
  return {
    id: uuid(),
    direction,
    peer,
    state: direction === 'incoming' ? 'ringing' : 'preparing',
    offersVideo: false,
    earlyMedia: false,
    localHold: false,
    remoteHold: false,
    muted: false,
    cameraOn: false,
    changing: false,
    restoring: false,
    answeredAt: null,
    endedAt: null,
    outcome: null,
    digits: '',
    remoteAudio: null,
    remoteVideo: null,
    localVideo: null,
    quality: null,
  };
}

/** Incoming and not answered yet: shown as an alert rather than as a call. */
export function isWaiting(call: CallView): boolean {
  return call.direction === 'incoming' && call.state === 'ringing';
}

/** Neither ended nor waiting to be answered. */
export function isOngoing(call: CallView): boolean {
  return call.state !== 'ended' && !isWaiting(call);
}

/** The call that keys, sounds and shortcuts act on: the one that is not on hold here, else the newest. */
export function activeCall(calls: readonly CallView[]): CallView | undefined {
  const ongoing = calls.filter(isOngoing);
  return ongoing.find((call) => !call.localHold) ?? ongoing.at(-1);
}
