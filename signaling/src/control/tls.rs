//! `tls.*`: connections over TLS, and the certificate.

use serde_json::{Value, json};

use super::Control;
use super::core::proto;
use super::jsonrpc::{Answer, Fault};
use super::methods::Outcome;
use crate::transport::OpenConnection;

fn open(control: &Control) -> Vec<OpenConnection> {
    let mut open = control.transport.connections();
    open.retain(|open| proto(open.protocol) == "tls");
    open
}

pub(super) fn info(control: &Control) -> Outcome {
    let open = open(control);
    Ok(Answer::Value(json!({
        "max_connections": control.config.limits.connections,
        "opened_connections": open.len(),
        "clear_text_write_queued_bytes": open.iter().map(|open| open.queued_bytes).sum::<usize>(),
    })))
}

pub(super) fn list(control: &Control) -> Outcome {
    let row = |open: OpenConnection| {
        json!({
            "id": open.id.0,
            "src_ip": open.remote.ip().to_string(),
            "src_port": open.remote.port(),
            "ct_wq_size": open.queued_bytes,
            "state": "established",
        })
    };
    Ok(Answer::Value(open(control).into_iter().map(row).collect::<Vec<Value>>().into()))
}

pub(super) fn options(control: &Control) -> Outcome {
    let path = |path: &Option<std::path::PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let (config, tls) = (&control.config, &control.config.tls_settings);
    Ok(Answer::Value(json!({
        "method": "TLSv1.2+",
        "verify_certificate": u8::from(tls.ca_list.is_some()),
        "require_certificate": u8::from(tls.require_certificate),
        "private_key": path(&config.private_key),
        "certificate": path(&config.certificate),
        "ca_list": path(&tls.ca_list),
    })))
}

/// Reads the operator's certificate again, or looks whether that of the local CA is still good.
pub(super) async fn reload(control: &Control) -> Outcome {
    match control.read_certificate().await {
        Ok(fresh) => {
            control.certificates.adopt(&fresh);
            Ok(Answer::Value(json!("Ok. TLS configuration reloaded.")))
        }
        Err(error) => Err(Fault::new(500, format!("the certificate in use stays: {error:#}"))),
    }
}
