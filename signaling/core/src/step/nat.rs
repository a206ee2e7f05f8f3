//! Peers that are not where they say: `received` and `rport` (set with the server transaction, RFC 3581), and the
//! contact alias.

use std::net::{IpAddr, SocketAddr};
use std::ops::ControlFlow;

use super::relay::is_recorded_here;
use super::{Incoming, Verdict};
use crate::alias::{self, Alias};
use crate::flow::{Flow, Protocol};
use crate::message::header::{Contact, NameAddr};
use crate::message::{Fields, Name, StatusCode, Uri};
use crate::settings::normal_host;
use crate::world::World;

/// Whether a user agent keeps a call that is not answered yet when its connection is lost. JsSIP ends it by itself, without a
/// word that could reach us: coming back it would not know what is meant.
#[must_use]
pub fn keeps_early(user_agent: Option<&str>) -> bool {
    !user_agent.is_some_and(|user_agent| user_agent.starts_with("JsSIP"))
}

/// A Contact that is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unreadable Contact")]
pub struct BadContact;

/// Makes the Contact of a request lead back over its flow. REGISTER keeps its Contact: the binding holds the flow.
pub fn detect(world: &World, incoming: &mut Incoming) -> ControlFlow<Verdict> {
    if *incoming.method() == crate::message::Method::Register {
        return ControlFlow::Continue(());
    }
    // Behind another proxy that one is the next hop, and the Contact its business.
    if incoming.message.values(Name::Via).count() > 1 || incoming.message.contains(Name::RecordRoute) {
        return ControlFlow::Continue(());
    }
    let flow = incoming.flow;
    match add_contact_alias(world, &mut incoming.message, &flow) {
        Ok(()) => ControlFlow::Continue(()),
        Err(BadContact) => ControlFlow::Break(incoming.refuse(world, StatusCode::BAD_REQUEST, "Bad Contact")),
    }
}

/// Puts the alias on every Contact that does not name the peer's end of `flow`.
pub fn add_contact_alias(world: &World, message: &mut Fields, flow: &Flow) -> Result<(), BadContact> {
    alias_contacts(message, flow, |uri| is_own_gruu(world, uri))
}

fn alias_contacts(
    message: &mut Fields,
    flow: &Flow,
    is_own_gruu: impl Fn(&Uri) -> bool,
) -> Result<(), BadContact> {
    let mut result = Ok(());
    message.edit_values(Name::Contact, |value| {
        let aliased = aliased(value, flow, &is_own_gruu);
        result = result.and(aliased.as_ref().map(|_| ()).map_err(|error| *error));
        aliased.ok().flatten()
    });
    result
}

/// A Contact value with the alias; `None` where it needs none.
fn aliased(
    value: &[u8],
    flow: &Flow,
    is_own_gruu: impl Fn(&Uri) -> bool,
) -> Result<Option<Vec<u8>>, BadContact> {
    if value.trim_ascii() == b"*" {
        return Ok(None);
    }
    let address = NameAddr::parse("Contact", value).map_err(|_| BadContact)?;
    let uri = address.uri().map_err(|_| BadContact)?;
    // A GRUU of ours leads back by itself, for as long as its instance is registered (RFC 5627 §3.1).
    if !uri.is_sip() || names_peer(&uri, flow) || is_own_gruu(&uri) {
        return Ok(None);
    }
    let aliased = alias::add(uri.as_str(), Alias::of(flow));
    Ok(Some(address.with_uri(value, &aliased)))
}

/// Whether a response comes from a user agent right behind us: no proxy has recorded itself after us. `pass` is that of the
/// request.
#[must_use]
pub fn is_next_hop(response: &Fields, pass: Option<&str>) -> bool {
    let top = response.values(Name::RecordRoute).next();
    top.is_none_or(|top| is_recorded_here(top, pass))
}

/// The Contact URI of a message without alias: the remote target of the dialog.
#[must_use]
pub fn contact_uri(message: &Fields) -> Option<String> {
    let contact = message.get::<Contact<'_>>().ok().flatten()?;
    Some(alias::strip(contact.address()?.uri_text()))
}

/// Whether a URI is a GRUU that was given out here.
#[must_use]
pub fn is_own_gruu(world: &World, uri: &Uri) -> bool {
    uri.params().contains("gr") && world.local_domain(uri.host()).is_some()
}

/// Whether a URI names the peer's end of a flow, so that it can be reached without an alias.
fn names_peer(uri: &Uri, flow: &Flow) -> bool {
    let transport = match uri.transport() {
        None if uri.as_str().starts_with("sips:") => Some(Protocol::Tls),
        None => Some(Protocol::Udp),
        Some(token) => protocol_of(token),
    };
    let port = uri.port().unwrap_or(if transport == Some(Protocol::Tls) { 5061 } else { 5060 });
    transport == Some(flow.protocol) && uri.host_ip() == Some(flow.remote.ip()) && port == flow.remote.port()
}

/// Where a Contact says that its owner is, unless the request that brought it over `flow` shows a NAT between: the tests 1, 2
/// and 16 of Kamailio's `nat_uac_test`. A private address is none when the request came from it, and a name proves nothing.
#[must_use]
pub fn said_by_contact(
    world: &World,
    message: &Fields,
    flow: &Flow,
    contact: &Uri,
) -> Option<(SocketAddr, Protocol)> {
    let (ip, source) = (contact.host_ip()?, flow.remote);
    let via = message.top_via().ok()?;
    let via_says_so = normal_host(via.host()).parse() == Ok(source.ip().to_canonical())
        && via.port().unwrap_or(5060) == source.port();
    if !via_says_so || (is_private(ip) && ip != source.ip()) || contact.params().contains("maddr") {
        return None;
    }
    let protocol = contact.transport().map_or(Some(Protocol::Udp), protocol_of)?;
    let secure = contact.as_str().get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("sips:"));
    let port = contact.port().unwrap_or(if protocol == Protocol::Tls { 5061 } else { 5060 });
    let usable = !secure && !protocol.is_websocket() && port != 0;
    let usable = usable && world.settings.listener(protocol, ip).is_some();
    usable.then_some((SocketAddr::new(ip, port), protocol))
}

/// Whether an address means something in its own network alone (RFC 1918, RFC 6598, RFC 3927, RFC 4193, RFC 4291).
fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            ip.is_private() || ip.is_link_local() || ip.is_loopback() || ip.is_unspecified() || shared
        }
        IpAddr::V6(ip) => {
            ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_loopback() || ip.is_unspecified()
        }
    }
}

/// The transport that a `transport` parameter names; of the WebSocket ones only the plain one has a name (RFC 7118 §5).
#[must_use]
pub fn protocol_of(token: &str) -> Option<Protocol> {
    [Protocol::Udp, Protocol::Tcp, Protocol::Tls, Protocol::Ws, Protocol::Wss]
        .into_iter()
        .find(|protocol| protocol.via_token().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::ConnectionId;
    use crate::message::Message;

    fn is_local_gruu(uri: &Uri) -> bool {
        uri.params().contains("gr") && uri.host() == "localhost"
    }

    fn aliased(contact: &str, protocol: Protocol) -> String {
        let text = format!(
            "OPTIONS sip:b@sip.example SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n\
             To: <sip:b@sip.example>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\nContact: {contact}\r\n\r\n"
        );
        let Ok(Message::Request(mut request)) = Message::parse(text.into_bytes().into()) else {
            panic!("a request")
        };
        let flow = Flow {
            protocol,
            local: "192.0.2.1:5060".parse().expect("address"),
            remote: "198.51.100.7:5062".parse().expect("address"),
            connection: protocol.is_reliable().then_some(ConnectionId(1)),
        };
        alias_contacts(&mut request, &flow, is_local_gruu).expect("a contact");
        request.text(Name::Contact).expect("Contact").to_owned()
    }

    /// Each of ten thousand Contacts is looked at, and none of them for each of the others.
    #[test]
    fn many_contacts_cost_what_they_are_long() {
        let text = format!(
            "OPTIONS sip:b@sip.example SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n\
             To: <sip:b@sip.example>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\nContact: {}<sip:a@b>\r\n\r\n",
            "<sip:a@b>,".repeat(10_000)
        );
        let limits = crate::message::Limits { message: 1 << 20, line: 1 << 20, ..Default::default() };
        let length = text.len() as u64;
        let Ok(Message::Request(mut request)) = Message::parse_with(text.into_bytes().into(), &limits) else {
            panic!("a request")
        };
        let flow = Flow {
            protocol: Protocol::Udp,
            local: "192.0.2.1:5060".parse().expect("address"),
            remote: "198.51.100.7:5062".parse().expect("address"),
            connection: None,
        };
        let steps = crate::message::scan::steps::of(|| {
            alias_contacts(&mut request, &flow, is_local_gruu).expect("contacts");
        });
        assert!(steps <= 24 * length, "{steps} steps for {length} bytes");
        assert!(request.values(Name::Contact).all(|value| value.ends_with(b";alias=198.51.100.7~5062~1>")));
    }

    #[test]
    fn only_contacts_that_mislead_get_an_alias() {
        let wss = "<sip:x@a.invalid;transport=ws;alias=198.51.100.7~5062~6>;expires=5";
        let nat = "<sip:a@10.0.0.1:5060;alias=198.51.100.7~5062~1>;q=1";
        for (contact, protocol, expected) in [
            ("<sip:x@a.invalid;transport=ws>;expires=5", Protocol::Wss, wss),
            ("sip:a@10.0.0.1:5060;q=1", Protocol::Udp, nat),
            ("<sip:a@198.51.100.7:5062>", Protocol::Udp, "<sip:a@198.51.100.7:5062>"),
            (
                "<sip:a@198.51.100.7:5062;transport=tcp>",
                Protocol::Tcp,
                "<sip:a@198.51.100.7:5062;transport=tcp>",
            ),
            ("*", Protocol::Wss, "*"),
            ("<sip:a@localhost;gr=urn:uuid:1>", Protocol::Wss, "<sip:a@localhost;gr=urn:uuid:1>"),
            (
                "<sip:a@elsewhere.example;gr>",
                Protocol::Tcp,
                "<sip:a@elsewhere.example;gr;alias=198.51.100.7~5062~2>",
            ),
        ] {
            assert_eq!(aliased(contact, protocol), expected);
        }
    }
}
