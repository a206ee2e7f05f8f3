//! A network of datagrams with a delay, and with seeded loss, jitter and reordering.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// A datagram.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Datagram {
    /// From where.
    pub from: SocketAddr,
    /// To where.
    pub to: SocketAddr,
    /// What.
    pub bytes: Vec<u8>,
}

/// How the network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weather {
    /// Of a hundred datagrams so many are lost.
    pub loss: u32,
    /// Every datagram takes this long,
    pub delay: Duration,
    /// and up to this much longer, so that later ones overtake earlier ones.
    pub jitter: Duration,
}

impl Default for Weather {
    fn default() -> Self {
        Self { loss: 0, delay: Duration::from_millis(5), jitter: Duration::ZERO }
    }
}

/// Loses the datagrams it is given a reason to lose.
type Filter = Box<dyn FnMut(&Datagram) -> bool>;

/// The network.
#[allow(missing_debug_implementations)]
pub struct Network {
    /// How it is now.
    pub weather: Weather,
    in_flight: BinaryHeap<Reverse<(Instant, u64, Datagram)>>,
    sent: u64,
    rng: StdRng,
    loses: Option<Filter>,
}

impl Network {
    /// A network whose whims follow from `seed`.
    #[must_use]
    pub fn new(seed: u64, weather: Weather) -> Self {
        Self { weather, in_flight: BinaryHeap::new(), sent: 0, rng: StdRng::seed_from_u64(seed), loses: None }
    }

    /// From now on loses every datagram for which `filter` holds, besides what the weather takes.
    pub fn lose(&mut self, filter: impl FnMut(&Datagram) -> bool + 'static) {
        self.loses = Some(Box::new(filter));
    }

    /// Loses nothing on purpose any more.
    pub fn lose_nothing(&mut self) {
        self.loses = None;
    }

    /// Takes a datagram on its way.
    pub fn send(&mut self, now: Instant, datagram: Datagram) {
        self.sent += 1;
        let jitter = self.weather.jitter.as_micros() as u64;
        let extra = if jitter == 0 { 0 } else { self.rng.random_range(0..jitter) };
        // Drawn for every datagram, so that what a filter loses does not change the fate of the others.
        let lost = self.rng.random_range(0..100) < self.weather.loss;
        if lost || self.loses.as_mut().is_some_and(|filter| filter(&datagram)) {
            return;
        }
        let arrival = now + self.weather.delay + Duration::from_micros(extra);
        self.in_flight.push(Reverse((arrival, self.sent, datagram)));
    }

    /// When the next datagram arrives.
    #[must_use]
    pub fn next_arrival(&self) -> Option<Instant> {
        self.in_flight.peek().map(|Reverse((at, ..))| *at)
    }

    /// A datagram that has arrived by `now`.
    pub fn arrived(&mut self, now: Instant) -> Option<Datagram> {
        if self.next_arrival()? > now {
            return None;
        }
        self.in_flight.pop().map(|Reverse((.., datagram))| datagram)
    }
}
