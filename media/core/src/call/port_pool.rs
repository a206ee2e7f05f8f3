//! Even/odd pairs of UDP ports for legacy legs: RTP on the even one, RTCP on the next (RFC 3550 §11).

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::{Rng, RngExt};

/// How long a freed pair rests. RTP that is still on its way, or a phone that has not yet heard the BYE, must not reach
/// the next call; 4 s outlasts the retransmissions of a BYE over UDP in all but the worst case.
pub const DRAIN: Duration = Duration::from_secs(4);

/// How long it is remembered who sent to a freed pair: far longer than phones go on after a call, and short enough that a
/// phone seldom finds its own port of the last call again.
pub const MEMORY: Duration = Duration::from_secs(60);

/// Where packets to a pair came from: RTP, RTCP.
pub type Senders = [Option<SocketAddr>; 2];

/// The free pairs of one worker.
#[derive(Debug)]
pub struct PortPool {
    free: VecDeque<u16>,
    resting: VecDeque<(Instant, u16)>,
    /// Who sent to the pairs that were freed, and until when that counts.
    former: HashMap<u16, (Instant, Senders)>,
    total: usize,
    last: u16,
}

impl PortPool {
    /// A pool over the pairs that lie wholly in `first..=last`, from a random start on, so that a restarted relay does
    /// not hand out at once the ports of the calls it has just lost. `share` is `(index, count)`: this worker takes
    /// every `count`th pair beginning with the `index`th.
    pub fn new(first: u16, last: u16, share: (usize, usize), rng: &mut impl Rng) -> PortPool {
        let (index, count) = (share.0, share.1.max(1));
        let even = u32::from(first) + u32::from(first % 2);
        let mut free: VecDeque<u16> = (even..)
            .step_by(2)
            .take_while(|port| *port < u32::from(last))
            .skip(index)
            .step_by(count)
            .filter_map(|port| u16::try_from(port).ok())
            .collect();
        let total = free.len();
        if total > 0 {
            free.rotate_left(rng.random_range(0..total));
        }
        PortPool { free, resting: VecDeque::new(), former: HashMap::new(), total, last: 0 }
    }

    /// The next pair's even port, longest free first; `None` when the range is used up.
    pub fn take(&mut self, now: Instant) -> Option<u16> {
        self.release(now);
        let port = self.free.pop_front()?;
        self.last = port;
        Some(port)
    }

    /// The pair taken last; 0 before the first.
    pub fn last(&self) -> u16 {
        self.last
    }

    /// Gives a pair back at the end of its leg, in which `senders` sent to it; it rests for [`DRAIN`].
    pub fn give_back(&mut self, now: Instant, even_port: u16, senders: Senders) {
        self.resting.push_back((now + DRAIN, even_port));
        if senders.iter().any(Option::is_some) {
            self.former.insert(even_port, (now + MEMORY, senders));
        }
    }

    /// Who sent to a pair in the leg that had it last, if that was a short while ago.
    pub fn take_senders(&mut self, now: Instant, even_port: u16) -> Senders {
        let known = self.former.remove(&even_port).filter(|(until, _)| now < *until);
        known.map(|(_, senders)| senders).unwrap_or_default()
    }

    /// Puts back a pair that could not be opened since somebody else holds it: last in the queue.
    pub fn put_last(&mut self, even_port: u16) {
        self.free.push_back(even_port);
    }

    /// How many pairs could be taken at `now`.
    pub fn available(&mut self, now: Instant) -> usize {
        self.release(now);
        self.free.len()
    }

    /// How many pairs the pool was made with.
    pub fn total(&self) -> usize {
        self.total
    }

    fn release(&mut self, now: Instant) {
        while let Some(&(at, port)) = self.resting.front() {
            if at > now {
                return;
            }
            self.resting.pop_front();
            self.free.push_back(port);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    fn start() -> Instant {
        crate::testing::start()
    }

    #[test]
    fn pairs_are_even_and_whole() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut pool = PortPool::new(30001, 30007, (0, 1), &mut rng);
        let mut taken: Vec<u16> = std::iter::from_fn(|| pool.take(start())).collect();
        taken.sort_unstable();
        assert_eq!(taken, [30002, 30004, 30006]);
    }

    #[test]
    fn the_last_port_of_all_does_not_overflow() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut pool = PortPool::new(65530, 65535, (0, 1), &mut rng);
        let mut taken: Vec<u16> = std::iter::from_fn(|| pool.take(start())).collect();
        taken.sort_unstable();
        assert_eq!(taken, [65530, 65532, 65534]);
    }

    #[test]
    fn workers_share_without_overlap() {
        let mut rng = StdRng::seed_from_u64(7);
        let mut all: Vec<u16> = Vec::new();
        for index in 0..3 {
            let mut pool = PortPool::new(30000, 30021, (index, 3), &mut rng);
            all.extend(std::iter::from_fn(|| pool.take(start())));
        }
        all.sort_unstable();
        assert_eq!(all, (30000..30022).step_by(2).collect::<Vec<u16>>());
    }

    #[test]
    fn a_freed_pair_rests_before_it_is_used_again() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut pool = PortPool::new(30000, 30001, (0, 1), &mut rng);
        let now = start();
        let port = pool.take(now).expect("one pair");
        let senders = [Some(SocketAddr::from(([192, 0, 2, 1], 4000))), None];
        pool.give_back(now, port, senders);
        assert_eq!(pool.take(now + DRAIN - Duration::from_millis(1)), None);
        assert_eq!(pool.take(now + DRAIN), Some(port));
        assert_eq!(pool.take_senders(now + DRAIN, port), senders, "who may not have stopped yet");
        assert_eq!(pool.take_senders(now + DRAIN, port), [None; 2]);
        pool.give_back(now, port, senders);
        assert_eq!(pool.take_senders(now + MEMORY, port), [None; 2]);
    }
}
