/**
 * What is remembered of the sign-in: the name in localStorage (for the next visit), and, when the person wants it,
 * the digest HA1 (RFC 7616 section 3.4.2) or the token in sessionStorage, so that a reload of this tab signs in again. The
 * password itself is never stored.
 */
import type { Account } from '../state/model';
import { uuid } from '../uuid';
import { erase, read, write } from './storage';

/** What signs in again without a person: the HA1 of an earlier sign-in in this tab, or a token that was good then. */
export type KeptSecret = { realm: string; ha1: string } | { token: string };

/** What signs in: a typed password, or what was kept. */
export type Secret = { password: string } | KeptSecret;

export interface KeptSignIn {
  account: Account;
  secret: KeptSecret;
}

const ACCOUNT = 'causeway.account';
const SIGN_IN = 'causeway.sign-in';
const INSTANCE = 'causeway.instance';

export function rememberAccount(account: Account): void {
  write('local', ACCOUNT, account);
}

export function rememberedAccount(): Account | null {
  const value = read('local', ACCOUNT);
  return isAccount(value) ? { user: value.user, domain: value.domain } : null;
}

export function keepSignIn(kept: KeptSignIn): void {
  write('session', SIGN_IN, kept);
}

export function forgetSignIn(): void {
  erase('session', SIGN_IN);
}

export function keptSignIn(): KeptSignIn | null {
  const value = read('session', SIGN_IN) as { account?: unknown; secret?: Record<string, unknown> } | null;
  if (!value || !isAccount(value.account)) return null;
  const { realm, ha1, token } = value.secret ?? {};
  if (typeof token === 'string') return { account: value.account, secret: { token } };
  return typeof realm === 'string' && typeof ha1 === 'string' ? { account: value.account, secret: { realm, ha1 } } : null;
}

/**
 * The `+sip.instance` of this tab (RFC 5626 section 4.1). A reload keeps it, so that the new registration replaces the
 * old one; it is in storage only between unload and load, so that a duplicated tab is an instance of its own.
 */
export function takeInstanceId(): string {
  const kept = read('session', INSTANCE);
  erase('session', INSTANCE);
  return typeof kept === 'string' && /^[0-9a-f-]{36}$/.test(kept) ? kept : uuid();
}

/** Leaves the instance id for the page that a reload puts in the place of this one. */
export function leaveInstanceId(id: string): void {
  write('session', INSTANCE, id);
}

function isAccount(value: unknown): value is Account {
  const account = value as Partial<Account> | null;
  return typeof account?.user === 'string' && typeof account.domain === 'string';
}
