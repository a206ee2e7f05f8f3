//! What is left of a server transaction over datagrams once it has answered a request other than INVITE: its response, for
//! retransmissions (RFC 3261 §17.2.2, Completed), without a machine and without a timer of its own. A registrar has tens of
//! thousands of them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::matching::{Key, KeyMap};
use crate::flow::Destination;

/// How long those that are over may stay, so that not each of them wakes the worker.
const TIDY: Duration = Duration::from_secs(1);
/// What one takes beside the bytes of its response.
const OVERHEAD: usize = 256;

/// A final response.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) bytes: Bytes,
    pub(super) destination: Destination,
}

/// The final responses given within timer J.
#[derive(Debug)]
pub(super) struct Answered {
    answers: KeyMap<Answer>,
    /// When each is over, in that order.
    ends: VecDeque<(Instant, Key)>,
    held: usize,
    max_bytes: usize,
}

impl Answered {
    /// With room for `max_bytes`; when that is full the oldest go before their time.
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { answers: KeyMap::default(), ends: VecDeque::new(), held: 0, max_bytes }
    }

    pub(super) fn len(&self) -> usize {
        self.answers.len()
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Answer> {
        self.answers.get(key)
    }

    /// Keeps a response until `end`, or until the last of those before it ends if that is later.
    pub(super) fn insert(&mut self, key: Key, answer: Answer, end: Instant) {
        let end = self.ends.back().map_or(end, |(last, _)| end.max(*last));
        self.held += OVERHEAD + answer.bytes.len();
        self.answers.insert(key, answer);
        self.ends.push_back((end, key));
        while self.held > self.max_bytes {
            self.forget_oldest();
        }
    }

    /// Forgets those that are over.
    pub(super) fn expire(&mut self, now: Instant) {
        while self.ends.front().is_some_and(|(end, _)| *end <= now) {
            self.forget_oldest();
        }
        if self.answers.len() < self.answers.capacity() / 4 {
            self.answers.shrink_to_fit();
            self.ends.shrink_to_fit();
        }
    }

    /// When [`Answered::expire`] is next needed.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.ends.front().map(|(end, _)| *end + TIDY)
    }

    fn forget_oldest(&mut self) {
        let Some((_, key)) = self.ends.pop_front() else { return };
        if let Some(answer) = self.answers.remove(&key) {
            self.held -= OVERHEAD + answer.bytes.len();
        }
    }
}
