//! Request forwarding (RFC 3261 §16.6): from a target to the message that goes there.

use super::{Incoming, Target, edge, media, reliable, renumber, size};
use crate::dispatcher::Algorithm;
use crate::flow::{Destination, Flow, Protocol};
use crate::flow_token;
use crate::message::digits::decimal;
use crate::message::{Method, Name, Request, StatusCode};
use crate::topology::call_id::{came_masked, plain_branch};
use crate::world::World;

/// What our branches begin with: the cookie of RFC 3261, and a mark of ours. The seal of the request follows, so that
/// a loop is recognized (§16.6 step 8), and what proves a spiral.
pub const BRANCH_PREFIX: &str = "z9hG4bKcw";

/// A request ready to be sent to one target.
#[derive(Debug)]
pub struct Branch {
    /// The message with our Via on top.
    pub message: Request,
    /// Where it goes.
    pub target: Target,
    /// The branch parameter of our Via.
    pub name: String,
    /// How many branches it may become further on (RFC 5393 §5).
    pub breadth: u32,
    /// What the relay knows of it; `None` when no media is involved.
    pub media: Option<media::Session>,
}

/// Names the dialog of the caller `tag`, as only workers with the same key can. `call_id` is that of [`Incoming::call_id`].
#[must_use]
pub fn dialog_seal(world: &World, call_id: &str, tag: &str) -> String {
    world.seal([b"did".as_slice(), call_id.as_bytes(), tag.as_bytes()])
}

/// The `did` of our Record-Route in the dialogs of the caller `tag`: the seal, and behind a dot the mark of the pass. `call_id`
/// is that of [`Incoming::call_id`].
#[must_use]
pub fn did_of(world: &World, call_id: &str, tag: &str) -> String {
    let seal = dialog_seal(world, call_id, tag);
    match call_id.split_once(' ') {
        Some((_, mark)) => format!("{seal}.{mark}"),
        None => seal,
    }
}

fn did(world: &World, incoming: &Incoming) -> String {
    did_of(world, incoming.call_id(), incoming.message.from_tag().unwrap_or_default())
}

/// Whether a Record-Route value is one that we have written in the pass with this mark.
#[must_use]
pub fn is_recorded_here(value: &[u8], pass: Option<&str>) -> bool {
    let Some(at) = memchr::memmem::find(value, b";did=") else { return false };
    let did = &value[at + 5..];
    let did = &did[..memchr::memchr2(b';', b'>', did).unwrap_or(did.len())];
    let mark = memchr::memchr(b'.', did).map(|dot| &did[dot + 1..]);
    mark == pass.map(str::as_bytes)
}

/// What says in a branch of ours that this very request was let through here, for whatever target: nobody else can make it, and
/// whoever has seen it has the request itself. 8 hexadecimal digits.
#[must_use]
pub fn proof_of_passage(world: &World, message: &Request) -> String {
    let number = message.cseq().map_or(0, |cseq| cseq.number).to_be_bytes();
    let parts = [message.from_tag().unwrap_or_default(), message.call_id(), message.method().as_str()];
    let parts = parts.into_iter().map(str::as_bytes).chain([number.as_slice(), b"passed"]);
    let mut proof = world.seal(parts);
    proof.truncate(8);
    proof
}

/// Makes a branch for each target and has the relay prepare its media. A branch that the relay refuses is left out, and so
/// is one whose every destination is blocklisted; when none is left, that refusal is the error. The branches share
/// `breadth` (RFC 5393 §5.3.3).
pub async fn prepare(
    world: &World,
    incoming: &Incoming,
    targets: Vec<Target>,
    breadth: u32,
) -> Result<Vec<Branch>, (StatusCode, &'static str)> {
    let mut branches = Vec::with_capacity(targets.len());
    let mut refusal = (StatusCode::TEMPORARILY_UNAVAILABLE, "");
    let count = u32::try_from(targets.len()).unwrap_or(u32::MAX);
    for (number, target) in (0..).zip(targets) {
        let share = breadth / count + u32::from(number < breadth % count);
        let Some(target) = usable(world, incoming.method(), target) else {
            // As if it had answered 503, which is not for the caller (RFC 3261 §16.7 step 6).
            refusal = (StatusCode::SERVER_INTERNAL_ERROR, "Destination blocklisted");
            continue;
        };
        let mut branch = branch(world, incoming, target, share);
        match media::offer(world, incoming, &mut branch).await {
            Ok(()) => {
                size::fit(world, incoming, &mut branch);
                branches.push(branch);
            }
            Err(error) => refusal = error,
        }
    }
    if branches.is_empty() { Err(refusal) } else { Ok(branches) }
}

/// The target by its first way that has not failed lately; the further ones stay behind it.
fn usable(world: &World, method: &Method, mut target: Target) -> Option<Target> {
    if world.settings.blst.methods_lookup & method_bit(method) == 0 {
        return Some(target);
    }
    loop {
        match target.destination {
            Destination::Address { protocol, remote }
                if world.blocklist.blocks(world.now(), protocol, remote) => {}
            _ => return Some(target),
        }
        let mut others = std::mem::take(&mut target.alternatives).into_iter();
        target = Target { alternatives: Vec::new(), ..others.next()? };
        target.alternatives = others.collect();
    }
}

/// The bit of a method in Kamailio's masks.
#[must_use]
pub fn method_bit(method: &Method) -> u32 {
    /// Of all methods that have none of their own.
    const OTHER: u32 = 1 << 19;
    super::registrar::method_bit(method.as_str()).unwrap_or(OTHER)
}

/// The copy for one target (RFC 3261 §16.6 steps 1 to 8).
fn branch(world: &World, incoming: &Incoming, target: Target, breadth: u32) -> Branch {
    let mut message = incoming.message.clone();
    message.set_uri(&target.uri);
    message.set(Name::MaxForwards, decimal(incoming.hops.into()));
    reliable::leave_out(&mut message, &target);
    renumber::raise(world, incoming, &mut message);
    for route in target.routes.iter().rev() {
        message.prepend(Name::Route, route);
    }
    let name = branch_name(world, incoming);
    address(world, incoming, &target, &mut message, &name);
    if *incoming.method() != Method::Ack {
        message.set(Name::MaxBreadth, decimal(breadth.into()));
    }
    message.ensure_content_length();
    Branch { message, target, name, breadth, media: None }
}

/// Puts our Record-Route and our Via with this branch on top, for the destination of `target`.
fn address(world: &World, incoming: &Incoming, target: &Target, message: &mut Request, name: &str) {
    let method = message.method();
    let begins =
        matches!(method, Method::Invite | Method::Subscribe | Method::Refer) && !incoming.is_in_dialog();
    if begins || *method == Method::Notify {
        record_route(world, incoming, target, message);
    } else if *method == Method::Register {
        edge::add_path(world, incoming, target, message);
    }
    let protocol = protocol_of(&target.destination);
    // A gateway may ask for less than all (RFC 7339 §5.1).
    let less = target.gateway.is_some() && world.tables().policy.algorithm == Algorithm::Overload;
    let oc = if less { ";oc;oc-algo=\"loss\"" } else { "" };
    let dialled = matches!(target.destination, Destination::Address { .. });
    let flag = match protocol {
        Protocol::Udp => ";rport",
        Protocol::Tls if dialled && world.settings.tls_alias => ";alias",
        _ => "",
    };
    let sent_by = world.sent_by(protocol, target.local);
    let via = ["SIP/2.0/", protocol.via_token(), " ", &*sent_by, ";branch=", name, oc, flag].concat();
    message.prepend(Name::Via, via);
}

/// Makes a message that was addressed to another destination one for the present destination of `target`: Via and
/// Record-Route must say how it goes (RFC 3261 §18.1.1, RFC 3263 §4.3).
pub fn readdress(world: &World, incoming: &Incoming, target: &Target, message: &mut Request, name: &str) {
    message.remove_first_value(Name::Via);
    let ours = message.values(Name::RecordRoute).count();
    let theirs = incoming.message.values(Name::RecordRoute).count();
    for _ in theirs..ours {
        message.remove_first_value(Name::RecordRoute);
    }
    if *message.method() == Method::Register {
        message.remove_first_value(Name::Path);
    }
    address(world, incoming, target, message, name);
}

/// An ACK has no transaction that would repeat it: each copy of it gets the same branch (RFC 3261 §16.11).
fn branch_name(world: &World, incoming: &Incoming) -> String {
    let unique = if *incoming.method() == Method::Ack {
        let via = incoming.message.raw(Name::Via).unwrap_or_default();
        world.seal([b"ack".as_slice(), via])
    } else {
        world.tag()
    };
    let proof =
        if incoming.is_in_dialog() { String::new() } else { proof_of_passage(world, &incoming.message) };
    let name = [BRANCH_PREFIX, incoming.seal(world), &*proof, ".", &*unique].concat();
    let masks = world.topoh().is_some_and(|topoh| topoh.mask_callid);
    if masks && came_masked(&incoming.message) { plain_branch(&name) } else { name }
}

/// Record-Route (RFC 3261 §16.6 step 4): one entry per side where the sides differ, the outgoing one on top, so that each
/// peer sends to an address and transport that it can reach (RFC 5658 §3.3).
fn record_route(world: &World, incoming: &Incoming, target: &Target, message: &mut Request) {
    let did = did(world, incoming);
    let token = |flow: Option<Flow>| {
        // What is a call knows where its ends are. Any other dialog has only what its peers carry (RFC 5626 §5.3).
        let flow = flow.filter(|flow| flow.connection.is_some() && *incoming.method() != Method::Invite);
        flow.map_or(String::new(), |flow| {
            format!("{}@", flow_token::make(&world.settings.secret, &did, &flow))
        })
    };
    let entry = |token: &str, protocol: Protocol, sent_by: &str, double: bool| {
        let (transport, double) = (transport_parameter(protocol), if double { ";r2=on" } else { "" });
        ["<sip:", token, sent_by, transport, double, ";lr;did=", &*did, ">"].concat()
    };
    let (from, to) = (incoming.flow.protocol, protocol_of(&target.destination));
    let (here, there) = (world.sent_by(from, incoming.flow.local), world.sent_by(to, target.local));
    let flow_there = match target.destination {
        Destination::Flow(flow) => Some(flow),
        Destination::Address { .. } => None,
    };
    let (token_here, token_there) = (token(Some(incoming.flow)), token(flow_there));
    // Each side has a token of its own.
    let double = from != to || here != there || !(token_here.is_empty() && token_there.is_empty());
    if double {
        message.prepend(Name::RecordRoute, entry(&token_here, from, &here, true));
    }
    message.prepend(Name::RecordRoute, entry(&token_there, to, &there, double));
}

/// The `transport` parameter of a URI of ours, with its separator; none for UDP.
#[must_use]
pub const fn transport_parameter(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Udp => "",
        Protocol::Tcp => ";transport=tcp",
        Protocol::Tls => ";transport=tls",
        Protocol::Ws | Protocol::Wss => ";transport=ws",
    }
}

/// The transport towards a destination.
#[must_use]
pub const fn protocol_of(destination: &Destination) -> Protocol {
    match destination {
        Destination::Flow(flow) => flow.protocol,
        Destination::Address { protocol, .. } => *protocol,
    }
}
