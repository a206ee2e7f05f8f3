//! Who guesses passwords: refused credentials are counted by the user whom they name and by the address that they come from (the
//! `auth_block_list` of the articles). All workers share one table.
//!
//! After so many of them in a row, neither the user nor the address is believed for a while, whatever the password, and for twice
//! as long the next time. So that nobody locks a user out by guessing in his name, a flow over which he has proved who he is, and
//! an address at which he is registered, are not held against him ([`crate::step::auth`]). Names that nobody has are counted
//! like others, so that they look like others. Only credentials over a nonce of ours count: nobody is blocked by what a forged
//! source sends.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::bounded::Bounded;
use crate::flow::{IPV6_PREFIX, subscriber};
use crate::settings::AuthBlock;
use crate::shards::Shards;

/// Users and addresses remembered in each part. When all of them are blocked or have just failed, one more is not counted.
const MAX: usize = 1024;
/// Behind an address there may be an office: so many times the count of a user is taken from it.
const OFFICE: u32 = 5;
/// Bytes of a name that are kept for an operator to read.
const NAME: usize = 64;

/// Whether somebody may try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trial {
    /// He may.
    Free,
    /// From now on he may not.
    BlockedNow,
    /// He may not, since before.
    Blocked,
}

/// By what a refusal is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guesser<'a> {
    /// `user@realm`, as the credentials say.
    User(&'a str),
    /// Where they come from.
    Address(IpAddr),
}

/// What an operator sees of a user or an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guessed {
    /// The user, cut to 64 bytes, or the address.
    pub name: String,
    /// Refusals in a row.
    pub count: u32,
    /// How long ago the last one was.
    pub last: Duration,
    /// For how long none is looked at still; `None` when they are.
    pub blocked: Option<Duration>,
}

/// See the module.
#[derive(Debug)]
pub struct Guesses {
    /// So many bits of an IPv6 address are those of one guesser.
    ipv6_prefix: u8,
    /// By a keyed hash of the name: names may be long and many.
    parts: Shards<Bounded<u64, Guess>>,
    /// How many there are, so that nobody waits for a lock while there is none.
    count: AtomicUsize,
}

impl Default for Guesses {
    fn default() -> Self {
        Self::by_prefix(IPV6_PREFIX)
    }
}

#[derive(Debug)]
struct Guess {
    name: Box<str>,
    /// Refusals in a row.
    count: u32,
    last: Instant,
    blocked_until: Option<Instant>,
    /// How often it was blocked before.
    times: u32,
}

impl Guesses {
    /// For IPv6 the first `ipv6_prefix` bits of an address are counted together (default 64).
    #[must_use]
    pub fn by_prefix(ipv6_prefix: u8) -> Self {
        Self { ipv6_prefix, parts: Shards::default(), count: AtomicUsize::new(0) }
    }

    /// Whether credentials are looked at.
    #[must_use]
    pub fn trial(&self, block: &AuthBlock, now: Instant, who: Guesser<'_>) -> Trial {
        if block.auth_count == 0 || self.is_empty() {
            return Trial::Free;
        }
        let most = match who {
            Guesser::User(_) => block.auth_count,
            Guesser::Address(_) => block.auth_count.saturating_mul(OFFICE),
        };
        let key = self.key(who);
        self.parts.at(key).get_mut(&key).map_or(Trial::Free, |guess| guess.trial(block, most, now))
    }

    /// Credentials were wrong.
    pub fn note_failure(&self, block: &AuthBlock, now: Instant, who: Guesser<'_>) {
        if block.auth_count == 0 {
            return;
        }
        let key = self.key(who);
        let mut part = self.parts.at(key);
        let before = part.len();
        let fresh =
            || Guess { name: who.name(self.ipv6_prefix), count: 0, last: now, blocked_until: None, times: 0 };
        if let Some(guess) = part.entry(key, MAX, now, |guess| guess.is_idle(block, now), fresh) {
            if now.saturating_duration_since(guess.last) >= block.last_auth {
                guess.count = 0;
            }
            (guess.count, guess.last) = (guess.count.saturating_add(1), now);
        }
        // It wraps, as the count does: some may have gone.
        self.count.fetch_add(part.len().wrapping_sub(before), Ordering::AcqRel);
    }

    /// Forgets what is held against somebody: `user` after right credentials, or whom an operator forgives. Whether there was
    /// anything. What came from an address is not forgiven for the sake of one user: whoever guesses may have an account too.
    pub fn forgive(&self, who: Guesser<'_>) -> bool {
        if self.is_empty() {
            return false;
        }
        let key = self.key(who);
        let found = self.parts.at(key).remove(&key).is_some();
        self.count.fetch_sub(usize::from(found), Ordering::AcqRel);
        found
    }

    /// Whether nobody has failed lately, so that nobody need be looked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// One refusal of those that are held against somebody was none.
    pub fn excuse(&self, who: Guesser<'_>) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let key = self.key(who);
        if let Some(guess) = self.parts.at(key).get_mut(&key) {
            guess.count = guess.count.saturating_sub(1);
        }
    }

    /// Forgives everybody.
    pub fn clear(&self) {
        for mut part in self.parts.each() {
            self.count.fetch_sub(part.len(), Ordering::AcqRel);
            part.clear();
        }
    }

    /// All that is remembered, in no order.
    #[must_use]
    pub fn list(&self, now: Instant) -> Vec<Guessed> {
        let of = |guess: &Guess| Guessed {
            name: guess.name.to_string(),
            count: guess.count,
            last: now.saturating_duration_since(guess.last),
            blocked: guess
                .blocked_until
                .and_then(|until| until.checked_duration_since(now))
                .filter(|left| !left.is_zero()),
        };
        self.parts
            .each()
            .flat_map(|part| part.iter().map(|(_, guess)| of(guess)).collect::<Vec<_>>())
            .collect()
    }

    fn key(&self, who: Guesser<'_>) -> u64 {
        match who {
            Guesser::User(user) => self.parts.hash(&(0_u8, user)),
            Guesser::Address(ip) => self.parts.hash(&(1_u8, subscriber(ip, self.ipv6_prefix))),
        }
    }
}

impl Guesser<'_> {
    fn name(self, ipv6_prefix: u8) -> Box<str> {
        match self {
            Self::User(user) => user[..user.floor_char_boundary(NAME)].into(),
            Self::Address(ip) => subscriber(ip, ipv6_prefix).to_string().into(),
        }
    }
}

impl Guess {
    fn trial(&mut self, block: &AuthBlock, most: u32, now: Instant) -> Trial {
        if self.blocked_until.is_some_and(|until| until > now) {
            return Trial::Blocked;
        }
        if self.count < most || now.saturating_duration_since(self.last) >= block.last_auth {
            return Trial::Free;
        }
        let span = block.last_block.saturating_mul(1 << self.times.min(16)).min(block.longest);
        self.blocked_until = Some(now + span);
        (self.count, self.times) = (0, self.times.saturating_add(1));
        Trial::BlockedNow
    }

    /// Whether there is nothing about it that must be remembered. How often it was blocked is, for as long again as it was.
    fn is_idle(&self, block: &AuthBlock, now: Instant) -> bool {
        let forgotten = |until| now.saturating_duration_since(until) >= block.last_block;
        now.saturating_duration_since(self.last) >= block.last_auth
            && self.blocked_until.is_none_or(forgotten)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Instant {
        #[allow(clippy::disallowed_methods)]
        Instant::now()
    }

    const BOB: Guesser<'_> = Guesser::User("bob@b");
    const SOURCE: Guesser<'_> = Guesser::Address(IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 66)));

    #[test]
    fn whoever_guesses_is_not_heard_for_longer_each_time() {
        let (guesses, block, start) = (Guesses::default(), AuthBlock::default(), start());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let trial = |seconds| guesses.trial(&block, at(seconds), BOB);
        let mut now = 0;
        for span in [900, 1800, 3600] {
            for _ in 0..30 {
                assert_eq!(trial(now), Trial::Free);
                guesses.note_failure(&block, at(now), BOB);
            }
            let trials = [trial(now), trial(now + 1), trial(now + span - 1)];
            assert_eq!(trials, [Trial::BlockedNow, Trial::Blocked, Trial::Blocked]);
            now += span;
        }
        assert_eq!(trial(now), Trial::Free);
        assert_eq!(guesses.trial(&block, at(0), Guesser::User("alice@b")), Trial::Free, "another user");
        let listed = guesses.list(at(now - 60));
        assert_eq!((&*listed[0].name, listed[0].blocked), ("bob@b", Some(Duration::from_secs(60))));
        assert!(guesses.forgive(BOB) && !guesses.forgive(BOB) && guesses.list(at(0)).is_empty());
        assert_eq!(trial(0), Trial::Free, "forgiven");
    }

    /// A phone with an old password that tries now and then, a success between, and nobody counted at all.
    #[test]
    fn what_is_no_guessing_is_not_blocked() {
        let (guesses, block, start) = (Guesses::default(), AuthBlock::default(), start());
        for number in 0..100 {
            let now = start + block.last_auth * number;
            assert_eq!(guesses.trial(&block, now, BOB), Trial::Free);
            guesses.note_failure(&block, now, BOB);
        }
        let carol = Guesser::User("carol@b");
        for number in 0..100 {
            guesses.note_failure(&block, start, carol);
            if number % 20 == 0 {
                assert!(guesses.forgive(carol));
            }
            assert_eq!(guesses.trial(&block, start, carol), Trial::Free, "{number}");
        }
        let off = AuthBlock { auth_count: 0, ..block };
        (0..1000).for_each(|_| guesses.note_failure(&off, start, SOURCE));
        assert_eq!(guesses.trial(&block, start, SOURCE), Trial::Free);
    }

    /// One password for many users is told by the address; an IPv4 one may come in the clothes of IPv6.
    #[test]
    fn an_address_is_given_five_times_as_many() {
        let (guesses, block, start) = (Guesses::default(), AuthBlock::default(), start());
        for number in 0..150 {
            assert_eq!(guesses.trial(&block, start, SOURCE), Trial::Free, "{number}");
            guesses.note_failure(&block, start, SOURCE);
        }
        let mapped = Guesser::Address("::ffff:198.51.100.66".parse().expect("an address"));
        let trials = [SOURCE, mapped].map(|source| guesses.trial(&block, start, source));
        assert_eq!(trials, [Trial::BlockedNow, Trial::Blocked]);
        let other = Guesser::Address([192, 0, 2, 7].into());
        assert_eq!(guesses.trial(&block, start, other), Trial::Free);
    }

    #[test]
    fn the_table_is_bounded() {
        let (guesses, block, start) = (Guesses::default(), AuthBlock::default(), start());
        for number in 0..100_000_u32 {
            guesses.note_failure(&block, start, Guesser::Address(number.to_be_bytes().into()));
            guesses.note_failure(&block, start, Guesser::User(&format!("{number}{}", "x".repeat(100))));
        }
        let listed = guesses.list(start);
        assert!(
            listed.len() <= Shards::<u64>::COUNT * MAX && listed.iter().all(|guess| guess.name.len() <= NAME)
        );
        let later = start + block.last_auth;
        (0..30).for_each(|_| guesses.note_failure(&block, later, BOB));
        assert_eq!(guesses.trial(&block, later, BOB), Trial::BlockedNow, "room for it again");
        assert_eq!(guesses.count.load(Ordering::Acquire), guesses.list(later).len());
    }
}
