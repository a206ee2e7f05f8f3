//! Keys that an end presses in a call to have it recorded, and again to end that: PBXs call it a feature code, and `*1` is
//! Asterisk's.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A key that comes later begins the code anew.
const BETWEEN_KEYS: Duration = Duration::from_secs(2);

/// Ends that have begun a code; those that have not gone on are forgotten first.
const MAX_BEGUN: usize = 1024;

/// Calls that are known to be recorded.
const MAX_RECORDED: usize = 10_000;

/// Watches for the code.
#[derive(Debug, Default)]
pub(crate) struct FeatureCode {
    /// Event numbers of its keys; empty for none.
    code: Vec<u8>,
    /// How many of them an end has pressed, and when the last.
    begun: HashMap<(Arc<str>, u32), (usize, Instant)>,
    recorded: HashSet<Arc<str>>,
}

impl FeatureCode {
    /// For a code of the keys `0` to `9`, `*`, `#`; an empty one is never pressed.
    pub(crate) fn new(code: &str) -> Self {
        let keys = code.chars().filter_map(|key| "0123456789*#".find(key));
        Self { code: keys.map(|key| key as u8).collect(), ..Self::default() }
    }

    /// An end pressed a key. `Some(true)`: its call is to be recorded; `Some(false)`: no longer.
    pub(crate) fn press(&mut self, now: Instant, call_id: &Arc<str>, leg: u32, key: u8) -> Option<bool> {
        let end = (Arc::clone(call_id), leg);
        let timely = |at: Instant| now.saturating_duration_since(at) <= BETWEEN_KEYS;
        let known = self.begun.remove(&end).filter(|(_, at)| timely(*at)).map_or(0, |(known, _)| known);
        let known = [known, 0].into_iter().find(|known| self.code.get(*known) == Some(&key))? + 1;
        if known < self.code.len() {
            if self.begun.len() >= MAX_BEGUN {
                self.begun.retain(|_, (_, at)| timely(*at));
            }
            if self.begun.len() < MAX_BEGUN {
                self.begun.insert(end, (known, now));
            }
            return None;
        }
        if self.recorded.remove(call_id) {
            return Some(false);
        }
        if self.recorded.len() >= MAX_RECORDED {
            // Calls end without a word here; to begin a recording twice does no harm.
            self.recorded.clear();
        }
        self.recorded.insert(Arc::clone(call_id));
        Some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_begins_and_ends_a_recording() {
        let start = Instant::now();
        let call: Arc<str> = "call-1".into();
        // Seconds, leg, key, what it means.
        for (code, keys) in [
            ("*1", &[(0, 0, 10, None), (1, 0, 1, Some(true)), (9, 1, 10, None), (10, 1, 1, Some(false))][..]),
            ("*1", &[(0, 0, 10, None), (0, 1, 1, None), (1, 0, 1, Some(true))]),
            (
                "*1",
                &[
                    (0, 0, 10, None),
                    (5, 0, 1, None),
                    (6, 0, 10, None),
                    (6, 0, 10, None),
                    (7, 0, 1, Some(true)),
                ],
            ),
            ("*1", &[(0, 0, 10, None), (0, 0, 2, None), (0, 0, 1, None)]),
            ("#", &[(0, 0, 11, Some(true)), (0, 0, 11, Some(false))]),
            ("", &[(0, 0, 10, None), (0, 0, 1, None)]),
        ] {
            let mut feature = FeatureCode::new(code);
            for (seconds, leg, key, expected) in keys {
                let now = start + Duration::from_secs(*seconds);
                assert_eq!(feature.press(now, &call, *leg, *key), *expected, "{code} {keys:?} {seconds}");
            }
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut feature = FeatureCode::new("*1");
        let now = Instant::now();
        for number in 0..3 * MAX_RECORDED {
            let call: Arc<str> = number.to_string().into();
            feature.press(now, &call, 0, 10);
            if number % 2 == 0 {
                feature.press(now, &call, 0, 1);
            }
        }
        assert!(feature.begun.len() <= MAX_BEGUN && feature.recorded.len() <= MAX_RECORDED);
    }
}
