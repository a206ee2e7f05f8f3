/**
 * The calls of this browser. Test ids here: `history`, `history-item` (`data-direction`, `data-result`: answered,
 * missed, declined, elsewhere, cancelled, failed), `history-redial`, `history-video`, `history-clear`.
 */
import type { CallResult, HistoryEntry } from '../memory/history';
import type { AppState } from '../state/model';
import { useApp, useNow } from './context';
import { clock, moment } from './format';
import { Icon } from './icons';

export function History({ state }: { state: AppState }) {
  const { clearHistory } = useApp();
  const now = useNow(false);
  return (
    <section class="card history" aria-labelledby="history-title" data-testid="history">
      <div class="card-head">
        <h2 id="history-title">Calls</h2>
        {state.history.length > 0 && (
          <button type="button" class="quiet" data-testid="history-clear" onClick={clearHistory}>
            Clear
          </button>
        )}
      </div>
      {state.history.length === 0 ? (
        <p class="empty">No calls yet. Those you make and receive are listed here, in this browser only.</p>
      ) : (
        <ul>
          {state.history.map((entry) => (
            <Entry key={entry.id} entry={entry} now={now} ready={state.registration.state === 'registered'} />
          ))}
        </ul>
      )}
    </section>
  );
}

function Entry({ entry, now, ready }: { entry: HistoryEntry; now: number; ready: boolean }) {
  const { phone } = useApp();
  const { peer, direction, result } = entry;
  const missed = result === 'missed';
  return (
    <li data-testid="history-item" data-direction={direction} data-result={result} class={missed ? 'missed' : undefined}>
      <Icon name={missed ? 'missed' : direction} />
      <div class="history-words">
        <span class="history-name">{peer.name}</span>
        <span class="muted">
          {moment(entry.at, now)} · {resultWords(entry)}
        </span>
      </div>
      <button type="button" class="quiet square" disabled={!ready} aria-label={`Call ${peer.name} with video`} title="Call with video" data-testid="history-video" onClick={() => void phone.dial(peer.address, true)}>
        <Icon name="video" />
      </button>
      <button type="button" class="quiet square" disabled={!ready} aria-label={`Call ${peer.name}`} title="Call again" data-testid="history-redial" onClick={() => void phone.dial(peer.address, false)}>
        <Icon name="phone" />
      </button>
    </li>
  );
}

function resultWords({ result, duration, direction, reason, peer }: HistoryEntry): string {
  const why = reason.startsWith(peer.name) ? reason : reason.charAt(0).toLowerCase() + reason.slice(1);
  const words: Record<CallResult, string> = {
    answered: clock(duration),
    missed: 'missed',
    declined: 'declined',
    elsewhere: 'answered elsewhere',
    cancelled: direction === 'outgoing' ? 'cancelled' : 'missed',
    failed: why || 'failed',
  };
  return words[result];
}
