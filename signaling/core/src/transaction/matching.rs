//! Which transaction a message belongs to (RFC 3261 §17.1.3, §17.2.3).

use std::fmt::Write as _;

use crate::message::{Fields, HeaderError, Method, Name, Request, Response};

/// The key of the server transaction that `request` belongs to or would begin. For ACK and CANCEL pass the method of the
/// transaction they may concern.
///
/// With an RFC 3261 branch: branch, sent-by and method. Otherwise, as RFC 2543 clients need it: request-URI, To tag, From
/// tag, Call-ID, CSeq number and topmost Via; `to_tag` is given apart because the ACK has the one of the response.
pub(super) fn server_key(
    request: &Request,
    method: &Method,
    to_tag: Option<&str>,
) -> Result<String, HeaderError> {
    let via = request.top_via()?;
    let mut key = String::with_capacity(96);
    if let Some(branch) = via.cookie_branch() {
        let port = via.port().unwrap_or(0);
        let _ = write!(key, "{branch}\n{}:{port}\n{method}", via.host().to_ascii_lowercase());
        return Ok(key);
    }
    let number = request.cseq()?.number;
    let (from_tag, call_id) = (request.from_tag().unwrap_or_default(), request.call_id());
    let via = String::from_utf8_lossy(request.values(Name::Via).next().unwrap_or_default());
    let (uri, to_tag) = (request.uri_text(), to_tag.unwrap_or_default());
    let _ = write!(key, "\n{uri}\n{to_tag}\n{from_tag}\n{call_id}\n{number}\n{via}\n{method}");
    Ok(key)
}

/// Whether `request` comes from an RFC 2543 client, whose ACK is matched by the response's To tag.
pub(super) fn is_rfc2543(request: &Request) -> bool {
    request.top_via().is_ok_and(|via| via.cookie_branch().is_none())
}

/// The key of a client transaction: our branch, and the method of CSeq, for a CANCEL shares the branch.
pub(super) fn client_key(fields: &Fields) -> Option<String> {
    let via = fields.top_via().ok()?;
    let method = fields.cseq().ok()?.method;
    Some(format!("{}\n{method}", via.branch()?))
}

/// [`client_key`] of a response.
pub(super) fn response_key(response: &Response) -> Option<String> {
    client_key(response)
}

/// What merged requests have in common: one request that came by several ways (RFC 3261 §8.2.2.2). `None` within a
/// dialog.
pub(super) fn merge_key(request: &Request) -> Option<String> {
    if request.to_tag().is_some() || *request.method() == Method::Cancel {
        return None;
    }
    let cseq = request.cseq().ok()?;
    let from_tag = request.from_tag()?;
    Some(format!("{from_tag}\n{}\n{} {}", request.call_id(), cseq.number, cseq.method))
}
