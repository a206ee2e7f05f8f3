//! Whom a TLS peer that we dial must prove to be (RFC 5922 §7.1): the domain that the message is for. Records of name servers
//! are forged more easily than certificates, so the name comes from the message and not from where they have led.

use bytes::Bytes;
use signaling_core::message::header::Route;
use signaling_core::message::{Message, Uri};

/// The domain of the next hop of a request, or of the sent-by that a response goes to; `None` when that is an address, which its
/// certificate must then name.
pub(super) fn of(message: &Bytes) -> Option<Box<str>> {
    let host = match Message::parse(message.clone()).ok()? {
        Message::Request(request) => {
            let route = request.get::<Route<'_>>().ok().flatten().and_then(|route| route.uri().ok());
            domain(route.as_ref().or_else(|| request.uri().ok())?)?
        }
        Message::Response(response) => response.top_via().ok()?.host().to_owned(),
    };
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>().is_ok();
    (!address).then(|| host.into())
}

fn domain(uri: &Uri) -> Option<String> {
    uri.host_ip().is_none().then(|| uri.host().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_that_of_the_next_hop() {
        let request = |uri: &str, more: &str| {
            format!(
                "OPTIONS {uri} SIP/2.0\r\nVia: SIP/2.0/TLS gw.example;branch=z9hG4bK1\r\n{more}From: <sip:a@b>;tag=1\r\n\
                 To: <sip:c@d>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
            )
        };
        let response = |via: &str| {
            request("x", "").replace("OPTIONS x SIP/2.0", "SIP/2.0 200 OK").replace("gw.example", via)
        };
        for (message, name) in [
            (request("sip:x@Far.Example.;transport=tls", ""), Some("far.example")),
            (request("sip:x@far.example;maddr=192.0.2.1", ""), Some("far.example")),
            (
                request("sip:x@far.example", "Route: <sips:edge.example;lr>, <sip:core.example;lr>\r\n"),
                Some("edge.example"),
            ),
            (request("sip:x@far.example", "Route: <sip:192.0.2.1;lr>\r\n"), None),
            (request("sip:x@[2001:db8::1]:5061", ""), None),
            (response("far.example:5061"), Some("far.example")),
            (response("[2001:db8::1]"), None),
            ("\r\n\r\n".to_owned(), None),
        ] {
            assert_eq!(of(&Bytes::from(message.clone())).as_deref(), name, "{message}");
        }
    }
}
