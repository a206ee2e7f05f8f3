/**
 * The bar at the top. Test ids here:
 *
 * | data-testid          | what it is                                                                        |
 * |----------------------|-----------------------------------------------------------------------------------|
 * | `registration-state` | `data-state`: signed-out, connecting, registered, lost; `data-code` when lost     |
 * | `retry-now`          | reconnects at once (while lost)                                                   |
 * | `settings-open`      | opens the settings                                                                |
 * | `sign-out`           | ends calls, unregisters                                                           |
 */
import type { AppState, Registration } from '../state/model';
import { useApp, useNow } from './context';
import { Icon } from './icons';

export function Header({ state }: { state: AppState }) {
  const { phone, store } = useApp();
  const { registration, account, page } = state;
  const signedIn = registration.state !== 'signed-out';
  return (
    <header class="bar">
      <a class="brand" href="/" aria-label={`${page.name}, start page`}>
        <svg viewBox="0 0 44 24" aria-hidden="true" focusable="false">
          <path class="brand-deck" d="M2 16.5h40" />
          <path class="brand-arch" d="M8 16.5a14 12 0 0 1 28 0" />
          <path class="brand-pier" d="M15 20.5v1.5M22 20.5v1.5M29 20.5v1.5" />
        </svg>
        <span>{page.name}</span>
      </a>
      <div class="bar-right">
        <Standing registration={registration} address={account ? `${account.user}@${account.domain}` : ''} />
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

/** The state of the registration as a lamp and words. */
function Standing({ registration, address }: { registration: Registration; address: string }) {
  const { phone } = useApp();
  const lost = registration.state === 'lost';
  const now = useNow(lost);
  const seconds = lost ? Math.max(0, Math.ceil((registration.retryAt - now) / 1000)) : 0;
  const words = {
    'signed-out': '',
    connecting: 'Signing in…',
    registered: 'Ready',
    lost: seconds > 0 ? `Offline, again in ${seconds} s` : 'Offline, trying…',
    failed: 'Refused',
  }[registration.state];
  const problem = registration.state === 'lost' ? registration.problem : null;
  return (
    <div class="standing" data-testid="registration-state" data-state={registration.state} data-code={problem?.code} title={problem ? `${problem.title}. ${problem.detail}` : address}>
      {words && <span class="lamp" aria-hidden="true" />}
      <span class="standing-words">
        {address && <span class="standing-address">{address}</span>}
        <span class="standing-state">{words}</span>
      </span>
      {lost && (
        <button type="button" class="quiet square" aria-label="Reconnect now" title="Reconnect now" data-testid="retry-now" onClick={() => phone.retryNow()}>
          <Icon name="retry" />
        </button>
      )}
    </div>
  );
}
