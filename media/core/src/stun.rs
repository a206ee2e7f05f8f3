//! What the shared port needs of STUN (RFC 8489) before an agent is chosen: whose message is this?
//!
//! Parsing of attributes and integrity belong to the agent ([`crate::ice`]); here is only the routing key.

use is::stun::StunMessage;
use sha1::{Digest, Sha1};

/// Length of the header, and so of the shortest message (RFC 8489 §5).
pub const HEADER_LEN: usize = 20;

/// The first two octets of a Binding request.
const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];

/// A transaction ID (RFC 8489 §5).
pub type TransactionId = [u8; 12];

/// What kind of message a datagram holds, and by which key its agent is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route<'a> {
    /// A Binding request: the part of USERNAME before the colon is the ufrag of the leg it is meant for (RFC 8445 §7.2.2).
    Request(&'a str),
    /// A Binding response, success or error: the transaction ID is one of ours, or it is nobody's.
    Response(TransactionId),
}

/// Reads the routing key out of `datagram`; `None` for anything that is not a well-formed Binding request or response.
pub fn route(datagram: &[u8]) -> Option<Route<'_>> {
    let message = StunMessage::parse(datagram).ok()?;
    if message.is_binding_request() {
        let (local, _) = message.username()?.split_once(':')?;
        return Some(Route::Request(local));
    }
    if message.is_successful_binding_response() || message.is_failed_binding_response() {
        return transaction_id(datagram).map(Route::Response);
    }
    None
}

/// The transaction ID of any STUN message.
pub fn transaction_id(datagram: &[u8]) -> Option<TransactionId> {
    datagram.get(8..HEADER_LEN)?.try_into().ok()
}

/// Whether `datagram` is a Binding request, seen from its first octets only.
pub fn is_request(datagram: &[u8]) -> bool {
    datagram.get(..2) == Some(BINDING_REQUEST.as_slice())
}

/// Attributes by their numbers (RFC 8489 §18.3).
const MESSAGE_INTEGRITY: u16 = 0x0008;
const SOFTWARE: u16 = 0x8022;
const FINGERPRINT: u16 = 0x8028;

/// A message with SOFTWARE before its other attributes (RFC 8489 §14.14), its MESSAGE-INTEGRITY and FINGERPRINT made anew with
/// `key`, the password in force; `None` for what is no message of ours: too long, or not of whole attributes.
pub fn with_software(message: &[u8], software: &str, key: &[u8]) -> Option<Vec<u8>> {
    let (header, attributes) = message.split_at_checked(HEADER_LEN)?;
    let mut out = header.to_vec();
    append(&mut out, SOFTWARE, software.as_bytes())?;
    let mut rest = attributes;
    while !rest.is_empty() {
        let kind = u16::from_be_bytes(rest.get(..2)?.try_into().ok()?);
        let len = usize::from(u16::from_be_bytes(rest.get(2..4)?.try_into().ok()?));
        let (attribute, after) = rest.split_at_checked(4 + len.next_multiple_of(4))?;
        match kind {
            MESSAGE_INTEGRITY => {
                set_length(&mut out, 24)?;
                let digest = hmac_sha1(key, &out);
                append(&mut out, MESSAGE_INTEGRITY, &digest)?;
            }
            FINGERPRINT => {
                set_length(&mut out, 8)?;
                let check = crc32(&out) ^ 0x5354_554e;
                append(&mut out, FINGERPRINT, &check.to_be_bytes())?;
            }
            _ => out.extend_from_slice(attribute),
        }
        rest = after;
    }
    set_length(&mut out, 0)?;
    Some(out)
}

fn append(out: &mut Vec<u8>, kind: u16, value: &[u8]) -> Option<()> {
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&u16::try_from(value.len()).ok()?.to_be_bytes());
    out.extend_from_slice(value);
    out.resize(out.len().next_multiple_of(4), 0);
    Some(())
}

/// Writes the length of a message that `more` octets are still to come of.
fn set_length(message: &mut [u8], more: usize) -> Option<()> {
    let len = u16::try_from(message.len() + more - HEADER_LEN).ok()?;
    message.get_mut(2..4)?.copy_from_slice(&len.to_be_bytes());
    Some(())
}

/// RFC 2104.
fn hmac_sha1(key: &[u8], message: &[u8]) -> [u8; 20] {
    let mut block = [0; 64];
    match key.len() > block.len() {
        true => block[..20].copy_from_slice(&Sha1::digest(key)),
        false => block[..key.len()].copy_from_slice(key),
    }
    let pad = |with: u8| block.map(|octet| octet ^ with);
    let inner = Sha1::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha1::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into()
}

/// ITU V.42, as FINGERPRINT wants it (RFC 8489 §14.7).
fn crc32(message: &[u8]) -> u32 {
    !message.iter().fold(u32::MAX, |sum, octet| {
        (0..8).fold(sum ^ u32::from(*octet), |sum, _| (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The request of RFC 5769 §2.1 without its SOFTWARE, MESSAGE-INTEGRITY and FINGERPRINT filled with zeros; its padding of
    /// USERNAME is of spaces, which pass as they are.
    #[test]
    fn the_sample_request_of_rfc_5769() {
        let mut bare = hex::decode("00010000 2112a442 b7e7a701bc34d686fa87dfae".replace(' ', "")).unwrap();
        bare.extend(hex::decode("00240004 6e0001ff".replace(' ', "")).unwrap());
        bare.extend(hex::decode("80290008 932ff9b151263b36".replace(' ', "")).unwrap());
        bare.extend(hex::decode("00060009 6576746a3a6836765920 2020".replace(' ', "")).unwrap());
        bare.extend(hex::decode("00080014").unwrap());
        bare.extend([0; 20]);
        bare.extend(hex::decode("80280004 00000000".replace(' ', "")).unwrap());
        let whole = with_software(&bare, "STUN test client", b"VOkJxbRl1RmTxUk/WvJxBt").unwrap();
        assert_eq!(whole.get(2..4), Some([0, 0x58].as_slice()));
        let tail = hex::decode("000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf").unwrap();
        assert!(whole.ends_with(&tail), "{}", hex::encode(&whole));
    }

    #[test]
    fn what_is_cut_short_is_left_alone() {
        for message in [
            &b""[..],
            &[0; 19],
            &[0; 22],
            &[0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0, 9],
        ] {
            assert_eq!(with_software(message, "x", b"key"), None);
        }
    }
}
