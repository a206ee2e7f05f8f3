//! The certificate that browsers and phones see: its name, its chain, its end, and whether they trust it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::aws_lc_rs;
use rustls::{CertificateError, Error};
use rustls_pki_types::{CertificateDer, UnixTime};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{Findings, Scene, doors, tls};
use crate::certs::certificates;
use crate::config::Listen;
use crate::store::unix_now;

/// How long a handshake may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time enough to renew it by hand.
const SOON: i64 = 14;
const DAY: i64 = 86_400;

pub(super) async fn look(scene: &Scene<'_>) -> Findings {
    let mut findings = Findings::of("certificate");
    let config = scene.config;
    let listen = [config.https, config.tls].into_iter().find(|listen| *listen != Listen::Off);
    let address = listen.filter(|_| scene.running.is_some()).and_then(|listen| doors::reached(listen, scene));
    let chain = match (address, &config.certificate) {
        (Some(address), _) => shown(address, &scene.domain).await,
        (None, Some(path)) => {
            let pem = std::fs::read(path).map_err(anyhow::Error::from);
            pem.map(|pem| certificates(&pem)).with_context(|| path.display().to_string())
        }
        (None, None) => {
            findings.good(
                "it is made at the start, by a local CA that browsers do not know until it is installed",
            );
            return findings;
        }
    };
    match chain {
        Ok(chain) => {
            let local = std::fs::read(config.data_directory.join("certs/ca.pem")).unwrap_or_default();
            let is_local = chain.len() > 1 && chain.last() == certificates(&local).first();
            if is_local && config.acme.domains.contains(&scene.domain) {
                let cure = "look for acme in the log of the gateway: the server must reach this host by the name, at port 443 or 80";
                findings
                    .fault("acme.domains has the domain, and no server has issued a certificate yet", cure);
            }
            judge(&chain, &scene.domain, is_local, unix_now(), &mut findings);
        }
        Err(error) => findings.fault(format!("{error:#}"), "look at the log of the gateway"),
    }
    findings
}

/// The chain that a listener shows.
async fn shown(address: std::net::SocketAddr, domain: &str) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let handshake = async {
        let stream = TcpStream::connect(address).await?;
        let stream = TlsConnector::from(tls::client()?).connect(tls::name(domain)?, stream).await?;
        let chain = stream.get_ref().1.peer_certificates().context("it shows none")?;
        Ok(chain.iter().map(|certificate| certificate.clone().into_owned()).collect())
    };
    timeout(PATIENCE, handshake)
        .await
        .context("no handshake in time")
        .flatten()
        .with_context(|| address.to_string())
}

fn judge(chain: &[CertificateDer<'_>], domain: &str, is_local: bool, now: u64, findings: &mut Findings) {
    let Some((leaf, rest)) = chain.split_first() else {
        return findings.fault("the file has no certificate in PEM form", "the chain, server first, as PEM");
    };
    let parsed = X509Certificate::from_der(leaf).map(|(_, parsed)| parsed);
    let days = parsed.map(|parsed| (parsed.validity().not_after.timestamp() - now as i64).div_euclid(DAY));
    // Without the local CA's own, which a browser that has installed it knows: name and time are judged alike.
    let trusted = if is_local { rest.last().cloned().into_iter().collect() } else { Vec::new() };
    let before = findings.list.len();
    match verify(leaf, rest, domain, now, trusted) {
        Ok(()) => {}
        Err(Error::InvalidCertificate(reason)) => refuse(&reason, domain, findings),
        Err(error) => findings.fault(format!("browsers refuse it: {error}"), "another certificate"),
    }
    if let Ok(days) = days
        && findings.list.len() == before
    {
        match (is_local, days) {
            (false, days) if days < SOON => {
                findings.warn(
                    format!("it ends in {days} days"),
                    "renew it: certificate.chain, or acme in the log",
                );
            }
            (false, days) => {
                findings.good(format!("browsers and phones trust it for {domain}, for {days} days"))
            }
            // It is renewed here.
            (true, _) => {
                let cure =
                    "install https://…/ca.crt in each of them, or have acme.domains or certificate.chain";
                findings.warn(
                    format!("it is right for {domain}, but of a local CA, which browsers do not know"),
                    cure,
                );
            }
        }
    }
}

fn refuse(reason: &CertificateError, domain: &str, findings: &mut Findings) {
    let (what, cure) = match reason {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => ("it has ended", "renew it"),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            ("it is not valid yet", "set the clock right")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            let what = format!("it does not name {domain}, where browsers and phones are sent to");
            return findings
                .fault(what, "a certificate for this name, or sip.domain as it is in the certificate");
        }
        CertificateError::UnknownIssuer => (
            "nobody knows who has signed it: an intermediate is missing, or its authority is private",
            "append the intermediates (fullchain.pem), or install the authority in each browser and phone",
        ),
        other => {
            return findings.fault(format!("browsers refuse it: {other}"), "another certificate");
        }
    };
    findings.fault(what, cure);
}

/// As a browser would, which knows the authorities of Mozilla and those of this host, and `trusted`.
fn verify(
    leaf: &CertificateDer<'_>,
    rest: &[CertificateDer<'_>],
    domain: &str,
    now: u64,
    trusted: Vec<CertificateDer<'_>>,
) -> Result<(), Error> {
    let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Ok(bundle) = std::fs::read("/etc/ssl/certs/ca-certificates.crt") {
        roots.add_parsable_certificates(certificates(&bundle));
    }
    roots.add_parsable_certificates(trusted.into_iter().map(CertificateDer::into_owned));
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    let verifier = verifier.map_err(|error| Error::General(error.to_string()))?;
    let name = match domain.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(ip) => ip.into(),
        Err(_) => tls::name(domain).map_err(|error| Error::General(error.to_string()))?,
    };
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
    verifier.verify_server_cert(leaf, rest, &name, &[], now).map(drop)
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};

    use super::super::Level;
    use super::*;

    /// 2026-06-01.
    const NOW: u64 = 1_780_272_000;

    /// A chain of a private authority for a name, until a day of June 2026.
    fn chain(name: &str, until: u8) -> Vec<CertificateDer<'static>> {
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.not_after = date_time_ymd(2030, 1, 1);
        let (ca_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let root = ca.self_signed(&ca_key).unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2026, 6, until));
        let leaf = params.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
        vec![leaf.der().clone(), root.der().clone()]
    }

    fn found(chain: &[CertificateDer<'_>], is_local: bool, now: u64) -> (Level, String) {
        let mut findings = Findings::of("certificate");
        judge(chain, "sip.example", is_local, now, &mut findings);
        let finding = findings.list.remove(0);
        (finding.level, finding.what)
    }

    #[test]
    fn each_way_to_get_it_wrong_has_its_sentence() {
        let good = chain("sip.example", 28);
        for (chain, is_local, now, level, words) in [
            (&good, true, NOW, Level::Warning, "of a local CA"),
            (&good, true, NOW + 28 * 86_400, Level::Fault, "has ended"),
            (&good, true, NOW - 200 * 86_400, Level::Fault, "not valid yet"),
            (&chain("other.example", 28), true, NOW, Level::Fault, "does not name sip.example"),
            (&good, false, NOW, Level::Fault, "nobody knows who has signed it"),
            (&Vec::new(), false, NOW, Level::Fault, "no certificate"),
        ] {
            let (found, what) = found(chain, is_local, now);
            assert!(found == level && what.contains(words), "{words}: {found:?} {what}");
        }
    }
}
