//! What the transports refuse and lose. Each kind is logged the first time and then ever more rarely: a flood must not fill the
//! disk as well.

use std::sync::atomic::{AtomicU64, Ordering};

/// One kind.
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

macro_rules! counters {
    ($($(#[$about:meta])* $name:ident,)*) => {
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub(super) $name: Counter,)*
        }

        /// Totals since the start.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct TransportStats {
            $($(#[$about])* pub $name: u64,)*
        }

        impl Counters {
            pub(super) fn read(&self) -> TransportStats {
                TransportStats { $($name: self.$name.read(),)* }
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
    /// Connections closed because their peer did not read what was sent.
    slow_readers,
    /// Connections closed because nothing came for too long, or half a message.
    idle_connections,
    /// Datagrams that the kernel would not take, lost as on a wire.
    unsent_datagrams,
}
