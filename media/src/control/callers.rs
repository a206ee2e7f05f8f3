//! Who asks what, how long it takes, and how often it fails: `controlstatistics` and `intervalstatistics`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

/// The commands of ng: name, and name in statistics.
pub(super) const COMMANDS: [(&str, &str); 24] = [
    ("ping", "Ping"),
    ("offer", "Offer"),
    ("answer", "Answer"),
    ("delete", "Delete"),
    ("query", "Query"),
    ("list", "List"),
    ("start recording", "StartRec"),
    ("stop recording", "StopRec"),
    ("start forwarding", "StartFwd"),
    ("stop forwarding", "StopFwd"),
    ("block DTMF", "BlkDTMF"),
    ("unblock DTMF", "UnblkDTMF"),
    ("block media", "BlkMedia"),
    ("unblock media", "UnblkMedia"),
    ("play media", "PlayMedia"),
    ("stop media", "StopMedia"),
    ("play DTMF", "PlayDTMF"),
    ("statistics", "Stats"),
    ("silence media", "SlnMedia"),
    ("unsilence media", "UnslnMedia"),
    ("publish", "Pub"),
    ("subscribe request", "SubReq"),
    ("subscribe answer", "SubAns"),
    ("unsubscribe", "Unsub"),
];

/// Controllers told apart at most; those that come later count together, as address 0.0.0.0.
const MAX_CALLERS: usize = 256;

/// How long an interval of `intervalstatistics` is.
pub(super) const INTERVAL: Duration = Duration::from_secs(60);

/// One command.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) count: u64,
    pub(super) time: Duration,
    pub(super) shortest: Duration,
    pub(super) longest: Duration,
}

impl Count {
    fn add(&mut self, took: Duration) {
        self.shortest = if self.count == 0 { took } else { self.shortest.min(took) };
        self.longest = self.longest.max(took);
        self.count += 1;
        self.time += took;
    }
}

/// One controller.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Caller {
    /// In the order of [`COMMANDS`].
    pub(super) commands: [Count; COMMANDS.len()],
    /// Messages that could not be understood, and commands that were refused.
    pub(super) errors: u64,
}

/// What happened during a minute.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Interval {
    /// In the order of [`COMMANDS`].
    pub(super) commands: [Count; COMMANDS.len()],
    /// Fewest and most calls that a command found.
    pub(super) sessions: Option<(usize, usize)>,
}

/// All controllers, and the last minute.
#[derive(Debug)]
pub(super) struct Callers {
    by_address: BTreeMap<IpAddr, Caller>,
    begun: Instant,
    current: Interval,
    last: Interval,
}

impl Callers {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            by_address: BTreeMap::new(),
            begun: now,
            current: Interval::default(),
            last: Interval::default(),
        }
    }

    /// Counts a command that was executed.
    pub(super) fn note(
        &mut self,
        now: Instant,
        caller: IpAddr,
        command: &str,
        took: Duration,
        failed: bool,
        sessions: usize,
    ) {
        self.turn(now);
        let (least, most) = self.current.sessions.unwrap_or((sessions, sessions));
        self.current.sessions = Some((least.min(sessions), most.max(sessions)));
        let place = COMMANDS.iter().position(|(name, _)| *name == command);
        let caller = self.caller(caller);
        caller.errors += u64::from(failed);
        if let Some(place) = place {
            caller.commands[place].add(took);
            self.current.commands[place].add(took);
        }
    }

    /// Counts a message that could not be understood.
    pub(super) fn error(&mut self, caller: IpAddr) {
        self.caller(caller).errors += 1;
    }

    /// Everybody who has asked, by address.
    pub(super) fn all(&self) -> impl Iterator<Item = (&IpAddr, &Caller)> {
        self.by_address.iter()
    }

    /// The last whole minute.
    pub(super) fn interval(&mut self, now: Instant) -> &Interval {
        self.turn(now);
        &self.last
    }

    fn caller(&mut self, address: IpAddr) -> &mut Caller {
        let full = self.by_address.len() >= MAX_CALLERS && !self.by_address.contains_key(&address);
        self.by_address.entry(if full { Ipv4Addr::UNSPECIFIED.into() } else { address }).or_default()
    }

    fn turn(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.begun);
        if passed >= INTERVAL {
            let current = std::mem::take(&mut self.current);
            // A minute in which nobody asked lies between.
            self.last = if passed < 2 * INTERVAL { current } else { Interval::default() };
            self.begun = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_told_apart_and_bounded() {
        let now = Instant::now();
        let mut callers = Callers::new(now);
        for n in 0..1000u32 {
            let address = IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n));
            callers.note(now, address, "ping", Duration::from_millis(n.into()), n % 2 == 0, 3);
            callers.error(address);
        }
        assert_eq!(callers.all().count(), MAX_CALLERS + 1);
        let all: u64 = callers.all().map(|(_, caller)| caller.commands[0].count).sum();
        let errors: u64 = callers.all().map(|(_, caller)| caller.errors).sum();
        assert_eq!((all, errors), (1000, 1500));
    }

    #[test]
    fn a_minute_is_told_when_it_is_over() {
        let start = Instant::now();
        let mut callers = Callers::new(start);
        for (millis, sessions) in [(4, 7), (2, 9), (9, 8)] {
            callers.note(
                start,
                Ipv4Addr::LOCALHOST.into(),
                "offer",
                Duration::from_millis(millis),
                false,
                sessions,
            );
        }
        assert_eq!(*callers.interval(start + INTERVAL / 2), Interval::default());
        let minute = callers.interval(start + INTERVAL).clone();
        let offers = minute.commands[1];
        assert_eq!((offers.count, offers.time), (3, Duration::from_millis(15)));
        assert_eq!((offers.shortest, offers.longest), (Duration::from_millis(2), Duration::from_millis(9)));
        assert_eq!(minute.sessions, Some((7, 9)));
        assert_eq!(*callers.interval(start + 3 * INTERVAL), Interval::default(), "long ago");
    }
}
