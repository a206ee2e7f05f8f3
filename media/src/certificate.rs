//! The relay's own certificate, made anew at each start: nobody pins it, its fingerprint goes out in every SDP.

use media_core::dtls::Certificate;

use crate::StartError;

/// An ECDSA P-256 certificate (RFC 8827 §6.5), signed by itself.
pub(crate) fn make() -> Result<Certificate, StartError> {
    let failed = |error: rcgen::Error| StartError::Certificate(error.to_string());
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let mut params = rcgen::CertificateParams::new(Vec::new()).map_err(failed)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    // Nothing that tells one installation from another.
    params.distinguished_name.push(rcgen::DnType::CommonName, "media");
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok(Certificate::new(certificate.der().to_vec(), key.serialize_der()))
}
