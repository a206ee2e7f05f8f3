/** The browser's storage, which may be full, forbidden or spoilt: then the page works and forgets. */

export type Kind = 'local' | 'session';

/** The parsed value, or null. */
export function read(kind: Kind, key: string): unknown {
  try {
    return JSON.parse(storage(kind).getItem(key) ?? 'null');
  } catch {
    return null;
  }
}

export function write(kind: Kind, key: string, value: unknown): void {
  try {
    storage(kind).setItem(key, JSON.stringify(value));
  } catch (error) {
    console.warn(`${key} could not be stored`, error);
  }
}

export function erase(kind: Kind, key: string): void {
  try {
    storage(kind).removeItem(key);
  } catch (error) {
    console.warn(`${key} could not be erased`, error);
  }
}

// Merely naming the storage throws where the person forbade it.
function storage(kind: Kind): Storage {
  return kind === 'local' ? localStorage : sessionStorage;
}
