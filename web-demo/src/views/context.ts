import { createContext } from 'preact';
import { useContext, useEffect, useState } from 'preact/hooks';
import type { App } from '../app';
import type { AppState } from '../state/model';

export const AppContext = createContext<App | null>(null);

/** The parts of the page, for its actions. */
export function useApp(): App {
  return useContext(AppContext)!;
}

/** The state; the calling view renders again after every change. */
export function useAppState(): AppState {
  const { store } = useApp();
  const [state, setState] = useState(store.get());
  useEffect(() => {
    setState(store.get());
    return store.subscribe(() => setState(store.get()));
  }, [store]);
  return state;
}

/** The time in ms, once a second while `running`. */
export function useNow(running: boolean): number {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    if (!running) return;
    setNow(Date.now());
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, [running]);
  return now;
}
