//! What the shared port needs of STUN (RFC 8489) before an agent is chosen: whose message is this?
//!
//! Parsing of attributes and integrity belong to the agent ([`crate::ice`]); here is only the routing key.

use is::stun::StunMessage;

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
