/**
 * Signing in with a token: a web application that knows its user opens this page as `…/#token=JWT`, and may give a later
 * token in the same way while the page is open. What stands behind the `#` is not sent to any server.
 */
import type { Account } from '../state/model';

/** Who a token is for, and the token. */
export interface TokenSignIn {
  account: Account;
  secret: { token: string };
}

/**
 * What `hash` (of a location) says; null without a token, or with one that names nobody. Nothing is verified here: that is
 * for the gateway. `claim` is the one that names the user: `alice`, `alice@domain` or `sip:alice@domain`.
 */
export function readTokenSignIn(hash: string, claim: string, domain: string): TokenSignIn | null {
  const token = new URLSearchParams(hash.replace(/^#/, '')).get('token');
  const name = token && claimOf(token, claim);
  if (!token || !name) return null;
  const bare = name.replace(/^sips?:/i, '');
  const at = bare.lastIndexOf('@');
  const user = at < 0 ? bare : bare.slice(0, at);
  return user ? { account: { user, domain: at < 0 ? domain : bare.slice(at + 1) }, secret: { token } } : null;
}

function claimOf(token: string, claim: string): string | null {
  try {
    const payload = (token.split('.')[1] ?? '').replace(/-/g, '+').replace(/_/g, '/');
    const bytes = Uint8Array.from(atob(payload), (letter) => letter.charCodeAt(0));
    const claims: unknown = JSON.parse(new TextDecoder().decode(bytes));
    const value = typeof claims === 'object' && claims !== null ? (claims as Record<string, unknown>)[claim] : null;
    return typeof value === 'string' ? value : null;
  } catch {
    return null;
  }
}
