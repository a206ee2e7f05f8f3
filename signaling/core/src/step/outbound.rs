//! Requests for elsewhere, and where a URI leads (the part of RFC 3263 that needs no names).

use std::net::SocketAddr;
use std::ops::ControlFlow;

use super::{Incoming, Target, Verdict, auth};
use crate::alias::{self, Alias};
use crate::event::Event;
use crate::flow::{Destination, Protocol};
use crate::message::{Method, Name, StatusCode, Uri};
use crate::outside::Lookup;
use crate::settings::normal_host;
use crate::step::nat::protocol_of;
use crate::world::World;

/// Sends a request for a foreign domain there, if its sender is a proved user of ours: anything else would be an open
/// relay. A request for a local domain goes on along the route.
pub async fn relay(world: &World, incoming: &mut Incoming) -> ControlFlow<Verdict> {
    // The routes of a request that begins something are its sender's wish; where it goes is decided here.
    incoming.message.remove(Name::Route);
    let Ok(uri) = incoming.message.uri() else {
        return ControlFlow::Break(incoming.refuse(world, StatusCode::BAD_REQUEST, "Bad Request-URI"));
    };
    let local = is_local(world, uri);
    // Strangers may call our users and write to them. What makes a phone call somebody (RFC 3515) or restart and fetch its
    // configuration (NOTIFY of `check-sync`) is not for them.
    let commands = matches!(incoming.method(), Method::Refer | Method::Notify);
    if local && (!commands || auth::is_known(incoming)) {
        return ControlFlow::Continue(());
    }
    if !auth::is_known(incoming) || *incoming.method() == Method::Register {
        return ControlFlow::Break(incoming.refuse(world, StatusCode::FORBIDDEN, "Not relaying"));
    }
    ControlFlow::Break(send(world, incoming, uri).await)
}

/// Sends a request there whose Request-URI has become one of elsewhere. One for a local domain goes on along the route.
pub async fn elsewhere(world: &World, incoming: &Incoming) -> ControlFlow<Verdict> {
    match incoming.message.uri() {
        Ok(uri) if !is_local(world, uri) => ControlFlow::Break(send(world, incoming, uri).await),
        _ => ControlFlow::Continue(()),
    }
}

/// Sends a request by way of `next_hop`, wherever its Request-URI leads.
pub async fn by_way_of(world: &World, incoming: &Incoming, next_hop: &Uri) -> Verdict {
    let hops = next_hops(world, next_hop).await;
    match incoming.message.uri() {
        Ok(uri) => to_first(world, incoming, uri.clone(), hops),
        Err(_) => incoming.refuse(world, StatusCode::BAD_REQUEST, "Bad Request-URI"),
    }
}

async fn send(world: &World, incoming: &Incoming, uri: &Uri) -> Verdict {
    let (uri, hops) =
        match alias::take(uri.as_str()).map(|taken| taken.map(|(uri, at)| (Uri::parse(&uri), at))) {
            Ok(None) => {
                let hops = next_hops(world, uri).await;
                (uri.clone(), hops)
            }
            Ok(Some((Ok(uri), at))) => (uri, aliased(world, at).into_iter().collect()),
            Ok(Some((Err(_), _))) | Err(_) => {
                return incoming.refuse(world, StatusCode::BAD_REQUEST, "Bad Request-URI");
            }
        };
    to_first(world, incoming, uri, hops)
}

fn to_first(world: &World, incoming: &Incoming, uri: Uri, hops: Vec<Destination>) -> Verdict {
    match Target::by_way_of(world, uri, hops) {
        Some(target) => Verdict::Relay(vec![target]),
        None => {
            let status = StatusCode::new(478).unwrap_or(StatusCode::SERVER_INTERNAL_ERROR);
            incoming.refuse(world, status, "Unresolvable destination")
        }
    }
}

/// Where the alias of a Contact leads outside of the dialog that showed it. Whoever is transferred is given the Contact of
/// the other end of a call in Refer-To (RFC 3515), and in no other way does it lead to a browser, or behind a NAT. A proved
/// user who makes an alias up gets no further than with an address in the Request-URI.
fn aliased(world: &World, alias: Alias) -> Option<Destination> {
    let Alias { protocol, remote } = alias;
    let usable = remote.port() != 0 && world.settings.listener(protocol, remote.ip()).is_some();
    usable.then_some(Destination::Address { protocol, remote })
}

/// Whether a URI is for us: a name of ours, and no port that is not.
pub(super) fn is_local(world: &World, uri: &Uri) -> bool {
    world.local_domain(uri.host()).is_some()
        && (uri.port().is_none() || world.is_myself(uri.host(), uri.port()))
}

/// Where a URI leads, best first: the later ones are for when the earlier ones fail (RFC 3263 §4.3). Empty when nobody can
/// tell, and for a WebSocket client, which cannot be dialled. A name under `.invalid` is a browser's and never looked up
/// (RFC 7118 §5, RFC 2606).
pub async fn next_hops(world: &World, uri: &Uri) -> Vec<Destination> {
    let Some((secure, protocol)) = transport_of(uri) else { return Vec::new() };
    let host = uri.param("maddr").unwrap_or(uri.host());
    if let Some(ip) = normal_host(host).parse().ok().or_else(|| uri.host_ip()) {
        let protocol = protocol.unwrap_or(if secure { Protocol::Tls } else { Protocol::Udp });
        let port = uri.port().unwrap_or(if protocol == Protocol::Tls { 5061 } else { 5060 });
        let usable = port != 0 && world.settings.listener(protocol, ip).is_some();
        let address = Destination::Address { protocol, remote: SocketAddr::new(ip, port) };
        return usable.then_some(address).into_iter().collect();
    }
    let host = normal_host(host);
    if host == "invalid" || host.ends_with(".invalid") {
        return Vec::new();
    }
    let lookup = Lookup { target: &host, port: uri.port(), transport: protocol, secure };
    let found = match world.outside.resolver.resolve(lookup).await {
        Ok(found) => found,
        Err(error) => {
            world.tell(Event::OutsideFailed { call_id: String::new(), what: error.to_string() });
            return Vec::new();
        }
    };
    let reachable = |(protocol, remote): &(Protocol, SocketAddr)| {
        !protocol.is_websocket()
            && remote.port() != 0
            && world.settings.listener(*protocol, remote.ip()).is_some()
    };
    found
        .into_iter()
        .filter(reachable)
        .map(|(protocol, remote)| Destination::Address { protocol, remote })
        .collect()
}

/// Whether a URI is secure, and the transport it names (RFC 3263 §4.1). `None` when it cannot be followed: by a WebSocket,
/// which only its client opens, by a transport not spoken here, or securely over datagrams.
fn transport_of(uri: &Uri) -> Option<(bool, Option<Protocol>)> {
    let secure = uri.as_str().get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("sips:"));
    let protocol = match uri.transport() {
        Some(token) => Some(protocol_of(token)?),
        None => None,
    };
    match protocol {
        Some(protocol) if protocol.is_websocket() => None,
        Some(Protocol::Udp) if secure => None,
        Some(Protocol::Tcp) if secure => Some((secure, Some(Protocol::Tls))),
        protocol => Some((secure, protocol)),
    }
}
