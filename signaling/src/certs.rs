//! The certificate of every TLS listener: the operator's own, one that an ACME server has issued, or one made here and signed by a
//! local CA.
//!
//! Browsers refuse a microphone without HTTPS and a WebSocket with an unknown certificate without a word,
//! so a first start must end with a certificate that needs one download, not an openssl evening.

pub(crate) mod identity;
mod issued;
mod local_ca;
mod own;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

pub(crate) use self::issued::{ACME_TLS, Challenges, Issued};
pub(crate) use self::own::certificates;
use crate::config::{Config, Tls};

/// The certificate in use, which can be changed while listeners run.
#[derive(Debug)]
pub struct Certificates {
    current: ArcSwap<CertifiedKey>,
    /// The CA to offer for download as DER and PEM; `None` with the operator's own certificate.
    ca: Option<CaFile>,
    /// What an ACME server has issued.
    issued: ArcSwapOption<Issued>,
    challenges: Challenges,
}

/// The local CA's certificate, for people to install.
#[derive(Debug, Clone)]
pub struct CaFile {
    /// As `/ca.crt`: what phones and Windows open with a tap.
    pub der: Vec<u8>,
    /// As `/ca.pem`.
    pub pem: String,
}

impl Certificates {
    /// Loads or makes the certificate. `addresses` and `names` are those of the host.
    ///
    /// # Errors
    /// The operator's files cannot be used, or the data directory cannot be written.
    pub fn open(
        config: &Config,
        names: &BTreeSet<String>,
        addresses: &BTreeSet<IpAddr>,
    ) -> anyhow::Result<Arc<Self>> {
        let (key, ca) = match (&config.certificate, &config.private_key) {
            (Some(chain), Some(key)) => (own::load(chain, key, unix_now())?, None),
            _ => {
                let directory = config.data_directory.join("certs");
                let made = local_ca::open(&directory, names, addresses, unix_now())
                    .with_context(|| format!("certificates in {}", directory.display()))?;
                (made.key, Some(made.ca))
            }
        };
        let (issued, challenges) = (ArcSwapOption::empty(), Challenges::default());
        Ok(Arc::new(Self { current: ArcSwap::from_pointee(key), ca, issued, challenges }))
    }

    /// Looks again: a certificate of ours is made anew when it runs out soon or the host has another address, one of the
    /// operator's is read again (they renew it by putting another file there). Open connections keep what they have.
    ///
    /// # Errors
    /// As [`Certificates::open`]; the certificate in use then stays.
    pub fn refresh(
        &self,
        config: &Config,
        names: &BTreeSet<String>,
        addresses: &BTreeSet<IpAddr>,
    ) -> anyhow::Result<()> {
        self.adopt(&*Self::open(config, names, addresses)?);
        Ok(())
    }

    /// Shows from now on what another one has read or made.
    pub(crate) fn adopt(&self, fresh: &Self) {
        self.current.store(fresh.current.load_full());
    }

    /// The CA to offer for download.
    #[must_use]
    pub fn ca(&self) -> Option<&CaFile> {
        self.ca.as_ref()
    }

    /// What an ACME server has issued, if that is shown.
    pub(crate) fn issued(&self) -> Option<Arc<Issued>> {
        self.issued.load_full()
    }

    /// Shows it from now on. Open connections keep what they have.
    pub(crate) fn show(&self, issued: Issued) {
        self.issued.store(Some(Arc::new(issued)));
    }

    /// What is shown to an ACME server that looks.
    pub(crate) fn challenges(&self) -> &Challenges {
        &self.challenges
    }

    /// Whether whoever comes by name meets a certificate that browsers trust, so that nobody needs the local CA.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.ca.is_none() || self.issued.load().is_some()
    }

    /// A TLS server that shows this certificate. `alpn` names the protocols spoken over it, none for SIP.
    ///
    /// # Errors
    /// None that this process can cause.
    pub fn server_config(self: &Arc<Self>, alpn: &[&[u8]]) -> anyhow::Result<Arc<rustls::ServerConfig>> {
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .context("TLS versions")?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Ok(Arc::new(config))
    }

    /// The same for SIP, where peers may show a certificate of their own if `tls` says so.
    ///
    /// # Errors
    /// The authorities of `tls` cannot be read.
    pub fn sip_server_config(self: &Arc<Self>, tls: &Tls) -> anyhow::Result<Arc<rustls::ServerConfig>> {
        let Some(path) = &tls.ca_list else { return self.server_config(&[]) };
        let name = || format!("tls.ca_list {}", path.display());
        let mut roots = rustls::RootCertStore::empty();
        let pem = std::fs::read(path).with_context(name)?;
        let (added, _) = roots.add_parsable_certificates(certificates(&pem));
        anyhow::ensure!(added > 0, "{} holds no certificate in PEM form", name());
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let verifier =
            if tls.require_certificate { verifier } else { verifier.allow_unauthenticated() }.build()?;
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("TLS versions")?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        Ok(Arc::new(config))
    }

    /// A TLS client for peers that are dialled. It trusts the host's CA bundle and the local CA, and shows the operator's own
    /// certificate to those who ask for one; that of the local CA would mean nothing to them.
    ///
    /// # Errors
    /// None that this process can cause.
    pub fn client_config(self: &Arc<Self>) -> anyhow::Result<Arc<rustls::ClientConfig>> {
        let mut roots = rustls::RootCertStore::empty();
        if let Ok(bundle) = std::fs::read("/etc/ssl/certs/ca-certificates.crt") {
            roots.add_parsable_certificates(certificates(&bundle));
        }
        roots.add_parsable_certificates(self.ca.iter().map(|ca| CertificateDer::from(ca.der.clone())));
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .context("TLS versions")?
            .with_root_certificates(roots)
            .with_client_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesClientCert>);
        Ok(Arc::new(config))
    }
}

impl ResolvesClientCert for Certificates {
    fn resolve(&self, _authorities: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let current = self.current.load_full();
        current.key.choose_scheme(schemes).is_some().then_some(current)
    }

    fn has_certs(&self) -> bool {
        self.ca.is_none()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name();
        // Whoever offers this offers nothing else, and without a proof there is nothing to say (RFC 8737 §3).
        if hello.alpn().is_some_and(|mut offered| offered.any(|protocol| protocol == ACME_TLS)) {
            return self.challenges.tls(name?);
        }
        match &*self.issued.load() {
            // Old phones name nobody. Whoever comes by an address does neither, and has to know the local CA in any case.
            Some(issued) if name.is_none_or(|name| issued.is_for(name)) => Some(Arc::clone(&issued.key)),
            _ => Some(self.current.load_full()),
        }
    }
}

fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: &PrivateKeyDer<'static>,
) -> Result<CertifiedKey, rustls::Error> {
    let key = aws_lc_rs::sign::any_supported_type(key)?;
    let certified = CertifiedKey::new(chain, key);
    certified.keys_match()?;
    Ok(certified)
}

fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Writes a file that only its owner can read, whole or not at all.
pub(crate) fn write_secret(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let part = path.with_extension("part");
    // A left-over of an interrupted start would keep its own, maybe wider, permissions.
    match std::fs::remove_file(&part) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(part, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_address_gets_a_certificate_while_listeners_run() {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config::defaults().unwrap();
        config.data_directory = directory.path().to_owned();
        let names = BTreeSet::from(["localhost".to_owned()]);
        let mut addresses = BTreeSet::from([IpAddr::from([192, 0, 2, 1])]);
        let certificates = Certificates::open(&config, &names, &addresses).unwrap();
        let leaf = || certificates.current.load().cert[0].clone();
        let first = leaf();
        certificates.refresh(&config, &names, &addresses).unwrap();
        assert_eq!(leaf(), first);
        addresses.insert(IpAddr::from([192, 0, 2, 2]));
        certificates.refresh(&config, &names, &addresses).unwrap();
        assert_ne!(leaf(), first);
    }

    #[test]
    fn a_bad_file_leaves_the_certificate_in_use() {
        let directory = tempfile::tempdir().unwrap();
        let own = rcgen::generate_simple_self_signed(vec!["sip.example".to_owned()]).unwrap();
        let mut config = Config::defaults().unwrap();
        let [chain, key] = ["chain.pem", "key.pem"].map(|name| directory.path().join(name));
        std::fs::write(&chain, own.cert.pem()).unwrap();
        std::fs::write(&key, own.signing_key.serialize_pem()).unwrap();
        (config.certificate, config.private_key) = (Some(chain.clone()), Some(key));
        let certificates = Certificates::open(&config, &BTreeSet::new(), &BTreeSet::new()).unwrap();
        assert!(certificates.ca().is_none());
        std::fs::write(&chain, "half a fi").unwrap();
        certificates.refresh(&config, &BTreeSet::new(), &BTreeSet::new()).unwrap_err();
        assert_eq!(certificates.current.load().cert[0], *own.cert.der());
    }
}
