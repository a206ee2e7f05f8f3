import type { Problem } from '../words';
import { Icon } from './icons';

interface Props {
  problem: Problem;
  caCertificate: string | null;
  onDismiss?: () => void;
}

/** A problem in words, with the way out of it where the page knows one. Test ids: see page.tsx. */
export function ProblemBox({ problem, caCertificate, onDismiss }: Props) {
  return (
    <section class="problem" role="alert" data-testid="error" data-code={problem.code}>
      <div>
        <strong>{problem.title}</strong>
        <p>{problem.detail}</p>
        {problem.help === 'certificate' && caCertificate && <CertificateHelp href={caCertificate} />}
      </div>
      {onDismiss && (
        <button type="button" class="quiet square" aria-label="Dismiss this message" data-testid="error-dismiss" onClick={onDismiss}>
          <Icon name="close" />
        </button>
      )}
    </section>
  );
}

/** How to make the browser trust the gateway, whose certificate comes from an authority of its own. */
export function CertificateHelp({ href }: { href: string }) {
  return (
    <ol class="steps">
      <li>
        <a href={href} download data-testid="ca-download">
          Download the certificate of this gateway
        </a>
      </li>
      <li>
        Open it and trust it for web sites. <b>Chrome, Edge:</b> Settings, Privacy and security, Security, Manage certificates, Import under “Trusted root”.{' '}
        <b>Firefox:</b> Settings, Privacy &amp; Security, View certificates, Authorities, Import. <b>macOS, iOS:</b> install the profile and switch on full trust.
      </li>
      <li>Close the browser, open it again, and come back to this page.</li>
    </ol>
  );
}
