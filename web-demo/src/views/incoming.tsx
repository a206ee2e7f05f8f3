/**
 * A call that wants to be answered. Test ids here: `incoming` (`data-video` when a picture is offered), `incoming-name`,
 * `answer`, `answer-video`, `decline`. Enter answers, Escape declines.
 */
import { useEffect, useRef } from 'preact/hooks';
import type { CallView } from '../state/model';
import { useApp } from './context';
import { Icon } from './icons';
import { initials } from './format';

export function Incoming({ call, others }: { call: CallView; others: CallView[] }) {
  const { phone } = useApp();
  const answer = useRef<HTMLButtonElement>(null);

  useEffect(() => {
    // Not while something is being typed: the next blank would answer the call.
    if (!document.activeElement?.matches('input, select, textarea')) answer.current?.focus();
  }, []);

  return (
    <section class="card incoming" role="alertdialog" aria-label={`${call.peer.name} is calling`} data-testid="incoming" data-video={call.offersVideo || undefined}>
      <span class="avatar ringing" aria-hidden="true">
        {initials(call.peer.name)}
      </span>
      <div class="incoming-words">
        <p class="eyebrow">{others.length > 0 ? 'Second call' : call.offersVideo ? 'Incoming video call' : 'Incoming call'}</p>
        <h2 data-testid="incoming-name">{call.peer.name}</h2>
        {call.peer.address !== call.peer.name && <p class="muted">{call.peer.address}</p>}
        {others.some(({ localHold }) => !localHold) && <p class="muted">Answering puts {others[0]!.peer.name} on hold.</p>}
      </div>
      <div class="incoming-actions">
        <button ref={answer} type="button" class="call-button" data-testid="answer" aria-keyshortcuts="Enter" disabled={call.changing} onClick={() => void phone.answer(call.id, false)}>
          <Icon name="phone" />
          <span>Answer</span>
        </button>
        {call.offersVideo && (
          <button type="button" class="tonal" aria-label="Answer with video" data-testid="answer-video" disabled={call.changing} onClick={() => void phone.answer(call.id, true)}>
            <Icon name="video" />
            <span>Video</span>
          </button>
        )}
        <button type="button" class="danger" data-testid="decline" aria-keyshortcuts="Escape" onClick={() => phone.decline(call.id)}>
          <Icon name="hangUp" />
          <span>Decline</span>
        </button>
      </div>
    </section>
  );
}
