//! One worker's whole world: messages in, messages out, and the time at which to wake it.
//!
//! Four kinds of methods. `handle_*` takes what came in, `poll_*` gives what must go out, `begin_shutdown` commands,
//! `is_idle` tells. After any of them the caller drains `poll_transmit` and `poll_event`, then waits until
//! `poll_timeout`, the next message, or a wake-up of the context given to `poll_routes`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Context;
use std::time::Instant;

use crate::event::Event;
use crate::flow::{ConnectionId, Inbound, Outbound, SendToken};
use crate::location::Location;
use crate::outside::Outside;
use crate::settings::Settings;

/// The proxy and registrar of one worker thread. A call lives here from its INVITE to its BYE.
#[allow(missing_debug_implementations)]
pub struct Proxy {
    settings: Arc<Settings>,
    location: Arc<Location>,
    outside: Outside,
    transmits: VecDeque<Outbound>,
    events: VecDeque<Event>,
}

impl Proxy {
    /// A worker that knows no call yet. `seed` is secret and different in every worker; `unix_now` is the wall-clock
    /// time at `now`, in seconds since 1970.
    #[must_use]
    pub fn new(
        settings: Arc<Settings>,
        location: Arc<Location>,
        outside: Outside,
        seed: [u8; 32],
        now: Instant,
        unix_now: u64,
    ) -> Self {
        let _ = (seed, now, unix_now);
        Self { settings, location, outside, transmits: VecDeque::new(), events: VecDeque::new() }
    }

    /// A message came.
    pub fn handle_inbound(&mut self, now: Instant, inbound: Inbound) {
        let _ = (now, inbound, &self.settings, &self.outside);
    }

    /// An [`Outbound`] with this token could not be sent.
    pub fn handle_send_failure(&mut self, now: Instant, token: SendToken) {
        let _ = (now, token);
    }

    /// A connection closed. Every worker is told of every connection.
    pub fn handle_flow_closed(&mut self, now: Instant, connection: ConnectionId) {
        let _ = (now, self.location.connection_lost(connection));
    }

    /// The time of [`Proxy::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    /// Advances the requests that wait for [`Outside`].
    pub fn poll_routes(&mut self, now: Instant, cx: &mut Context<'_>) {
        let _ = (now, cx);
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<Outbound> {
        self.transmits.pop_front()
    }

    /// The next thing to tell.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`Proxy::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Ends every call with a BYE to both ends and refuses what is yet to come with 503.
    pub fn begin_shutdown(&mut self, now: Instant) {
        let _ = now;
    }

    /// After [`Proxy::begin_shutdown`]: whether all has been said.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        true
    }
}
