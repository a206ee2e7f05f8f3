//! The local CA and the server certificate it signs.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use rand::RngExt as _;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber,
};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{CaFile, write_secret};

const DAY: i64 = 86_400;
/// Apple's limit is 825 days for a private CA, that of public CAs was 398 when browsers began to enforce one.
const SERVER_DAYS: i64 = 397;
/// Made anew this long before the end, so that a gateway that runs for months never serves an expired one.
const RENEW_DAYS: i64 = 30;
/// A CA that people had to install by hand should outlive the machine.
const CA_DAYS: i64 = 3650;

pub(super) struct Made {
    pub(super) key: CertifiedKey,
    pub(super) ca: CaFile,
}

/// Opens the CA and the certificate kept in `directory`; makes what is missing, and the certificate when it does not have
/// all `names` and `addresses` or runs out soon.
pub(super) fn open(
    directory: &Path,
    names: &BTreeSet<String>,
    addresses: &BTreeSet<IpAddr>,
    now: i64,
) -> anyhow::Result<Made> {
    make_private_directory(directory)?;
    let (ca_pem, ca_key) = open_ca(directory, now)?;
    let ca_der = CertificateDer::from_pem_slice(ca_pem.as_bytes()).context("ca.pem")?;
    let ca = CaFile { der: ca_der.to_vec(), pem: ca_pem };

    let (chain_path, key_path) = (directory.join("server.pem"), directory.join("server.key"));
    if let (Ok(pem), Ok(key)) = (std::fs::read(&chain_path), std::fs::read(&key_path))
        && let (Ok(leaf), Ok(key)) =
            (CertificateDer::from_pem_slice(&pem), PrivateKeyDer::from_pem_slice(&key))
        && is_good(&leaf, &ca_der, names, addresses, now)
        && let Ok(certified) = super::certified(vec![leaf, ca_der.clone()], &key)
    {
        return Ok(Made { key: certified, ca });
    }

    let issuer = Issuer::from_ca_cert_der(&ca_der, ca_key).context("ca.pem")?;
    let key = KeyPair::generate().context("key pair")?;
    let leaf =
        server_params(names, addresses, now)?.signed_by(&key, &issuer).context("server certificate")?;
    write_secret(&key_path, key.serialize_pem().as_bytes())
        .with_context(|| key_path.display().to_string())?;
    write_secret(&chain_path, (leaf.pem() + &ca.pem).as_bytes())
        .with_context(|| chain_path.display().to_string())?;
    tracing::info!(days = SERVER_DAYS, names = ?names, "server certificate made");
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
    let certified = super::certified(vec![leaf.der().clone(), ca_der], &key).context("server certificate")?;
    Ok(Made { key: certified, ca })
}

fn open_ca(directory: &Path, now: i64) -> anyhow::Result<(String, KeyPair)> {
    let (pem_path, key_path) = (directory.join("ca.pem"), directory.join("ca.key"));
    match (std::fs::read_to_string(&pem_path), std::fs::read_to_string(&key_path)) {
        (Ok(pem), Ok(key)) => {
            let key = KeyPair::from_pem(&key).with_context(|| key_path.display().to_string())?;
            return Ok((pem, key));
        }
        // Half a CA is not replaced behind the back of people who have it installed.
        (Ok(_), Err(error)) => return Err(error).with_context(|| key_path.display().to_string()),
        (Err(error), Ok(_)) => return Err(error).with_context(|| pem_path.display().to_string()),
        (Err(_), Err(_)) => {}
    }
    let key = KeyPair::generate().context("key pair")?;
    let certificate = ca_params(now)?.self_signed(&key).context("CA certificate")?;
    write_secret(&key_path, key.serialize_pem().as_bytes())
        .with_context(|| key_path.display().to_string())?;
    write_secret(&pem_path, certificate.pem().as_bytes()).with_context(|| pem_path.display().to_string())?;
    tracing::info!(file = %pem_path.display(), "local CA made");
    Ok((certificate.pem(), key))
}

fn ca_params(now: i64) -> anyhow::Result<CertificateParams> {
    let mut params = base_params(now, CA_DAYS)?;
    // Two gateways of one person must not look the same in a browser's list of authorities.
    let number: u32 = rand::rng().random();
    params.distinguished_name.push(DnType::CommonName, format!("Causeway local CA {number:08x}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn server_params(
    names: &BTreeSet<String>,
    addresses: &BTreeSet<IpAddr>,
    now: i64,
) -> anyhow::Result<CertificateParams> {
    let mut params = base_params(now, SERVER_DAYS)?;
    params.distinguished_name.push(DnType::CommonName, "Causeway");
    for name in names {
        params
            .subject_alt_names
            .push(SanType::DnsName(name.as_str().try_into().with_context(|| name.clone())?));
    }
    params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn base_params(now: i64, days: i64) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Causeway");
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let seconds = |unix: i64| Duration::from_secs(unix.try_into().unwrap_or(0));
    // A day back, so that a phone whose clock is behind accepts it too; the sum stays within the limit.
    params.not_before = epoch + seconds(now - DAY);
    params.not_after = epoch + seconds(now + (days - 1) * DAY);
    params.serial_number = Some(SerialNumber::from(rand::rng().random::<u64>() >> 1));
    Ok(params)
}

fn is_good(
    leaf: &CertificateDer<'_>,
    ca: &CertificateDer<'_>,
    names: &BTreeSet<String>,
    addresses: &BTreeSet<IpAddr>,
    now: i64,
) -> bool {
    let (Ok((_, leaf)), Ok((_, ca))) = (X509Certificate::from_der(leaf), X509Certificate::from_der(ca))
    else {
        return false;
    };
    let (has_names, has_addresses) = subject_names(&leaf);
    leaf.issuer().as_raw() == ca.subject().as_raw()
        && leaf.validity().not_after.timestamp() > now + RENEW_DAYS * DAY
        && leaf.validity().not_before.timestamp() <= now
        && names.is_subset(&has_names)
        && addresses.is_subset(&has_addresses)
}

/// The DNS names and the addresses of a certificate.
pub(super) fn subject_names(certificate: &X509Certificate<'_>) -> (BTreeSet<String>, BTreeSet<IpAddr>) {
    let (mut names, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return (names, addresses) };
    for name in &extension.value.general_names {
        match name {
            GeneralName::DNSName(name) => _ = names.insert((*name).to_owned()),
            GeneralName::IPAddress(bytes) => {
                if let Ok(octets) = <[u8; 4]>::try_from(*bytes) {
                    addresses.insert(octets.into());
                } else if let Ok(octets) = <[u8; 16]>::try_from(*bytes) {
                    addresses.insert(octets.into());
                }
            }
            _ => {}
        }
    }
    (names, addresses)
}

fn make_private_directory(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn names(list: &[&str]) -> BTreeSet<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    fn addresses(list: &[&str]) -> BTreeSet<IpAddr> {
        list.iter().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn certificate_has_every_name_and_is_signed_by_the_ca() {
        let directory = tempfile::tempdir().unwrap();
        let (names, addresses) =
            (names(&["localhost", "gw.example"]), addresses(&["192.0.2.1", "2001:db8::1"]));
        let made = open(directory.path(), &names, &addresses, NOW).unwrap();
        assert_eq!(made.key.cert.len(), 2);
        let (_, leaf) = X509Certificate::from_der(&made.key.cert[0]).unwrap();
        let (_, ca) = X509Certificate::from_der(&made.ca.der).unwrap();
        assert_eq!(subject_names(&leaf), (names, addresses));
        assert!(leaf.verify_signature(Some(ca.public_key())).is_ok());
        assert!(ca.is_ca() && !leaf.is_ca());
        let validity = leaf.validity();
        assert!(validity.not_after.timestamp() - validity.not_before.timestamp() <= 397 * DAY);
        assert!(leaf.extended_key_usage().unwrap().unwrap().value.server_auth);
    }

    #[test]
    fn certificate_is_kept_until_it_must_change_and_the_ca_always() {
        let directory = tempfile::tempdir().unwrap();
        let at = |list: &[&str], now| {
            let made = open(directory.path(), &names(&["localhost"]), &addresses(list), now).unwrap();
            (made.key.cert[0].to_vec(), made.ca.der)
        };
        let (first, ca) = at(&["192.0.2.1"], NOW);
        assert_eq!(at(&["192.0.2.1"], NOW + 300 * DAY), (first.clone(), ca.clone()));
        let renewed = at(&["192.0.2.1"], NOW + 370 * DAY);
        assert_ne!(renewed.0, first);
        let moved = at(&["192.0.2.2"], NOW + 370 * DAY);
        assert_ne!(moved.0, renewed.0);
        assert_eq!((renewed.1, moved.1), (ca.clone(), ca));
    }

    #[test]
    fn files_are_for_their_owner_only_and_half_a_ca_is_no_ca() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("certs");
        let open = || open(&path, &names(&["localhost"]), &addresses(&[]), NOW);
        open().unwrap();
        for file in ["ca.key", "server.key"] {
            let mode = std::fs::metadata(path.join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
        std::fs::remove_file(path.join("ca.key")).unwrap();
        assert!(format!("{:#}", open().err().unwrap()).contains("ca.key"));
    }
}
