/** Puts the parts together: the store, the phone, and what follows from a change of state besides the views. */
import { Sounds, type Sound } from './media/sounds';
import { watchDevices, listDevices } from './media/devices';
import { loadSettings, saveSettings, type Settings } from './memory/settings';
import { forgetSignIn, keptSignIn, leaveInstanceId, takeInstanceId } from './memory/sign-in';
import { saveHistory } from './memory/history';
import { defaultPageInfo, fetchPageInfo } from './page-info';
import { Phone } from './sip/phone';
import { readTokenSignIn } from './sip/token';
import { activeCall, isOngoing, isWaiting, type AppState } from './state/model';
import { createStore, type Store } from './state/store';
import { watchKeys } from './keys';
import { announceIncoming } from './notification';

export interface App {
  readonly store: Store<AppState>;
  readonly phone: Phone;
  readonly sounds: Sounds;
  start(): Promise<void>;
  /** A key of a pad was pressed: a DTMF digit of the active call. False when there is none to take it. */
  pressDigit(digit: string): boolean;
  changeSettings(patch: Partial<Settings>): void;
  clearHistory(): void;
  /** Reads the devices again, after a permission was given. */
  refreshDevices(): Promise<void>;
}

export function createApp(): App {
  const instanceId = takeInstanceId();
  const store = createStore<AppState>({
    page: defaultPageInfo(location.hostname),
    account: null,
    registration: { state: 'signed-out', problem: null },
    calls: [],
    history: [],
    settings: loadSettings(),
    devices: [],
    problem: null,
    settingsOpen: false,
  });
  const phone = new Phone(store, instanceId);
  const sounds = new Sounds();
  const app: App = {
    store,
    phone,
    sounds,
    async start() {
      followState(app);
      followBrowser(app, instanceId);
      store.set({ page: await fetchPageInfo(store.get().page) });
      addEventListener('hashchange', () => takeToken(app));
      const kept = keptSignIn();
      if (takeToken(app)) return;
      if (kept && store.get().registration.state === 'signed-out') phone.signIn(kept.account, kept.secret, true);
      else forgetSignIn();
    },
    pressDigit(digit) {
      const call = activeCall(store.get().calls);
      if (!call || call.answeredAt === null) return false;
      if (store.get().settings.sounds) sounds.key(digit);
      phone.sendDigit(call.id, digit);
      return true;
    },
    changeSettings(patch) {
      const settings = { ...store.get().settings, ...patch };
      saveSettings(settings);
      store.set({ settings });
      if (patch.speaker !== undefined) sounds.useSpeaker(patch.speaker);
      if (patch.microphone !== undefined) void phone.switchDevices('audio');
      if (patch.camera !== undefined) void phone.switchDevices('video');
    },
    clearHistory() {
      const { account } = store.get();
      if (account) saveHistory(account, []);
      store.set({ history: [] });
    },
    async refreshDevices() {
      store.set({ devices: await listDevices() });
    },
  };
  return app;
}

/** Signs in with the token of the address, which it is taken out of: neither history nor bookmarks keep it. */
function takeToken({ store, phone }: App): boolean {
  const { page } = store.get();
  const found = page.tokenClaim === null ? null : readTokenSignIn(location.hash, page.tokenClaim, page.domain);
  if (!found) return false;
  history.replaceState(null, '', location.pathname + location.search);
  phone.useToken(found);
  return true;
}

/** Sounds, the title of the tab, and notifications follow the calls. */
function followState({ store, sounds }: App): void {
  let ongoing = 0;
  let announced: string | null = null;
  let withMedia = false;
  sounds.useSpeaker(store.get().settings.speaker);
  store.subscribe(() => {
    const { calls, settings, page } = store.get();
    const waiting = calls.find(isWaiting);
    sounds.loop(settings.sounds ? wantedSound(store.get()) : null);
    const now = calls.filter((call) => isOngoing(call) && call.answeredAt !== null).length;
    if (now < ongoing && settings.sounds) sounds.farewell();
    ongoing = now;
    if (waiting && waiting.id !== announced) announceIncoming(waiting.peer.name);
    announced = waiting?.id ?? null;
    document.title = waiting ? `${waiting.peer.name} is calling` : now > 0 ? `In a call · ${page.name}` : page.name;
    // The first call brings the permission, and with it the names of the devices.
    if (!withMedia && now > 0) void listDevices().then((devices) => store.set({ devices }));
    withMedia = now > 0;
  });
}

function wantedSound({ calls }: AppState): Sound | null {
  if (calls.some(isWaiting)) return calls.some(isOngoing) ? 'waiting' : 'ring';
  return calls.some((call) => call.direction === 'outgoing' && call.state === 'ringing' && !call.earlyMedia) ? 'ringback' : null;
}

/** What the browser tells: devices, network, keys, the end of the page. */
function followBrowser(app: App, instanceId: string): void {
  const { store, phone, sounds } = app;
  watchDevices((devices) => store.set({ devices }));
  watchKeys(app);
  for (const gesture of ['pointerdown', 'keydown']) addEventListener(gesture, () => sounds.unlock(), { capture: true });
  addEventListener('online', () => phone.checkAlive());
  const connection = (navigator as Navigator & { connection?: EventTarget }).connection;
  connection?.addEventListener('change', () => phone.checkAlive());
  // A laptop that wakes up, or a tab that was frozen: its timers were late and its connection may be dead.
  let hiddenAt = 0;
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) hiddenAt = Date.now();
    else if (Date.now() - hiddenAt > 20_000) phone.checkAlive();
  });
  addEventListener('pagehide', () => {
    leaveInstanceId(instanceId);
    phone.leave();
  });
  // Back from the back/forward cache: the line was closed when the page was left.
  addEventListener('pageshow', ({ persisted }) => {
    if (persisted) location.reload();
  });
}
