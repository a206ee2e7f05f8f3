//! The edge of other domains (RFC 5626 §5): their browsers and phones come here, their registrar stands behind us.
//!
//! A REGISTER goes on to it with a Path (RFC 3327) whose user part is a flow token. What the registrar has for that contact comes
//! along the Path, and goes over that flow or not at all. Whatever else is for such a domain, or from it, goes to the registrar
//! as well, who asks for passwords and decides; it gets no further through us, so that nothing is opened to strangers.

use std::ops::ControlFlow;

use super::{Incoming, Target, Verdict, outbound, registrar};
use crate::flow::{Destination, Flow, Protocol};
use crate::flow_token;
use crate::location::EdgeUser;
use crate::message::header::{Contact, Route, Via};
use crate::message::{Method, Name, Request, Response, StatusCode, Uri};
use crate::settings::{Edge, normal_host};
use crate::step::relay::{protocol_of, transport_parameter};
use crate::world::World;

/// What the tokens of our Path are for.
const PURPOSE: &str = "edge";

/// The option of RFC 3327.
const PATH: &str = "path";

/// Sends what belongs to a domain that has its registrar behind us there, and what comes from there to its flow.
pub async fn forward(world: &World, incoming: &mut Incoming) -> ControlFlow<Verdict> {
    if world.settings.edge.is_empty() {
        return ControlFlow::Continue(());
    }
    let Ok(uri) = incoming.message.uri().cloned() else { return ControlFlow::Continue(()) };
    // Its Routes go.
    let _ = incoming.seal(world);
    if let Some(flow) = flow_of(world, incoming) {
        incoming.message.remove_first_value(Name::Route);
        let target = Target { by_token: true, ..Target::new(world, uri, Destination::Flow(flow)) };
        return ControlFlow::Break(Verdict::Relay(vec![target]));
    }
    let Some(edge) = edge_of(world, incoming, &uri) else { return ControlFlow::Continue(()) };
    // As in `outbound`: where it goes is decided here.
    incoming.message.remove(Name::Route);
    let hops = match Uri::parse(&edge.registrar) {
        Ok(registrar) => outbound::next_hops(world, &registrar).await,
        Err(_) => Vec::new(),
    };
    ControlFlow::Break(match Target::by_way_of(world, uri, hops) {
        Some(target) => Verdict::Relay(vec![target]),
        None => incoming.refuse(world, StatusCode::SERVER_TIMEOUT, "No way to the registrar"),
    })
}

/// Whether a REGISTER is for a registrar behind us.
#[must_use]
pub fn is_edge(world: &World, uri: &Uri) -> bool {
    world.settings.edge(uri.host()).is_some()
}

/// The flow that the topmost Route names.
fn flow_of(world: &World, incoming: &Incoming) -> Option<Flow> {
    let route = incoming.message.get::<Route<'_>>().ok()??.uri().ok()?;
    flow_token::read(&world.settings.secret, PURPOSE, route.user()?)
}

/// The domain that a request is for, or that it is from where it is for nobody here.
fn edge_of<'w>(world: &'w World, incoming: &Incoming, uri: &Uri) -> Option<&'w Edge> {
    let to = world.settings.edge(uri.host());
    if to.is_some() || *incoming.method() == Method::Register || outbound::is_local(world, uri) {
        return to;
    }
    world.settings.edge(incoming.message.from_header().ok()?.uri().ok()?.host())
}

/// Puts our Path on a REGISTER that goes on to `target`. Whether its user agent knows of Path does not matter, for it is we who
/// want it; `ob` promises what only the first hop can keep (RFC 5626 §5.1).
pub fn add_path(world: &World, incoming: &Incoming, target: &Target, message: &mut Request) {
    let protocol: Protocol = protocol_of(&target.destination);
    let token = flow_token::make(&world.settings.secret, PURPOSE, &incoming.flow);
    let (sent_by, transport) = (world.sent_by(protocol, target.local), transport_parameter(protocol));
    let first_hop = incoming.message.all::<Via<'_>>().count() == 1;
    let outbound = incoming.message.has_token(Name::Supported, "outbound") && registrar::has_reg_id(incoming);
    let ob = if first_hop && outbound { ";ob" } else { "" };
    message.prepend(Name::Path, format!("<sip:{token}@{sent_by}{transport};lr{ob}>"));
    if !message.has_token(Name::Supported, PATH) {
        message.push(Name::Supported, PATH);
    }
}

/// The registrar has taken a REGISTER that came over a connection: the calls of its sender are there from now on.
pub fn note_registered(world: &World, incoming: &Incoming) {
    let message = &incoming.message;
    let to = message.to_header().ok().and_then(|to| to.uri().ok());
    let contact = message.get::<Contact<'_>>().ok().flatten();
    let Some((to, contact)) = to.zip(contact) else { return };
    let (Some(user), Some(address)) = (to.user_decoded(), contact.address()) else { return };
    // Whoever stands behind another proxy is not at the other end of this connection.
    if message.values(Name::Via).count() != 1 {
        return;
    }
    let instance = contact.instance().unwrap_or_else(|| address.uri_text().into());
    let aor = format!("{user}@{}", normal_host(to.host()));
    let user = EdgeUser { aor: aor.into(), instance: instance.to_ascii_lowercase().into() };
    world.location.note_edge(user, incoming.flow);
}

/// The user of such a domain at the other end of `flow`: address of record and instance.
#[must_use]
pub fn user_on(world: &World, flow: &Flow) -> Option<(String, Box<str>)> {
    let user = world.location.edge_user(flow)?;
    Some((user.aor.into(), user.instance))
}

/// Takes the Path off a response to a REGISTER whose sender has not asked for it.
pub fn hide_path(incoming: &Incoming, response: &mut Response) {
    if *incoming.method() == Method::Register && !incoming.message.has_token(Name::Supported, PATH) {
        response.remove(Name::Path);
    }
}
