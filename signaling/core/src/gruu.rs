//! Globally routable user agent URIs (RFC 5627): the names of one instance of a user agent.
//!
//! The public one says whose instance it is. A temporary one tells nothing and cannot be linked to another: it is the
//! address of record, enciphered together with a mark of the registration that it was given in. So none is kept here,
//! however many are given out, and all of them end with that registration (RFC 5627 §3.2).

use crate::message::{Uri, UriError};
use crate::secret::Secret;

/// What temporary ones are wrapped under.
const LABEL: &str = "gruu";
/// Bytes of randomness that make each temporary one unlike the others.
const NONCE: usize = 6;
/// Bytes of the mark.
const MARK: usize = 6;
/// Temporary ones of shorter addresses are as long as this many bytes of address, so that length tells little.
const BLOCK: usize = 20;

/// A GRUU, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gruu {
    /// `sip:alice@example.com;gr=urn:uuid:…`: the instance of the user in the URI.
    Public {
        /// The `+sip.instance` of the instance.
        instance: String,
    },
    /// `sip:…@example.com;gr`.
    Temporary {
        /// The address of record, `user@domain`.
        aor: String,
        /// Compare with [`mark`].
        mark: [u8; MARK],
    },
    /// A temporary one that was not made here, or under another key.
    Unknown,
}

/// The public GRUU of an instance of `aor`.
///
/// # Errors
/// When the address of record makes no URI.
pub fn public(aor: &str, instance: &str) -> Result<String, UriError> {
    let (user, domain) = aor.rsplit_once('@').unwrap_or(("", aor));
    let uri = Uri::sip(Some(user), &host(domain), None)?;
    Ok(format!("{uri};gr={}", escape(instance)))
}

/// A fresh temporary GRUU of an instance of `aor` that has registered with `call_id`; `random` makes it unlike all others.
#[must_use]
pub fn temporary(secret: &Secret, random: u64, aor: &str, instance: &str, call_id: &str) -> String {
    let mut plain = Vec::with_capacity(NONCE + MARK + aor.len().max(BLOCK));
    plain.extend_from_slice(&random.to_be_bytes()[..NONCE]);
    plain.extend_from_slice(&mark(secret, instance, call_id));
    plain.extend_from_slice(aor.as_bytes());
    plain.resize((NONCE + MARK + BLOCK).max(plain.len()), 0);
    let domain = aor.rsplit_once('@').map_or(aor, |(_, domain)| domain);
    format!("sip:{}@{};gr", secret.wrap(LABEL, &plain), host(domain))
}

/// What tells the registration of an instance: with another Call-ID its temporary GRUUs end (RFC 5627 §3.2).
#[must_use]
pub fn mark(secret: &Secret, instance: &str, call_id: &str) -> [u8; MARK] {
    let seal = secret.seal(LABEL, [instance.as_bytes(), call_id.as_bytes()]);
    let mut mark = [0; MARK];
    mark.copy_from_slice(&seal[..MARK]);
    mark
}

/// The GRUU that a URI is; `None` for one without `gr`.
#[must_use]
pub fn read(secret: &Secret, uri: &Uri) -> Option<Gruu> {
    let gr = uri.params().find("gr")?;
    if let Some(instance) = gr.value.filter(|value| !value.is_empty()) {
        return Some(Gruu::Public { instance: unescape(instance) });
    }
    let plain = uri.user().and_then(|user| secret.unwrap(LABEL, user));
    let Some((head, aor)) = plain.as_deref().and_then(|plain| plain.split_at_checked(NONCE + MARK)) else {
        return Some(Gruu::Unknown);
    };
    let mut mark = [0; MARK];
    mark.copy_from_slice(&head[NONCE..]);
    let end = aor.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let aor = String::from_utf8_lossy(&aor[..end]).into_owned();
    Some(Gruu::Temporary { aor, mark })
}

/// An IPv6 address stands in brackets.
fn host(domain: &str) -> String {
    if domain.contains(':') { format!("[{domain}]") } else { domain.to_owned() }
}

/// Makes a parameter value of any text (RFC 3261 §25.1 `paramchar`).
fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.!~*'()[]/:&+$".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn unescape(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = tail.get(..2).filter(|_| first == b'%').and_then(|digits| hex::decode(digits).ok());
        match escaped {
            Some(byte) => {
                bytes.extend(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSTANCE: &str = "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6";

    fn parse(text: &str) -> Uri {
        Uri::parse(text).expect("a URI")
    }

    #[test]
    fn the_public_one_names_user_and_instance() {
        let secret = Secret([3; 32]);
        let gruu = public("alice@example.com", INSTANCE).expect("a GRUU");
        assert_eq!(gruu, format!("sip:alice@example.com;gr={INSTANCE}"));
        for instance in [INSTANCE, "a \"b\" <c>;d=%41", "\u{e9}"] {
            let uri = parse(&public("alice@2001:db8::1", instance).expect("a GRUU"));
            assert_eq!(read(&secret, &uri), Some(Gruu::Public { instance: instance.to_owned() }));
        }
        assert_eq!(read(&secret, &parse("sip:alice@example.com")), None);
    }

    #[test]
    fn temporary_ones_lead_back_and_look_unlike() {
        let secret = Secret([3; 32]);
        let make = |random| temporary(&secret, random, "alice@example.com", INSTANCE, "call-1");
        let (first, second) = (make(u64::MAX), make(1 << 63));
        assert!(first.ends_with("@example.com;gr") && first.len() == second.len());
        assert!(!first.contains("alice") && first[..16] != second[..16], "{first} {second}");
        let expected =
            Gruu::Temporary { aor: "alice@example.com".into(), mark: mark(&secret, INSTANCE, "call-1") };
        assert_eq!(read(&secret, &parse(&first)), Some(expected.clone()));
        assert_eq!(read(&secret, &parse(&second)), Some(expected));
        assert_ne!(mark(&secret, INSTANCE, "call-1"), mark(&secret, INSTANCE, "call-2"));
        let bob = temporary(&secret, 7, "bob@example.com", INSTANCE, "c");
        assert_eq!(bob.len(), first.len(), "short names are as long as others");
    }

    #[test]
    fn a_forged_one_is_unknown() {
        let secret = Secret([3; 32]);
        let real = temporary(&secret, 1, "alice@example.com", INSTANCE, "call-1");
        assert_eq!(read(&Secret([4; 32]), &parse(&real)), Some(Gruu::Unknown));
        for user in ["", "x@", "AAAA@", "alice@"] {
            assert_eq!(read(&secret, &parse(&format!("sip:{user}example.com;gr"))), Some(Gruu::Unknown));
        }
    }
}
