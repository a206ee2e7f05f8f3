//! What the transports carry, refuse and lose. Each kind of loss is logged the first time and then ever more rarely: a flood
//! must not fill the disk as well.

use std::sync::atomic::{AtomicU64, Ordering};

use signaling_core::flow::Protocol;

/// One kind of what is refused or lost.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    /// Counts one more; `what` is the line for the log.
    pub(super) fn add(&self, what: &'static str) {
        let count = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        if count.is_power_of_two() {
            tracing::warn!(count, "{what}");
        }
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What went over one transport since the start. A message of a stream or WebSocket is one of SIP, a datagram whatever it
/// holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Connections opened, by either side; 0 for UDP.
    pub connections: u64,
    /// Messages that came.
    pub received: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Messages that were written.
    pub sent: u64,
    /// Their bytes.
    pub sent_bytes: u64,
}

#[derive(Debug, Default)]
pub(super) struct TrafficCounters {
    connections: AtomicU64,
    received: AtomicU64,
    received_bytes: AtomicU64,
    sent: AtomicU64,
    sent_bytes: AtomicU64,
}

impl TrafficCounters {
    pub(super) fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn received(&self, messages: usize, bytes: usize) {
        self.received.fetch_add(messages as u64, Ordering::Relaxed);
        self.received_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn sent(&self, messages: usize, bytes: usize) {
        self.sent.fetch_add(messages as u64, Ordering::Relaxed);
        self.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn read(&self) -> Traffic {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Traffic {
            connections: of(&self.connections),
            received: of(&self.received),
            received_bytes: of(&self.received_bytes),
            sent: of(&self.sent),
            sent_bytes: of(&self.sent_bytes),
        }
    }
}

macro_rules! counters {
    ($($(#[$about:meta])* $name:ident,)*) => {
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub(super) $name: Counter,)*
            pub(super) completed_handshakes: AtomicU64,
            traffic: [TrafficCounters; 5],
        }

        /// Totals since the start.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct TransportStats {
            $($(#[$about])* pub $name: u64,)*
            /// Connections that are open now: streams and WebSockets of SIP.
            pub open_connections: usize,
            /// Datagrams dropped because their worker was busy.
            pub dropped_datagrams: u64,
            /// TLS handshakes of peers that have connected, completed.
            pub completed_handshakes: u64,
            traffic: [Traffic; 5],
        }

        impl Counters {
            pub(super) fn read(&self, open_connections: usize, dropped_datagrams: u64) -> TransportStats {
                let traffic = self.traffic.each_ref().map(TrafficCounters::read);
                let completed_handshakes = self.completed_handshakes.load(Ordering::Relaxed);
                TransportStats {
                    $($name: self.$name.read(),)*
                    open_connections,
                    dropped_datagrams,
                    completed_handshakes,
                    traffic,
                }
            }
        }
    };
}

counters! {
    /// Connections closed at once, or not opened, because there are too many.
    refused_connections,
    /// Connections closed because too many have not finished their handshake.
    refused_handshakes,
    /// Handshakes that failed or took too long.
    failed_handshakes,
    /// Connections closed because the reverse proxy that they came from did not say by the PROXY protocol from whom they are.
    bad_proxy_headers,
    /// Connections closed because their peer did not read what was sent.
    slow_readers,
    /// Connections closed because nothing came for too long, or half a message.
    idle_connections,
    /// Datagrams that the kernel would not take, lost as on a wire.
    unsent_datagrams,
}

impl Counters {
    pub(super) fn of(&self, protocol: Protocol) -> &TrafficCounters {
        &self.traffic[place(protocol)]
    }
}

impl TransportStats {
    /// What went over `protocol`.
    #[must_use]
    pub const fn traffic(&self, protocol: Protocol) -> Traffic {
        self.traffic[place(protocol)]
    }
}

const fn place(protocol: Protocol) -> usize {
    match protocol {
        Protocol::Udp => 0,
        Protocol::Tcp => 1,
        Protocol::Tls => 2,
        Protocol::Ws => 3,
        Protocol::Wss => 4,
    }
}
