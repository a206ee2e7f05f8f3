//! Who is it? Digest authentication (RFC 3261 §22) of everybody who claims to be a user of ours.

use std::ops::ControlFlow;

use super::{Incoming, Verdict, local_aor};
use crate::digest::{Algorithm, Nonce, Proof, Refusal};
use crate::event::{AuthFailure, Event};
use crate::message::header::{Authorization, Credentials, Header as _, ProxyAuthorization};
use crate::message::{Method, Name, StatusCode, Uri};
use crate::outside::Account;
use crate::world::World;

/// Compared against when there is no account, so that the answer takes as long.
const NOBODY: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What every phone and browser understands.
const MD5_ALONE: &[Algorithm] = &[Algorithm::MD5];

/// Takes off what a sender says of himself beside From: no peer is in a trust domain with us, and phones show these to
/// people in place of the From that we have checked (RFC 3325 §5).
pub fn strip_identities(incoming: &mut Incoming) {
    for name in [Name::PAssertedIdentity, Name::PPreferredIdentity, Name::Other("Remote-Party-ID")] {
        incoming.message.remove(name);
    }
}

/// Lets a REGISTER pass only with credentials of its To, and any other request from a local address only with those of
/// its From. A request of a foreign sender passes unproved: `outbound` sees to it that it goes nowhere else.
///
/// In the order of cost: what the credentials lack, then whether their nonce is one of ours, then the account and the
/// proof. Whoever is unknown hears the same as one with a wrong password, after the same computation.
pub async fn authenticate(world: &World, incoming: &mut Incoming) -> ControlFlow<Verdict> {
    let claimed = claimed(world, incoming);
    if is_of_trusted_source(world, incoming) {
        (incoming.trusted, incoming.user) = (true, claimed);
        return ControlFlow::Continue(());
    }
    let Some(claimed) = claimed else { return ControlFlow::Continue(()) };
    if !world.settings.auth.required {
        incoming.user = Some(claimed);
        return ControlFlow::Continue(());
    }
    // It was proved when it came first, and what proved it was for us alone. Whoever has it now may send it to users of ours, as
    // a stranger may, and not elsewhere in the name of its sender.
    if incoming.spirals && *incoming.method() != Method::Register {
        return ControlFlow::Continue(());
    }
    let Some((user, realm)) = claimed.rsplit_once('@') else { return ControlFlow::Continue(()) };
    let Some((index, proof)) = find_credentials(incoming, realm) else {
        return challenge(world, incoming, realm, false);
    };
    let proof = match proof {
        Ok(proof) => proof,
        Err(refusal) => {
            tell_failure(world, incoming, "", AuthFailure::Malformed);
            return refuse(world, incoming, realm, refusal);
        }
    };
    let nonce = world.authenticator.borrow().nonce(world.unix_now(), &proof.nonce, realm);
    if nonce == Nonce::Foreign {
        return challenge(world, incoming, realm, false);
    }
    let account = match world.account(&proof.username, realm).await {
        Ok(account) => account,
        Err(error) => {
            let what = format!("account of {}: {error}", proof.username);
            world.tell(Event::OutsideFailed { call_id: incoming.message.call_id().to_owned(), what });
            return ControlFlow::Break(incoming.refuse(world, StatusCode::SERVER_INTERNAL_ERROR, ""));
        }
    };
    match judge(world, incoming, &proof, nonce, account.as_ref()) {
        Ok(()) if proof.username == user => {
            world.sources.prove(&world.settings.pike, world.now(), incoming.flow.remote);
            incoming.user = Some(claimed);
            strip_credentials(incoming, index);
            ControlFlow::Continue(())
        }
        Ok(()) => {
            tell_failure(world, incoming, &proof.username, AuthFailure::UserMismatch);
            ControlFlow::Break(incoming.refuse(world, StatusCode::FORBIDDEN, "Credentials of another user"))
        }
        Err(refusal) => {
            let reason =
                if account.is_none() { AuthFailure::UnknownUser } else { AuthFailure::WrongPassword };
            if refusal == Refusal::Wrong {
                tell_failure(world, incoming, &proof.username, reason);
            }
            refuse(world, incoming, realm, refusal)
        }
    }
}

/// Whether the sender is a user of ours, or as good as one.
#[must_use]
pub const fn is_known(incoming: &Incoming) -> bool {
    incoming.user.is_some() || incoming.trusted
}

/// Whether the operator trusts whoever sends from there to be whom he says. Nobody registers in another's name.
fn is_of_trusted_source(world: &World, incoming: &Incoming) -> bool {
    let tables = world.tables();
    if *incoming.method() == Method::Register || (tables.addresses.is_empty() && tables.trusted.is_empty()) {
        return false;
    }
    let from = incoming.message.from_header().ok().and_then(|from| from.uri().ok());
    let from = from.as_ref().map(Uri::as_str).unwrap_or_default();
    tables.trusts(&incoming.flow, from, incoming.message.uri_text())
}

/// Whom the request says it is from, when that is a local address.
fn claimed(world: &World, incoming: &Incoming) -> Option<String> {
    let uri: Option<Uri> = match incoming.method() {
        Method::Register => incoming.message.to_header().ok().and_then(|to| to.uri().ok()),
        _ => incoming.message.from_header().ok().and_then(|from| from.uri().ok()),
    };
    local_aor(world, &uri?)
}

/// The credentials for our realm and their position, among those for other proxies on the way. Of several the first counts
/// whose algorithm is one of ours: a client may answer every challenge (RFC 8760 §2.4).
fn find_credentials<'a>(incoming: &'a Incoming, realm: &str) -> Option<(usize, Result<Proof<'a>, Refusal>)> {
    let mut refused = None;
    for (index, credentials) in all_credentials(incoming).enumerate() {
        let ours = |credentials: &Credentials<'_>| credentials.realm().as_deref() == Some(realm);
        match credentials.filter(ours).map(|credentials| Proof::of(&credentials)) {
            None => {}
            Some(Err(refusal)) => refused = refused.or(Some((index, Err(refusal)))),
            Some(Ok(proof)) => return Some((index, Ok(proof))),
        }
    }
    refused
}

/// All credentials in order; `None` for one that cannot be read.
fn all_credentials(incoming: &Incoming) -> impl Iterator<Item = Option<Credentials<'_>>> {
    let register = *incoming.method() == Method::Register;
    let name = if register { Name::Authorization } else { Name::ProxyAuthorization };
    incoming.message.values(name).map(move |value| match register {
        true => Authorization::parse(value).ok().map(|header| header.0),
        false => ProxyAuthorization::parse(value).ok().map(|header| header.0),
    })
}

/// An account without the hash of the algorithm was made before there was one, or by Kamailio: [`Refusal::NotOffered`].
fn judge(
    world: &World,
    incoming: &Incoming,
    proof: &Proof<'_>,
    nonce: Nonce,
    account: Option<&Account>,
) -> Result<(), Refusal> {
    if !world.settings.auth.algorithms.contains(&proof.algorithm) {
        return Err(Refusal::NotOffered("algorithm"));
    }
    let hash = proof.algorithm.hash;
    let ha1 = match account {
        Some(account) => account.ha1_by(hash).ok_or(Refusal::NotOffered("algorithm"))?,
        // The computation is done all the same.
        None => &NOBODY[..hash.hex_len()],
    };
    let mut authenticator = world.authenticator.borrow_mut();
    let verdict = authenticator.verify(world.unix_now(), proof, nonce, incoming.method(), ha1);
    if account.is_none() { Err(Refusal::Wrong) } else { verdict }
}

/// The proof was for us: it goes no further (Kamailio's `consume_credentials`).
fn strip_credentials(incoming: &mut Incoming, index: usize) {
    if *incoming.method() != Method::Register {
        incoming.message.remove_value(Name::ProxyAuthorization, index);
    }
}

/// What a refusal of the proof means for the request.
fn refuse(world: &World, incoming: &Incoming, realm: &str, refusal: Refusal) -> ControlFlow<Verdict> {
    match refusal {
        Refusal::Malformed(what) => {
            let reason = format!("Bad Credentials ({what})");
            ControlFlow::Break(incoming.refuse(world, StatusCode::BAD_REQUEST, &reason))
        }
        Refusal::Stale => challenge(world, incoming, realm, true),
        Refusal::Wrong => challenge(world, incoming, realm, false),
        // The most compatible of what we take: whoever has answered with another cannot be checked by it.
        Refusal::NotOffered(_) if world.settings.auth.algorithms.contains(&Algorithm::MD5) => {
            challenge_with(world, incoming, realm, MD5_ALONE, false)
        }
        Refusal::NotOffered(_) => challenge(world, incoming, realm, false),
    }
}

/// 401 to a REGISTER, 407 to the rest, with what `auth.algorithms` says in its order; to browsers with MD5 alone where
/// that is among them.
fn challenge(world: &World, incoming: &Incoming, realm: &str, stale: bool) -> ControlFlow<Verdict> {
    let all = world.settings.auth.algorithms.as_slice();
    let md5_alone = all.contains(&Algorithm::MD5) && takes_only_md5(incoming);
    challenge_with(world, incoming, realm, if md5_alone { MD5_ALONE } else { all }, stale)
}

/// Whether the client is known to give up on a challenge that names another algorithm, even beside one of MD5: JsSIP
/// does, and over a WebSocket there may be any version of it in any page.
fn takes_only_md5(incoming: &Incoming) -> bool {
    let agent = incoming.message.raw(Name::UserAgent).unwrap_or_default();
    incoming.flow.protocol.is_websocket()
        || agent.get(..5).is_some_and(|name| name.eq_ignore_ascii_case(b"JsSIP"))
}

fn challenge_with(
    world: &World,
    incoming: &Incoming,
    realm: &str,
    algorithms: &[Algorithm],
    stale: bool,
) -> ControlFlow<Verdict> {
    let values = world.authenticator.borrow_mut().challenges(world.unix_now(), realm, algorithms, stale);
    let (status, name) = match incoming.method() {
        Method::Register => (StatusCode::UNAUTHORIZED, Name::WwwAuthenticate),
        _ => (StatusCode::PROXY_AUTHENTICATION_REQUIRED, Name::ProxyAuthenticate),
    };
    let headers: Vec<_> = values.into_iter().map(|value| (name, value)).collect();
    ControlFlow::Break(incoming.refuse_with(world, status, "", &headers))
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
