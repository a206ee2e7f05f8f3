//! Values of `a=` lines as types.

use std::fmt;
use std::net::IpAddr;

/// `a=candidate` (RFC 8839 §5.1) over UDP or TCP with a literal address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// At most 32 characters.
    pub foundation: String,
    /// 1 for RTP, 2 for RTCP.
    pub component: u16,
    /// Whether it is over UDP; else TCP (RFC 6544).
    pub udp: bool,
    /// RFC 8445 §5.1.2.
    pub priority: u32,
    /// Where.
    pub address: IpAddr,
    /// Where.
    pub port: u16,
    /// How it was gathered.
    pub kind: CandidateKind,
}

/// `typ` of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CandidateKind {
    /// Of the host itself.
    Host,
    /// As a STUN server saw it.
    ServerReflexive,
    /// As the peer saw it.
    PeerReflexive,
    /// On a TURN server.
    Relayed,
}

impl Candidate {
    /// The value of an `a=candidate` line, without `candidate:`. `None` for what cannot be used: a host name
    /// (`.local` of mDNS), another transport, numbers out of range.
    pub fn parse(value: &str) -> Option<Self> {
        let mut words = value.split_ascii_whitespace();
        let foundation = words.next().filter(|word| word.len() <= 32)?.to_owned();
        let component = words.next()?.parse().ok().filter(|n| (1..=256).contains(n))?;
        let transport = words.next()?;
        let udp = transport.eq_ignore_ascii_case("udp");
        if !udp && !transport.eq_ignore_ascii_case("tcp") {
            return None;
        }
        let priority = words.next()?.parse().ok()?;
        let address = words.next()?.parse().ok()?;
        let port = words.next()?.parse().ok()?;
        if !words.next()?.eq_ignore_ascii_case("typ") {
            return None;
        }
        let kind = CandidateKind::from_word(words.next()?)?;
        Some(Self { foundation, component, udp, priority, address, port, kind })
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { foundation, component, priority, address, port, .. } = self;
        let transport = if self.udp { "udp" } else { "tcp" };
        write!(f, "{foundation} {component} {transport} {priority} {address} {port} typ {}", self.kind.word())
    }
}

impl CandidateKind {
    fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "host" => Self::Host,
            "srflx" => Self::ServerReflexive,
            "prflx" => Self::PeerReflexive,
            "relay" => Self::Relayed,
            _ => return None,
        })
    }

    fn word(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::ServerReflexive => "srflx",
            Self::PeerReflexive => "prflx",
            Self::Relayed => "relay",
        }
    }
}

/// `a=fingerprint` (RFC 8122 §5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// Hash name in lower case: `sha-256`.
    pub algorithm: String,
    /// The hash.
    pub digest: Vec<u8>,
}

impl Fingerprint {
    /// The value of an `a=fingerprint` line. `None` when it is no pairs of hexadecimal digits between colons.
    pub fn parse(value: &str) -> Option<Self> {
        let (algorithm, digits) = value.trim().split_once(' ')?;
        let digest: Option<Vec<u8>> = digits
            .trim()
            .split(':')
            .map(|pair| hex::decode(pair).ok().filter(|b| b.len() == 1)?.pop())
            .collect();
        let digest = digest.filter(|bytes| (16..=64).contains(&bytes.len()))?;
        Some(Self { algorithm: algorithm.to_ascii_lowercase(), digest })
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.algorithm)?;
        for (at, byte) in self.digest.iter().enumerate() {
            write!(f, "{}{byte:02X}", if at == 0 { ' ' } else { ':' })?;
        }
        Ok(())
    }
}

/// `a=setup` (RFC 4145 §4, RFC 8842 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    /// The DTLS client.
    Active,
    /// The DTLS server.
    Passive,
    /// Either, in an offer.
    ActPass,
}

impl Setup {
    /// The value of an `a=setup` line; `None` for others, `holdconn` too.
    pub fn parse(value: &str) -> Option<Self> {
        Some(match value.trim() {
            "active" => Self::Active,
            "passive" => Self::Passive,
            "actpass" => Self::ActPass,
            _ => return None,
        })
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Passive => "passive",
            Self::ActPass => "actpass",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates() {
        let host = "1 1 udp 2130706431 192.0.2.7 40000 typ host";
        assert_eq!(Candidate::parse(host).unwrap().to_string(), host);
        let chrome =
            "842163049 1 UDP 1677729535 203.0.113.5 61003 typ srflx raddr 0.0.0.0 rport 0 generation 0";
        assert_eq!(Candidate::parse(chrome).unwrap().kind, CandidateKind::ServerReflexive);
        for bad in [
            "",
            "1 1 udp 1 2f3a.local 9 typ host",
            "1 0 udp 1 192.0.2.7 9 typ host",
            "1 1 sctp 1 192.0.2.7 9 typ host",
            "1 1 udp 99999999999 192.0.2.7 9 typ host",
            "1 1 udp 1 192.0.2.7 70000 typ host",
            "1 1 udp 1 192.0.2.7 9 typ moon",
            "1 1 udp 1 192.0.2.7 9",
        ] {
            assert_eq!(Candidate::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn fingerprints() {
        let text = format!("sha-256 {}", ["AB"; 32].join(":"));
        assert_eq!(Fingerprint::parse(&text).unwrap().to_string(), text);
        let lower = format!("SHA-1  {}", ["0f"; 20].join(":"));
        assert_eq!(Fingerprint::parse(&lower).unwrap().digest, [15; 20]);
        for bad in ["", "sha-256", "sha-256 AB", "sha-256 ABAB:AB", "sha-256 zz:zz"] {
            assert_eq!(Fingerprint::parse(bad), None, "{bad}");
        }
    }
}
