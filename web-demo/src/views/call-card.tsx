/**
 * A call, from dialling to its end. Test ids here (inside of `call` when there are two):
 *
 * | data-testid    | what it is                                                                                      |
 * |----------------|-------------------------------------------------------------------------------------------------|
 * | `call`         | `data-state`: preparing, calling, ringing, connecting, connected, held, ended; `data-hold`: none, local, remote, both; `data-direction`; `data-codec`, e.g. opus/48000; `data-muted`; `data-outcome`: code of words.ts; `data-restoring` |
 * | `call-peer`    | the name of the far end                                                                         |
 * | `call-status`  | the state in words                                                                              |
 * | `call-timer`   | the length of the conversation                                                                  |
 * | `call-digits`  | the DTMF digits sent                                                                            |
 * | `hangup`, `mute`, `hold`, `camera` | the controls; the last three have `aria-pressed`                            |
 * | `call-dismiss` | takes an ended call off the page                                                                |
 * | `microphone-silent` | shown while the microphone delivers nothing but silence                                   |
 * | `allow-sound`  | shown when the browser wants a touch before it plays                                            |
 * | `remote-audio` | the `<audio>` element that plays the far end                                                    |
 * | `remote-video`, `self-video` | the `<video>` elements, while there is a picture                                  |
 * | `full-screen`  | shows the picture on the whole screen, and back                                                 |
 * | `error`        | why an ended call failed; `data-code` as in words.ts                                            |
 */
import { useEffect, useRef } from 'preact/hooks';
import type { AppState, CallView } from '../state/model';
import { useApp, useNow } from './context';
import { clock, isoDuration } from './format';
import { Icon, type IconName } from './icons';
import { Sound, Picture } from './media-element';
import { ProblemBox } from './problem-box';
import { QualityPanel } from './quality-panel';

export function CallCard({ call, state }: { call: CallView; state: AppState }) {
  const { phone } = useApp();
  const over = call.state === 'ended';
  const card = useRef<HTMLElement>(null);
  // Whoever answered by keyboard stands on a button that is gone: the call is where to go on.
  useEffect(() => {
    if (document.activeElement === document.body) card.current?.focus({ preventScroll: true });
  }, []);
  const hold = call.localHold ? (call.remoteHold ? 'both' : 'local') : call.remoteHold ? 'remote' : 'none';
  return (
    <section
      ref={card}
      tabIndex={-1}
      class="card call"
      aria-label={`Call with ${call.peer.name}`}
      data-testid="call"
      data-state={call.state}
      data-hold={hold}
      data-direction={call.direction}
      data-codec={call.quality?.codec ?? undefined}
      data-muted={call.muted || undefined}
      data-restoring={call.restoring || undefined}
      data-outcome={call.outcome?.code}
    >
      {!over && <Sound stream={call.remoteAudio} speaker={state.settings.speaker} />}
      {!over && (call.remoteVideo || call.localVideo) && <Stage call={call} />}
      <div class="call-head">
        <Bridge call={call} />
        <div class="call-words">
          <h2 data-testid="call-peer">{call.peer.name}</h2>
          <p class="call-status">
            <span data-testid="call-status">{statusWords(call)}</span>
            {call.answeredAt !== null && <Timer call={call} />}
          </p>
          {call.digits !== '' && !over && (
            <p class="call-digits" aria-label="Tones sent" data-testid="call-digits">
              {call.digits}
            </p>
          )}
        </div>
        {over && (
          <button type="button" class="quiet square" aria-label="Close" data-testid="call-dismiss" onClick={() => phone.dismiss(call.id)}>
            <Icon name="close" />
          </button>
        )}
      </div>
      {over ? call.outcome && <ProblemBox problem={call.outcome} caCertificate={state.page.caCertificate} /> : <Controls call={call} />}
      {!over && call.quality?.microphoneSilent && !call.muted && call.state === 'connected' && (
        <p class="notice" role="status" data-testid="microphone-silent">
          Your microphone gives no sound. Is it switched off, or is another one in use?
        </p>
      )}
      {!over && call.quality && <QualityPanel quality={call.quality} held={call.state === 'held'} />}
    </section>
  );
}

function Controls({ call }: { call: CallView }) {
  const { phone } = useApp();
  const established = call.answeredAt !== null && call.state !== 'connecting';
  return (
    <div class="call-actions">
      {established && (
        <>
          <Toggle testid="mute" icon={call.muted ? 'microphoneOff' : 'microphone'} on={call.muted} words={call.muted ? 'Muted' : 'Mute'} shortcut="Alt+M" onClick={() => phone.setMuted(call.id, !call.muted)} />
          <Toggle testid="hold" icon={call.localHold ? 'play' : 'pause'} on={call.localHold} words={call.localHold ? 'Resume' : 'Hold'} shortcut="Alt+H" busy={call.changing} onClick={() => void phone.setHold(call.id, !call.localHold)} />
          <Toggle testid="camera" icon="video" on={call.cameraOn} words="Camera" busy={call.changing || call.state === 'held'} onClick={() => void phone.setCamera(call.id, !call.cameraOn)} />
        </>
      )}
      <button type="button" class="danger" data-testid="hangup" onClick={() => phone.hangUp(call.id)}>
        <Icon name="hangUp" />
        <span>{established ? 'Hang up' : 'Cancel'}</span>
      </button>
    </div>
  );
}

interface ToggleProps {
  testid: string;
  icon: IconName;
  on: boolean;
  words: string;
  shortcut?: string;
  busy?: boolean;
  onClick(): void;
}

function Toggle({ testid, icon, on, words, shortcut, busy = false, onClick }: ToggleProps) {
  return (
    <button type="button" class="toggle" aria-pressed={on} aria-keyshortcuts={shortcut} title={shortcut && `${words} (${shortcut})`} disabled={busy} data-testid={testid} onClick={onClick}>
      <Icon name={icon} />
      <span>{words}</span>
    </button>
  );
}

function Timer({ call }: { call: CallView }) {
  const now = useNow(call.endedAt === null);
  const seconds = ((call.endedAt ?? now) - call.answeredAt!) / 1000;
  return (
    <time role="timer" class="call-timer" dateTime={isoDuration(seconds)} data-testid="call-timer">
      {clock(seconds)}
    </time>
  );
}

function Stage({ call }: { call: CallView }) {
  const stage = useRef<HTMLDivElement>(null);
  const toggleFullScreen = () => void (document.fullscreenElement ? document.exitFullscreen() : stage.current?.requestFullscreen());
  return (
    <div ref={stage} class={call.remoteVideo ? 'stage' : 'stage alone'}>
      {call.remoteVideo && <Picture stream={call.remoteVideo} testid="remote-video" label={`Picture of ${call.peer.name}`} />}
      {call.localVideo && <Picture stream={call.localVideo} testid="self-video" label="Your own picture" mirrored />}
      {document.fullscreenEnabled && (
        <button type="button" class="square on-picture" aria-label="Full screen" title="Full screen" data-testid="full-screen" onClick={toggleFullScreen}>
          <Icon name="expand" />
        </button>
      )}
    </div>
  );
}

/** Two shores and the road between them: dotted while it is built, whole when it carries, open when on hold. */
function Bridge({ call }: { call: CallView }) {
  return (
    <svg class="bridge" viewBox="0 0 96 48" aria-hidden="true" focusable="false">
      <path class="bridge-water" d="M16 40q8-4 16 0t16 0 16 0 16 0" />
      <path class="bridge-road" d={call.state === 'held' ? 'M12 30C20 18 30 13 38 11M58 11c8 2 18 7 26 19' : 'M12 30C30 6 66 6 84 30'} pathLength={100} />
      <circle class="bridge-end" cx="12" cy="30" r="5" />
      <circle class="bridge-end" cx="84" cy="30" r="5" />
    </svg>
  );
}

function statusWords(call: CallView): string {
  if (call.restoring && call.state !== 'ended') return 'Connection lost, restoring…';
  switch (call.state) {
    case 'preparing':
      return 'Opening the microphone…';
    case 'calling':
      return 'Calling…';
    case 'ringing':
      return 'Ringing…';
    case 'connecting':
      return 'Connecting…';
    case 'connected':
      return 'Connected';
    case 'held':
      return call.localHold ? (call.remoteHold ? 'Both on hold' : 'On hold') : 'The other side holds';
    case 'ended':
      return call.answeredAt === null ? 'Not connected' : 'Call ended';
  }
}
