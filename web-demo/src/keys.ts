import type { App } from './app';
import { activeCall, isWaiting } from './state/model';

/** The id of the field that a number is typed into. */
export const DIAL_INPUT = 'dial-input';

/**
 * The keyboard works without aiming at anything: digits dial, or go out as DTMF during a call; Enter and Escape answer
 * and decline; Alt+M mutes, Alt+H holds. Keys typed into a field, or pressed on a button, keep their own meaning.
 */
export function watchKeys({ store, phone, pressDigit }: App): void {
  addEventListener('keydown', (event) => {
    const { calls, registration, settingsOpen } = store.get();
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || settingsOpen || registration.state === 'signed-out') return;
    const active = activeCall(calls);
    if (event.altKey) {
      if (active && active.answeredAt !== null && event.code === 'KeyM') phone.setMuted(active.id, !active.muted);
      else if (active && active.answeredAt !== null && event.code === 'KeyH') void phone.setHold(active.id, !active.localHold);
      else return;
      event.preventDefault();
      return;
    }
    const target = event.target instanceof HTMLElement ? event.target : document.body;
    const typing = target.matches('input:not([type=checkbox]):not([type=radio]), select, textarea');
    const waiting = calls.find(isWaiting);
    if (waiting && event.key === 'Escape') phone.decline(waiting.id);
    else if (waiting && event.key === 'Enter' && !typing && !target.matches('button, a, summary')) void phone.answer(waiting.id, false);
    else if (/^[0-9*#]$/.test(event.key) && !typing) dialOrSend(event.key);
    else return;
    event.preventDefault();
  });

  function dialOrSend(digit: string): void {
    if (pressDigit(digit)) return;
    const input = document.getElementById(DIAL_INPUT) as HTMLInputElement | null;
    if (!input) return;
    input.focus();
    input.setRangeText(digit, input.selectionStart ?? 0, input.selectionEnd ?? 0, 'end');
    input.dispatchEvent(new Event('input', { bubbles: true }));
  }
}
