//! Who is it? Everybody who claims to be a user of ours proves it: by digest (RFC 3261 §22), with a password that is stored or
//! one that is good for a while, or by a token ([`bearer`]).

pub mod bearer;

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::{Incoming, Verdict, local_aor};
use crate::digest::{Algorithm, Nonce, Proof, Refusal};
use crate::event::{AuthFailure, Event};
use crate::guesses::{Guesser, Trial};
use crate::message::header::{Authorization, Credentials, Header as _, ProxyAuthorization};
use crate::message::{Method, Name, StatusCode, Uri};
use crate::outside::{Account, Unavailable};
use crate::token::ephemeral::Username;
use crate::world::World;

/// Compared against when there is no account, so that the answer takes as long.
const NOBODY: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What a proof is checked by.
enum Known<'a> {
    /// Nothing: there is no such user.
    Nobody,
    /// Nothing: his time is over.
    Ended,
    /// A user whose password is stored.
    Account(Arc<Account>),
    /// A user whose password is one of these, and when it ends.
    Ephemeral(Username<'a>, Vec<String>),
}

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
    let tables = world.tables();
    if let Some(tokens) = &tables.policy.tokens
        && let Some(token) = incoming.token.clone()
    {
        return bearer::judge(world, incoming, tokens, &token, &claimed);
    }
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
    blocked(world, incoming, &proof.username, realm)?;
    let known = match known(world, &proof, realm).await {
        Ok(known) => known,
        Err(error) => {
            let what = format!("account of {}: {error}", proof.username);
            world.tell(Event::OutsideFailed { call_id: incoming.message.call_id().to_owned(), what });
            return ControlFlow::Break(incoming.refuse(world, StatusCode::SERVER_INTERNAL_ERROR, ""));
        }
    };
    let (proved, until) = match &known {
        Known::Ephemeral(name, _) => (name.user, Some(name.until)),
        _ => (&*proof.username, None),
    };
    match judge(world, incoming, &proof, nonce, &known) {
        Ok(()) if proved == user => {
            world.sources.prove(&world.settings.pike, world.now(), incoming.flow.remote, Some(&claimed));
            if !world.guesses.is_empty()
                && world.guesses.forgive(Guesser::User(&guessed(&proof.username, realm)))
                && has_md5_alone(&known)
            {
                // He had to answer with another algorithm first.
                world.guesses.excuse(Guesser::Address(incoming.flow.remote.ip()));
            }
            incoming.user = Some(claimed);
            incoming.proved_until = until;
            strip_credentials(incoming, index);
            ControlFlow::Continue(())
        }
        Ok(()) => {
            tell_failure(world, incoming, &proof.username, AuthFailure::UserMismatch);
            ControlFlow::Break(incoming.refuse(world, StatusCode::FORBIDDEN, "Credentials of another user"))
        }
        Err(refusal) => fail(world, incoming, realm, &proof, &known, refusal),
    }
}

/// Counts a proof that is none, tells of it, and asks for another.
fn fail(
    world: &World,
    incoming: &Incoming,
    realm: &str,
    proof: &Proof<'_>,
    known: &Known<'_>,
    refusal: Refusal,
) -> ControlFlow<Verdict> {
    let reason = match known {
        Known::Nobody => AuthFailure::UnknownUser,
        Known::Ended => AuthFailure::Ended,
        Known::Account(_) | Known::Ephemeral(..) => AuthFailure::WrongPassword,
    };
    // Counted like a wrong one, or its count would tell that there is such an account.
    if refusal == Refusal::Wrong || refusal == UNHASHED {
        note_guess(world, incoming, &proof.username, realm);
    }
    if refusal == Refusal::Wrong {
        tell_failure(world, incoming, &proof.username, reason);
    }
    // And answered like one: whoever has failed by another algorithm is asked for the one that all accounts have.
    let other = proof.algorithm.hash != Algorithm::MD5.hash;
    let refusal = if refusal == Refusal::Wrong && other { UNHASHED } else { refusal };
    refuse(world, incoming, realm, refusal)
}

/// Whom credentials name.
fn guessed(username: &str, realm: &str) -> String {
    [username, "@", realm].concat()
}

/// Credentials of somebody whose password was guessed at too often, or from where that was done, are not looked at: 403, whatever
/// they are worth, and whoever is meant.
fn blocked(world: &World, incoming: &Incoming, username: &str, realm: &str) -> ControlFlow<Verdict> {
    if world.guesses.is_empty() {
        return ControlFlow::Continue(());
    }
    let (block, now, remote) = (&world.settings.auth.block, world.now(), incoming.flow.remote);
    let user = guessed(username, realm);
    let trial = |who| match world.guesses.trial(block, now, who) {
        // What stands against a user is nothing to him at a place where he is known.
        Trial::Blocked | Trial::BlockedNow if is_known_place(world, remote, &user, who) => Trial::Free,
        trial => trial,
    };
    let (reason, text) = match (trial(Guesser::User(&user)), trial(Guesser::Address(remote.ip()))) {
        (Trial::Free, Trial::Free) => return ControlFlow::Continue(()),
        (Trial::BlockedNow, _) | (Trial::Free, Trial::BlockedNow) => {
            (AuthFailure::BlockedNow, "Blocked Forbidden")
        }
        (Trial::Blocked, _) | (Trial::Free, Trial::Blocked) => {
            (AuthFailure::Blocked, "Already Blocked Forbidden")
        }
    };
    world.stats.borrow_mut().auth_blocked += 1;
    tell_failure(world, incoming, username, reason);
    ControlFlow::Break(incoming.refuse(world, StatusCode::FORBIDDEN, text))
}

/// Whether the user has proved who he is over this flow, or, as far as he alone is concerned, is registered at this address.
fn is_known_place(world: &World, remote: SocketAddr, user: &str, who: Guesser<'_>) -> bool {
    let registered = || {
        let bindings = world.location.bindings(&world.location_key(user), world.unix_now());
        bindings.iter().any(|binding| binding.stored.received().ip() == remote.ip())
    };
    world.sources.is_of(world.now(), remote, user) || (matches!(who, Guesser::User(_)) && registered())
}

fn note_guess(world: &World, incoming: &Incoming, username: &str, realm: &str) {
    let (block, now) = (&world.settings.auth.block, world.now());
    world.guesses.note_failure(block, now, Guesser::User(&guessed(username, realm)));
    world.guesses.note_failure(block, now, Guesser::Address(incoming.flow.remote.ip()));
}

/// By what the proof is to be checked: the account of its user name, or, where that says its own end, the secrets.
async fn known<'a>(world: &World, proof: &'a Proof<'_>, realm: &str) -> Result<Known<'a>, Unavailable> {
    let tables = world.tables();
    let ephemeral = &tables.policy.ephemeral;
    let name = if ephemeral.is_off() { None } else { Username::parse(&proof.username) };
    match name {
        Some(name) if name.until <= world.unix_now() => Ok(Known::Ended),
        Some(name) => {
            let ha1s = ephemeral.ha1s(proof.algorithm.hash, &proof.username, realm);
            Ok(Known::Ephemeral(name, ha1s.collect()))
        }
        None => {
            let account = world.account(&proof.username, realm).await?;
            Ok(account.map_or(Known::Nobody, Known::Account))
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
    local_aor(world, incoming.claims.as_ref()?)
}

/// The credentials for our realm and their position, among those for other proxies on the way. Of several the first counts
/// whose algorithm is one of ours: a client may answer every challenge (RFC 8760 §2.4).
fn find_credentials<'a>(incoming: &'a Incoming, realm: &str) -> Option<(usize, Result<Proof<'a>, Refusal>)> {
    let mut refused = None;
    for (index, credentials) in all_credentials(incoming).enumerate() {
        match credentials.and_then(|credentials| Proof::of(&credentials, realm)) {
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

/// There is no hash of the algorithm that the proof was made by.
const UNHASHED: Refusal = Refusal::NotOffered("algorithm");

/// Whether a user's account was made before there was another hash than MD5, or by Kamailio.
fn has_md5_alone(known: &Known<'_>) -> bool {
    matches!(known, Known::Account(account) if account.ha1_sha256.is_empty())
}

/// An account without the hash of the algorithm: [`UNHASHED`], after the same computation.
fn judge(
    world: &World,
    incoming: &Incoming,
    proof: &Proof<'_>,
    nonce: Nonce,
    known: &Known<'_>,
) -> Result<(), Refusal> {
    if !world.settings.auth.algorithms.contains(&proof.algorithm) {
        return Err(UNHASHED);
    }
    let hash = proof.algorithm.hash;
    let verify = |ha1: &str| {
        let mut authenticator = world.authenticator.borrow_mut();
        authenticator.verify(world.unix_now(), proof, nonce, incoming.method(), ha1)
    };
    match known {
        Known::Account(account) => match account.ha1_by(hash) {
            Some(ha1) => verify(ha1),
            None => verify(&NOBODY[..hash.hex_len()]).and(Err(Refusal::Wrong)).map_err(|_| UNHASHED),
        },
        Known::Ephemeral(_, ha1s) => {
            let verdicts = ha1s.iter().map(|ha1| verify(ha1));
            verdicts
                .reduce(|one, other| if one == Err(Refusal::Wrong) { other } else { one })
                .unwrap_or(Err(Refusal::Wrong))
        }
        // The computation is done all the same.
        Known::Nobody | Known::Ended => verify(&NOBODY[..hash.hex_len()]).and(Err(Refusal::Wrong)),
    }
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
    let mut values = world.authenticator.borrow_mut().challenges(world.unix_now(), realm, algorithms, stale);
    // Behind those of digest: JsSIP, and many a phone, looks at the first alone.
    let tables = world.tables();
    let refused = incoming.token.is_some();
    values.extend(tables.policy.tokens.iter().map(|tokens| bearer::challenge(tokens, realm, refused)));
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
