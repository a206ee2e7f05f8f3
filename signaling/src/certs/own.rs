//! The operator's own certificate and key, with an error that says what to do for each way to get them wrong.

use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Loads a chain and its key.
pub(super) fn load(chain: &Path, key: &Path, now: i64) -> anyhow::Result<CertifiedKey> {
    let chain_name = format!("certificate.chain {}", chain.display());
    let key_name = format!("certificate.private_key {}", key.display());
    let chain_pem = std::fs::read(chain).with_context(|| chain_name.clone())?;
    let key_pem = std::fs::read(key).with_context(|| key_name.clone())?;
    let certificates = certificates(&chain_pem);
    if certificates.is_empty() {
        let hint =
            if PrivateKeyDer::from_pem_slice(&chain_pem).is_ok() { ": it holds a private key" } else { "" };
        bail!("{chain_name} holds no certificate in PEM form{hint}");
    }
    let key = PrivateKeyDer::from_pem_slice(&key_pem).map_err(|_| {
        anyhow!("{key_name} holds no private key in PEM form (an encrypted one cannot be used)")
    })?;
    check_chain(&certificates, now).with_context(|| chain_name.clone())?;
    super::certified(certificates, &key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            anyhow!("{key_name} does not belong to the first certificate of {}", chain.display())
        }
        other => anyhow!(other).context(key_name),
    })
}

/// The certificates of a PEM file; what is none is skipped.
pub(crate) fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect()
}

fn check_chain(chain: &[CertificateDer<'_>], now: i64) -> anyhow::Result<()> {
    let parsed: Vec<X509Certificate<'_>> = chain
        .iter()
        .map(|der| X509Certificate::from_der(der).map(|(_, certificate)| certificate))
        .collect::<Result<_, _>>()
        .context("a certificate cannot be read")?;
    let Some(leaf) = parsed.first() else { bail!("no certificate") };
    if leaf.validity().not_after.timestamp() <= now {
        bail!("the certificate expired on {}: renew it", leaf.validity().not_after);
    }
    if leaf.validity().not_before.timestamp() > now {
        bail!("the certificate is not valid before {}: check the clock", leaf.validity().not_before);
    }
    if leaf.is_ca() && leaf.subject() != leaf.issuer() {
        bail!("the first certificate is that of a CA: put the server's first, then the intermediates");
    }
    for pair in parsed.windows(2) {
        if pair[0].issuer() != pair[1].subject() {
            bail!(
                "\"{}\" is not signed by the one after it: put them in order, server first",
                pair[0].subject()
            );
        }
    }
    // One certificate whose issuer is somebody else: browsers that have not met the intermediate elsewhere refuse it.
    if parsed.len() == 1 && leaf.issuer() != leaf.subject() && !is_root(leaf) {
        bail!(
            "an intermediate is missing: the file ends with a certificate signed by \"{}\"; append that one (use \
             the fullchain file)",
            leaf.issuer()
        );
    }
    Ok(())
}

/// Whether the issuer of `leaf` is a root that the host knows, so that no intermediate is needed.
fn is_root(leaf: &X509Certificate<'_>) -> bool {
    let Ok(bundle) = std::fs::read("/etc/ssl/certs/ca-certificates.crt") else { return false };
    certificates(&bundle).iter().any(|der| {
        X509Certificate::from_der(der)
            .is_ok_and(|(_, root)| root.subject().as_raw() == leaf.issuer().as_raw())
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

    use super::*;

    const NOW: i64 = 1_800_000_000; // January 2027

    struct Files {
        directory: tempfile::TempDir,
    }

    impl Files {
        fn put(&self, name: &str, text: &str) -> PathBuf {
            let path = self.directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        }
    }

    fn params(name: &str, to_year: i32) -> CertificateParams {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(to_year, 1, 1);
        params
    }

    #[test]
    fn each_mistake_has_its_own_words() {
        let files = Files { directory: tempfile::tempdir().unwrap() };
        let [root_key, middle_key, leaf_key, other_key] =
            std::array::from_fn(|_| KeyPair::generate().unwrap());
        let ca = |name| {
            let mut params = params(name, 2040);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params
        };
        let root = Issuer::new(ca("Root"), &root_key);
        let middle = ca("Middle").signed_by(&middle_key, &root).unwrap();
        let signer = Issuer::new(ca("Middle"), &middle_key);
        let leaf = params("sip.example", 2040).signed_by(&leaf_key, &signer).unwrap();
        let old = params("sip.example", 2021).signed_by(&leaf_key, &signer).unwrap();
        let alone = params("sip.example", 2040).self_signed(&leaf_key).unwrap();

        let key = files.put("key.pem", &leaf_key.serialize_pem());
        let wrong_key = files.put("other.pem", &other_key.serialize_pem());
        let full = files.put("full.pem", &(leaf.pem() + &middle.pem()));
        let turned = files.put("turned.pem", &(middle.pem() + &leaf.pem()));
        let short = files.put("short.pem", &leaf.pem());
        let expired = files.put("expired.pem", &(old.pem() + &middle.pem()));
        let self_signed = files.put("self.pem", &alone.pem());
        let empty = files.put("empty.pem", "nothing");

        assert!(load(&full, &key, NOW).is_ok());
        assert!(load(&self_signed, &key, NOW).is_ok());
        let table = [
            (&full, &wrong_key, "does not belong to the first certificate"),
            (&turned, &key, "that of a CA"),
            (&short, &key, "an intermediate is missing"),
            (&expired, &key, "expired on"),
            (&empty, &key, "holds no certificate in PEM form"),
            (&key, &key, "it holds a private key"),
            (&full, &full, "holds no private key"),
            (&files.directory.path().join("none.pem"), &key, "No such file"),
        ];
        for (chain, key, words) in table {
            let error = format!("{:#}", load(chain, key, NOW).expect_err(words));
            assert!(error.contains(words), "{error}");
        }
    }
}
