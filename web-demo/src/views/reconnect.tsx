/**
 * What is said while the gateway cannot be reached. Test ids here: `reconnect` (`data-code` as in words.ts),
 * `retry-countdown`, `retry-now`.
 */
import type { AppState, Registration } from '../state/model';
import { useApp, useNow } from './context';
import { Icon } from './icons';
import { CertificateHelp } from './problem-box';

interface Props {
  lost: Extract<Registration, { state: 'lost' }>;
  page: AppState['page'];
}

export function Reconnect({ lost, page }: Props) {
  const { phone } = useApp();
  const seconds = Math.max(0, Math.ceil((lost.retryAt - useNow(true)) / 1000));
  const { problem } = lost;
  return (
    <section class="problem reconnect" aria-label="Connection" data-testid="reconnect" data-code={problem.code}>
      <div>
        <strong>{problem.title}</strong>
        <p>
          {problem.detail} <span data-testid="retry-countdown">{seconds > 0 ? `Next attempt in ${seconds} s.` : 'Trying…'}</span>
        </p>
        {problem.help === 'certificate' && page.caCertificate && <CertificateHelp href={page.caCertificate} />}
      </div>
      <button type="button" class="tonal" data-testid="retry-now" onClick={() => phone.retryNow()}>
        <Icon name="retry" />
        <span>Try now</span>
      </button>
    </section>
  );
}
