//! `acme.*`: the certificate from an ACME server.

use serde_json::{Value, json};

use super::Control;
use super::jsonrpc::{Answer, Fault};
use super::methods::Outcome;

/// How it stands with the certificate; no rows where no server is asked.
pub(super) fn list(control: &Control) -> Outcome {
    let Some(acme) = &control.acme else { return Ok(Answer::Value(Value::Array(Vec::new()))) };
    let (state, issued) = (acme.state(), control.certificates.issued());
    let issued = issued.as_deref();
    Ok(Answer::Value(json!([{
        "domains": acme.settings().domains.join(" "),
        "directory": acme.settings().directory,
        "issuer": issued.map(|issued| issued.issuer.as_str()),
        "not_before": issued.map(|issued| issued.not_before),
        "not_after": issued.map(|issued| issued.not_after),
        "next_try": state.next,
        "last_error": state.error,
    }])))
}

/// Has the server asked at once.
pub(super) fn renew(control: &Control) -> Outcome {
    let acme =
        control.acme.as_ref().ok_or_else(|| Fault::new(400, "acme.domains is empty: no server is asked"))?;
    acme.renew();
    Ok(Answer::Value(json!({})))
}
