//! What keeps strangers out: floods, guesses, scanners, and what is no proper request.

use std::net::IpAddr;
use std::time::Duration;

use regex::bytes::{Regex, RegexBuilder};

/// How much one source address may send, under the names of Kamailio's `pike` module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pike {
    /// Requests are counted over this time (default 2 s).
    pub sampling_time_unit: Duration,
    /// So many of them may come in it from one address; 0 for any number (default 16).
    pub reqs_density_per_unit: u32,
    /// So many may come in it from one user who has proved who he is, over whatever flows and from whatever addresses; more are
    /// dropped. 0 for any number (default 512).
    pub user_reqs_density_per_unit: u32,
    /// How long an address is remembered after its last request (default 4 s).
    pub remove_latency: Duration,
    /// How long one that has sent more is not listened to (default 300 s, kamailio.cfg's `ipban`).
    pub ban: Duration,
    /// Who is not counted (default nobody but this host).
    pub exempt: Vec<Network>,
}

impl Default for Pike {
    fn default() -> Self {
        Self {
            sampling_time_unit: Duration::from_secs(2),
            reqs_density_per_unit: 16,
            user_reqs_density_per_unit: 512,
            remove_latency: Duration::from_secs(4),
            ban: Duration::from_secs(300),
            exempt: Vec::new(),
        }
    }
}

/// Addresses that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// It is no address, or has more bits than one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no network")]
pub struct BadNetwork;

impl Network {
    /// All of IPv4.
    pub const EVERY_IPV4: Self = Self { address: IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), bits: 0 };
    /// All of IPv6.
    pub const EVERY_IPV6: Self = Self { address: IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED), bits: 0 };

    /// One address.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        Self { address, bits: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// The first and the last of them.
    #[must_use]
    pub fn range(&self) -> (IpAddr, IpAddr) {
        match self.address {
            IpAddr::V4(address) => {
                let rest = u32::MAX.checked_shr(self.bits.into()).unwrap_or(0);
                let first = address.to_bits() & !rest;
                (IpAddr::V4(first.into()), IpAddr::V4((first | rest).into()))
            }
            IpAddr::V6(address) => {
                let rest = u128::MAX.checked_shr(self.bits.into()).unwrap_or(0);
                let first = address.to_bits() & !rest;
                (IpAddr::V6(first.into()), IpAddr::V6((first | rest).into()))
            }
        }
    }

    /// Whether `ip` is one of them.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        let (own, other, width) = match (self.address, ip) {
            (IpAddr::V4(own), IpAddr::V4(other)) => (own.to_bits().into(), other.to_bits().into(), 32),
            (IpAddr::V6(own), IpAddr::V6(other)) => (own.to_bits(), other.to_bits(), 128),
            _ => return false,
        };
        let differing: u128 = own ^ other;
        differing.checked_shr(width - u32::from(self.bits)).unwrap_or(0) == 0
    }
}

impl std::str::FromStr for Network {
    type Err = BadNetwork;

    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(ip, bits)| (ip, Some(bits)));
        let whole = Self::of(address.parse().map_err(|_| BadNetwork)?);
        let bits = bits.map_or(Ok(whole.bits), str::parse).map_err(|_| BadNetwork)?;
        if bits <= whole.bits { Ok(Self { bits, ..whole }) } else { Err(BadNetwork) }
    }
}

/// When whoever guesses passwords is not heard any more, under the names of the articles' `auth_block_list`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuthBlock {
    /// So many refusals in a row are taken from one user name, and five times as many from one address; 0 for any number
    /// (default 30).
    pub auth_count: u32,
    /// They are in a row when no more than this is between two of them (default 300 s).
    pub last_auth: Duration,
    /// How long nothing is believed then, for the first time; twice as long each time after (default 900 s).
    pub last_block: Duration,
    /// The longest that this becomes (default a day).
    pub longest: Duration,
}

impl Default for AuthBlock {
    fn default() -> Self {
        Self {
            auth_count: 30,
            last_auth: Duration::from_secs(300),
            last_block: Duration::from_secs(900),
            longest: Duration::from_secs(86_400),
        }
    }
}

/// Which requests are dropped without a word, under the name of Kamailio's `secfilter` module.
#[derive(Debug, Clone)]
pub struct Secfilter {
    /// What stands in the User-Agent of programs that look for open servers (default [`Secfilter::SCANNERS`]).
    pub user_agents: Words,
    /// Whether requests that try to put SQL into somebody's database go no further (default yes). Nothing here is open to it; what
    /// reads our records, or stands behind us, may be.
    pub sqli: bool,
}

impl Secfilter {
    /// Scanners by what their User-Agents say. CSipSimple, which is on many a list, is a phone and not among them.
    pub const SCANNERS: [&'static str; 15] = [
        "friendly-scanner",
        "friendly-request",
        "sipcli",
        "sipvicious",
        "VaxSIPUserAgent",
        "VaxIPUserAgent",
        "sip-scan",
        "sipsak",
        "sundayddr",
        "iWar",
        "SIVuS",
        "Gulp",
        "smap",
        "siparmyknife",
        "Test Agent",
    ];
}

impl Default for Secfilter {
    fn default() -> Self {
        let user_agents = Words::new(Self::SCANNERS).unwrap_or_default();
        Self { user_agents, sqli: true }
    }
}

/// Words that are looked for in a text, whatever their case.
#[derive(Debug, Clone, Default)]
pub struct Words(Option<Regex>);

impl Words {
    /// Looks for any of `words`; for nothing when there are none.
    ///
    /// # Errors
    /// They are too many.
    pub fn new<T: AsRef<str>>(words: impl IntoIterator<Item = T>) -> Result<Self, regex::Error> {
        let words: Vec<_> = words.into_iter().map(|word| regex::escape(word.as_ref())).collect();
        if words.is_empty() {
            return Ok(Self::default());
        }
        let pattern = RegexBuilder::new(&words.join("|")).unicode(false).case_insensitive(true).build()?;
        Ok(Self(Some(pattern)))
    }

    /// Whether one of them stands in `text`.
    #[must_use]
    pub fn are_in(&self, text: &[u8]) -> bool {
        self.0.as_ref().is_some_and(|pattern| pattern.is_match(text))
    }
}

/// What a request is checked for, under the names of Kamailio's `sanity` module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sanity {
    /// The sum of the [bits](Sanity::SCHEME) of what is checked (default 22503: kamailio.cfg's 17895, Proxy-Require, and tags that
    /// stand twice). What a message cannot be placed without is checked in any case: the version (1), the headers that must be
    /// there (4), CSeq (32, 64), Content-Length (128), the first Via (16384), and the sizes (65536).
    pub default_checks: u32,
    /// The sum of the bits of the URIs that [`Sanity::URIS`] is about: the Request-URI 1, From 2, To 4 (default 7). A Request-URI
    /// that cannot be read is refused in any case, and so is such a To of a REGISTER.
    pub uri_checks: u32,
    /// Options of Proxy-Require that are no reason for a refusal (default none).
    pub proxy_require: Vec<String>,
}

impl Sanity {
    /// The scheme of the Request-URI can be served.
    pub const SCHEME: u32 = 2;
    /// Expires is a number.
    pub const EXPIRES: u32 = 256;
    /// Proxy-Require asks for nothing that is not known.
    pub const PROXY_REQUIRE: u32 = 512;
    /// URIs can be read.
    pub const URIS: u32 = 1024;
    /// Credentials are of the Digest scheme and complete.
    pub const DIGEST: u32 = 2048;
    /// No tag stands twice.
    pub const TAGS: u32 = 4096;
    /// Credentials of the Digest scheme are complete; those of other schemes pass.
    pub const AUTHORIZATION: u32 = 8192;
    /// The branch of the first Via begins as RFC 3261 has it, and every Route has `lr`.
    pub const RFC3261: u32 = 32_768;

    /// Whether this is checked.
    #[must_use]
    pub const fn checks(&self, bit: u32) -> bool {
        self.default_checks & bit != 0
    }
}

impl Default for Sanity {
    fn default() -> Self {
        Self { default_checks: 22_503, uri_checks: 7, proxy_require: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_its_first_bits() {
        for (network, ip, inside) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("0.0.0.0/0", "203.0.113.1", true),
            ("0.0.0.0/0", "::1", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::/0", "2001:db8::1", true),
        ] {
            let network: Network = network.parse().expect("a network");
            assert_eq!(network.contains(ip.parse().expect("an address")), inside, "{network:?} {ip}");
        }
        for bad in ["", "192.0.2.0/33", "::/129", "192.0.2.0/", "name/8", "192.0.2.0/-1"] {
            assert_eq!(bad.parse::<Network>(), Err(BadNetwork), "{bad}");
        }
    }

    #[test]
    fn words_are_found_anywhere_and_in_any_case() {
        let scanners = Secfilter::default().user_agents;
        for (agent, found) in [
            ("friendly-scanner", true),
            ("Mozilla SIPVicious/0.3", true),
            ("VAXSIPUSERAGENT/3.1", true),
            ("a test agent (1)", true),
            ("CSipSimple_crespo-16/r2457", false),
            ("baresip v1.1.0", false),
            ("JsSIP 3.13.8", false),
            ("", false),
        ] {
            assert_eq!(scanners.are_in(agent.as_bytes()), found, "{agent}");
        }
        assert!(!Words::new::<&str>([]).expect("no words").are_in(b"anything"));
        assert!(
            Words::new(["a.c"]).expect("words").are_in(b"xA.Cx")
                && !Words::new(["a.c"]).expect("words").are_in(b"abc")
        );
    }
}
