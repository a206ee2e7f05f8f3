//! Requests too long for a datagram (RFC 3261 §18.1.1): IP fragments get lost in NATs and firewalls, and with one of them the
//! whole request, each time it is sent again.
//!
//! What goes over UDP is first written in compact form. If that is not enough, and the URI leaves the choice, it goes over
//! TCP to the same place, and back to UDP if that is refused, as the RFC has it for peers of old. A registered phone is only
//! reached over its flow: there what it can do without is left out, and then it is sent as it is.

use super::relay::{self, Branch};
use super::{Incoming, Target};
use crate::flow::{Destination, Protocol};
use crate::message::header::Route;
use crate::message::{Method, Name, Request};
use crate::topology::topos::Topos;
use crate::world::World;

/// Makes the request fit, or its way.
pub(super) fn fit(world: &World, incoming: &Incoming, branch: &mut Branch) {
    let settings = &world.settings.udp;
    let fits = |message: &Request| settings.mtu == 0 || sent_len(world, message) <= settings.mtu;
    if relay::protocol_of(&branch.target.destination) != Protocol::Udp || fits(&branch.message) {
        return;
    }
    let mut compact = branch.message.clone();
    compact.compact();
    if fits(&compact) {
        branch.message = compact;
        return;
    }
    if let Some(tcp) = over_tcp(world, branch) {
        world.stats.borrow_mut().tcp_for_size += 1;
        let Branch { message, target, name, .. } = branch;
        let alternatives = std::mem::take(&mut target.alternatives);
        let datagrams = Target { tcp_failed: true, ..target.clone() };
        target.alternatives = std::iter::once(datagrams).chain(alternatives).collect();
        target.tcp_for_size = true;
        (target.destination, target.local) = (tcp, world.local_of(&tcp));
        relay::readdress(world, incoming, target, message, name);
        return;
    }
    branch.message = compact;
    for name in &settings.mtu_strip {
        branch.message.remove(Name::of(name));
    }
    if !fits(&branch.message) {
        let mut stats = world.stats.borrow_mut();
        stats.fragmented += 1;
        tracing::debug!(call_id = branch.message.call_id(), size = branch.message.sent_len(), "IP fragments");
    }
}

/// How long it will be when it leaves: masks are longer than what they hide, and what is stripped is not sent.
fn sent_len(world: &World, message: &Request) -> usize {
    let Some(topoh) = world.topoh() else { return message.sent_len() };
    let mut masked = message.clone();
    match world.topos {
        Some(_) => Topos::strip(&mut masked),
        None => topoh.mask_request(&mut masked),
    }
    if topoh.mask_callid {
        topoh.mask_call_id_of(&mut masked);
    }
    masked.sent_len()
}

/// The TCP side of the next hop, where it may have one: not when the URI demands UDP, nor when TCP was refused there
/// lately. An ACK belongs to no transaction that could try again.
fn over_tcp(world: &World, branch: &Branch) -> Option<Destination> {
    let Destination::Address { protocol: Protocol::Udp, remote } = branch.target.destination else {
        return None;
    };
    let route = branch.message.get::<Route<'_>>().ok().flatten().and_then(|route| route.uri().ok());
    let uri = route.as_ref().unwrap_or(&branch.target.uri);
    let usable = world.settings.udp.mtu_try_tcp
        && uri.transport().is_none()
        && *branch.message.method() != Method::Ack
        && world.settings.listener(Protocol::Tcp, remote.ip()).is_some()
        && !branch.target.tcp_failed
        && !world.refuses_tcp(remote);
    usable.then_some(Destination::Address { protocol: Protocol::Tcp, remote })
}
