/**
 * The page as a whole. Test ids here:
 *
 * | data-testid     | what it is                                                                   |
 * |-----------------|------------------------------------------------------------------------------|
 * | `error`         | the last thing that went wrong; `data-code` as in words.ts                   |
 * | `error-dismiss` | takes it away                                                                |
 * | `announcer`     | what a screen reader is told: registration and call changes                  |
 */
import type { AppState } from '../state/model';
import { isOngoing, isWaiting } from '../state/model';
import { CallCard } from './call-card';
import { useApp, useAppState } from './context';
import { Dialer } from './dialer';
import { Header } from './header';
import { History } from './history';
import { Incoming } from './incoming';
import { ProblemBox } from './problem-box';
import { Reconnect } from './reconnect';
import { SettingsDialog } from './settings-dialog';
import { SignIn } from './sign-in';

export function Page() {
  const { store } = useApp();
  const state = useAppState();
  const signedIn = state.registration.state !== 'signed-out';
  return (
    <>
      <Header state={state} />
      <p class="visually-hidden" role="status" aria-live="polite" data-testid="announcer">
        {announcement(state)}
      </p>
      <main class={signedIn ? 'desk' : 'door'} id="main">
        {state.registration.state === 'lost' && <Reconnect lost={state.registration} page={state.page} />}
        {state.problem && signedIn && <ProblemBox problem={state.problem} caCertificate={state.page.caCertificate} onDismiss={() => store.set({ problem: null })} />}
        {signedIn ? <Desk state={state} /> : <SignIn state={state} />}
      </main>
      {state.settingsOpen && <SettingsDialog state={state} />}
    </>
  );
}

function Desk({ state }: { state: AppState }) {
  const shown = state.calls.filter((call) => !isWaiting(call));
  return (
    <>
      <h1 class="visually-hidden">Telephone</h1>
      <div class="desk-main">
        {state.calls.filter(isWaiting).map((call) => (
          <Incoming key={call.id} call={call} others={state.calls.filter(isOngoing)} />
        ))}
        {shown.map((call) => (
          <CallCard key={call.id} call={call} state={state} />
        ))}
        <Dialer state={state} />
      </div>
      <History state={state} />
    </>
  );
}

/** One sentence about what the person would otherwise see only. */
function announcement({ registration, calls }: AppState): string {
  const call = calls.find(isWaiting) ?? calls.find(isOngoing) ?? (registration.state === 'registered' ? calls.at(-1) : undefined);
  if (call) {
    const who = call.peer.name;
    if (isWaiting(call)) return `${who} is calling. Press Enter to answer, Escape to decline.`;
    switch (call.state) {
      case 'preparing':
      case 'calling':
        return `Calling ${who}.`;
      case 'ringing':
        return `It rings at ${who}.`;
      case 'connecting':
      case 'connected':
        return call.restoring ? 'The connection of the call is being restored.' : `Connected with ${who}.`;
      case 'held':
        return call.localHold ? `The call with ${who} is on hold.` : `${who} put the call on hold.`;
      case 'ended':
        if (call.outcome?.code === 'cancelled') return `Missed call. ${call.outcome.detail}`;
        return `The call with ${who} is over. ${call.outcome ? `${call.outcome.title}. ${call.outcome.detail}` : ''}`;
    }
  }
  switch (registration.state) {
    case 'signed-out':
      return '';
    case 'connecting':
      return 'Signing in.';
    case 'registered':
      return 'Signed in. You can call and be called.';
    default:
      return `${registration.problem.title}. ${registration.problem.detail}`;
  }
}
