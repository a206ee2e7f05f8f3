//! TLS towards the receiver of forwarded sound.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio_rustls::TlsConnector;

use super::ForwardingTls;
use crate::{Anyone, StartError};

/// What connects by it.
pub(super) fn connector(config: &ForwardingTls) -> Result<TlsConnector, StartError> {
    let failed = |error: &dyn std::fmt::Display| StartError::Config(format!("forwarding over TLS: {error}"));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?;
    let client = match &config.authorities {
        Some(file) => {
            let failed =
                |error: &dyn std::fmt::Display| StartError::Config(format!("{}: {error}", file.display()));
            let mut roots = RootCertStore::empty();
            for one in CertificateDer::pem_file_iter(file).map_err(|error| failed(&error))? {
                let certificate = one.map_err(|error| failed(&error))?;
                roots.add(certificate).map_err(|error| failed(&error))?;
            }
            builder.with_root_certificates(roots).with_no_client_auth()
        }
        None => {
            let anyone = Arc::new(Anyone::new(provider));
            builder.dangerous().with_custom_certificate_verifier(anyone).with_no_client_auth()
        }
    };
    Ok(TlsConnector::from(Arc::new(client)))
}
