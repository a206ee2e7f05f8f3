//! The contacts that a REGISTER names.

use std::net::SocketAddr;

use super::{Way, method_bit};
use crate::flow::Protocol;
use crate::gruu::{self, Gruu};
use crate::location::Changes;
use crate::message::header::{Contact, Expires, NameAddr};
use crate::message::{Name, StatusCode, Uri};
use crate::outside::{BindingRow, StoredBinding};
use crate::step::{Incoming, Verdict, local_aor, nat};
use crate::world::World;

/// What the REGISTER asks for (RFC 3261 §10.3 steps 6 and 7); `None` when it only asks.
pub(super) fn changes(
    world: &World,
    incoming: &Incoming,
    way: &Way,
    now: u64,
) -> Result<Option<Changes>, Verdict> {
    let bad = |reason| incoming.refuse(world, StatusCode::BAD_REQUEST, reason);
    let default_expires = match incoming.message.get::<Expires>() {
        Ok(expires) => expires.map(|expires| expires.0),
        // A malformed value counts as the default (RFC 3261 §20.19).
        Err(_) => None,
    };
    let contacts: Result<Vec<Contact<'_>>, _> = incoming.message.all::<Contact<'_>>().collect();
    let contacts = contacts.map_err(|_| bad("Bad Contact"))?;
    if contacts.is_empty() {
        return Ok(None);
    }
    if contacts.contains(&Contact::Star) {
        if contacts.len() > 1 || default_expires != Some(0) {
            return Err(bad("Contact * needs Expires 0 and no other Contact"));
        }
        return Ok(Some(Changes::RemoveAll));
    }
    let mut bindings = Vec::with_capacity(contacts.len());
    for contact in contacts {
        bindings.push(binding(world, incoming, &contact, way, default_expires, now)?);
    }
    // One registration is one flow (RFC 5626 §6).
    let kept = || bindings.iter().filter(|binding| binding.expires_at() > now);
    if kept().count() > 1 && kept().any(|binding| binding.reg_id() != 0) {
        return Err(bad("reg-id with several contacts"));
    }
    Ok(Some(Changes::Each(bindings)))
}

fn binding(
    world: &World,
    incoming: &Incoming,
    contact: &Contact<'_>,
    way: &Way,
    default_expires: Option<u32>,
    now: u64,
) -> Result<StoredBinding, Verdict> {
    let settings = &world.settings.registrar;
    let bad = |reason| incoming.refuse(world, StatusCode::BAD_REQUEST, reason);
    let address = contact.address();
    let uri = address.and_then(|address| address.uri().ok()).filter(Uri::is_sip);
    let uri = uri.ok_or_else(|| bad("Bad Contact"))?;
    if uri.as_str().len() > settings.contact_max_size {
        return Err(bad("Contact too long"));
    }
    if leads_back(world, incoming, &uri) {
        return Err(incoming.refuse(world, StatusCode::FORBIDDEN, "Contact is the address of record"));
    }
    let has_q = address.is_some_and(|address| address.params().contains("q"));
    if has_q && contact.q().is_none() {
        return Err(bad("Invalid q parameter in Contact"));
    }
    let text = |name| incoming.message.raw(name).map(String::from_utf8_lossy).unwrap_or_default();
    let instance = contact.instance().unwrap_or_default();
    let counts = way.reg_ids && !instance.is_empty();
    let (received, protocol) = received(world, incoming, &uri);
    let (user_agent, local) = world.share(&text(Name::UserAgent), incoming.flow.local);
    Ok(StoredBinding::from(BindingRow {
        ruid: &["uloc-", &world.tag()].concat(),
        contact: &crate::alias::strip(uri.as_str()),
        received,
        protocol,
        local: Some(&local),
        path: &way.path,
        expires_at: now + lifetime(world, incoming, contact.expires().or(default_expires))?,
        last_modified: now,
        q: contact.q().unwrap_or(settings.default_q),
        call_id: incoming.message.call_id(),
        cseq: incoming.message.cseq().map_or(0, |cseq| cseq.number),
        user_agent: &user_agent,
        instance: &instance,
        reg_id: contact.reg_id().filter(|_| counts).unwrap_or(0),
        methods: methods(incoming),
    }))
}

/// Whether a Contact is the address of record that it is for, or a GRUU of it (RFC 5627 §5.1).
fn leads_back(world: &World, incoming: &Incoming, contact: &Uri) -> bool {
    let own = incoming.user.as_deref().map(|user| world.location_key(user));
    let aor = match gruu::read(&world.settings.secret, contact) {
        Some(Gruu::Temporary { aor, .. }) => Some(aor),
        _ if contact.port().is_some() => None,
        _ => local_aor(world, contact).map(|aor| world.location_key(&aor)),
    };
    aor.is_some() && aor == own
}

/// Where the contact is to be reached, and over what: where it was seen, by us or by the first proxy of its Path; or where it
/// says, when it came in a datagram and nothing suggests a NAT (RFC 3261 §10.2.1). A stream is kept: whoever has opened one may
/// not be there to be dialled.
fn received(world: &World, incoming: &Incoming, contact: &Uri) -> (SocketAddr, Protocol) {
    let flow = &incoming.flow;
    let seen = || {
        let path = incoming.message.values(Name::Path).next()?;
        let uri = NameAddr::parse("Path", path).ok()?.uri().ok()?;
        let received = uri.param("received")?;
        let received =
            received.replace("%3A", ":").replace("%3a", ":").replace("%3B", ";").replace("%3b", ";");
        let received = Uri::parse(&received).ok()?;
        Some((received.host_ip()?, received.port().unwrap_or(5060)).into())
    };
    let settings = &world.settings.registrar;
    let by_path = settings.use_path && settings.path_use_received;
    if let Some(seen) = by_path.then(seen).flatten() {
        return (seen, flow.protocol);
    }
    let said = || nat::said_by_contact(world, &incoming.message, flow, contact);
    (flow.protocol == Protocol::Udp).then(said).flatten().unwrap_or((flow.remote, flow.protocol))
}

/// Seconds that a contact is given; zero takes it away.
fn lifetime(world: &World, incoming: &Incoming, wanted: Option<u32>) -> Result<u64, Verdict> {
    let settings = &world.settings.registrar;
    let random = |span: u32| world.with_rng(rand::Rng::next_u32) % (span + 1);
    let percent =
        |of: u32, percent: u8| u32::try_from(u64::from(of) * u64::from(percent) / 100).unwrap_or(of);
    let given = match wanted {
        Some(0) => return Ok(0),
        Some(wanted) if wanted < settings.min_expires => {
            let headers = [(Name::MinExpires, settings.min_expires.to_string())];
            return Err(incoming.refuse_with(world, StatusCode::INTERVAL_TOO_BRIEF, "", &headers));
        }
        Some(wanted) => {
            let wanted = wanted.min(settings.max_expires);
            wanted - random(percent(wanted, settings.expires_range))
        }
        None => {
            let span = percent(settings.default_expires, settings.default_expires_range);
            settings.default_expires - span + random(2 * span)
        }
    };
    let given = given.clamp(settings.min_expires, settings.max_expires).into();
    // No registration outlives what proved it.
    let proved = incoming.proved_until.map(|until| until.saturating_sub(world.unix_now()).max(1));
    Ok(proved.map_or(given, |proved| proved.min(given)))
}

/// The Allow header as a mask; all ones without one.
fn methods(incoming: &Incoming) -> u32 {
    if !incoming.message.contains(Name::Allow) {
        return u32::MAX;
    }
    let bits = incoming
        .message
        .values(Name::Allow)
        .filter_map(|method| method_bit(std::str::from_utf8(method).ok()?));
    bits.fold(0, |mask, bit| mask | bit)
}
