//! REGISTER (RFC 3261 §10): binds contacts, keeps them over restarts, answers with all of them.

mod contacts;

use std::ops::ControlFlow;
use std::sync::Arc;

use super::{Incoming, Verdict};
use crate::event::{Event, Expiry};
use crate::gruu;
use crate::location::{Registration, Rejected, Rules, Updated};
use crate::message::digits::push_decimal;
use crate::message::header::{Contact, NameAddr};
use crate::message::{Method, Name, StatusCode};
use crate::outside::StoredBinding;
use crate::settings::{OutboundMode, PathMode};
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
        Some(user) => register(world, incoming, &world.location_key(user)).await,
        None => incoming.refuse(world, StatusCode::FORBIDDEN, "Not relaying"),
    };
    let mut stats = world.stats.borrow_mut();
    match &verdict {
        Verdict::Reply(response) if response.status().is_success() => stats.accepted_regs += 1,
        _ => stats.rejected_regs += 1,
    }
    ControlFlow::Break(verdict)
}

/// Whether the flow of a contact is named, and so to be kept (RFC 5626 §4.2).
#[must_use]
pub fn has_reg_id(incoming: &Incoming) -> bool {
    let contacts = incoming.message.all::<Contact<'_>>().flatten();
    contacts.into_iter().any(|contact| contact.reg_id().is_some() && contact.instance().is_some())
}

/// The methods of a mask.
#[must_use]
pub fn methods_of(mask: u32) -> Vec<&'static str> {
    let all = METHODS.into_iter().enumerate();
    all.filter(|(bit, _)| mask & (1 << bit) != 0).map(|(_, method)| method).collect()
}

/// The bit of a method; `None` for one that Kamailio's mask does not know.
#[must_use]
pub fn method_bit(method: &str) -> Option<u32> {
    METHODS.iter().position(|known| *known == method).map(|bit| 1 << bit)
}

/// What the headers of a REGISTER say about the way back to its sender.
struct Way {
    /// The Path to keep; empty for none.
    path: String,
    /// Whether the registration is one of RFC 5626.
    outbound: bool,
    /// Whether `reg-id` counts.
    reg_ids: bool,
}

async fn register(world: &World, incoming: &Incoming, aor: &str) -> Verdict {
    world.refresh(aor).await;
    let now = world.unix_now();
    let way = match way(world, incoming) {
        Ok(way) => way,
        Err(verdict) => return verdict,
    };
    let changes = match contacts::changes(world, incoming, &way, now) {
        Ok(Some(changes)) => changes,
        // No Contact: a question (RFC 3261 §10.2.3).
        Ok(None) => return accept(world, incoming, aor, &way),
        Err(verdict) => return verdict,
    };
    let settings = &world.settings;
    let registration = Registration {
        aor,
        call_id: incoming.message.call_id(),
        cseq: incoming.message.cseq().map_or(0, |cseq| cseq.number),
        flow: incoming.flow,
        changes,
        rules: Rules {
            max_contacts: settings.registrar.max_contacts,
            matching_mode: settings.usrloc.matching_mode,
            cseq_delay: settings.usrloc.cseq_delay.as_secs(),
        },
    };
    let updated = match world.location.update(registration, now) {
        Ok(updated) => updated,
        Err(rejected) => return reject(world, incoming, rejected),
    };
    if let Err(error) = write(world, aor, &updated).await {
        let what = format!("bindings of {aor}: {error}");
        world.tell(Event::OutsideFailed { call_id: incoming.message.call_id().to_owned(), what });
        world.location.restore(aor, updated.before, updated.version);
        return incoming.refuse(world, StatusCode::SERVER_INTERNAL_ERROR, "");
    }
    if incoming.proved_until.is_some() {
        world.outside.store.note_user(aor);
    }
    // Somebody else may have looked, and seen what was there before.
    world.refresh(aor).await;
    tell(world, incoming, aor, &updated, now);
    accept(world, incoming, aor, &way)
}

/// Path (RFC 3327 §5.3) and outbound (RFC 5626 §6).
fn way(world: &World, incoming: &Incoming) -> Result<Way, Verdict> {
    let settings = &world.settings.registrar;
    let message = &incoming.message;
    let supports = |option| message.has_token(Name::Supported, option);
    let path: Vec<_> = message.values(Name::Path).map(String::from_utf8_lossy).collect();
    if settings.use_path && !path.is_empty() && settings.path_mode == PathMode::Strict && !supports("path") {
        let mut headers = vec![(Name::Unsupported, "path".to_owned())];
        headers.extend(path.iter().map(|path| (Name::Path, path.to_string())));
        return Err(incoming.refuse_with(world, StatusCode::BAD_EXTENSION, "", &headers));
    }
    let wanted = supports("outbound") && settings.outbound_mode != OutboundMode::Off;
    if settings.outbound_mode == OutboundMode::Required && !wanted {
        let headers = [(Name::Require, "outbound".to_owned())];
        return Err(incoming.refuse_with(world, StatusCode::EXTENSION_REQUIRED, "", &headers));
    }
    // Whoever stands next to the user agent has put his Path at the bottom and says `ob` if he keeps the flow.
    let first_hop = message.values(Name::Via).count() == 1;
    let edge = path.last().and_then(|edge| NameAddr::parse("Path", edge.as_bytes()).ok()?.uri().ok());
    let flows_are_kept =
        first_hop || (settings.use_path && edge.is_some_and(|edge| edge.params().contains("ob")));
    if wanted && !flows_are_kept && has_reg_id(incoming) {
        return Err(incoming.refuse(world, StatusCode::FIRST_HOP_LACKS_OUTBOUND_SUPPORT, ""));
    }
    let outbound = wanted && flows_are_kept;
    Ok(Way {
        path: if settings.use_path { path.join(",") } else { String::new() },
        outbound,
        reg_ids: outbound || settings.regid_mode,
    })
}

fn reject(world: &World, incoming: &Incoming, rejected: Rejected) -> Verdict {
    match rejected {
        Rejected::OutOfOrder => {
            incoming.refuse(world, StatusCode::SERVER_INTERNAL_ERROR, "CSeq out of order")
        }
        Rejected::TooManyContacts => {
            let after = world.settings.registrar.retry_after;
            let headers = (after > 0).then(|| (Name::RetryAfter, after.to_string()));
            let reason = "Too many registered contacts";
            incoming.refuse_with(world, StatusCode::SERVICE_UNAVAILABLE, reason, headers.as_slice())
        }
    }
}

/// Makes the bindings durable. Writes of two workers may overtake each other: whoever sees that his were not the last
/// writes again what is there now.
async fn write(world: &World, aor: &str, updated: &Updated) -> Result<(), crate::outside::Unavailable> {
    let store = &world.outside.store;
    if updated.renewal {
        store.renew_bindings(aor, &updated.bindings).await?;
    } else {
        store.save_bindings(aor, &updated.bindings).await?;
    }
    let mut version = updated.version;
    for _ in 1..WRITES {
        if world.location.is_current(aor, version) {
            break;
        }
        let bindings;
        (bindings, version) = world.location.snapshot(aor, world.unix_now());
        store.save_bindings(aor, &bindings).await?;
    }
    Ok(())
}

fn tell(world: &World, incoming: &Incoming, aor: &str, updated: &Updated, now: u64) {
    let (transport, source) = (incoming.flow.protocol, incoming.flow.remote);
    let outcome = &updated.outcome;
    for binding in &outcome.removed {
        let (aor, contact) = (aor.to_owned(), binding.contact().to_owned());
        world.tell(Event::Unregistered { aor, contact, transport, source });
    }
    for binding in &outcome.replaced {
        let (aor, contact) = (aor.to_owned(), binding.contact().to_owned());
        let (transport, source) = (binding.protocol(), binding.received());
        world.tell(Event::Expired { aor, contact, transport, source, cause: Expiry::Replaced });
    }
    for binding in &outcome.registered {
        let expires = u32::try_from(binding.expires_at().saturating_sub(now)).unwrap_or(u32::MAX);
        let (aor, contact) = (aor.to_owned(), binding.contact().to_owned());
        let renewed = updated.before.iter().any(|old| old.stored.ruid() == binding.ruid());
        world.tell(Event::Registered { aor, contact, transport, source, expires, renewed });
    }
}

/// 200 with every binding and what is left of its time (RFC 3261 §10.3 step 8).
fn accept(world: &World, incoming: &Incoming, aor: &str, way: &Way) -> Verdict {
    let settings = &world.settings.registrar;
    let message = &incoming.message;
    let bindings = world.location.snapshot(aor, world.unix_now()).0;
    let gruus = settings.gruu_enabled && message.has_token(Name::Supported, "gruu");
    let mut headers = Vec::with_capacity(bindings.len() + 3);
    headers.extend(bindings.iter().map(|binding| (Name::Contact, contact(world, aor, binding, gruus))));
    if way.outbound {
        headers.push((Name::Require, "outbound".to_owned()));
        if settings.flow_timer > 0 {
            headers.push((Name::FlowTimer, settings.flow_timer.to_string()));
        }
    }
    // RFC 3327 §5.3: the Path that was used is shown to a client that knows of it.
    let shown = settings.path_mode != PathMode::Off && message.has_token(Name::Supported, "path");
    if shown && !way.path.is_empty() {
        headers.push((Name::Path, way.path.clone()));
    }
    Verdict::Reply(Box::new(incoming.answer(world, StatusCode::OK, "", &headers)))
}

/// A binding as its owner reads it.
fn contact(world: &World, aor: &str, binding: &Arc<StoredBinding>, gruus: bool) -> String {
    use std::fmt::Write as _;
    let settings = &world.settings.registrar;
    let left = binding.expires_at().saturating_sub(world.unix_now());
    let mut value = String::with_capacity(binding.contact().len() + binding.instance().len() + 96);
    value.push('<');
    value.push_str(binding.contact());
    value.push_str(">;expires=");
    push_decimal(&mut value, left);
    if binding.q() != settings.default_q {
        let _ = write!(value, ";q={}.{:03}", binding.q() / 1000, binding.q() % 1000);
    }
    if !settings.received_param.is_empty() && binding.is_nated() {
        let _ = write!(value, ";{}=\"{}\"", settings.received_param, binding.received_uri());
    }
    let instance = binding.instance();
    if instance.is_empty() {
        return value;
    }
    if gruus && let Ok(public) = gruu::public(aor, instance) {
        let random = world.with_rng(rand::Rng::next_u64);
        let secret = &world.settings.secret;
        let temporary = gruu::temporary(secret, random, aor, instance, binding.call_id());
        let _ = write!(value, ";pub-gruu=\"{public}\";temp-gruu=\"{temporary}\"");
    }
    value.push_str(";+sip.instance=\"<");
    value.push_str(instance);
    value.push_str(">\"");
    if binding.reg_id() != 0 {
        let _ = write!(value, ";reg-id={}", binding.reg_id());
    }
    value
}
