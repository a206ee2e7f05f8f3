//! Who is it? Digest authentication (RFC 3261 §22) of everybody who claims to be a user of ours.

use std::ops::ControlFlow;

use super::{Incoming, Verdict, local_aor};
use crate::digest::{Algorithm, Refusal};
use crate::event::{AuthFailure, Event};
use crate::message::header::{Authorization, Credentials, ProxyAuthorization};
use crate::message::{Method, Name, StatusCode, Uri};
use crate::outside::Account;
use crate::world::World;

/// Compared against when there is no account, so that the answer takes as long.
const NOBODY: &str = "00000000000000000000000000000000";

/// Takes off what a sender says of himself beside From: no peer is in a trust domain with us, and phones show these to
/// people in place of the From that we have checked (RFC 3325 §5).
pub fn strip_identities(incoming: &mut Incoming) {
    for name in [Name::PAssertedIdentity, Name::PPreferredIdentity, Name::Other("Remote-Party-ID")] {
        incoming.message.remove(name);
    }
}

/// Lets a REGISTER pass only with credentials of its To, and any other request from a local address only with those of
/// its From. A request of a foreign sender passes unproved: `outbound` sees to it that it goes nowhere else.
pub async fn authenticate(world: &World, incoming: &mut Incoming) -> ControlFlow<Verdict> {
    let Some(claimed) = claimed(world, incoming) else { return ControlFlow::Continue(()) };
    let is_register = *incoming.method() == Method::Register;
    let Some((user, realm)) = claimed.rsplit_once('@') else { return ControlFlow::Continue(()) };

    let Some((name, index)) = find_credentials(incoming, realm, is_register) else {
        return challenge(world, incoming, realm, false);
    };
    let account = match world.outside.store.account(&name, realm).await {
        Ok(account) => account,
        Err(error) => {
            let what = format!("account of {name}: {error}");
            world.tell(Event::OutsideFailed { call_id: incoming.message.call_id().to_owned(), what });
            return ControlFlow::Break(incoming.refuse(world, StatusCode::SERVER_INTERNAL_ERROR, ""));
        }
    };
    match judge(world, incoming, index, realm, account.as_ref(), is_register) {
        Ok(()) if name == user => {
            incoming.user = Some(claimed);
            strip_credentials(incoming, index, is_register);
            ControlFlow::Continue(())
        }
        Ok(()) => {
            tell_failure(world, incoming, &name, AuthFailure::UserMismatch);
            ControlFlow::Break(incoming.refuse(world, StatusCode::FORBIDDEN, "Credentials of another user"))
        }
        Err(Refusal::Stale) => challenge(world, incoming, realm, true),
        Err(refusal) => {
            let reason = match refusal {
                _ if account.is_none() => AuthFailure::UnknownUser,
                Refusal::Wrong => AuthFailure::WrongPassword,
                _ => AuthFailure::Malformed,
            };
            tell_failure(world, incoming, &name, reason);
            challenge(world, incoming, realm, false)
        }
    }
}

/// Whom the request says it is from, when that is a local address.
fn claimed(world: &World, incoming: &Incoming) -> Option<String> {
    let uri: Option<Uri> = match incoming.method() {
        Method::Register => incoming.message.to_header().ok().and_then(|to| to.uri().ok()),
        _ => incoming.message.from_header().ok().and_then(|from| from.uri().ok()),
    };
    local_aor(world, &uri?)
}

/// The user name and the position of the credentials for our realm, among those for other proxies on the way.
fn find_credentials(incoming: &Incoming, realm: &str, is_register: bool) -> Option<(String, usize)> {
    let with_realm = |credentials: Option<Credentials<'_>>| {
        let credentials = credentials.filter(|credentials| credentials.realm().as_deref() == Some(realm))?;
        Some(credentials.username().unwrap_or_default().into_owned())
    };
    all_credentials(incoming, is_register)
        .enumerate()
        .find_map(|(index, credentials)| Some((with_realm(credentials)?, index)))
}

/// All credentials in order; `None` for one that cannot be read.
fn all_credentials(
    incoming: &Incoming,
    is_register: bool,
) -> Box<dyn Iterator<Item = Option<Credentials<'_>>> + '_> {
    if is_register {
        Box::new(incoming.message.all::<Authorization<'_>>().map(|header| header.ok().map(|header| header.0)))
    } else {
        Box::new(
            incoming.message.all::<ProxyAuthorization<'_>>().map(|header| header.ok().map(|header| header.0)),
        )
    }
}

fn judge(
    world: &World,
    incoming: &Incoming,
    index: usize,
    realm: &str,
    account: Option<&Account>,
    is_register: bool,
) -> Result<(), Refusal> {
    let credentials = all_credentials(incoming, is_register).nth(index).flatten();
    let credentials = credentials.ok_or(Refusal::Malformed("unreadable"))?;
    let ha1 = account.map_or(NOBODY, |account| account.ha1.as_str());
    let mut authenticator = world.authenticator.borrow_mut();
    let verdict = authenticator.verify(world.unix_now(), &credentials, incoming.method(), realm, ha1);
    if account.is_none() { verdict.and(Err(Refusal::Wrong)) } else { verdict }
}

/// The proof was for us: it goes no further (Kamailio's `consume_credentials`).
fn strip_credentials(incoming: &mut Incoming, index: usize, is_register: bool) {
    if !is_register {
        incoming.message.remove_value(Name::ProxyAuthorization, index);
    }
}

/// 401 to a REGISTER, 407 to the rest. MD5 alone: JsSIP gives up on a challenge that names anything else.
fn challenge(world: &World, incoming: &Incoming, realm: &str, stale: bool) -> ControlFlow<Verdict> {
    let value = world.with_rng(|rng| {
        world.authenticator.borrow().challenge(rng, world.unix_now(), realm, Algorithm::Md5, stale)
    });
    let (status, name) = match incoming.method() {
        Method::Register => (StatusCode::UNAUTHORIZED, Name::WwwAuthenticate),
        _ => (StatusCode::PROXY_AUTHENTICATION_REQUIRED, Name::ProxyAuthenticate),
    };
    ControlFlow::Break(incoming.refuse_with(world, status, "", &[(name, value)]))
}

fn tell_failure(world: &World, incoming: &Incoming, user: &str, reason: AuthFailure) {
    world.stats.borrow_mut().auth_failures += 1;
    world.tell(Event::AuthFailed {
        source: incoming.flow.remote,
        transport: incoming.flow.protocol,
        user: user.to_owned(),
        method: incoming.method().to_string(),
        call_id: incoming.message.call_id().to_owned(),
        reason,
    });
}
