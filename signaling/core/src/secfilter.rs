//! Whom an operator does not want to hear and what he does not want to be called: the table of Kamailio's `secfilter` module, as
//! lists in memory.
//!
//! An entry means everything that begins with it, in whatever case, as in that module. An address that is whole means itself alone,
//! and one with a mask (`192.0.2.0/24`) all addresses of the network.

use std::net::IpAddr;

use crate::settings::Network;

/// What an entry is about: the column `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The User-Agent.
    UserAgent,
    /// The country of the source, by its code of two letters (ISO 3166-1).
    Country,
    /// The domain of From, To or Contact.
    Domain,
    /// The source.
    Ip,
    /// The user of From, To or Contact, or the display name of the first two.
    User,
    /// What is called.
    Destination,
}

/// Which list an entry is on: the column `action`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// Not heard, or not called.
    Black,
    /// Heard, whatever the black list of the same kind says.
    White,
}

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Which list it is on.
    pub side: Side,
    /// What it is about.
    pub kind: Kind,
    /// What it names.
    pub data: Box<str>,
}

/// Why a row is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadRule {
    /// It would mean everything.
    #[error("it names nothing")]
    Empty,
    /// `action` and `type` are no pair of the table's.
    #[error("an action with a type that there is not")]
    Unknown,
    /// It is of addresses, and no beginning of one.
    #[error("no address, network or beginning of an address")]
    NoAddress,
    /// It is of countries.
    #[error("no country code of two letters")]
    NoCountry,
}

/// See the module. Empty: nobody is on a list.
#[derive(Debug, Clone, Default)]
pub struct Lists {
    black: Names,
    white: Names,
    destinations: Prefixes,
    /// Whether only whole destinations are meant (Kamailio's `dst_exact_match`).
    exact: bool,
    is_empty: bool,
}

/// One side.
#[derive(Debug, Clone, Default)]
struct Names {
    user_agents: Prefixes,
    countries: Prefixes,
    domains: Prefixes,
    ips: Addresses,
    users: Prefixes,
}

/// Beginnings of texts, whatever their case.
#[derive(Debug, Clone, Default)]
pub struct Prefixes {
    /// As they were given, for people.
    all: Vec<Box<str>>,
    /// All in lower case, sorted.
    whole: Vec<Box<str>>,
    /// Those of them that begin with no other one: at most one of these is the beginning of a text.
    least: Vec<Box<str>>,
}

/// Addresses, networks, and beginnings of addresses as text.
#[derive(Debug, Clone, Default)]
struct Addresses {
    all: Vec<Box<str>>,
    /// First and last addresses, sorted, none within another.
    ranges: Vec<(IpAddr, IpAddr)>,
    texts: Prefixes,
}

/// A telephone number as somebody has dialled it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialled(String);

/// Numbers that cost much, or are known for fraud, and who may call them.
#[derive(Debug, Clone, Default)]
pub struct Premium {
    prefixes: Prefixes,
    /// The group of the table `grp` whose members may.
    pub group: String,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::UserAgent, Self::Country, Self::Domain, Self::Ip, Self::User, Self::Destination];

    /// Its word on the command line and in `kamcmd`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UserAgent => "ua",
            Self::Country => "country",
            Self::Domain => "domain",
            Self::Ip => "ip",
            Self::User => "user",
            Self::Destination => "dst",
        }
    }

    /// The one with this word.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

impl Rule {
    /// A row with these columns.
    ///
    /// # Errors
    /// It is none.
    pub fn of_row(action: i64, kind: i64, data: &str) -> Result<Self, BadRule> {
        let (side, kind) = match (action, kind) {
            (2, 0) => (Side::Black, Kind::Destination),
            (0, kind) => (Side::Black, of_number(kind)?),
            (1, kind) => (Side::White, of_number(kind)?),
            _ => return Err(BadRule::Unknown),
        };
        Self::new(side, kind, data)
    }

    /// An entry.
    ///
    /// # Errors
    /// It names nothing that there can be. There is no white list of destinations.
    pub fn new(side: Side, kind: Kind, data: &str) -> Result<Self, BadRule> {
        let data = data.trim();
        let is_code = data.len() == 2 && data.bytes().all(|byte| byte.is_ascii_alphabetic());
        match kind {
            _ if data.is_empty() => Err(BadRule::Empty),
            Kind::Destination if side == Side::White => Err(BadRule::Unknown),
            Kind::Country if !is_code => Err(BadRule::NoCountry),
            Kind::Ip if network(data).is_none() && !begins_address(data) => Err(BadRule::NoAddress),
            _ => Ok(Self { side, kind, data: data.into() }),
        }
    }

    /// The columns `action` and `type`.
    #[must_use]
    pub const fn numbers(&self) -> (i64, i64) {
        let kind = match self.kind {
            Kind::Destination => return (2, 0),
            Kind::UserAgent => 0,
            Kind::Country => 1,
            Kind::Domain => 2,
            Kind::Ip => 3,
            Kind::User => 4,
        };
        (matches!(self.side, Side::White) as i64, kind)
    }
}

fn of_number(kind: i64) -> Result<Kind, BadRule> {
    let kinds = [Kind::UserAgent, Kind::Country, Kind::Domain, Kind::Ip, Kind::User];
    usize::try_from(kind).ok().and_then(|kind| kinds.get(kind).copied()).ok_or(BadRule::Unknown)
}

fn network(text: &str) -> Option<Network> {
    text.parse().ok()
}

fn begins_address(text: &str) -> bool {
    let part = |byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':');
    text.len() < 40 && text.contains(['.', ':']) && text.bytes().all(part)
}

impl Lists {
    /// The lists of these rows. `exact`: whether a destination means itself alone.
    #[must_use]
    pub fn new(rules: impl IntoIterator<Item = Rule>, exact: bool) -> Self {
        let mut rules: Vec<Rule> = rules.into_iter().collect();
        let is_empty = rules.is_empty();
        let mut take = |side, kind| -> Vec<Box<str>> {
            rules
                .extract_if(.., |rule| (rule.side, rule.kind) == (side, kind))
                .map(|rule| rule.data)
                .collect()
        };
        let mut names = |side| Names {
            user_agents: Prefixes::new(take(side, Kind::UserAgent)),
            countries: Prefixes::new(take(side, Kind::Country)),
            domains: Prefixes::new(take(side, Kind::Domain)),
            ips: Addresses::new(take(side, Kind::Ip)),
            users: Prefixes::new(take(side, Kind::User)),
        };
        let (black, white) = (names(Side::Black), names(Side::White));
        let numbers = take(Side::Black, Kind::Destination);
        let destinations = Prefixes::of(numbers, |number| Dialled::plain(number).to_ascii_lowercase());
        Self { black, white, destinations, exact, is_empty }
    }

    /// Whether nobody and nothing is on a list.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// What is on a list, in the order of the table.
    #[must_use]
    pub fn entries(&self, side: Side, kind: Kind) -> &[Box<str>] {
        let names = self.names(side);
        match kind {
            Kind::UserAgent => &names.user_agents.all,
            Kind::Country => &names.countries.all,
            Kind::Domain => &names.domains.all,
            Kind::Ip => &names.ips.all,
            Kind::User => &names.users.all,
            Kind::Destination if side == Side::Black => &self.destinations.all,
            Kind::Destination => &[],
        }
    }

    /// Whether there is any entry of this kind.
    #[must_use]
    pub fn knows(&self, kind: Kind) -> bool {
        [Side::Black, Side::White].into_iter().any(|side| !self.entries(side, kind).is_empty())
    }

    /// On which list a text stands: the white one is looked at first.
    #[must_use]
    pub fn find(&self, kind: Kind, text: &str) -> Option<Side> {
        let of = |names: &Names| match kind {
            Kind::UserAgent => names.user_agents.begin(text),
            Kind::Country => names.countries.begin(text),
            Kind::Domain => names.domains.begin(text),
            Kind::User => names.users.begin(text),
            Kind::Ip | Kind::Destination => false,
        };
        [Side::White, Side::Black].into_iter().find(|side| of(self.names(*side)))
    }

    /// The same of a source.
    #[must_use]
    pub fn find_ip(&self, ip: IpAddr) -> Option<Side> {
        [Side::White, Side::Black].into_iter().find(|side| self.names(*side).ips.contain(ip))
    }

    /// Whether what is called is on the list of destinations. With and without the `+` or `00` before it a number is the same.
    #[must_use]
    pub fn bars(&self, called: &str) -> bool {
        if self.destinations.all.is_empty() {
            return false;
        }
        let called = Dialled::plain(called);
        if self.exact { self.destinations.has(&called) } else { self.destinations.begin(&called) }
    }

    const fn names(&self, side: Side) -> &Names {
        match side {
            Side::Black => &self.black,
            Side::White => &self.white,
        }
    }
}

impl Prefixes {
    /// These. An empty one would mean everything, and is left out.
    #[must_use]
    pub fn new(all: Vec<Box<str>>) -> Self {
        Self::of(all, str::to_ascii_lowercase)
    }

    /// The same, each looked for in the form that `form` gives it.
    fn of(all: Vec<Box<str>>, form: impl Fn(&str) -> String) -> Self {
        let mut whole: Vec<Box<str>> = all.iter().map(|text| form(text).into()).collect();
        whole.retain(|text| !text.is_empty());
        whole.sort_unstable();
        whole.dedup();
        let mut least: Vec<Box<str>> = Vec::new();
        for text in &whole {
            if !least.last().is_some_and(|known| text.starts_with(&**known)) {
                least.push(text.clone());
            }
        }
        Self { all, whole, least }
    }

    /// Whether one of them is the beginning of `text`.
    #[must_use]
    pub fn begin(&self, text: &str) -> bool {
        // Whatever sorts between a beginning of the text and the text begins with that, and there is no such one.
        let after = self.least.partition_point(|known| known.bytes().le(lower(text)));
        let last = after.checked_sub(1).and_then(|place| self.least.get(place));
        last.is_some_and(|known| known.len() <= text.len() && known.bytes().eq(lower(text).take(known.len())))
    }

    /// Whether one of them is `text`.
    fn has(&self, text: &str) -> bool {
        self.whole.binary_search_by(|known| known.bytes().cmp(lower(text))).is_ok()
    }
}

fn lower(text: &str) -> impl Iterator<Item = u8> + '_ {
    text.bytes().map(|byte| byte.to_ascii_lowercase())
}

impl Addresses {
    fn new(all: Vec<Box<str>>) -> Self {
        let mut ranges: Vec<_> = all.iter().filter_map(|text| Some(network(text)?.range())).collect();
        // Of networks that overlap one is within the other, and begins behind it or with it.
        ranges.sort_by_key(|(first, last)| (*first, std::cmp::Reverse(*last)));
        let mut kept: Vec<(IpAddr, IpAddr)> = Vec::new();
        for (first, last) in ranges {
            let within = kept.last().is_some_and(|(from, to)| *from <= first && last <= *to);
            if !within {
                kept.push((first, last));
            }
        }
        let texts = all.iter().filter(|text| network(text).is_none()).cloned().collect();
        Self { ranges: kept, texts: Prefixes::new(texts), all }
    }

    fn contain(&self, ip: IpAddr) -> bool {
        let after = self.ranges.partition_point(|(first, _)| *first <= ip);
        let last = after.checked_sub(1).and_then(|place| self.ranges.get(place));
        last.is_some_and(|(first, last)| first.is_ipv4() == ip.is_ipv4() && ip <= *last)
            || (!self.texts.all.is_empty() && self.texts.begin(&ip.to_string()))
    }
}

impl Dialled {
    /// The number that the user part of a URI is, without what only makes it readable (RFC 3966 §5.1.1) and without parameters;
    /// `None` for what is no number.
    #[must_use]
    pub fn parse(user: &str) -> Option<Self> {
        let number = user.split_once(';').map_or(user, |(number, _)| number);
        let number: String = number.chars().filter(|c| !matches!(c, '-' | '.' | '(' | ')' | ' ')).collect();
        let digits = number.strip_prefix('+').unwrap_or(&number);
        (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(Self(number))
    }

    /// What follows the `+` or the `00` of an international number, the country code first.
    #[must_use]
    pub fn international(&self) -> Option<&str> {
        self.0.strip_prefix('+').or_else(|| self.0.strip_prefix("00"))
    }

    /// A number in one form, whichever it was dialled in; what is no number as it is.
    fn plain(text: &str) -> String {
        let number = Self::parse(text);
        number.map_or_else(|| text.to_owned(), |n| n.international().unwrap_or(&n.0).to_owned())
    }
}

impl Premium {
    /// Well-known ones by their country codes: satellites and international networks (870, 878, 881 to 883), international
    /// premium rate (979), the premium rate services of national plans, and small places whose numbers fraud has lived on for years.
    pub const KNOWN: [&'static str; 44] = [
        "870", "878", "881", "882", "883", "979", "1900", "3090", "31900", "31906", "31909", "3290", "3389",
        "34803", "34806", "34807", "34905", "35176", "358600", "358700", "3690", "38560", "38690", "39892",
        "39895", "39899", "4190", "42090", "421900", "4390", "4393", "4470", "449", "4590", "46900", "46939",
        "46944", "47829", "4870", "49900", "61190", "64900", "246", "247",
    ];

    /// Numbers that begin so: behind the `+` or `00` of an international one or, where `0` comes first, as they are dialled. Members
    /// of `group` may call them.
    #[must_use]
    pub fn new(prefixes: Vec<Box<str>>, group: String) -> Self {
        Self { prefixes: Prefixes::new(prefixes), group }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.prefixes.least.is_empty()
    }

    /// Whether a number is one.
    #[must_use]
    pub fn has(&self, number: &Dialled) -> bool {
        number.international().is_some_and(|number| self.prefixes.begin(number))
            || (number.0.starts_with('0') && self.prefixes.begin(&number.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(side: Side, kind: Kind, data: &str) -> Rule {
        Rule::new(side, kind, data).unwrap()
    }

    #[test]
    fn rows_are_those_of_the_table_and_nothing_else() {
        for (action, kind, data, expected) in [
            (0, 0, "sipcli", Ok((Side::Black, Kind::UserAgent))),
            (1, 1, "de", Ok((Side::White, Kind::Country))),
            (0, 2, "evil.example", Ok((Side::Black, Kind::Domain))),
            (1, 3, "192.168.1.", Ok((Side::White, Kind::Ip))),
            (0, 4, "mallory", Ok((Side::Black, Kind::User))),
            (2, 0, "555123123", Ok((Side::Black, Kind::Destination))),
            (2, 1, "de", Err(BadRule::Unknown)),
            (0, 5, "x", Err(BadRule::Unknown)),
            (3, 0, "x", Err(BadRule::Unknown)),
            (0, -1, "x", Err(BadRule::Unknown)),
            (0, 0, " ", Err(BadRule::Empty)),
            (0, 1, "Germany", Err(BadRule::NoCountry)),
            (0, 3, "evil.example", Err(BadRule::NoAddress)),
        ] {
            let found = Rule::of_row(action, kind, data);
            assert_eq!(found.clone().map(|rule| (rule.side, rule.kind)), expected, "{action} {kind} {data}");
            if let Ok(rule) = found {
                assert_eq!(rule.numbers(), (action, kind), "and back");
            }
        }
        assert!(Rule::new(Side::White, Kind::Destination, "1").is_err(), "the table has no such list");
        assert_eq!(Kind::ALL.map(|kind| Kind::named(kind.as_str())), Kind::ALL.map(Some));
    }

    #[test]
    fn an_entry_is_a_beginning_and_white_comes_before_black() {
        let lists = Lists::new(
            [
                rule(Side::Black, Kind::UserAgent, "SIPcli"),
                rule(Side::Black, Kind::UserAgent, "sipcli/1"),
                rule(Side::Black, Kind::UserAgent, "x"),
                rule(Side::White, Kind::UserAgent, "sipcli/2"),
                rule(Side::Black, Kind::User, "\u{fc}ber"),
            ],
            true,
        );
        for (text, side) in [
            ("sipcli", Some(Side::Black)),
            ("SIPCLI/1.8", Some(Side::Black)),
            ("sipcli/2.0", Some(Side::White)),
            ("sipcl", None),
            ("sipd", None),
            ("a", None),
            ("xyz", Some(Side::Black)),
            ("y", None),
            ("", None),
        ] {
            assert_eq!(lists.find(Kind::UserAgent, text), side, "{text}");
        }
        assert_eq!(lists.find(Kind::User, "\u{fc}bermut"), Some(Side::Black));
        assert_eq!(lists.find(Kind::Domain, "sipcli"), None, "another kind");
        assert!(lists.knows(Kind::User) && !lists.knows(Kind::Country) && !lists.is_empty());
        assert_eq!(lists.entries(Side::Black, Kind::UserAgent).len(), 3, "shown as they are");
        assert!(Lists::new([], true).is_empty());
    }

    /// The same as looking at each entry, for any set of short texts.
    #[test]
    fn the_search_finds_what_a_look_at_each_entry_finds() {
        let texts: Vec<String> =
            (0..256_u32).map(|n| format!("{n:b}").replace('0', "a").replace('1', "b")).collect();
        for step in 1..40 {
            let some: Vec<Box<str>> =
                texts.iter().skip(step).step_by(step).map(|t| t.as_str().into()).collect();
            let prefixes = Prefixes::new(some.clone());
            for text in &texts {
                assert_eq!(
                    prefixes.begin(text),
                    some.iter().any(|p| text.starts_with(&**p)),
                    "{step} {text}"
                );
                assert_eq!(prefixes.has(text), some.iter().any(|p| **p == **text), "{step} {text}");
            }
        }
    }

    #[test]
    fn addresses_are_whole_ones_networks_and_beginnings() {
        let black = ["192.0.2.1", "198.51.100.0/24", "198.51.100.7", "10.1.", "2001:db8::/32", "2001:dead:"];
        let mut rules: Vec<Rule> = black.map(|ip| rule(Side::Black, Kind::Ip, ip)).into();
        rules.push(rule(Side::White, Kind::Ip, "198.51.100.9"));
        let lists = Lists::new(rules, true);
        for (ip, side) in [
            ("192.0.2.1", Some(Side::Black)),
            ("192.0.2.10", None),
            ("198.51.100.255", Some(Side::Black)),
            ("198.51.100.9", Some(Side::White)),
            ("198.51.101.0", None),
            ("10.1.2.3", Some(Side::Black)),
            ("10.10.2.3", None),
            ("2001:db8:ffff::1", Some(Side::Black)),
            ("2001:db9::1", None),
            ("2001:dead:1::2", Some(Side::Black)),
            ("::1", None),
            ("255.255.255.255", None),
        ] {
            assert_eq!(lists.find_ip(ip.parse().unwrap()), side, "{ip}");
        }
        let all_of_four = Lists::new([rule(Side::Black, Kind::Ip, "0.0.0.0/0")], true);
        assert_eq!(all_of_four.find_ip("::".parse().unwrap()), None);
    }

    #[test]
    fn destinations_are_the_same_in_every_form() {
        let rules = || ["+882", "555123123", "Anna"].map(|data| rule(Side::Black, Kind::Destination, data));
        let (exact, beginnings) = (Lists::new(rules(), true), Lists::new(rules(), false));
        for (called, whole, begun) in [
            ("555123123", true, true),
            ("+555-123.123", true, true),
            ("00555123123", true, true),
            ("5551231234", false, true),
            ("55512312", false, false),
            ("00882", true, true),
            ("+88216555", false, true),
            ("88216555;phone-context=+49", false, true),
            ("ANNA", true, true),
            ("annabel", false, true),
            ("0882", false, false),
            ("", false, false),
        ] {
            assert_eq!((exact.bars(called), beginnings.bars(called)), (whole, begun), "{called}");
        }
    }

    #[test]
    fn premium_numbers_are_told_from_others() {
        let mut list: Vec<Box<str>> = Premium::KNOWN.map(Into::into).into();
        list.push("0900".into());
        let premium = Premium::new(list, "premium".into());
        for (user, costs) in [
            ("+8816123456", true),
            ("008821612345", true),
            ("+1900555", true),
            ("+44 (909) 8790", true),
            ("0900123456", true),
            ("+4930900123", false),
            ("+448001111", false),
            ("+12125550123", false),
            ("979", false),
            ("9795551234", false),
            ("030123", false),
        ] {
            assert_eq!(premium.has(&Dialled::parse(user).unwrap()), costs, "{user}");
        }
        for user in ["alice", "+", "", "12a", "++1", "*31#"] {
            assert_eq!(Dialled::parse(user), None, "{user}");
        }
        assert!(Premium::default().is_empty() && !premium.is_empty());
    }
}
