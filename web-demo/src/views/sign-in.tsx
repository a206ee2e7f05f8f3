/**
 * The door. Test ids here: `sign-in` (the form), `sign-in-user`, `sign-in-password`, `sign-in-domain`, `sign-in-keep`
 * (check box: a reload signs in again), `sign-in-submit`, and `error` with `data-code` when it failed.
 */
import { useEffect, useRef, useState } from 'preact/hooks';
import type { AppState } from '../state/model';
import { rememberedAccount } from '../memory/sign-in';
import { useApp } from './context';
import { CertificateHelp, ProblemBox } from './problem-box';

export function SignIn({ state }: { state: AppState }) {
  const { phone } = useApp();
  const remembered = useRef(rememberedAccount());
  const [user, setUser] = useState(remembered.current?.user ?? '');
  const [password, setPassword] = useState('');
  const [typedDomain, setDomain] = useState<string | null>(null);
  const [keep, setKeep] = useState(true);
  const userField = useRef<HTMLInputElement>(null);
  const passwordField = useRef<HTMLInputElement>(null);
  const domain = typedDomain ?? state.page.domain;
  const problem = state.registration.state === 'signed-out' ? state.registration.problem : null;

  useEffect(() => {
    const field = remembered.current?.user ? passwordField.current : userField.current;
    field?.focus();
    if (problem) field?.select();
  }, [problem]);

  function submit(event: Event): void {
    event.preventDefault();
    // `user@domain` in the user field is what people paste from an invitation.
    const [name, host] = user.trim().replace(/^sips?:/i, '').split('@');
    phone.signIn({ user: name ?? '', domain: (host ?? domain).trim() }, { password }, keep);
  }

  return (
    <section class="sign-in" aria-labelledby="sign-in-title">
      <Crossing />
      <h1 id="sign-in-title">Sign in to your phone</h1>
      <p class="lead">This page is a telephone. It rings for your account, and calls browsers and desk phones alike.</p>
      {problem && <ProblemBox problem={problem} caCertificate={state.page.caCertificate} />}
      <form data-testid="sign-in" onSubmit={submit}>
        <label>
          <span>User</span>
          <input ref={userField} name="username" autocomplete="username" autocapitalize="none" spellcheck={false} required value={user} data-testid="sign-in-user" onInput={(event) => setUser(event.currentTarget.value)} />
        </label>
        <label>
          <span>Password</span>
          <input ref={passwordField} name="password" type="password" autocomplete="current-password" required value={password} data-testid="sign-in-password" onInput={(event) => setPassword(event.currentTarget.value)} />
        </label>
        <label>
          <span>Domain</span>
          <input name="domain" autocapitalize="none" spellcheck={false} required value={domain} data-testid="sign-in-domain" onInput={(event) => setDomain(event.currentTarget.value)} />
        </label>
        <label class="check">
          <input type="checkbox" checked={keep} data-testid="sign-in-keep" onChange={(event) => setKeep(event.currentTarget.checked)} />
          <span>Stay signed in until this tab is closed</span>
        </label>
        <button type="submit" class="primary wide" data-testid="sign-in-submit">
          Sign in
        </button>
      </form>
      {state.page.caCertificate && (
        <details class="fold">
          <summary>The browser warns about this page?</summary>
          <p>The gateway made its certificate itself, so the browser cannot know it. Trust it once, and the warnings end:</p>
          <CertificateHelp href={state.page.caCertificate} />
        </details>
      )}
    </section>
  );
}

/** The emblem: a road that joins two shores. */
function Crossing() {
  return (
    <svg class="crossing" viewBox="0 0 320 96" aria-hidden="true" focusable="false">
      <path class="shore" d="M0 64C18 58 42 60 56 68c12 7 18 17 34 24v4H0zM320 64c-18-6-42-4-56 4-12 7-18 17-34 24v4h90z" />
      <path class="road" d="M40 66C92 30 228 30 280 66" />
      <path class="piers" d="M104 46v34M132 41v40M160 39v42M188 41v40M216 46v34" />
      <path class="water" d="M90 86q8.75-5 17.5 0t17.5 0 17.5 0 17.5 0 17.5 0 17.5 0 17.5 0 17.5 0" />
      <circle class="end" cx="40" cy="66" r="6" />
      <circle class="end" cx="280" cy="66" r="6" />
    </svg>
  );
}
