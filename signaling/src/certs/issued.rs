//! A certificate that a public authority has issued by way of ACME, with its key, and what it shows while that authority looks.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use arc_swap::ArcSwap;
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{certified, local_ca, own};

/// The protocol in which the server asks for the proof (RFC 8737 §6.2).
pub(crate) const ACME_TLS: &[u8] = b"acme-tls/1";

/// The certificate, with what is to be known of it.
#[derive(Debug)]
pub(crate) struct Issued {
    pub(super) key: Arc<CertifiedKey>,
    /// The names that it is for.
    pub(crate) names: BTreeSet<String>,
    /// From when it counts, in seconds since 1970.
    pub(crate) not_before: i64,
    /// Until when.
    pub(crate) not_after: i64,
    /// Who has signed it.
    pub(crate) issuer: String,
}

impl Issued {
    /// Reads PEM that holds the key, and the chain with the certificate first.
    ///
    /// # Errors
    /// One of them is missing or cannot be read, or they do not belong together.
    pub(crate) fn from_pem(pem: &[u8]) -> anyhow::Result<Self> {
        let chain = own::certificates(pem);
        let key = PrivateKeyDer::from_pem_slice(pem).map_err(|error| anyhow::anyhow!("the key: {error}"))?;
        let leaf = chain.first().context("no certificate")?.clone();
        let (_, leaf) = X509Certificate::from_der(&leaf).context("the certificate cannot be read")?;
        let (names, _) = local_ca::subject_names(&leaf);
        let validity = leaf.validity();
        let (not_before, not_after) = (validity.not_before.timestamp(), validity.not_after.timestamp());
        ensure!(not_before < not_after, "the certificate is never valid");
        let issuer = leaf.issuer().to_string();
        Ok(Self { key: Arc::new(certified(chain, &key)?), names, not_before, not_after, issuer })
    }

    /// Whether it is for `name`, which a client may spell in any case.
    pub(crate) fn is_for(&self, name: &str) -> bool {
        self.names.contains(&name.to_ascii_lowercase())
    }
}

/// What is shown to an ACME server that wants to see whether names are ours.
#[derive(Debug, Default)]
pub(crate) struct Challenges(ArcSwap<Shown>);

#[derive(Debug, Clone, Default)]
struct Shown {
    /// Key authorizations by token (RFC 8555 §8.3).
    http: HashMap<String, String>,
    /// Certificates by name (RFC 8737 §3).
    tls: HashMap<String, Arc<CertifiedKey>>,
}

impl Challenges {
    /// Shows a key authorization under its token.
    pub(crate) fn show_http(&self, token: String, authorization: String) {
        let mut shown = Shown::clone(&self.0.load());
        shown.http.insert(token, authorization);
        self.0.store(Arc::new(shown));
    }

    /// Shows a certificate of `name` that holds the hash of a key authorization.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn show_tls(&self, name: &str, hash: &[u8]) -> anyhow::Result<()> {
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(hash)];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
        // Not `certified`: its critical extension is meant for one reader, and unknown to others.
        let key = aws_lc_rs::sign::any_supported_type(&key)?;
        let mut shown = Shown::clone(&self.0.load());
        shown.tls.insert(name.to_owned(), Arc::new(CertifiedKey::new(vec![certificate.der().clone()], key)));
        self.0.store(Arc::new(shown));
        Ok(())
    }

    /// Shows nothing any more.
    pub(crate) fn clear(&self) {
        self.0.store(Arc::default());
    }

    /// The key authorization of a token.
    pub(crate) fn http(&self, token: &str) -> Option<String> {
        self.0.load().http.get(token).cloned()
    }

    /// The certificate of a name.
    pub(super) fn tls(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        self.0.load().tls.get(&name.to_ascii_lowercase()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_and_chain_are_read_and_belong_together() {
        let [one, other] = ["one.example", "other.example"]
            .map(|name| rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap());
        let pem = one.signing_key.serialize_pem() + &one.cert.pem();
        let issued = Issued::from_pem(pem.as_bytes()).unwrap();
        assert!(issued.is_for("One.Example") && !issued.is_for("other.example"));
        assert!(issued.not_before < issued.not_after && !issued.issuer.is_empty());
        for wrong in [
            one.cert.pem(),
            one.signing_key.serialize_pem(),
            other.signing_key.serialize_pem() + &one.cert.pem(),
            String::new(),
        ] {
            Issued::from_pem(wrong.as_bytes()).unwrap_err();
        }
    }

    /// RFC 8737 §3: the name alone, and a critical extension with the hash.
    #[test]
    fn a_challenge_is_shown_until_it_is_taken_away() {
        let challenges = Challenges::default();
        challenges.show_http("token".into(), "token.thumb".into());
        challenges.show_tls("one.example", &[7; 32]).unwrap();
        challenges.show_tls("two.example", &[8; 32]).unwrap();
        assert_eq!(challenges.http("token").as_deref(), Some("token.thumb"));
        let shown = challenges.tls("ONE.example").unwrap();
        let (_, leaf) = X509Certificate::from_der(&shown.cert[0]).unwrap();
        assert_eq!(local_ca::subject_names(&leaf).0, BTreeSet::from(["one.example".to_owned()]));
        let acme = leaf.extensions().iter().find(|e| e.oid.to_id_string() == "1.3.6.1.5.5.7.1.31").unwrap();
        assert!(acme.critical && acme.value == [&[4, 32][..], &[7; 32]].concat());
        assert!(challenges.tls("two.example").is_some() && challenges.tls("three.example").is_none());
        challenges.clear();
        assert!(challenges.http("token").is_none() && challenges.tls("one.example").is_none());
    }
}
