//! The network: everything in flight, with its delays, losses and doubles, out of one seed.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use signaling_core::flow::{ConnectionId, Protocol, SendToken};

/// What happens to the datagrams of one phone, in both directions. Streams have the latency alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Link {
    /// The shortest time a message takes.
    pub latency: Duration,
    /// Up to so much longer; more than the distance of two messages reorders them.
    pub jitter: Duration,
    /// Of 100 datagrams so many are lost.
    pub loss: u32,
    /// Of 100 datagrams so many arrive twice.
    pub doubled: u32,
}

/// A message on its way.
#[derive(Debug, Clone)]
pub enum Flight {
    /// SIP to the proxy or from it.
    Sip(SipFlight),
    /// A datagram of media.
    Media {
        /// Sender.
        from: SocketAddr,
        /// Receiver.
        to: SocketAddr,
        /// All of it.
        bytes: Vec<u8>,
    },
}

/// A SIP message on its way.
#[derive(Debug, Clone)]
pub struct SipFlight {
    /// The transport.
    pub protocol: Protocol,
    /// The phone's address, whichever the direction.
    pub phone: SocketAddr,
    /// Whether it goes to the proxy.
    pub to_proxy: bool,
    /// The stream, if it is one.
    pub connection: Option<ConnectionId>,
    /// The proxy's name for it.
    pub token: SendToken,
    /// The message.
    pub bytes: Bytes,
}

/// Loses the datagrams for which it holds.
type Filter = Box<dyn FnMut(&SipFlight) -> bool>;

/// Everything in flight.
#[allow(missing_debug_implementations)]
pub struct Network {
    /// The weather of SIP where no link says otherwise.
    pub sip: Link,
    /// The weather of media where no link says otherwise.
    pub media: Link,
    /// Phones with a line of their own, by address.
    pub links: HashMap<IpAddr, Link>,
    loses: Option<Filter>,
    /// SIP datagrams sent so far.
    pub sip_datagrams: usize,
    flights: BTreeMap<(Instant, u64), Flight>,
    order: u64,
    rng: StdRng,
}

impl Network {
    /// A network without loss and delay.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            sip: Link::default(),
            media: Link::default(),
            links: HashMap::new(),
            loses: None,
            sip_datagrams: 0,
            flights: BTreeMap::new(),
            order: 0,
            rng: StdRng::seed_from_u64(seed),
        }
    }

    /// From now on loses every SIP datagram for which `filter` holds, besides what the weather takes.
    pub fn lose(&mut self, filter: impl FnMut(&SipFlight) -> bool + 'static) {
        self.loses = Some(Box::new(filter));
    }

    /// Loses nothing on purpose any more.
    pub fn lose_nothing(&mut self) {
        self.loses = None;
    }

    /// Sends a SIP message. Returns whether it will arrive.
    pub fn send_sip(&mut self, now: Instant, flight: SipFlight) -> bool {
        let link = self.link(flight.phone, self.sip);
        if flight.protocol.is_reliable() {
            self.launch(now + link.latency, Flight::Sip(flight));
            return true;
        }
        self.sip_datagrams += 1;
        if self.loses.as_mut().is_some_and(|filter| filter(&flight)) {
            return false;
        }
        self.send_datagram(now, link, Flight::Sip(flight))
    }

    /// Sends a datagram of media; `phone` is the end of it that is no relay.
    pub fn send_media(
        &mut self,
        now: Instant,
        phone: SocketAddr,
        from: SocketAddr,
        to: SocketAddr,
        bytes: Vec<u8>,
    ) {
        let link = self.link(phone, self.media);
        self.send_datagram(now, link, Flight::Media { from, to, bytes });
    }

    /// When the next message arrives.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.flights.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes out a message that has arrived.
    pub fn arrived(&mut self, now: Instant) -> Option<Flight> {
        self.flights.first_key_value().filter(|((at, _), _)| *at <= now)?;
        self.flights.pop_first().map(|(_, flight)| flight)
    }

    fn link(&self, phone: SocketAddr, usual: Link) -> Link {
        self.links.get(&phone.ip()).copied().unwrap_or(usual)
    }

    fn send_datagram(&mut self, now: Instant, link: Link, flight: Flight) -> bool {
        let mut copies = 0;
        if self.rng.random_range(0..100) >= link.loss {
            copies += 1;
            copies += u32::from(self.rng.random_range(0..100) < link.doubled);
        }
        for _ in 0..copies {
            let jitter = match link.jitter.as_micros() as u64 {
                0 => 0,
                jitter => self.rng.random_range(0..jitter),
            };
            self.launch(now + link.latency + Duration::from_micros(jitter), flight.clone());
        }
        copies > 0
    }

    fn launch(&mut self, at: Instant, flight: Flight) {
        self.order += 1;
        self.flights.insert((at, self.order), flight);
    }
}
