//! TLS to a listener of ours, whatever certificate it shows: that is looked at afterwards.

use std::sync::Arc;

use media::Anyone;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::ServerName;

/// A client that takes any certificate.
pub(super) fn client() -> anyhow::Result<Arc<rustls::ClientConfig>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone::new(provider)))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// For the handshake with the gateway of `domain`.
pub(super) fn name(domain: &str) -> anyhow::Result<ServerName<'static>> {
    Ok(ServerName::try_from(domain.trim_matches(['[', ']']).to_owned())?)
}
