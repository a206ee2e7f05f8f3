//! How ends send and hear keys (DTMF).

use std::net::IpAddr;

/// How an end sends and hears keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Keys {
    /// As its SDP says; INFO passes, and is turned into media for an end that refuses it.
    #[default]
    Agreed,
    /// As telephone-events (RFC 4733), whatever the other end has.
    Events,
    /// As tones in its sound.
    Tones,
    /// As INFO with `application/dtmf-relay`.
    Info,
}

/// Which ends have their keys otherwise than as agreed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dtmf {
    /// By user name, by `user@domain`, or by the address that an end's signalling comes from; `*` for all others.
    pub ends: Vec<(String, Keys)>,
}

/// Whether `name` in a list of the operator's means the user `aor`, or whoever is at `address`: a user name, `user@domain`, the
/// address that signalling comes from, or `*` for everybody.
#[must_use]
pub fn is_named(name: &str, aor: Option<&str>, address: Option<IpAddr>) -> bool {
    let user = aor.and_then(|aor| aor.split('@').next());
    let named = name == "*" || Some(name) == aor || Some(name) == user;
    named || address.is_some_and(|address| name.parse() == Ok(address))
}

impl Dtmf {
    /// How the user `aor`, or whoever is at `address`, has keys.
    #[must_use]
    pub fn of(&self, aor: Option<&str>, address: Option<IpAddr>) -> Keys {
        let mut ends = self.ends.iter();
        let named = ends.clone().find(|(name, _)| name != "*" && is_named(name, aor, address));
        named.or_else(|| ends.find(|(name, _)| name == "*")).map_or(Keys::Agreed, |(_, keys)| *keys)
    }

    /// Whether some end has keys as INFO.
    #[must_use]
    pub fn tells(&self) -> bool {
        self.ends.iter().any(|(_, keys)| *keys == Keys::Info)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_known_by_its_name_or_its_address() {
        let ends = [
            ("carol", Keys::Info),
            ("dave@a.example", Keys::Tones),
            ("192.0.2.7", Keys::Events),
            ("2001:db8::1", Keys::Tones),
        ];
        let mut dtmf = Dtmf { ends: ends.map(|(name, keys)| (name.to_owned(), keys)).to_vec() };
        let ip = |text: &str| text.parse::<IpAddr>().ok();
        for (aor, address, keys) in [
            (Some("carol@a.example"), None, Keys::Info),
            (Some("dave@a.example"), ip("192.0.2.7"), Keys::Tones),
            (Some("dave@b.example"), ip("192.0.2.8"), Keys::Agreed),
            (None, ip("192.0.2.7"), Keys::Events),
            (None, ip("2001:db8:0::1"), Keys::Tones),
            (None, None, Keys::Agreed),
        ] {
            assert_eq!(dtmf.of(aor, address), keys, "{aor:?} {address:?}");
        }
        dtmf.ends.push(("*".to_owned(), Keys::Events));
        assert_eq!(dtmf.of(None, None), Keys::Events);
        assert_eq!(dtmf.of(Some("carol@a.example"), None), Keys::Info);
        assert!(dtmf.tells() && !Dtmf::default().tells());
    }
}
