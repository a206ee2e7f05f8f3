/**
 * The bar at the top. Test ids here:
 *
 * | data-testid          | what it is                                                                        |
 * |----------------------|-----------------------------------------------------------------------------------|
 * | `registration-state` | `data-state`: signed-out, connecting, registered, lost, failed (refused: the form is back); `data-code` when lost or failed |
 * | `settings-open`      | opens the settings                                                                |
 * | `sign-out`           | ends calls, unregisters                                                           |
 */
import type { AppState, Registration } from '../state/model';
import { useApp } from './context';
import { Icon } from './icons';

export function Header({ state }: { state: AppState }) {
  const { phone, store } = useApp();
  const { registration, account, page } = state;
  const signedIn = registration.state !== 'signed-out';
  return (
    <header class="bar">
      <a class="brand" href="/" aria-label={`${page.name}, start page`}>
        <svg viewBox="0 0 44 24" aria-hidden="true" focusable="false">
          <path class="brand-arch" d="M5 17C13 3.5 31 3.5 39 17" />
          <path class="brand-pier" d="M16 10.5v7M22 9v9.5M28 10.5v7" />
          <circle cx="5" cy="17" r="3.2" />
          <circle cx="39" cy="17" r="3.2" />
        </svg>
        <span>{page.name}</span>
      </a>
      <div class="bar-right">
        <Standing registration={registration} user={account?.user ?? ''} domain={account?.domain ?? ''} quiet={state.settings.doNotDisturb} />
        {signedIn && (
          <>
            <button type="button" class="quiet square" aria-label="Settings" title="Settings" data-testid="settings-open" onClick={() => store.set({ settingsOpen: true })}>
              <Icon name="settings" />
            </button>
            <button type="button" class="quiet square" aria-label="Sign out" title="Sign out" data-testid="sign-out" onClick={() => phone.signOut()}>
              <Icon name="signOut" />
            </button>
          </>
        )}
      </div>
    </header>
  );
}

interface StandingProps {
  registration: Registration;
  user: string;
  domain: string;
  /** Do not disturb is on. */
  quiet: boolean;
}

/** The state of the registration as a lamp and a word; reconnect.tsx says more when the connection is lost. */
function Standing({ registration, user, domain, quiet }: StandingProps) {
  const problem = 'problem' in registration ? registration.problem : null;
  const state = problem && registration.state === 'signed-out' ? 'failed' : registration.state;
  const words = { 'signed-out': 'Not signed in', connecting: 'Signing in…', registered: quiet ? 'Do not disturb' : 'Ready', lost: 'Offline', failed: 'Not signed in' }[state];
  return (
    <div class="standing" data-testid="registration-state" data-state={state} data-code={problem?.code} data-quiet={quiet || undefined}>
      <span class="standing-words">
        {user && (
          <span class="standing-address" title={`${user}@${domain}`}>
            {user}
            <span class="standing-domain">@{domain}</span>
          </span>
        )}
        <span class="standing-state">{words}</span>
      </span>
      <span class="lamp" aria-hidden="true" />
    </div>
  );
}
