//! Who knows reliable provisional responses (RFC 3262), and for whom they are made here.
//!
//! Between two ends that know them they pass as they are. A browser does not (JsSIP has neither 100rel nor PRACK), so it is
//! never told of them: a caller who merely supports them hears its responses as they come, and for one who requires them
//! this proxy makes them reliable itself (`proxy::reliable`).

use super::Target;
use crate::message::{Method, Name, Request, Response};

/// The option tag.
const OPTION: &str = "100rel";

/// Keeps 100rel from an end that has no PRACK.
pub fn leave_out(message: &mut Request, target: &Target) {
    if *message.method() != Method::Invite || target.prack {
        return;
    }
    for name in [Name::Require, Name::Supported] {
        message.retain_values(name, |option| !option.eq_ignore_ascii_case(OPTION.as_bytes()));
    }
}

/// Whether this provisional response to `invite` has to be made reliable on behalf of `target`.
#[must_use]
pub fn stands_in(invite: &Request, target: &Target, response: &Response) -> bool {
    *invite.method() == Method::Invite
        && !target.prack
        && response.status().code() > 100
        && response.to_tag().is_some()
        && invite.has_token(Name::Require, OPTION)
        && !response.contains(Name::RSeq)
}

/// Marks a response as the reliable one with this number.
pub fn number(response: &mut Response, rseq: u32) {
    response.set(Name::RSeq, rseq.to_string());
    if !response.has_token(Name::Require, OPTION) {
        response.push(Name::Require, OPTION);
    }
}
