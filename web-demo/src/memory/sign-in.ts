/**
 * What is remembered of the sign-in: the name in localStorage (for the next visit), and, when the person wants it,
 * the digest HA1 (RFC 7616 section 3.4.2) in sessionStorage, so that a reload of this tab signs in again. The
 * password itself is never stored.
 */
import type { Account } from '../state/model';

/** What signs in: a typed password, or the HA1 of an earlier sign-in in this tab. */
export type Secret = { password: string } | { realm: string; ha1: string };

export interface KeptSignIn {
  account: Account;
  secret: { realm: string; ha1: string };
}

const ACCOUNT = 'causeway.account';
const SIGN_IN = 'causeway.sign-in';
const INSTANCE = 'causeway.instance';

export function rememberAccount(account: Account): void {
  write(localStorage, ACCOUNT, account);
}

export function rememberedAccount(): Account | null {
  const value = read(localStorage, ACCOUNT);
  return isAccount(value) ? { user: value.user, domain: value.domain } : null;
}

export function keepSignIn(kept: KeptSignIn): void {
  write(sessionStorage, SIGN_IN, kept);
}

export function forgetSignIn(): void {
  sessionStorage.removeItem(SIGN_IN);
}

export function keptSignIn(): KeptSignIn | null {
  const value = read(sessionStorage, SIGN_IN) as Partial<KeptSignIn> | null;
  if (!value || !isAccount(value.account)) return null;
  const { realm, ha1 } = value.secret ?? {};
  return typeof realm === 'string' && typeof ha1 === 'string' ? { account: value.account, secret: { realm, ha1 } } : null;
}

/**
 * The `+sip.instance` of this tab (RFC 5626 section 4.1). A reload keeps it, so that the new registration replaces the
 * old one; it is in storage only between unload and load, so that a duplicated tab is an instance of its own.
 */
export function takeInstanceId(): string {
  const kept = sessionStorage.getItem(INSTANCE);
  sessionStorage.removeItem(INSTANCE);
  return kept && /^[0-9a-f-]{36}$/.test(kept) ? kept : crypto.randomUUID();
}

/** Leaves the instance id for the page that a reload puts in the place of this one. */
export function leaveInstanceId(id: string): void {
  sessionStorage.setItem(INSTANCE, id);
}

function isAccount(value: unknown): value is Account {
  const account = value as Partial<Account> | null;
  return typeof account?.user === 'string' && typeof account.domain === 'string';
}

function read(storage: Storage, key: string): unknown {
  try {
    return JSON.parse(storage.getItem(key) ?? 'null');
  } catch {
    return null;
  }
}

function write(storage: Storage, key: string, value: unknown): void {
  storage.setItem(key, JSON.stringify(value));
}
