//! Which commands were answered, and how.
//!
//! UDP loses replies, and connections break: then the controller repeats its command with the same cookie. It gets the same
//! reply, and the command is not executed again: a repeated `offer` must not open ports twice.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Answer;

/// How long a reply is kept. Controllers repeat for a few seconds.
const KEEP: Duration = Duration::from_secs(30);

/// Replies kept at most; the oldest go first.
const MAX_KEPT: usize = 16_384;

/// Repetitions of a command that wait for its end; further ones go unanswered, as their sender is answered anyway.
const MAX_WAITING: usize = 8;

/// One command of one controller.
pub(super) type Key = (SocketAddr, Vec<u8>);

/// What became of the commands of the last seconds.
#[derive(Default)]
pub(super) struct CookieCache {
    commands: HashMap<Key, State>,
    in_order: VecDeque<(Instant, Key)>,
}

enum State {
    /// It is being executed; who has asked again.
    Running(Vec<Answer>),
    /// This was the reply.
    Done(Arc<[u8]>),
}

/// What to do with a command.
pub(super) enum Known {
    /// It is the first time: execute it.
    Fresh(Answer),
    /// It is being executed: its reply will come.
    Running,
    /// It was executed: this was the reply.
    Done(Answer, Arc<[u8]>),
}

impl CookieCache {
    /// Looks a command up and, if it is fresh, notes that it runs.
    pub(super) fn begin(&mut self, now: Instant, key: Key, answer: Answer) -> Known {
        while let Some((at, oldest)) = self.in_order.front()
            && (now.saturating_duration_since(*at) > KEEP || self.in_order.len() >= MAX_KEPT)
        {
            self.commands.remove(oldest);
            self.in_order.pop_front();
        }
        match self.commands.get_mut(&key) {
            Some(State::Done(reply)) => Known::Done(answer, Arc::clone(reply)),
            Some(State::Running(waiting)) => {
                if waiting.len() < MAX_WAITING {
                    waiting.push(answer);
                }
                Known::Running
            }
            None => {
                self.commands.insert(key.clone(), State::Running(Vec::new()));
                self.in_order.push_back((now, key));
                Known::Fresh(answer)
            }
        }
    }

    /// Keeps the reply, and says who else waits for it.
    pub(super) fn finish(&mut self, key: &Key, reply: &Arc<[u8]>) -> Vec<Answer> {
        let Some(state) = self.commands.get_mut(key) else { return Vec::new() };
        match std::mem::replace(state, State::Done(Arc::clone(reply))) {
            State::Running(waiting) => waiting,
            State::Done(_) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn key(cookie: &str) -> Key {
        (SocketAddr::from(([127, 0, 0, 1], 9)), cookie.as_bytes().to_vec())
    }

    fn answer(count: &Arc<AtomicUsize>) -> Answer {
        let count = Arc::clone(count);
        Box::new(move |reply| {
            assert_eq!(&*reply, b"reply");
            count.fetch_add(1, Ordering::Relaxed);
        })
    }

    #[test]
    fn a_repeated_command_runs_once_and_all_are_answered() {
        let (mut cache, count) = (CookieCache::default(), Arc::default());
        let now = Instant::now();
        let begin = |cache: &mut CookieCache, at, name: &str| cache.begin(at, key(name), answer(&count));
        let Known::Fresh(first) = begin(&mut cache, now, "a") else { panic!("it is the first time") };
        for _ in 0..2 * MAX_WAITING {
            assert!(matches!(begin(&mut cache, now, "a"), Known::Running));
        }
        assert!(matches!(begin(&mut cache, now, "b"), Known::Fresh(_)));
        let reply: Arc<[u8]> = b"reply".as_slice().into();
        let waiting = cache.finish(&key("a"), &reply);
        assert_eq!(waiting.len(), MAX_WAITING);
        waiting.into_iter().chain([first]).for_each(|answer| answer(Arc::clone(&reply)));
        let Known::Done(again, kept) = begin(&mut cache, now, "a") else { panic!("it was executed") };
        again(kept);
        assert!(matches!(begin(&mut cache, now + KEEP + Duration::from_secs(1), "a"), Known::Fresh(_)));
        assert_eq!(count.load(Ordering::Relaxed), MAX_WAITING + 2);
    }

    #[test]
    fn the_cache_is_bounded() {
        let (mut cache, now) = (CookieCache::default(), Instant::now());
        for number in 0..2 * MAX_KEPT {
            cache.begin(now, key(&number.to_string()), Box::new(|_| {}));
        }
        assert!(cache.commands.len() <= MAX_KEPT && cache.in_order.len() <= MAX_KEPT);
    }
}
