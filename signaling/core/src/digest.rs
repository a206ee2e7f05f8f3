//! Digest authentication (RFC 7616, RFC 8760, RFC 3261 §22): challenges, proofs, and the calculator of a client.
//!
//! A nonce is its time of birth and 64 random bits under an HMAC: nothing is kept for a challenge, so that a flood of
//! them costs no memory. Only a nonce that was used with a right password is remembered, to see each `nc` once.

use std::collections::BTreeMap;
use std::time::Duration;

use md5::{Digest as _, Md5};
use rand::{Rng, RngExt};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::message::Method;
use crate::message::header::{Challenge, Credentials};

/// The hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Algorithm {
    /// The only one that JsSIP takes: it gives up on a challenge that names another.
    #[default]
    Md5,
    /// RFC 8760.
    Sha256,
}

impl Algorithm {
    /// As in the `algorithm` parameter.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    /// The inverse; an absent parameter means MD5 (RFC 7616 §3.3). The `-sess` variants are not spoken.
    #[must_use]
    pub fn parse(text: Option<&str>) -> Option<Self> {
        match text {
            None => Some(Self::Md5),
            Some(text) if text.eq_ignore_ascii_case("MD5") => Some(Self::Md5),
            Some(text) if text.eq_ignore_ascii_case("SHA-256") => Some(Self::Sha256),
            Some(_) => None,
        }
    }

    /// Lower-case hexadecimal hash of `parts` joined by colons.
    fn hash(self, parts: &[&str]) -> String {
        match self {
            Self::Md5 => hex::encode(Md5::digest(parts.join(":"))),
            Self::Sha256 => hex::encode(Sha256::digest(parts.join(":"))),
        }
    }

    /// Length of a hash in hexadecimal digits.
    const fn hex_len(self) -> usize {
        match self {
            Self::Md5 => 32,
            Self::Sha256 => 64,
        }
    }
}

/// Why credentials prove nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The password is right, the nonce too old, not ours, or used with this `nc` before: challenge with `stale=true`.
    #[error("nonce is stale")]
    Stale,
    /// The password is wrong.
    #[error("wrong response")]
    Wrong,
    /// The realm is not the one asked for.
    #[error("credentials are for another realm")]
    Realm,
    /// A parameter is missing or malformed: 400, or another challenge.
    #[error("credentials: {0}")]
    Malformed(&'static str),
}

/// Makes challenges and judges proofs. Each worker has its own: a nonce of another is answered with `stale=true`, which
/// costs its client one round trip and no question to its user.
pub struct Authenticator {
    key: [u8; 32],
    nonce_expire: Duration,
    /// Uses of each nonce that has proved something, oldest first.
    used: BTreeMap<Stamp, Window>,
    capacity: usize,
    /// Nonces up to this one were forgotten for want of room, and so are stale.
    forgotten: Stamp,
}

/// Seconds since 1970 and random bits, in the order of time.
type Stamp = [u8; 16];

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticator").field("used", &self.used.len()).finish_non_exhaustive()
    }
}

impl Authenticator {
    /// `key` signs the nonces, which are good for `nonce_expire`. Uses of at most `capacity` nonces are remembered.
    #[must_use]
    pub const fn new(key: [u8; 32], nonce_expire: Duration, capacity: usize) -> Self {
        Self { key, nonce_expire, used: BTreeMap::new(), capacity, forgotten: [0; 16] }
    }

    /// The value of a WWW-Authenticate or Proxy-Authenticate header. `unix_now` is in seconds since 1970. `realm` must
    /// hold no quote, as domains do not.
    #[must_use]
    pub fn challenge(
        &self,
        rng: &mut impl Rng,
        unix_now: u64,
        realm: &str,
        algorithm: Algorithm,
        stale: bool,
    ) -> String {
        let mut stamp = [0; 16];
        stamp[..8].copy_from_slice(&unix_now.to_be_bytes());
        stamp[8..].copy_from_slice(&rng.random::<u64>().to_be_bytes());
        let nonce = format!("{}{}", hex::encode(stamp), hex::encode(&self.sign(&stamp, realm)[..16]));
        let stale = if stale { ", stale=true" } else { "" };
        let algorithm = algorithm.as_str();
        format!("Digest realm=\"{realm}\", nonce=\"{nonce}\", algorithm={algorithm}, qop=\"auth\"{stale}")
    }

    /// Judges `credentials` for a request of `method`. `ha1` is the hexadecimal hash of `username:realm:password`, made
    /// with the algorithm of the challenge (its length tells which). The `uri` parameter is part of the proof, but not
    /// compared with the request-URI, which proxies on the way may have rewritten (RFC 3261 §22.4 item 5).
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn verify(
        &mut self,
        unix_now: u64,
        credentials: &Credentials<'_>,
        method: &Method,
        realm: &str,
        ha1: &str,
    ) -> Result<(), Refusal> {
        if credentials.realm().as_deref() != Some(realm) {
            return Err(Refusal::Realm);
        }
        let algorithm = Algorithm::parse(credentials.algorithm().as_deref());
        let algorithm = algorithm.filter(|algorithm| algorithm.hex_len() == ha1.len());
        let algorithm = algorithm.ok_or(Refusal::Malformed("algorithm is not the one of the challenge"))?;
        let (proof, count) = expected(algorithm, credentials, method, ha1)?;
        let response = credentials.response().ok_or(Refusal::Malformed("no response"))?.to_ascii_lowercase();
        if !bool::from(proof.as_bytes().ct_eq(response.as_bytes())) {
            return Err(Refusal::Wrong);
        }
        let nonce = credentials.nonce().ok_or(Refusal::Malformed("no nonce"))?;
        let stamp = self.open(unix_now, &nonce, realm).ok_or(Refusal::Stale)?;
        match count {
            Some(count) => self.use_once(unix_now, stamp, count),
            // RFC 2069 clients count nothing: the age of the nonce alone bounds a replay.
            None => Ok(()),
        }
    }

    /// The stamp of a nonce that is ours, of this realm, and fresh.
    fn open(&self, unix_now: u64, nonce: &str, realm: &str) -> Option<Stamp> {
        let bytes: [u8; 32] = hex::decode(nonce).ok()?.try_into().ok()?;
        let stamp: Stamp = bytes[..16].try_into().ok()?;
        if !bool::from(bytes[16..].ct_eq(&self.sign(&stamp, realm)[..16])) {
            return None;
        }
        let age = unix_now.checked_sub(birth(&stamp))?;
        (age <= self.nonce_expire.as_secs() && stamp > self.forgotten).then_some(stamp)
    }

    fn use_once(&mut self, unix_now: u64, stamp: Stamp, count: u32) -> Result<(), Refusal> {
        let oldest = unix_now.saturating_sub(self.nonce_expire.as_secs());
        while self.used.first_key_value().is_some_and(|(stamp, _)| birth(stamp) < oldest) {
            self.used.pop_first();
        }
        if !self.used.entry(stamp).or_default().mark(count) {
            return Err(Refusal::Stale);
        }
        if self.used.len() > self.capacity
            && let Some((oldest, _)) = self.used.pop_first()
        {
            self.forgotten = oldest;
        }
        Ok(())
    }

    /// HMAC-SHA-256 (RFC 2104) of stamp and realm.
    fn sign(&self, stamp: &Stamp, realm: &str) -> [u8; 32] {
        let pad = |with: u8| -> [u8; 64] {
            std::array::from_fn(|at| self.key.get(at).copied().unwrap_or_default() ^ with)
        };
        let inner = Sha256::new().chain_update(pad(0x36)).chain_update(stamp).chain_update(realm).finalize();
        Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into()
    }
}

/// When a nonce was made, seconds since 1970.
fn birth(stamp: &Stamp) -> u64 {
    let mut seconds = [0; 8];
    seconds.copy_from_slice(&stamp[..8]);
    u64::from_be_bytes(seconds)
}

/// Which counts of a nonce were seen: the highest, and the 64 up to it. Requests may overtake each other a little.
#[derive(Debug, Default)]
struct Window {
    highest: u32,
    /// Bit n: `highest - n` was seen.
    seen: u64,
}

impl Window {
    /// `false` when `count` was seen, or lies too far back to know.
    fn mark(&mut self, count: u32) -> bool {
        if count > self.highest {
            let shift = count - self.highest;
            self.seen = if shift < 64 { self.seen << shift } else { 0 } | 1;
            self.highest = count;
            return true;
        }
        let back = self.highest - count;
        let fresh = count > 0 && back < 64 && self.seen & (1 << back) == 0;
        if fresh {
            self.seen |= 1 << back;
        }
        fresh
    }
}

/// The right response (RFC 7616 §3.4.1), and the count if there is one.
fn expected(
    algorithm: Algorithm,
    credentials: &Credentials<'_>,
    method: &Method,
    ha1: &str,
) -> Result<(String, Option<u32>), Refusal> {
    let uri = credentials.uri().ok_or(Refusal::Malformed("no uri"))?;
    let nonce = credentials.nonce().ok_or(Refusal::Malformed("no nonce"))?;
    let ha2 = algorithm.hash(&[method.as_str(), &uri]);
    let Some(qop) = credentials.qop() else {
        return Ok((algorithm.hash(&[ha1, &nonce, &ha2]), None));
    };
    if !qop.eq_ignore_ascii_case("auth") {
        return Err(Refusal::Malformed("qop is not auth"));
    }
    let cnonce = credentials.cnonce().ok_or(Refusal::Malformed("no cnonce"))?;
    let nc = credentials.nc().ok_or(Refusal::Malformed("no nc"))?;
    let digits = nc.len() == 8 && nc.bytes().all(|byte| byte.is_ascii_hexdigit());
    let count = u32::from_str_radix(&nc, 16).ok().filter(|_| digits);
    let count = count.ok_or(Refusal::Malformed("nc is not of eight hexadecimal digits"))?;
    Ok((algorithm.hash(&[ha1, &nonce, &nc, &cnonce, &qop, &ha2]), Some(count)))
}

/// What is stored of a password: the hexadecimal hash of `username:realm:password`, Kamailio's `ha1` column for MD5.
#[must_use]
pub fn ha1(algorithm: Algorithm, username: &str, realm: &str, password: &str) -> String {
    algorithm.hash(&[username, realm, password])
}

/// A client's answer to a challenge.
#[derive(Clone, Copy)]
pub struct Answer<'a> {
    /// The user.
    pub username: &'a str,
    /// The password.
    pub password: &'a str,
    /// The method of the request.
    pub method: &'a Method,
    /// Its request-URI.
    pub uri: &'a str,
    /// The client's own random text, without quotes.
    pub cnonce: &'a str,
    /// How often the nonce was used, this time included.
    pub count: u32,
}

impl Answer<'_> {
    /// The value of the Authorization or Proxy-Authorization header; `None` when the challenge lacks realm or nonce, or
    /// names an unknown algorithm.
    #[must_use]
    pub fn to(&self, challenge: &Challenge<'_>) -> Option<String> {
        let (realm, nonce) = (challenge.realm()?, challenge.nonce()?);
        let algorithm = Algorithm::parse(challenge.algorithm().as_deref())?;
        let ha1 = ha1(algorithm, self.username, &realm, self.password);
        let ha2 = algorithm.hash(&[self.method.as_str(), self.uri]);
        let has_auth = |qop: &str| qop.split(',').any(|one| one.trim().eq_ignore_ascii_case("auth"));
        let (proof, rest) = if challenge.qop().is_some_and(|qop| has_auth(&qop)) {
            let (nc, cnonce) = (format!("{:08x}", self.count), self.cnonce);
            let proof = algorithm.hash(&[&ha1, &nonce, &nc, cnonce, "auth", &ha2]);
            (proof, format!(", qop=auth, nc={nc}, cnonce=\"{cnonce}\""))
        } else {
            (algorithm.hash(&[&ha1, &nonce, &ha2]), String::new())
        };
        let opaque = challenge.opaque().map_or(String::new(), |opaque| format!(", opaque=\"{opaque}\""));
        Some(format!(
            "Digest username=\"{}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{}\", response=\"{proof}\", algorithm={}{rest}{opaque}",
            self.username,
            self.uri,
            algorithm.as_str()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::header::{Authorization, Header, WwwAuthenticate};
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    const REALM: &str = "example.com";

    fn authenticator() -> (Authenticator, StdRng) {
        (Authenticator::new([7; 32], Duration::from_secs(300), 4), StdRng::seed_from_u64(1))
    }

    fn answer(challenge: &str, password: &str, count: u32) -> String {
        let challenge = WwwAuthenticate::parse(challenge.as_bytes()).unwrap().0;
        let method = &Method::Register;
        let answer =
            Answer { username: "bob", password, method, uri: "sip:example.com", cnonce: "0a4f113b", count };
        answer.to(&challenge).unwrap()
    }

    fn judge(auth: &mut Authenticator, at: u64, algorithm: Algorithm, value: &str) -> Result<(), Refusal> {
        let credentials = Authorization::parse(value.as_bytes()).unwrap().0;
        let ha1 = ha1(algorithm, "bob", REALM, "zanzibar");
        auth.verify(at, &credentials, &Method::Register, REALM, &ha1)
    }

    /// RFC 7616 §3.9.1, both algorithms, and RFC 2617 §3.5.
    #[test]
    fn the_vectors_of_the_rfcs_come_out() {
        let nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
        let rfc7616 = |algorithm: Algorithm, response: &str| {
            (
                algorithm,
                "http-auth@example.org",
                "Circle of Life",
                nonce,
                "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
                response.to_owned(),
            )
        };
        let cases = [
            rfc7616(Algorithm::Md5, "8ca523f5e9506fed4657c9700eebdbec"),
            rfc7616(Algorithm::Sha256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
            (
                Algorithm::Md5,
                "testrealm@host.com",
                "Circle Of Life",
                "dcd98b7102dd2f0e8b11d0f600bfb0c093",
                "0a4f113b",
                "6629fae49393a05397450978507c4ef1".to_owned(),
            ),
        ];
        for (algorithm, realm, password, nonce, cnonce, response) in cases {
            let challenge = format!(
                "Digest realm=\"{realm}\", nonce=\"{nonce}\", algorithm={}, qop=\"auth, auth-int\"",
                algorithm.as_str()
            );
            let challenge = WwwAuthenticate::parse(challenge.as_bytes()).unwrap().0;
            let method = &Method::Other("GET".into());
            let answer =
                Answer { username: "Mufasa", password, method, uri: "/dir/index.html", cnonce, count: 1 };
            let value = answer.to(&challenge).unwrap();
            assert!(value.contains(&format!("response=\"{response}\"")), "{value}");
        }
    }

    /// RFC 2069 §2.4 as corrected by its errata: no qop.
    #[test]
    fn a_client_without_qop_is_understood() {
        let value = Authorization::parse(
            b"Digest username=\"Mufasa\", realm=\"testrealm@host.com\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", \
              uri=\"/dir/index.html\", response=\"1949323746fe6a43ef61f9606e7febea\"",
        )
        .unwrap()
        .0;
        let ha1 = ha1(Algorithm::Md5, "Mufasa", "testrealm@host.com", "CircleOfLife");
        let (proof, count) = expected(Algorithm::Md5, &value, &Method::Other("GET".into()), &ha1).unwrap();
        assert_eq!((proof.as_str(), count), ("1949323746fe6a43ef61f9606e7febea", None));
    }

    #[test]
    fn a_right_password_is_taken_once_per_count() {
        for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
            let (mut auth, mut rng) = authenticator();
            let challenge = auth.challenge(&mut rng, 1000, REALM, algorithm, false);
            for (count, expected) in [
                (1, Ok(())),
                (1, Err(Refusal::Stale)),
                (3, Ok(())),
                (2, Ok(())),
                (2, Err(Refusal::Stale)),
                (200, Ok(())),
                (100, Err(Refusal::Stale)),
                (0, Err(Refusal::Stale)),
            ] {
                assert_eq!(
                    judge(&mut auth, 1001, algorithm, &answer(&challenge, "zanzibar", count)),
                    expected,
                    "{count}"
                );
            }
        }
    }

    #[test]
    fn a_wrong_password_is_never_called_stale() {
        let (mut auth, mut rng) = authenticator();
        let challenge = auth.challenge(&mut rng, 1000, REALM, Algorithm::Md5, false);
        for at in [1000, 1300, 1301, 9999] {
            assert_eq!(
                judge(&mut auth, at, Algorithm::Md5, &answer(&challenge, "guess", 1)),
                Err(Refusal::Wrong)
            );
        }
    }

    #[test]
    fn old_foreign_and_future_nonces_are_stale() {
        let (mut auth, mut rng) = authenticator();
        let challenge = auth.challenge(&mut rng, 1000, REALM, Algorithm::Md5, false);
        let other = Authenticator::new([8; 32], Duration::from_secs(300), 4);
        let foreign = other.challenge(&mut rng, 1000, REALM, Algorithm::Md5, false);
        assert_eq!(judge(&mut auth, 1300, Algorithm::Md5, &answer(&challenge, "zanzibar", 1)), Ok(()));
        assert_eq!(
            judge(&mut auth, 1301, Algorithm::Md5, &answer(&challenge, "zanzibar", 2)),
            Err(Refusal::Stale)
        );
        assert_eq!(
            judge(&mut auth, 999, Algorithm::Md5, &answer(&challenge, "zanzibar", 3)),
            Err(Refusal::Stale)
        );
        assert_eq!(
            judge(&mut auth, 1000, Algorithm::Md5, &answer(&foreign, "zanzibar", 1)),
            Err(Refusal::Stale)
        );
        assert!(
            auth.challenge(&mut rng, 1, REALM, Algorithm::Md5, true).ends_with("qop=\"auth\", stale=true")
        );
    }

    #[test]
    fn what_is_forgotten_for_want_of_room_is_stale() {
        let (mut auth, mut rng) = authenticator();
        let challenges: Vec<_> =
            (0..6).map(|at| auth.challenge(&mut rng, 1000 + at, REALM, Algorithm::Md5, false)).collect();
        for challenge in &challenges {
            assert_eq!(judge(&mut auth, 1010, Algorithm::Md5, &answer(challenge, "zanzibar", 1)), Ok(()));
        }
        assert_eq!(auth.used.len(), 4);
        assert_eq!(
            judge(&mut auth, 1010, Algorithm::Md5, &answer(&challenges[0], "zanzibar", 1)),
            Err(Refusal::Stale)
        );
        assert_eq!(judge(&mut auth, 1010, Algorithm::Md5, &answer(&challenges[5], "zanzibar", 2)), Ok(()));
    }

    #[test]
    fn half_credentials_are_refused_by_name() {
        let (mut auth, _) = authenticator();
        let all = "realm=\"example.com\", nonce=\"n\", uri=\"u\", response=\"00\", qop=auth, nc=00000001, cnonce=\"c\"";
        for missing in ["realm", "nonce", "uri", "response", "nc", "cnonce"] {
            let rest: Vec<_> =
                all.split(", ").filter(|one| !one.starts_with(&format!("{missing}="))).collect();
            let refusal =
                judge(&mut auth, 0, Algorithm::Md5, &format!("Digest {}", rest.join(", "))).unwrap_err();
            assert!(matches!(refusal, Refusal::Malformed(_) | Refusal::Realm), "{missing}: {refusal}");
        }
        for (bad, good) in
            [("qop=auth-int", "qop=auth"), ("nc=1", "nc=00000001"), ("nc=+0000001", "nc=00000001")]
        {
            let value = format!("Digest {}", all.replace(good, bad));
            assert!(
                matches!(judge(&mut auth, 0, Algorithm::Md5, &value), Err(Refusal::Malformed(_))),
                "{bad}"
            );
        }
        let value = format!("Digest {all}, algorithm=MD5-sess");
        assert!(matches!(judge(&mut auth, 0, Algorithm::Md5, &value), Err(Refusal::Malformed(_))));
    }
}
