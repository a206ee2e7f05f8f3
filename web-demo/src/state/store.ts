/** A value that is replaced, never changed in place, and those who want to know when it is. */
export interface Store<T> {
  get(): T;
  /** Merges `patch` into the value and tells every listener, unless nothing in it differs. */
  set(patch: Partial<T>): void;
  /** Calls `listener` after every change; the returned function ends that. */
  subscribe(listener: () => void): () => void;
}

/** A store that holds `initial`. */
export function createStore<T extends object>(initial: T): Store<T> {
  let value = initial;
  const listeners = new Set<() => void>();
  return {
    get: () => value,
    set(patch) {
      const keys = Object.keys(patch) as (keyof T)[];
      if (keys.every((key) => Object.is(value[key], patch[key]))) return;
      value = { ...value, ...patch };
      for (const listener of [...listeners]) listener();
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}
