//! REGISTER (RFC 3261 §10): binds contacts, keeps them over restarts, answers with all of them.

use std::ops::ControlFlow;

use super::{Incoming, Verdict};
use crate::event::Event;
use crate::location::{Changes, Registration, Rejected, Updated};
use crate::message::header::{Contact, Expires};
use crate::message::{Method, Name, StatusCode};
use crate::outside::StoredBinding;
use crate::world::World;

/// The methods of Kamailio's bit mask, from bit 0.
const METHODS: [&str; 14] = [
    "INVITE",
    "CANCEL",
    "ACK",
    "BYE",
    "INFO",
    "REGISTER",
    "SUBSCRIBE",
    "NOTIFY",
    "OPTIONS",
    "UPDATE",
    "PRACK",
    "MESSAGE",
    "REFER",
    "PUBLISH",
];

/// Times to write again when another worker has changed the bindings meanwhile.
const WRITES: usize = 4;

/// Ends the route of every REGISTER for a local domain.
pub async fn save(world: &World, incoming: &Incoming) -> ControlFlow<Verdict> {
    if *incoming.method() != Method::Register {
        return ControlFlow::Continue(());
    }
    // `auth` lets no REGISTER pass without a proved user, except one for a foreign domain.
    let verdict = match incoming.user.as_deref() {
        Some(aor) => register(world, incoming, aor).await,
        None => incoming.refuse(world, StatusCode::FORBIDDEN, "Not relaying"),
    };
    let mut stats = world.stats.borrow_mut();
    match &verdict {
        Verdict::Reply(response) if response.status().is_success() => stats.accepted_regs += 1,
        _ => stats.rejected_regs += 1,
    }
    ControlFlow::Break(verdict)
}

/// The bit of a method; `None` for one that Kamailio's mask does not know.
#[must_use]
pub fn method_bit(method: &str) -> Option<u32> {
    METHODS.iter().position(|known| *known == method).map(|bit| 1 << bit)
}

async fn register(world: &World, incoming: &Incoming, aor: &str) -> Verdict {
    let now = world.unix_now();
    let changes = match changes(world, incoming, now) {
        Ok(Some(changes)) => changes,
        // No Contact: a question (RFC 3261 §10.2.3).
        Ok(None) => return accept(world, incoming, &world.location.snapshot(aor, now).0),
        Err(verdict) => return verdict,
    };
    let registration = Registration {
        aor: aor.to_owned(),
        call_id: incoming.message.call_id().to_owned(),
        cseq: incoming.message.cseq().map_or(0, |cseq| cseq.number),
        flow: incoming.flow,
        changes,
        max_contacts: world.settings.registrar.max_contacts,
    };
    let updated = match world.location.update(registration, now) {
        Ok(updated) => updated,
        Err(Rejected::OutOfOrder) => {
            return incoming.refuse(world, StatusCode::SERVER_INTERNAL_ERROR, "CSeq out of order");
        }
        Err(Rejected::TooManyContacts) => {
            return incoming.refuse(world, StatusCode::SERVICE_UNAVAILABLE, "Too many registered contacts");
        }
    };
    if let Err(error) = write(world, aor, &updated).await {
        let what = format!("bindings of {aor}: {error}");
        world.tell(Event::OutsideFailed { call_id: incoming.message.call_id().to_owned(), what });
        return incoming.refuse(world, StatusCode::SERVER_INTERNAL_ERROR, "");
    }
    tell(world, incoming, aor, &updated, now);
    accept(world, incoming, &world.location.snapshot(aor, now).0)
}

/// Makes the bindings durable. Writes of two workers may overtake each other: whoever sees that his were not the last
/// writes again what is there now.
async fn write(world: &World, aor: &str, updated: &Updated) -> Result<(), crate::outside::Unavailable> {
    let mut version = updated.version;
    let mut bindings: Vec<StoredBinding> =
        updated.bindings.iter().map(|binding| binding.stored.clone()).collect();
    for _ in 0..WRITES {
        world.outside.store.save_bindings(aor, &bindings).await?;
        if world.location.is_current(aor, version) {
            break;
        }
        (bindings, version) = world.location.snapshot(aor, world.unix_now());
    }
    Ok(())
}

fn tell(world: &World, incoming: &Incoming, aor: &str, updated: &Updated, now: u64) {
    let (transport, source) = (incoming.flow.protocol, incoming.flow.remote);
    for binding in &updated.removed {
        let (aor, contact) = (aor.to_owned(), binding.contact.clone());
        world.tell(Event::Unregistered { aor, contact, transport, source });
    }
    for binding in &updated.registered {
        let expires = u32::try_from(binding.expires_at.saturating_sub(now)).unwrap_or(u32::MAX);
        let (aor, contact) = (aor.to_owned(), binding.contact.clone());
        world.tell(Event::Registered { aor, contact, transport, source, expires });
    }
}

/// 200 with every binding and what is left of its time (RFC 3261 §10.3 step 8).
fn accept(world: &World, incoming: &Incoming, bindings: &[StoredBinding]) -> Verdict {
    let now = world.unix_now();
    let mut headers = Vec::with_capacity(bindings.len() + 1);
    for binding in bindings {
        let mut value = format!("<{}>;expires={}", binding.contact, binding.expires_at.saturating_sub(now));
        if binding.q != world.settings.registrar.default_q {
            value.push_str(&format!(";q={}.{:03}", binding.q / 1000, binding.q % 1000));
        }
        if !binding.instance.is_empty() {
            value.push_str(&format!(";+sip.instance=\"<{}>\"", binding.instance));
        }
        if binding.reg_id != 0 {
            value.push_str(&format!(";reg-id={}", binding.reg_id));
        }
        headers.push((Name::Contact, value));
    }
    // RFC 3327 §5.3: the Path that was used is shown to a client that knows of it.
    if incoming.message.has_token(Name::Supported, "path") {
        headers.extend(path(incoming).map(|path| (Name::Path, path)));
    }
    Verdict::Reply(Box::new(incoming.answer(world, StatusCode::OK, "", &headers)))
}

fn path(incoming: &Incoming) -> Option<String> {
    let values: Vec<_> = incoming.message.values(Name::Path).map(String::from_utf8_lossy).collect();
    (!values.is_empty()).then(|| values.join(","))
}

/// What the REGISTER asks for (RFC 3261 §10.3 steps 6 and 7); `None` when it only asks.
fn changes(world: &World, incoming: &Incoming, now: u64) -> Result<Option<Changes>, Verdict> {
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
        bindings.push(binding(world, incoming, &contact, default_expires, now)?);
    }
    Ok(Some(Changes::Each(bindings)))
}

fn binding(
    world: &World,
    incoming: &Incoming,
    contact: &Contact<'_>,
    default_expires: Option<u32>,
    now: u64,
) -> Result<StoredBinding, Verdict> {
    let limits = &world.settings.registrar;
    let bad = |reason| incoming.refuse(world, StatusCode::BAD_REQUEST, reason);
    let uri = contact.address().and_then(|address| address.uri().ok()).filter(|uri| uri.is_sip());
    let uri = uri.ok_or_else(|| bad("Bad Contact"))?;
    if uri.as_str().len() > limits.contact_max_size {
        return Err(bad("Contact too long"));
    }
    let wanted = contact.expires().or(default_expires).unwrap_or(limits.default_expires);
    if wanted != 0 && wanted < limits.min_expires {
        let headers = [(Name::MinExpires, limits.min_expires.to_string())];
        return Err(incoming.refuse_with(world, StatusCode::INTERVAL_TOO_BRIEF, "", &headers));
    }
    let text = |name| incoming.message.raw(name).map(|value| String::from_utf8_lossy(value).into_owned());
    Ok(StoredBinding {
        ruid: format!("uloc-{}", world.tag()),
        contact: crate::alias::strip(uri.as_str()),
        received: incoming.flow.remote,
        protocol: incoming.flow.protocol,
        path: path(incoming).unwrap_or_default(),
        expires_at: now + u64::from(wanted.min(limits.max_expires)),
        q: contact.q().unwrap_or(limits.default_q),
        call_id: incoming.message.call_id().to_owned(),
        cseq: incoming.message.cseq().map_or(0, |cseq| cseq.number),
        user_agent: text(Name::UserAgent).unwrap_or_default(),
        instance: contact.instance().map(|instance| instance.into_owned()).unwrap_or_default(),
        reg_id: contact.reg_id().unwrap_or(0),
        methods: methods(incoming),
    })
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
