//! Who sends more than a phone does: Kamailio's `pike` with its `ipban` table. All workers share one.
//!
//! Requests are counted by source address, those of an IPv6 network of a subscriber together, and a source of more than so many in a sampling period is not listened to for a
//! while. An office behind a NAT is one address: what comes over a flow on which somebody has proved who he is, is counted under
//! his name, wherever he sends from, and never refused for what his neighbours do; where there is such a flow, the others are
//! slowed down and not banned. Whoever has answered a call of ours, such as the trunk that it went to, is no stranger and is not
//! counted.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::bounded::Bounded;
use crate::flow::{IPV6_PREFIX, subscriber};
use crate::settings::Pike;
use crate::shards::Shards;

/// Addresses, and users, remembered in each part. When all of them are busy or banned, one more is not counted: what it brings is
/// bounded by what the gateway has time for.
const MAX: usize = 1024;
/// Proved flows remembered of one address.
const MAX_PROVED: usize = 4096;
/// How long a proof counts: phones register again within that time.
const PROVED_FOR: Duration = Duration::from_secs(3600);
/// A request and its repetition with credentials are forgiven when those are good.
const FORGIVEN: u32 = 2;

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It is looked at.
    Pass,
    /// It is dropped.
    Drop,
    /// It is dropped, and its source banned from now on.
    Ban,
    /// It is dropped, and so is what else this user sends in the sampling period.
    Slow(Arc<str>),
}

/// See the module.
#[derive(Debug)]
pub struct Sources {
    /// So many bits of an IPv6 address are those of one source.
    ipv6_prefix: u8,
    sources: Shards<Bounded<IpAddr, Source>>,
    /// Those who have proved who they are, by their names.
    users: Shards<Bounded<Arc<str>, Load>>,
}

impl Default for Sources {
    fn default() -> Self {
        Self::by_prefix(IPV6_PREFIX)
    }
}

/// What an operator sees of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Its address, or the first one of its network.
    pub ip: IpAddr,
    /// Requests in its sampling period.
    pub count: u32,
    /// When that began, seen from now.
    pub since: Duration,
    /// For how long it is still banned; `None` when it is not.
    pub banned: Option<Duration>,
    /// Whether somebody there has proved who he is.
    pub proved: bool,
}

#[derive(Debug)]
struct Source {
    /// Beginning of the sampling period.
    since: Instant,
    /// Requests in it.
    count: u32,
    banned_until: Option<Instant>,
    /// Flows over which somebody has proved who he is, in the order of their places; the last time that one was added or used.
    proved: Vec<Proved>,
    proved_at: Instant,
}

#[derive(Debug)]
struct Proved {
    place: Place,
    /// `user@domain`; `None` for whom we have chosen to send to.
    user: Option<Arc<str>>,
}

/// A place within a source: the interface identifier of an IPv6 address, 0 for IPv4, and the port.
type Place = (u64, u16);

fn place_of(remote: SocketAddr) -> Place {
    let interface = match remote.ip().to_canonical() {
        IpAddr::V6(ip) => ip.octets().last_chunk().map_or(0, |half| u64::from_be_bytes(*half)),
        IpAddr::V4(_) => 0,
    };
    (interface, remote.port())
}

/// What a user sends.
#[derive(Debug)]
struct Load {
    /// Beginning of the sampling period.
    since: Instant,
    /// Requests in it.
    count: u32,
}

impl Sources {
    /// For IPv6 the first `ipv6_prefix` bits of an address make a source (default 64).
    #[must_use]
    pub fn by_prefix(ipv6_prefix: u8) -> Self {
        Self { ipv6_prefix, sources: Shards::default(), users: Shards::default() }
    }

    /// Counts a request, or what else costs an answer.
    #[must_use]
    pub fn admit(&self, pike: &Pike, now: Instant, remote: SocketAddr) -> Admission {
        if pike.reqs_density_per_unit == 0 {
            return Admission::Pass;
        }
        let ip = remote.ip().to_canonical();
        if is_exempt(pike, ip) {
            return Admission::Pass;
        }
        let ip = self.key(ip);
        let mut shard = self.sources.of(&ip);
        let Some(source) = entry(&mut shard, ip, pike, now) else { return Admission::Pass };
        if let Some(proved) = source.flow(now, remote) {
            let user = proved.user.clone();
            source.proved_at = now;
            drop(shard);
            return user.map_or(Admission::Pass, |user| self.admit_user(pike, now, user));
        }
        if source.banned_until.is_some_and(|until| until > now) {
            return Admission::Drop;
        }
        if now.saturating_duration_since(source.since) >= pike.sampling_time_unit {
            (source.since, source.count) = (now, 0);
        }
        source.count = source.count.saturating_add(1);
        if source.count <= pike.reqs_density_per_unit {
            return Admission::Pass;
        }
        if source.is_proved(now) {
            return Admission::Drop;
        }
        source.banned_until = Some(now + pike.ban);
        Admission::Ban
    }

    /// Counts a request of somebody who has proved who he is.
    fn admit_user(&self, pike: &Pike, now: Instant, user: Arc<str>) -> Admission {
        if pike.user_reqs_density_per_unit == 0 {
            return Admission::Pass;
        }
        let mut users = self.users.of(&*user);
        let is_over = |load: &Load| now.saturating_duration_since(load.since) >= pike.sampling_time_unit;
        let fresh = || Load { since: now, count: 0 };
        let Some(load) = users.entry(Arc::clone(&user), MAX, now, is_over, fresh) else {
            return Admission::Pass;
        };
        if is_over(load) {
            *load = Load { since: now, count: 0 };
        }
        load.count = load.count.saturating_add(1);
        match load.count.checked_sub(pike.user_reqs_density_per_unit) {
            None | Some(0) => Admission::Pass,
            Some(1) => Admission::Slow(user),
            Some(_) => Admission::Drop,
        }
    }

    /// `user`, as `user@domain`, has proved who he is over the flow from `remote`; or that is whom we have chosen to send to, and
    /// nobody.
    pub fn prove(&self, pike: &Pike, now: Instant, remote: SocketAddr, user: Option<&str>) {
        let ip = self.key(remote.ip());
        let mut shard = self.sources.of(&ip);
        let Some(source) = entry(&mut shard, ip, pike, now) else { return };
        source.count = source.count.saturating_sub(FORGIVEN);
        if !source.is_proved(now) || source.proved.len() >= MAX_PROVED {
            source.proved.clear();
        }
        source.proved_at = now;
        let place = place_of(remote);
        match source.proved.binary_search_by_key(&place, |proved| proved.place) {
            // That he is also whom we send to tells nothing.
            Ok(at) if user.is_none() || source.proved[at].user.as_deref() == user => {}
            Ok(at) => source.proved[at].user = user.map(Into::into),
            Err(at) => source.proved.insert(at, Proved { place, user: user.map(Into::into) }),
        }
    }

    /// All that is remembered, in no order.
    #[must_use]
    pub fn list(&self, now: Instant) -> Vec<Counted> {
        let counted = |ip: &IpAddr, source: &Source| Counted {
            ip: *ip,
            count: source.count,
            since: now.saturating_duration_since(source.since),
            banned: source.banned_until.and_then(|until| until.checked_duration_since(now)),
            proved: source.is_proved(now),
        };
        self.sources
            .each()
            .flat_map(|shard| shard.iter().map(|(ip, source)| counted(ip, source)).collect::<Vec<_>>())
            .collect()
    }

    /// Bans a source by the word of an operator, whoever has proved himself there. `false` when it is exempt or the table has no
    /// room.
    #[must_use]
    pub fn ban(&self, pike: &Pike, now: Instant, ip: IpAddr, span: Duration) -> bool {
        let ip = ip.to_canonical();
        if pike.reqs_density_per_unit == 0 || is_exempt(pike, ip) {
            return false;
        }
        let ip = self.key(ip);
        let mut shard = self.sources.of(&ip);
        let Some(source) = entry(&mut shard, ip, pike, now) else { return false };
        source.proved.clear();
        source.banned_until = Some(now + span);
        true
    }

    /// Forgets a source and what it has done. Whether it was known.
    pub fn forget(&self, ip: IpAddr) -> bool {
        let ip = self.key(ip);
        self.sources.of(&ip).remove(&ip).is_some()
    }

    /// Whether somebody has proved who he is over the flow from `remote`, or we have chosen to send there.
    #[must_use]
    pub fn is_proved(&self, now: Instant, remote: SocketAddr) -> bool {
        let ip = self.key(remote.ip());
        self.sources.of(&ip).get(&ip).is_some_and(|source| source.flow(now, remote).is_some())
    }

    /// Whether nobody can know whether what comes from `remote` is from there: it is neither exempt nor proved.
    #[must_use]
    pub fn is_stranger(&self, pike: &Pike, now: Instant, remote: SocketAddr) -> bool {
        !is_exempt(pike, remote.ip().to_canonical()) && !self.is_proved(now, remote)
    }

    /// Whether `user` has proved who he is over the flow from `remote`.
    #[must_use]
    pub fn is_of(&self, now: Instant, remote: SocketAddr, user: &str) -> bool {
        let ip = self.key(remote.ip());
        let shard = self.sources.of(&ip);
        let proved = shard.get(&ip).and_then(|source| source.flow(now, remote));
        proved.is_some_and(|proved| proved.user.as_deref() == Some(user))
    }

    /// What `ip` is counted and shown under: itself, or the network that it belongs to.
    #[must_use]
    pub fn key(&self, ip: IpAddr) -> IpAddr {
        subscriber(ip, self.ipv6_prefix)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.sources.each().map(|part| part.len()).sum()
    }
}

impl Source {
    /// The flow from `remote`, if somebody has proved who he is over it.
    fn flow(&self, now: Instant, remote: SocketAddr) -> Option<&Proved> {
        if !self.is_proved(now) {
            return None;
        }
        let at = self.proved.binary_search_by_key(&place_of(remote), |proved| proved.place).ok()?;
        self.proved.get(at)
    }

    fn is_proved(&self, now: Instant) -> bool {
        !self.proved.is_empty() && now.saturating_duration_since(self.proved_at) < PROVED_FOR
    }

    /// Whether there is nothing about it that must be remembered.
    fn is_idle(&self, pike: &Pike, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= pike.remove_latency.max(pike.sampling_time_unit)
            && self.banned_until.is_none_or(|until| until <= now)
    }
}

/// Whether a source is never counted.
fn is_exempt(pike: &Pike, ip: IpAddr) -> bool {
    ip.is_loopback() || pike.exempt.iter().any(|network| network.contains(ip))
}

/// The entry of an address, made where there is room.
fn entry<'s>(
    shard: &'s mut Bounded<IpAddr, Source>,
    ip: IpAddr,
    pike: &Pike,
    now: Instant,
) -> Option<&'s mut Source> {
    let fresh = || Source { since: now, count: 0, banned_until: None, proved: Vec::new(), proved_at: now };
    shard.entry(ip, MAX, now, |source| source.is_idle(pike, now), fresh)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIKE: fn() -> Pike = Pike::default;

    fn start() -> Instant {
        #[allow(clippy::disallowed_methods)]
        Instant::now()
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address with port")
    }

    /// Whoever has an IPv6 network has all of its addresses.
    #[test]
    fn a_network_is_one_source() {
        let (sources, pike, now) = (Sources::default(), PIKE(), start());
        let of = |text: &str| -> SocketAddr { text.parse().expect("an address") };
        let from = |host: u32| of(&format!("[2001:db8:1:2::{host:x}]:5060"));
        for host in 0..pike.reqs_density_per_unit {
            assert_eq!(sources.admit(&pike, now, from(host)), Admission::Pass, "{host}");
        }
        assert_eq!(sources.admit(&pike, now, from(99)), Admission::Ban);
        assert_eq!(sources.admit(&pike, now, of("[2001:db8:1:2:ffff::1]:9")), Admission::Drop);
        assert_eq!(sources.admit(&pike, now, of("[2001:db8:1:3::1]:5060")), Admission::Pass);
        assert!(sources.forget(of("[2001:db8:1:2::abcd]:1").ip()));
        // What one has proved is not his neighbour's, though they have the same port.
        sources.prove(&pike, now, from(1), Some("alice@sip.example"));
        assert!(sources.is_proved(now, from(1)) && !sources.is_proved(now, from(2)));
        let wide = Sources::by_prefix(48);
        assert!(wide.ban(&pike, now, from(1).ip(), pike.ban));
        assert_eq!(wide.admit(&pike, now, of("[2001:db8:1:3::1]:5060")), Admission::Drop);
    }

    /// Sixteen in two seconds pass; one more, and nothing is heard for five minutes.
    #[test]
    fn a_flood_is_banned_for_a_while() {
        let (sources, pike, start) = (Sources::default(), PIKE(), start());
        let flood = at("198.51.100.66:5060");
        let admit = |after: u64| sources.admit(&pike, start + Duration::from_secs(after), flood);
        assert!((0..16).all(|_| admit(0) == Admission::Pass));
        assert_eq!([admit(1), admit(1), admit(300)], [Admission::Ban, Admission::Drop, Admission::Drop]);
        assert_eq!(admit(301), Admission::Pass, "the ban is over");
        assert!((0..15).all(|_| admit(302) == Admission::Pass), "a period of its own");
        assert!((0..16).all(|_| admit(303) == Admission::Pass));
        assert_eq!(sources.admit(&pike, start, at("198.51.100.67:5060")), Admission::Pass, "somebody else");
    }

    #[test]
    fn an_operator_bans_and_forgives() {
        let exempt = vec!["203.0.113.0/24".parse().expect("a network")];
        let (sources, pike, now) = (Sources::default(), Pike { exempt, ..PIKE() }, start());
        let (phone, minute) = (at("198.51.100.7:5060"), Duration::from_secs(60));
        sources.prove(&pike, now, phone, Some("alice@b"));
        assert!(sources.ban(&pike, now, phone.ip(), minute));
        assert_eq!(sources.admit(&pike, now, phone), Admission::Drop, "whoever has proved himself there");
        let listed = sources.list(now);
        assert_eq!((listed.len(), listed[0].ip, listed[0].banned), (1, phone.ip(), Some(minute)));
        assert!(sources.forget(phone.ip()) && !sources.forget(phone.ip()));
        assert_eq!(sources.admit(&pike, now, phone), Admission::Pass);
        for exempt in ["127.0.0.1:1", "203.0.113.9:1"] {
            assert!(!sources.ban(&pike, now, at(exempt).ip(), minute), "{exempt}");
        }
    }

    /// One port is one flow.
    #[test]
    fn a_proved_flow_is_not_refused_for_its_neighbours() {
        let (sources, pike, now) = (Sources::default(), PIKE(), start());
        let (phone, neighbour) = (at("198.51.100.7:5060"), at("198.51.100.7:5061"));
        // A hundred phones of an office that has its power back: each is asked for its password, and gives it.
        for port in 1024..1124 {
            let phone = SocketAddr::new(phone.ip(), port);
            assert_eq!(sources.admit(&pike, now, phone), Admission::Pass, "{port}");
            assert_eq!(sources.admit(&pike, now, phone), Admission::Pass, "{port}");
            sources.prove(&pike, now, phone, Some(&format!("{port}@b")));
        }
        sources.prove(&pike, now, phone, Some("alice@b"));
        let heard: Vec<_> = (0..40).map(|_| sources.admit(&pike, now, neighbour)).collect();
        assert!(heard[15..].contains(&Admission::Drop) && !heard.contains(&Admission::Ban), "{heard:?}");
        assert!((0..512).all(|_| sources.admit(&pike, now, phone) == Admission::Pass));
        let later = now + pike.sampling_time_unit;
        assert_eq!(sources.admit(&pike, later, neighbour), Admission::Pass, "slowed down, not banned");
        let much_later = now + PROVED_FOR * 2;
        assert!((0..16).all(|_| sources.admit(&pike, much_later, phone) == Admission::Pass));
        assert_eq!(sources.admit(&pike, much_later, phone), Admission::Ban, "the proof has run out");
    }

    /// An office of two hundred, all busy at once, and one of them who sends what nobody needs, from wherever he is.
    #[test]
    fn users_are_counted_by_their_names_and_not_by_their_address() {
        let (sources, pike, now) = (Sources::default(), PIKE(), start());
        let (office, home) = (at("198.51.100.7:1"), at("203.0.113.9:40000"));
        let port = |port| SocketAddr::new(office.ip(), port);
        for phone in 2000..2200 {
            sources.prove(&pike, now, port(phone), Some(&format!("{phone}@b")));
        }
        for phone in 2000..2200 {
            assert!((0..20).all(|_| sources.admit(&pike, now, port(phone)) == Admission::Pass), "{phone}");
        }
        sources.prove(&pike, now, home, Some("2000@b"));
        let heard: Vec<_> = (0..600).map(|_| sources.admit(&pike, now, home)).collect();
        let passed = heard.iter().filter(|admission| **admission == Admission::Pass).count();
        assert_eq!(passed, 512 - 20, "what he has sent from the office counts too");
        assert_eq!(heard[passed], Admission::Slow("2000@b".into()));
        assert!(heard[passed + 1..].iter().all(|admission| *admission == Admission::Drop), "it is told once");
        assert_eq!(sources.admit(&pike, now, port(2000)), Admission::Drop, "nor is he heard from there");
        assert_eq!(sources.admit(&pike, now, port(2001)), Admission::Pass, "his neighbours are");
        assert_eq!(
            sources.admit(&pike, now + pike.sampling_time_unit, home),
            Admission::Pass,
            "he is not banned"
        );
        let any = Pike { user_reqs_density_per_unit: 0, ..pike };
        assert!((0..2000).all(|_| sources.admit(&any, now, home) == Admission::Pass));
        let trunk = at("203.0.113.5:5060");
        sources.prove(&any, now, trunk, None);
        assert!((0..2000).all(|_| sources.admit(&PIKE(), now, trunk) == Admission::Pass), "whom we send to");
        assert!(sources.is_proved(now, trunk) && !sources.is_of(now, trunk, "2000@b"));
        assert!(sources.is_of(now, home, "2000@b") && !sources.is_of(now, home, "2001@b"));
    }

    #[test]
    fn who_is_exempt_is_not_counted() {
        let (sources, now) = (Sources::default(), start());
        let exempt = vec!["203.0.113.0/24".parse().expect("a network")];
        let pike = Pike { exempt, ..PIKE() };
        let off = Pike { reqs_density_per_unit: 0, ..PIKE() };
        for _ in 0..100 {
            for source in ["203.0.113.77:1", "127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
                assert_eq!(sources.admit(&pike, now, at(source)), Admission::Pass, "{source}");
            }
            assert_eq!(sources.admit(&off, now, at("198.51.100.7:1")), Admission::Pass);
        }
        assert_eq!(sources.len(), 0);
    }

    /// However many addresses somebody forges, and whoever comes after that.
    #[test]
    fn the_table_is_bounded() {
        let (sources, pike, now) = (Sources::default(), PIKE(), start());
        for number in 0..200_000_u32 {
            let source = SocketAddr::from((number.to_be_bytes(), 5060));
            assert_eq!(sources.admit(&pike, now, source), Admission::Pass);
        }
        assert!(sources.len() <= Shards::<u64>::COUNT * MAX, "{}", sources.len());
        let later = now + pike.remove_latency;
        let flood = at("198.51.100.66:5060");
        assert!((0..=16).any(|_| sources.admit(&pike, later, flood) == Admission::Ban), "room for it again");
    }
}
