//! Via (RFC 3261 §20.42, §18.2; RFC 3581).

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use super::{Header, text};
use crate::message::digits::push_decimal;
use crate::message::scan::{find, is_token, split_lws, split_once, trim_str};
use crate::message::uri::{host_end, host_ip, port};
use crate::message::{HeaderError, Name, Params};

/// What every branch made by an RFC 3261 element begins with (§8.1.1.7).
pub(crate) const MAGIC_COOKIE: &str = "z9hG4bK";

/// One Via value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Via<'a> {
    /// The whole value.
    text: &'a str,
    protocol: &'a str,
    version: &'a str,
    transport: &'a str,
    host: &'a str,
    port: Option<u16>,
    params: Params<'a>,
}

impl<'a> Header<'a> for Via<'a> {
    const NAME: Name<'static> = Name::Via;

    fn parse(value: &'a [u8]) -> Result<Self, HeaderError> {
        let bad = |what| HeaderError::new("Via", what);
        let text = trim_str(text("Via", value)?);
        let (protocol, rest) = split_once(text, b'/').ok_or(bad("has no protocol"))?;
        let (version, rest) = split_once(rest, b'/').ok_or(bad("has no version"))?;
        let (protocol, version) = (trim_str(protocol), trim_str(version));
        if !is_token(protocol.as_bytes()) || !is_token(version.as_bytes()) {
            return Err(bad("has no protocol and version"));
        }
        let (transport, rest) = split_lws(trim_str(rest)).ok_or(bad("has no sent-by"))?;
        if !is_token(transport.as_bytes()) {
            return Err(bad("has no transport"));
        }
        let (sent_by, params) = split_once(rest, b';').unwrap_or((rest, ""));
        let sent_by = trim_str(sent_by);
        let end = host_end(sent_by, 0).map_err(|_| bad("has no host in sent-by"))?;
        let after = trim_str(&sent_by[end..]);
        let sent_port = match after.strip_prefix(':') {
            Some(digits) => Some(port(trim_str(digits)).ok_or(bad("has no number as port"))?),
            None if after.is_empty() => None,
            None => return Err(bad("has something else than a port behind the host")),
        };
        Ok(Self {
            text,
            protocol,
            version,
            transport,
            host: &sent_by[..end],
            port: sent_port,
            params: Params::new(params),
        })
    }
}

impl<'a> Via<'a> {
    /// Whether it was made by an element that speaks SIP/2.0. One of another version still tells where a 505 goes.
    #[must_use]
    pub fn is_sip_2(&self) -> bool {
        self.protocol.eq_ignore_ascii_case("SIP") && self.version == "2.0"
    }

    /// The transport token, such as `UDP`.
    #[must_use]
    pub const fn transport(&self) -> &'a str {
        self.transport
    }

    /// The host of sent-by, brackets of an IPv6 reference included.
    #[must_use]
    pub const fn host(&self) -> &'a str {
        self.host
    }

    /// The port of sent-by, if written.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// The parameters.
    #[must_use]
    pub const fn params(&self) -> Params<'a> {
        self.params
    }

    /// The branch parameter.
    #[must_use]
    pub fn branch(&self) -> Option<&'a str> {
        self.params.get("branch").filter(|branch| !branch.is_empty())
    }

    /// The branch, if it was made by an RFC 3261 element and so names the transaction (§17.2.3).
    #[must_use]
    pub fn cookie_branch(&self) -> Option<&'a str> {
        let is_cookie = |start: &str| start.eq_ignore_ascii_case(MAGIC_COOKIE);
        self.branch().filter(|branch| branch.len() > 7 && branch.get(..7).is_some_and(is_cookie))
    }

    /// The `received` parameter as an address. Brackets around IPv6 are accepted (RFC 5118 §4.5).
    #[must_use]
    pub fn received(&self) -> Option<IpAddr> {
        let value = self.params.get("received")?;
        host_ip(value).or_else(|| value.parse().ok())
    }

    /// The `maddr` parameter as an address: where the sender of a datagram wants the responses (RFC 3261 §18.2.2).
    #[must_use]
    pub fn maddr(&self) -> Option<IpAddr> {
        let value = self.params.get("maddr")?;
        host_ip(value).or_else(|| value.parse().ok())
    }

    /// The `rport` parameter: `None` absent, `Some(None)` without value.
    #[must_use]
    pub fn rport(&self) -> Option<Option<u16>> {
        self.params.find("rport").map(|param| param.value.and_then(port))
    }

    /// Where a datagram response goes by this Via (RFC 3261 §18.2.2, RFC 3581 §4); `None` when `received` is absent and
    /// the host is a name.
    #[must_use]
    pub fn response_address(&self) -> Option<SocketAddr> {
        let ip = self.received().or_else(|| host_ip(self.host))?;
        let port = self.rport().flatten().or(self.port).unwrap_or(5060);
        Some(SocketAddr::new(ip, port))
    }

    /// The value as it is after reception from `source`; `None` when nothing changes.
    pub(crate) fn stamped(&self, source: SocketAddr, force_rport: bool) -> Option<String> {
        let asked = self.params.contains("rport");
        let rport = asked || force_rport;
        let other_host = host_ip(self.host) != Some(source.ip());
        if !rport && !other_host && !self.params.contains("received") {
            return None;
        }
        let head = find(self.text, b';').map_or(self.text, |end| &self.text[..end]);
        let mut value = String::with_capacity(self.text.len() + 48);
        value.push_str(trim_str(head));
        for param in self.params.iter() {
            // A `received` that the sender wrote himself would turn responses away from him.
            if param.name.eq_ignore_ascii_case("received") {
                continue;
            }
            if param.name.eq_ignore_ascii_case("rport") {
                push_rport(&mut value, source);
                continue;
            }
            value.push(';');
            value.push_str(param.name);
            if let Some(text) = param.value {
                value.push('=');
                value.push_str(text);
            }
        }
        if rport && !asked {
            push_rport(&mut value, source);
        }
        if rport || other_host {
            value.push_str(";received=");
            // An IPv4 address has one spelling.
            if other_host || source.is_ipv6() {
                let _ = write!(value, "{}", source.ip());
            } else {
                value.push_str(self.host);
            }
        }
        Some(value)
    }
}

fn push_rport(value: &mut String, source: SocketAddr) {
    value.push_str(";rport=");
    push_decimal(value, source.port().into());
}
