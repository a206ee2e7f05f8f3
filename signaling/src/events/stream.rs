//! Events for those who read along: the last ones are kept, so that whoever comes back misses none; who is too slow is told so
//! and let go.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use super::kind::Kinds;
use super::told::Told;

/// Events that are kept for those who come back.
const KEPT: usize = 1024;
/// Events that may wait for one reader.
const ROOM: usize = 256;
/// Readers at once.
const READERS: usize = 32;

/// All readers, and what was told last.
#[derive(Debug, Default)]
pub(super) struct Stream {
    state: Mutex<State>,
    given: AtomicU64,
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    kept: VecDeque<Arc<Told>>,
    readers: Vec<Listener>,
    closed: bool,
}

#[derive(Debug)]
struct Listener {
    kinds: Kinds,
    events: mpsc::Sender<Arc<Told>>,
    too_slow: Arc<AtomicBool>,
}

/// One reader's end.
#[derive(Debug)]
pub struct Reader {
    /// What was told since the event that was read last.
    backlog: VecDeque<Arc<Told>>,
    /// What was told since then and is not kept any more; that there was something, when it is not known how much.
    pub missed: Option<Missed>,
    events: mpsc::Receiver<Arc<Told>>,
    too_slow: Arc<AtomicBool>,
}

/// Events that a reader has missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    /// So many, of all kinds.
    Some(u64),
    /// The gateway has started again since.
    Restarted,
}

/// Where a reader goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// From now on.
    Now,
    /// Behind the event with this number.
    Event(u64),
    /// Behind an event of a gateway that was here before.
    Restart,
}

impl Stream {
    /// A reader of `kinds`; `None` when there are too many, or the gateway ends.
    pub(super) fn subscribe(&self, kinds: Kinds, since: Since) -> Option<Reader> {
        let (events, received) = mpsc::channel(ROOM);
        let mut state = self.lock();
        state.readers.retain(|reader| !reader.events.is_closed());
        if state.closed || state.readers.len() >= READERS {
            return None;
        }
        let (after, mut missed) = match since {
            Since::Now => (u64::MAX, None),
            Since::Event(seq) => (seq, None),
            Since::Restart => (0, Some(Missed::Restarted)),
        };
        let oldest = state.kept.front().map_or(u64::MAX, |told| told.seq);
        if let Since::Event(seq) = since
            && oldest != u64::MAX
            && oldest > seq + 1
        {
            missed = Some(Missed::Some(oldest - seq - 1));
        }
        let fits = |told: &&Arc<Told>| told.seq > after && kinds.contain(told.kind);
        let backlog = state.kept.iter().filter(fits).map(Arc::clone).collect();
        let too_slow = Arc::new(AtomicBool::new(false));
        state.readers.push(Listener { kinds, events, too_slow: Arc::clone(&too_slow) });
        Some(Reader { backlog, missed, events: received, too_slow })
    }

    /// Gives an event to all who want it.
    pub(super) fn push(&self, told: &Arc<Told>) {
        let mut state = self.lock();
        if state.kept.len() == KEPT {
            state.kept.pop_front();
        }
        state.kept.push_back(Arc::clone(told));
        state.readers.retain(|reader| {
            if !reader.kinds.contain(told.kind) {
                return true;
            }
            match reader.events.try_send(Arc::clone(told)) {
                Ok(()) => _ = self.given.fetch_add(1, Ordering::Relaxed),
                Err(mpsc::error::TrySendError::Closed(_)) => return false,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    self.lost.fetch_add(1, Ordering::Relaxed);
                    reader.too_slow.store(true, Ordering::Release);
                    return false;
                }
            }
            true
        });
    }

    /// Lets all readers go, when they have read what there is.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.readers.clear();
    }

    /// How many events were given to readers, and how many were not since they were too slow.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.given.load(Ordering::Relaxed), self.lost.load(Ordering::Relaxed))
    }

    /// Nothing that is done under the lock can panic half-way.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader {
    /// The next event; `None` at the end: see [`Reader::was_too_slow`].
    pub async fn next(&mut self) -> Option<Arc<Told>> {
        match self.backlog.pop_front() {
            Some(told) => Some(told),
            None => self.events.recv().await,
        }
    }

    /// Whether it has ended since it did not read fast enough.
    #[must_use]
    pub fn was_too_slow(&self) -> bool {
        self.too_slow.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::super::kind::Kind;
    use super::*;

    fn told(seq: u64, kind: Kind) -> Arc<Told> {
        Arc::new(Told { seq, kind, body: "{}".into() })
    }

    async fn seqs(reader: &mut Reader, count: usize) -> Vec<u64> {
        let mut seqs = Vec::new();
        while seqs.len() < count {
            seqs.push(reader.next().await.expect("an event").seq);
        }
        seqs
    }

    #[tokio::test]
    async fn a_reader_gets_what_it_wants_from_where_it_was() {
        let stream = Stream::default();
        let kinds = Kinds::named(["flood"]).unwrap();
        let mut early = stream.subscribe(kinds, Since::Now).unwrap();
        for seq in 1..=4 {
            let kind = if seq % 2 == 0 { Kind::Flood } else { Kind::Toll };
            stream.push(&told(seq, kind));
        }
        let mut back = stream.subscribe(Kinds::ALL, Since::Event(1)).unwrap();
        let mut other = stream.subscribe(Kinds::ALL, Since::Restart).unwrap();
        let mut now = stream.subscribe(Kinds::ALL, Since::Now).unwrap();
        assert_eq!([back.missed, other.missed, now.missed], [None, Some(Missed::Restarted), None]);
        stream.push(&told(5, Kind::Flood));
        stream.close();
        assert_eq!(seqs(&mut early, 3).await, [2, 4, 5]);
        assert_eq!(seqs(&mut back, 4).await, [2, 3, 4, 5]);
        assert_eq!(seqs(&mut other, 5).await, [1, 2, 3, 4, 5]);
        assert_eq!(seqs(&mut now, 1).await, [5]);
        assert!(now.next().await.is_none() && !now.was_too_slow());
        assert!(stream.subscribe(Kinds::ALL, Since::Now).is_none(), "the gateway ends");
    }

    #[tokio::test]
    async fn who_is_too_slow_is_let_go_and_may_come_back() {
        let stream = Stream::default();
        let (mut slow, mut gone) = (
            stream.subscribe(Kinds::ALL, Since::Now).unwrap(),
            stream.subscribe(Kinds::ALL, Since::Now).unwrap(),
        );
        let room = ROOM as u64;
        for seq in 1..=room {
            stream.push(&told(seq, Kind::Flood));
            assert_eq!(seqs(&mut gone, 1).await, [seq]);
        }
        drop(gone);
        stream.push(&told(room + 1, Kind::Flood));
        assert_eq!(seqs(&mut slow, ROOM).await.last(), Some(&room));
        assert!(slow.next().await.is_none() && slow.was_too_slow());
        assert_eq!(stream.counts(), (2 * room, 1));
        let mut back = stream.subscribe(Kinds::ALL, Since::Event(room)).unwrap();
        assert_eq!(seqs(&mut back, 1).await, [room + 1]);
        // What is not kept any more is missed, and the reader hears how much.
        for seq in room + 2..=room + 1 + KEPT as u64 {
            stream.push(&told(seq, Kind::Flood));
        }
        let back = stream.subscribe(Kinds::ALL, Since::Event(room)).unwrap();
        assert_eq!(back.missed, Some(Missed::Some(1)));
        let readers: Vec<_> = (0..READERS).map_while(|_| stream.subscribe(Kinds::ALL, Since::Now)).collect();
        assert!(readers.len() < READERS, "so many at once");
    }
}
