/**
 * The number field and the pad. Test ids here: `dialer`, `dial-input`, `dial-clear`, `dial-call`, `dial-video-call`,
 * and the keys of keypad.tsx, which dial while nobody is connected and send DTMF while somebody is.
 */
import { useRef, useState } from 'preact/hooks';
import { activeCall, type AppState } from '../state/model';
import { DIAL_INPUT } from '../keys';
import { useApp } from './context';
import { Icon } from './icons';
import { Keypad } from './keypad';

export function Dialer({ state }: { state: AppState }) {
  const { phone, sounds, pressDigit } = useApp();
  const [typed, setTyped] = useState('');
  const field = useRef<HTMLInputElement>(null);
  const call = activeCall(state.calls);
  const connected = call !== undefined && call.answeredAt !== null;
  const ready = state.registration.state === 'registered' && typed.trim() !== '';
  const people = [...new Map(state.history.map(({ peer }) => [peer.address, peer.name])).entries()].slice(0, 12);

  async function dial(video: boolean): Promise<void> {
    if (!ready) return field.current?.focus();
    const target = typed;
    setTyped('');
    // So that digits typed next go out as tones.
    field.current?.blur();
    await phone.dial(target, video);
  }

  function press(digit: string): void {
    if (pressDigit(digit)) return;
    if (state.settings.sounds) sounds.key(digit);
    setTyped((before) => before + digit);
  }

  return (
    <section class="card dialer" aria-label="Dial" data-testid="dialer">
      <form
        class="dial-line"
        onSubmit={(event) => {
          event.preventDefault();
          void dial(false);
        }}
      >
        <input
          ref={field}
          id={DIAL_INPUT}
          data-testid="dial-input"
          aria-label="Number or name to call"
          placeholder="Number or name"
          autocomplete="off"
          autocapitalize="none"
          spellcheck={false}
          enterkeyhint="go"
          list="people"
          value={typed}
          onInput={(event) => setTyped(event.currentTarget.value)}
        />
        <datalist id="people">
          {people.map(([address, name]) => (
            <option key={address} value={address} label={name === address ? undefined : name} />
          ))}
        </datalist>
        {typed !== '' && (
          <button type="button" class="quiet square" aria-label="Delete the last character" data-testid="dial-clear" onClick={() => setTyped(typed.slice(0, -1))}>
            <Icon name="backspace" />
          </button>
        )}
        <button type="submit" class="visually-hidden" tabIndex={-1} aria-hidden="true">
          Call
        </button>
      </form>
      <Keypad label={connected ? `Send tones to ${call.peer.name}` : 'Dial pad'} onPress={press} />
      <div class="dial-actions">
        <button type="button" class="call-button" data-testid="dial-call" disabled={!ready} onClick={() => void dial(false)}>
          <Icon name="phone" />
          <span>Call</span>
        </button>
        <button type="button" class="tonal" aria-label="Call with video" data-testid="dial-video-call" disabled={!ready} onClick={() => void dial(true)}>
          <Icon name="video" />
          <span>Video</span>
        </button>
      </div>
      {connected && <p class="hint">Keys and digits go to {call.peer.name} as tones.</p>}
    </section>
  );
}
