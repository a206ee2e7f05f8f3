/**
 * The settings. Test ids here: `settings`, `settings-close`, `settings-microphone`, `settings-speaker`,
 * `settings-camera`, `settings-allow` (asks for the microphone so that devices have names), `settings-dtmf` (values
 * rtp and info), `settings-dnd`, `settings-sounds`, `settings-notifications`, `settings-test-sound`.
 */
import { useEffect, useRef, useState } from 'preact/hooks';
import { capture, stopTracks } from '../media/capture';
import { canChooseSpeaker } from '../media/devices';
import { canNotify } from '../notification';
import type { AppState } from '../state/model';
import { captureFailed, type Problem } from '../words';
import { useApp } from './context';
import { Icon } from './icons';
import { ProblemBox } from './problem-box';

export function SettingsDialog({ state }: { state: AppState }) {
  const { store, sounds, changeSettings, refreshDevices } = useApp();
  const dialog = useRef<HTMLDialogElement>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const [notify, setNotify] = useState(canNotify() ? Notification.permission : 'denied');
  const { settings, devices } = state;
  const named = devices.some(({ kind, label }) => kind === 'audioinput' && label !== '');
  const close = () => store.set({ settingsOpen: false });

  useEffect(() => dialog.current!.showModal(), []);

  async function allow(): Promise<void> {
    try {
      stopTracks(await capture(settings, false));
      setProblem(null);
      await refreshDevices();
    } catch (error) {
      setProblem(captureFailed(error, false));
    }
  }

  return (
    <dialog ref={dialog} class="card settings" aria-labelledby="settings-title" data-testid="settings" onClose={close}>
      <div class="card-head">
        <h2 id="settings-title">Settings</h2>
        <button type="button" class="quiet square" aria-label="Close the settings" data-testid="settings-close" onClick={() => dialog.current!.close()}>
          <Icon name="close" />
        </button>
      </div>
      {problem && <ProblemBox problem={problem} caCertificate={state.page.caCertificate} />}
      <fieldset>
        <legend>Devices</legend>
        {!named && (
          <button type="button" class="tonal wide" data-testid="settings-allow" onClick={() => void allow()}>
            <Icon name="microphone" />
            <span>Allow the microphone to see the devices</span>
          </button>
        )}
        <DeviceChoice label="Microphone" testid="settings-microphone" kind="audioinput" devices={devices} value={settings.microphone} onChange={(microphone) => changeSettings({ microphone })} />
        {canChooseSpeaker && (
          <div class="with-button">
            <DeviceChoice label="Speaker" testid="settings-speaker" kind="audiooutput" devices={devices} value={settings.speaker} onChange={(speaker) => changeSettings({ speaker })} />
            <button type="button" class="tonal" data-testid="settings-test-sound" onClick={() => sounds.farewell()}>
              Test
            </button>
          </div>
        )}
        <DeviceChoice label="Camera" testid="settings-camera" kind="videoinput" devices={devices} value={settings.camera} onChange={(camera) => changeSettings({ camera })} />
      </fieldset>
      <fieldset>
        <legend>Calls</legend>
        <label>
          <span>Tones of the keys (DTMF) travel</span>
          <select data-testid="settings-dtmf" value={settings.dtmf} onChange={(event) => changeSettings({ dtmf: event.currentTarget.value === 'info' ? 'info' : 'rtp' })}>
            <option value="rtp">with the sound (RFC 4733)</option>
            <option value="info">as messages (SIP INFO)</option>
          </select>
        </label>
        <Check label="Do not disturb: callers hear that you are busy" testid="settings-dnd" checked={settings.doNotDisturb} onChange={(doNotDisturb) => changeSettings({ doNotDisturb })} />
        <Check label="Ring and key tones" testid="settings-sounds" checked={settings.sounds} onChange={(on) => changeSettings({ sounds: on })} />
        {canNotify() && (
          <Check
            label="Notify me of calls while this page is in the background"
            testid="settings-notifications"
            checked={notify === 'granted'}
            disabled={notify !== 'default'}
            onChange={() => void Notification.requestPermission().then(setNotify)}
          />
        )}
      </fieldset>
      <fieldset>
        <legend>Keyboard</legend>
        <dl class="keys">
          <dt>
            <kbd>Enter</kbd> <kbd>Esc</kbd>
          </dt>
          <dd>answer, decline</dd>
          <dt>
            <kbd>0</kbd>–<kbd>9</kbd> <kbd>*</kbd> <kbd>#</kbd>
          </dt>
          <dd>dial, or send tones in a call</dd>
          <dt>
            <kbd>Alt</kbd> <kbd>M</kbd>
          </dt>
          <dd>mute</dd>
          <dt>
            <kbd>Alt</kbd> <kbd>H</kbd>
          </dt>
          <dd>hold and resume</dd>
        </dl>
      </fieldset>
      <p class="about">
        {state.page.name} {state.page.version || __VERSION__}
        {state.page.caCertificate && (
          <>
            {' · '}
            <a href={state.page.caCertificate} download>
              Certificate
            </a>
          </>
        )}
        {' · '}
        <a href="/licenses.txt" target="_blank" rel="noreferrer">
          Licences
        </a>
      </p>
    </dialog>
  );
}

interface DeviceChoiceProps {
  label: string;
  testid: string;
  kind: MediaDeviceKind;
  devices: MediaDeviceInfo[];
  value: string;
  onChange(id: string): void;
}

function DeviceChoice({ label, testid, kind, devices, value, onChange }: DeviceChoiceProps) {
  const choices = devices.filter((device) => device.kind === kind && device.deviceId !== '' && device.deviceId !== 'default');
  const known = choices.some(({ deviceId }) => deviceId === value);
  return (
    <label>
      <span>{label}</span>
      <select data-testid={testid} value={known ? value : ''} onChange={(event) => onChange(event.currentTarget.value)}>
        <option value="">As the system prefers</option>
        {choices.map((device, index) => (
          <option key={device.deviceId} value={device.deviceId}>
            {device.label || `${label} ${index + 1}`}
          </option>
        ))}
      </select>
    </label>
  );
}

interface CheckProps {
  label: string;
  testid: string;
  checked: boolean;
  disabled?: boolean;
  onChange(checked: boolean): void;
}

function Check({ label, testid, checked, disabled = false, onChange }: CheckProps) {
  return (
    <label class="check">
      <input type="checkbox" data-testid={testid} checked={checked} disabled={disabled} onChange={(event) => onChange(event.currentTarget.checked)} />
      <span>{label}</span>
    </label>
  );
}
