//! Whom a certificate names (RFC 5922 §7.1).

use std::net::IpAddr;

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// The SIP domains and addresses of a certificate that has been verified, in lower case: the `sip` URIs of its subjectAltName,
/// else the DNS names there, and its addresses. Its common name counts when there is no subjectAltName.
pub(crate) fn names(certificate: &CertificateDer<'_>) -> Vec<Box<str>> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return Vec::new() };
    let Ok(Some(alternatives)) = certificate.subject_alternative_name() else {
        let common = certificate.subject().iter_common_name().next();
        return common.and_then(|name| name.as_str().ok()).and_then(domain).into_iter().collect();
    };
    let all = || alternatives.value.general_names.iter();
    let mut names: Vec<Box<str>> = all()
        .filter_map(|name| match name {
            // One with a user is a person's (RFC 5922 §7.1).
            GeneralName::URI(uri) => domain(uri.strip_prefix("sip:")?),
            _ => None,
        })
        .collect();
    if names.is_empty() {
        names.extend(all().filter_map(|name| match name {
            GeneralName::DNSName(name) => domain(name),
            _ => None,
        }));
    }
    names.extend(all().filter_map(|name| match name {
        GeneralName::IPAddress(octets) => address(octets),
        _ => None,
    }));
    names
}

/// A whole domain: nobody is all of `*.example.com` (RFC 5922 §7.2).
fn domain(name: &str) -> Option<Box<str>> {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let whole =
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
    whole.then(|| name.into())
}

fn address(octets: &[u8]) -> Option<Box<str>> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    let address = v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()?;
    Some(address.to_string().into())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn of(alternatives: Vec<SanType>, common: &str) -> Vec<Box<str>> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = alternatives;
        params.distinguished_name.push(DnType::CommonName, common);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        names(certificate.der())
    }

    #[test]
    fn a_certificate_names_domains_and_addresses() {
        let uri = |text: &str| SanType::URI(text.try_into().unwrap());
        let dns = |text: &str| SanType::DnsName(text.try_into().unwrap());
        let address = SanType::IpAddress("2001:db8::1".parse().unwrap());
        for (alternatives, expected) in [
            (vec![dns("Far.Example"), dns("*.far.example")], vec!["far.example"]),
            (
                vec![uri("sip:far.example"), dns("host.far.example"), address.clone()],
                vec!["far.example", "2001:db8::1"],
            ),
            (vec![uri("sip:bob@far.example"), uri("https://far.example")], vec![]),
            (vec![address], vec!["2001:db8::1"]),
            (vec![], vec!["common.example"]),
        ] {
            let names = of(alternatives.clone(), "common.example");
            assert_eq!(names.iter().map(|name| &**name).collect::<Vec<_>>(), expected, "{alternatives:?}");
        }
        assert!(names(&CertificateDer::from(vec![1, 2, 3])).is_empty());
    }
}
