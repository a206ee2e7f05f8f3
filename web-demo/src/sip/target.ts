import type { Peer } from '../state/model';

/**
 * What a person typed, as something to dial within `domain`: `user`, or `user@host` for another domain; null when it
 * is no address. Phone numbers may be written with blanks, dashes, dots, slashes and brackets (RFC 3966 section 5.1.1).
 */
export function parseTarget(typed: string, domain: string): string | null {
  const text = typed.trim().replace(/^<(.*)>$/, '$1').replace(/^(sips?|tel):/i, '');
  if (/^\+?[\d\s().\/*#-]+$/.test(text)) {
    const digits = text.replace(/[\s().\/-]/g, '');
    return /\d|[*#]/.test(digits) ? digits : null;
  }
  const at = text.lastIndexOf('@');
  const user = at < 0 ? text : text.slice(0, at);
  const host = at < 0 ? '' : text.slice(at + 1).replace(/;.*$/, '');
  if (!/^[A-Za-z0-9\-_.!~*'()&=+$,;?\/%#]{1,128}$/.test(user)) return null;
  if (at < 0 || host.toLowerCase() === domain.toLowerCase()) return user;
  return /^([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?$/.test(host) ? `${user}@${host}` : null;
}

/** The request URI of a dialled `address`. `#` is no character of a SIP user part and goes escaped. */
export function targetUri(address: string, domain: string): string {
  const at = address.lastIndexOf('@');
  const user = at < 0 ? address : address.slice(0, at);
  const host = at < 0 ? domain : address.slice(at + 1);
  return `sip:${user.replace(/#/g, '%23')}@${host}`;
}

/** The far end of a call as a person knows it, from a From or To header. */
export function peerOf(displayName: string | null | undefined, user: string | null | undefined, host: string, domain: string): Peer {
  const plain = user ? decodeUser(user) : '';
  const address = plain === '' ? host : host.toLowerCase() === domain.toLowerCase() ? plain : `${plain}@${host}`;
  return { name: displayName?.trim() || plain || host, address };
}

function decodeUser(user: string): string {
  try {
    return decodeURIComponent(user);
  } catch {
    return user;
  }
}
