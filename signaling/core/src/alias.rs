//! The contact alias: `;alias=IP~PORT~PROTO` on a Contact URI says over which flow its owner is really reached.
//!
//! A browser's Contact names a host under `.invalid` (RFC 7118 §5), and that of a phone behind a NAT an address that
//! means nothing here. The alias goes out with the Contact, comes back in the Request-URI of the requests of the
//! dialog, and is taken off before they are sent on. The format is Kamailio's.

use std::net::{IpAddr, SocketAddr};

use crate::flow::{Flow, Protocol};

/// The parameter with its separator.
const PARAMETER: &str = ";alias=";

/// Where an alias leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alias {
    /// The transport of the flow.
    pub protocol: Protocol,
    /// The peer's end of it.
    pub remote: SocketAddr,
}

/// The alias cannot be read: 400 to its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unusable alias parameter")]
pub struct BadAlias;

impl Alias {
    /// The alias of the peer at the other end of `flow`.
    #[must_use]
    pub const fn of(flow: &Flow) -> Self {
        Self { protocol: flow.protocol, remote: flow.remote }
    }

    /// Whether `flow` leads to where the alias says.
    #[must_use]
    pub fn fits(&self, flow: &Flow) -> bool {
        *self == Self::of(flow)
    }
}

/// `uri` with the alias in place of any that it carried: one set by the peer would be an open relay.
#[must_use]
pub fn add(uri: &str, alias: Alias) -> String {
    let uri = strip(uri);
    let (before, headers) = uri.split_at(parameters(&uri).1);
    let ip = match alias.remote.ip() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let (port, digit) = (alias.remote.port(), alias.protocol.alias_digit());
    format!("{before}{PARAMETER}{ip}~{port}~{digit}{headers}")
}

/// Takes the alias off: the URI without it, and where it leads. `None` when there is none.
pub fn take(uri: &str) -> Result<Option<(String, Alias)>, BadAlias> {
    let Some(value) = find(uri) else { return Ok(None) };
    let alias = read(value).ok_or(BadAlias)?;
    Ok(Some((strip(uri), alias)))
}

/// `uri` without any alias.
#[must_use]
pub fn strip(uri: &str) -> String {
    let (start, end) = parameters(uri);
    let mut plain = String::with_capacity(uri.len());
    plain.push_str(&uri[..start]);
    for (index, part) in uri[start..end].split(';').enumerate() {
        if index > 0 && is_alias(part) {
            continue;
        }
        if index > 0 {
            plain.push(';');
        }
        plain.push_str(part);
    }
    plain.push_str(&uri[end..]);
    plain
}

fn read(value: &str) -> Option<Alias> {
    let mut parts = value.split('~');
    let (ip, port, digit) = (parts.next()?, parts.next()?, parts.next()?);
    let ip = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
    let (ip, port): (IpAddr, u16) = (ip.parse().ok()?, port.parse().ok()?);
    let protocol = Protocol::from_alias_digit(digit.parse().ok()?)?;
    (parts.next().is_none() && port != 0).then_some(Alias { protocol, remote: SocketAddr::new(ip, port) })
}

/// The value of the first alias parameter.
fn find(uri: &str) -> Option<&str> {
    let (start, end) = parameters(uri);
    let part = uri[start..end].split(';').skip(1).find(|part| is_alias(part))?;
    Some(&part[PARAMETER.len() - 1..])
}

fn is_alias(part: &str) -> bool {
    part.get(..PARAMETER.len() - 1).is_some_and(|name| name.eq_ignore_ascii_case(&PARAMETER[1..]))
}

/// Start and end of what follows user and `@`, up to the headers: host, port and parameters.
fn parameters(uri: &str) -> (usize, usize) {
    let start = uri.rfind('@').map_or(0, |at| at + 1);
    let end = uri[start..].find('?').map_or(uri.len(), |at| start + at);
    (start, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alias(protocol: Protocol, remote: &str) -> Alias {
        Alias { protocol, remote: remote.parse().expect("address") }
    }

    #[test]
    fn goes_out_and_comes_back() {
        for (uri, alias, with) in [
            (
                "sip:x@a.invalid;transport=ws",
                alias(Protocol::Wss, "198.51.100.7:17510"),
                "sip:x@a.invalid;transport=ws;alias=198.51.100.7~17510~6",
            ),
            ("sip:10.0.0.1", alias(Protocol::Udp, "198.51.100.7:1"), "sip:10.0.0.1;alias=198.51.100.7~1~1"),
            (
                "sip:a@b?x=y",
                alias(Protocol::Tcp, "[2001:db8::1]:5060"),
                "sip:a@b;alias=[2001:db8::1]~5060~2?x=y",
            ),
            ("sip:a;alias=1@b", alias(Protocol::Tls, "1.2.3.4:5061"), "sip:a;alias=1@b;alias=1.2.3.4~5061~3"),
        ] {
            assert_eq!(add(uri, alias), with);
            assert_eq!(take(with), Ok(Some((uri.to_owned(), alias))));
            assert_eq!(add(with, alias), with, "one alias only");
        }
    }

    #[test]
    fn what_is_no_alias_stays() {
        for uri in
            ["", ";", "@", "sip:a@b;aliases=1", "sip:alias=1@b", "sip:a@b?alias=1.2.3.4~1~1", "sip:a@b;x;y"]
        {
            assert_eq!(take(uri), Ok(None), "{uri}");
            assert_eq!(strip(uri), uri);
        }
        assert_eq!(strip("sip:a@b;ALIAS=1;x;alias=2"), "sip:a@b;x");
    }

    #[test]
    fn a_bad_alias_is_refused() {
        for value in [
            "",
            "1.2.3.4",
            "1.2.3.4~5060",
            "1.2.3.4~5060~4",
            "1.2.3.4~0~1",
            "a~1~1",
            "1.2.3.4~1~1~1",
            "1.2.3.4~70000~1",
        ] {
            assert_eq!(take(&format!("sip:a@b;alias={value}")), Err(BadAlias), "{value}");
        }
    }
}
