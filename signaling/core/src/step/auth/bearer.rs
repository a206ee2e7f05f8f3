//! Tokens in place of passwords (RFC 8898): whoever comes with one has not been challenged, and is judged by it alone.

use std::ops::ControlFlow;

use super::{challenge as challenge_anew, tell_failure};
use crate::event::AuthFailure;
use crate::message::{Name, StatusCode};
use crate::step::{Incoming, Verdict};
use crate::token::Tokens;
use crate::world::World;

/// Where tokens stand. JsSIP puts its token into Authorization of every request, whether it is for a proxy or not.
const NAMES: [Name<'static>; 2] = [Name::Authorization, Name::ProxyAuthorization];

/// Takes the token off a request of a user of ours, before anybody else sees it: whoever has it can be that user until it ends.
/// That of a user of another domain is for the server there.
pub fn take(world: &World, incoming: &mut Incoming) {
    let found = |incoming: &Incoming| {
        let mut values = NAMES.into_iter().flat_map(|name| incoming.message.values(name));
        values.find_map(|value| token(value).map(str::to_owned))
    };
    if world.tables().policy.tokens.is_none() || super::claimed(world, incoming).is_none() {
        return;
    }
    incoming.token = found(incoming);
    if incoming.token.is_some() {
        for name in NAMES {
            incoming.message.retain_values(name, |value| token(value).is_none());
        }
    }
}

/// Lets the user pass whom `token` names: `claimed`, else it is 403. A token that proves nothing is challenged with what is wrong
/// (RFC 8898 §2.2).
pub(super) fn judge(
    world: &World,
    incoming: &mut Incoming,
    tokens: &Tokens,
    token: &str,
    claimed: &str,
) -> ControlFlow<Verdict> {
    let (user, realm) = claimed.rsplit_once('@').unwrap_or((claimed, ""));
    match tokens.verify(token, world.unix_now()) {
        Ok(named) if named.user == user && named.domain.as_deref().is_none_or(|domain| domain == realm) => {
            world.sources.prove(&world.settings.pike, world.now(), incoming.flow.remote, Some(claimed));
            incoming.proved_until = Some(named.until);
            incoming.user = Some(claimed.to_owned());
            ControlFlow::Continue(())
        }
        Ok(named) => {
            tell_failure(world, incoming, &named.user, AuthFailure::UserMismatch);
            ControlFlow::Break(incoming.refuse(world, StatusCode::FORBIDDEN, "Credentials of another user"))
        }
        Err(invalid) => {
            tell_failure(world, incoming, user, AuthFailure::Token(invalid));
            challenge_anew(world, incoming, realm, false)
        }
    }
}

/// The value of a challenge (RFC 8898 §4); `refused` when a token has just failed.
pub(super) fn challenge(tokens: &Tokens, realm: &str, refused: bool) -> String {
    let mut text = format!("Bearer realm=\"{realm}\"");
    if let Some(server) = &tokens.authz_server {
        text.push_str(&format!(", authz_server=\"{server}\""));
    }
    if refused {
        text.push_str(", error=\"invalid_token\"");
    }
    text
}

/// The token in the value of a header of credentials; `None` for those of another scheme (RFC 6750 §2.1).
fn token(value: &[u8]) -> Option<&str> {
    let (scheme, token) = std::str::from_utf8(value).ok()?.trim().split_once([' ', '\t'])?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim())
}
