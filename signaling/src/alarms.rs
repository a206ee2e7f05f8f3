//! Alarms: what an operator wants to hear of when it happens. Each is a line of the log (`events`), a counter, and, where a
//! URL is set, JSON posted there.
//!
//! What is posted is bounded in every way, for whoever attacks causes it: the same alarm once in a while, so many in a second, so
//! many that wait. The signalling threads wait for none of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use rand::RngExt as _;
use serde_json::{Value, json};
use signaling_core::bounded::Bounded;
use signaling_core::event::{AuthFailure, Event, Hostility};
use signaling_core::profiles::Profile;
use signaling_core::shards::Shards;
use tokio::task::JoinHandle;

use crate::commands::listing::date;
use crate::post::{Pauses, Post, Taken, Url};
use crate::queue::Queue;
use crate::store::unix_now;

/// Alarms that may wait for the URL.
const ROOM: usize = 256;
/// Alarms of one second that are posted.
const A_SECOND: u64 = 20;
/// Tries with one; with the pauses between them it has two minutes.
const TRIES: u32 = 8;
/// Alarms of a part that are remembered, so that they are not posted again.
const REMEMBERED: usize = 1024;
/// The header field with the signature.
const SIGNATURE: &str = "X-Causeway-Signature";

/// What an alarm is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Passwords are guessed: a user or an address is not believed any more for a while.
    AuthBlock,
    /// A source or a user sends too much.
    Flood,
    /// A request was dropped: a scanner, SQL, or somebody on a list.
    Secfilter,
    /// A number was called that is not for everybody.
    Premium,
    /// A limit of the day was reached.
    Toll,
}

/// Section `[alarm]`.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "each field is described once, by its key")]
pub struct Settings {
    pub url: Option<Url>,
    pub key: Option<hmac::Key>,
    pub interval: Duration,
    pub kinds: Vec<Kind>,
}

/// The alarms of this process; clones share them.
#[derive(Debug, Clone)]
pub struct Alarms {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    raised: [AtomicU64; Kind::ALL.len()],
    posted: AtomicU64,
    /// Those that were not posted: refused, too many, or in vain.
    lost: AtomicU64,
    hook: Option<Hook>,
}

#[derive(Debug)]
struct Hook {
    interval: Duration,
    kinds: Vec<Kind>,
    /// What was posted lately.
    recent: Shards<Bounded<u64, Recent>>,
    /// The second, and how many there were in it.
    rate: AtomicU64,
    start: Instant,
    waiting: Queue<Value>,
}

/// One that was posted.
#[derive(Debug)]
struct Recent {
    /// It is not posted again before.
    until: Instant,
    /// How often it was raised since.
    again: u64,
}

/// How many there have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Raised, each kind in the place that it has in [`Kind::ALL`].
    pub raised: [u64; Kind::ALL.len()],
    /// Posted.
    pub posted: u64,
    /// Not posted, although they should have been.
    pub lost: u64,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::AuthBlock, Self::Flood, Self::Secfilter, Self::Premium, Self::Toll];

    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthBlock => "auth_block",
            Self::Flood => "flood",
            Self::Secfilter => "secfilter",
            Self::Premium => "premium",
            Self::Toll => "toll",
        }
    }

    /// The one with this word.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// What it counts, for a person.
    #[must_use]
    pub const fn about(self) -> &'static str {
        match self {
            Self::AuthBlock => "blocks of users and addresses for refused passwords",
            Self::Flood => "sources and users that sent too much",
            Self::Secfilter => "requests dropped: scanners, SQL, and whoever is on a list",
            Self::Premium => "calls to numbers that are barred or cost much",
            Self::Toll => "calls refused or ended for a limit of the day",
        }
    }

    /// What an event is an alarm of; `None` for most.
    #[must_use]
    pub const fn of(event: &Event) -> Option<Self> {
        match event {
            Event::AuthFailed { reason: AuthFailure::BlockedNow, .. } => Some(Self::AuthBlock),
            Event::Flooded { .. } | Event::UserFlooded { .. } => Some(Self::Flood),
            Event::Dropped { .. } => Some(Self::Secfilter),
            Event::Barred { .. } => Some(Self::Premium),
            Event::TollReached { .. } => Some(Self::Toll),
            _ => None,
        }
    }
}

impl Alarms {
    /// Starts the task that posts them, if there is a URL. Must be called within a runtime. `domain` says in them whose they are.
    ///
    /// # Errors
    /// No TLS.
    pub fn start(settings: &Settings, domain: &str) -> anyhow::Result<(Self, Option<JoinHandle<()>>)> {
        let hook = settings.url.is_some().then(|| Hook {
            interval: settings.interval,
            kinds: settings.kinds.clone(),
            recent: Shards::default(),
            rate: AtomicU64::new(0),
            start: Instant::now(),
            waiting: Queue::new(ROOM),
        });
        let inner =
            Inner { raised: Default::default(), posted: AtomicU64::new(0), lost: AtomicU64::new(0), hook };
        let alarms = Self { inner: Arc::new(inner) };
        let Some(url) = settings.url.clone() else { return Ok((alarms, None)) };
        let (post, key, domain) = (Post::new(url)?, settings.key.clone(), domain.to_owned());
        let inner = Arc::clone(&alarms.inner);
        let task = tokio::spawn(async move { inner.serve(&post, key.as_ref(), &domain).await });
        Ok((alarms, Some(task)))
    }

    /// Counts what is one, and has it posted.
    pub fn note(&self, event: &Event) {
        let Some(kind) = Kind::of(event) else { return };
        self.inner.raised[kind as usize].fetch_add(1, Ordering::Relaxed);
        let hook = self.inner.hook.as_ref().filter(|hook| hook.kinds.contains(&kind));
        if let Some(hook) = hook
            && let Some(again) = hook.is_due(Instant::now(), subject(kind, event))
            && !(hook.has_rate(Instant::now()) && hook.waiting.put(told(kind, event, again)))
        {
            self.inner.lose();
        }
    }

    /// How many there have been.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            raised: self.inner.raised.each_ref().map(of),
            posted: of(&self.inner.posted),
            lost: of(&self.inner.lost),
        }
    }

    /// Takes no more; what waits is still posted.
    pub fn close(&self) {
        if let Some(hook) = &self.inner.hook {
            hook.waiting.close();
        }
    }
}

impl Hook {
    /// Whether this is to be posted: it was not for a while. How often it was raised meanwhile.
    fn is_due(&self, now: Instant, subject: u64) -> Option<u64> {
        let mut part = self.recent.at(subject);
        let fresh = || Recent { until: now, again: 0 };
        let known = part.entry(subject, REMEMBERED, now, |known| known.until <= now, fresh);
        // One that is not remembered is posted each time, as far as the rate allows.
        let Some(known) = known else { return Some(0) };
        if now < known.until {
            known.again += 1;
            return None;
        }
        known.until = now + self.interval;
        Some(std::mem::take(&mut known.again))
    }

    /// Whether there may be one more in this second.
    fn has_rate(&self, now: Instant) -> bool {
        let second = now.saturating_duration_since(self.start).as_secs() << 16;
        let more = |rate: u64| match rate & !0xffff == second {
            true => (rate & 0xffff < A_SECOND).then_some(rate + 1),
            false => Some(second | 1),
        };
        self.rate.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }
}

impl Inner {
    /// Posts what waits, until it is closed.
    async fn serve(&self, post: &Post, key: Option<&hmac::Key>, domain: &str) {
        let Some(hook) = &self.hook else { return };
        loop {
            let Some(mut alarm) = hook.waiting.take(1).await.pop() else { return };
            alarm["domain"] = json!(domain);
            let body = alarm.to_string();
            match deliver(post, key, &body).await {
                Ok(Taken::Yes) => _ = self.posted.fetch_add(1, Ordering::Relaxed),
                Ok(Taken::Never(status)) => {
                    tracing::error!(%status, "alarm refused by alarm.webhook_url");
                    self.lose();
                }
                Err(error) => {
                    tracing::error!(error = format!("{error:#}"), "alarm not brought to alarm.webhook_url");
                    self.lose();
                }
            }
        }
    }

    fn lose(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }
}

/// Tries several times. Each time it is signed anew, for the time is a part of that.
async fn deliver(post: &Post, key: Option<&hmac::Key>, body: &str) -> anyhow::Result<Taken> {
    let mut pauses = Pauses::default();
    for last in (0..TRIES).rev() {
        let fields: Vec<_> =
            key.map(|key| (SIGNATURE, signature(key, unix_now(), body))).into_iter().collect();
        match post.send(body.as_bytes().to_vec(), &fields).await {
            Err(error) if last == 0 => return Err(error),
            Err(_) => pauses.wait().await,
            taken => return taken,
        }
    }
    anyhow::bail!("not tried")
}

/// `t=SECONDS,v1=HEX`: the HMAC-SHA256 of the seconds since 1970, a dot and the body. Whoever checks it refuses old ones, so that
/// none can be sent again.
fn signature(key: &hmac::Key, at: u64, body: &str) -> String {
    let tag = hmac::sign(key, format!("{at}.{body}").as_bytes());
    format!("t={at},v1={}", hex::encode(tag.as_ref()))
}

/// What makes two alarms the same: the kind, and who it is about.
fn subject(kind: Kind, event: &Event) -> u64 {
    // Nobody can aim at one: it is looked up in parts by a hash of the process anyway.
    use std::hash::{BuildHasher as _, RandomState};
    static HASHER: std::sync::LazyLock<RandomState> = std::sync::LazyLock::new(RandomState::new);
    match event {
        Event::AuthFailed { user, .. } | Event::UserFlooded { user, .. } => HASHER.hash_one((kind, user)),
        Event::Flooded { source, .. } | Event::Dropped { source, .. } => {
            HASHER.hash_one((kind, source.ip().to_canonical()))
        }
        Event::Barred { user, source, .. } => HASHER.hash_one((kind, user, source.ip().to_canonical())),
        Event::TollReached { seat, .. } => HASHER.hash_one((kind, seat)),
        _ => HASHER.hash_one(kind),
    }
}

/// An alarm as it is posted.
fn told(kind: Kind, event: &Event, again: u64) -> Value {
    let now = i64::try_from(unix_now()).unwrap_or(i64::MAX);
    let mut alarm = json!({
        "id": hex::encode(rand::rng().random::<[u8; 8]>()),
        "at": date(now),
        "event": kind.as_str(),
        "suppressed": again,
    });
    let mut say = |name: &str, value: Value| alarm[name] = value;
    match event {
        Event::AuthFailed { source, user, method, call_id, reason, .. } => {
            say("source", json!(source.ip().to_canonical()));
            say("user", json!(user));
            say("method", json!(method));
            say("call_id", json!(call_id));
            say("what", json!(reason.as_str()));
        }
        Event::Flooded { source, ban, .. } => {
            say("source", json!(source.ip().to_canonical()));
            say("what", json!("not heard any more for a while"));
            say("seconds", json!(ban.as_secs()));
        }
        Event::UserFlooded { source, user, .. } => {
            say("source", json!(source.ip().to_canonical()));
            say("user", json!(user));
            say("what", json!("sends too much"));
        }
        Event::Dropped { source, method, call_id, why, value } => {
            let what = match why {
                Hostility::Scanner => "scanner",
                Hostility::SqlInjection => "SQL injection",
                Hostility::Listed(kind) => kind.as_str(),
            };
            say("source", json!(source.ip().to_canonical()));
            say("method", json!(method));
            say("call_id", json!(call_id));
            say("what", json!(what));
            say("value", json!(value));
        }
        Event::Barred { source, method, call_id, user, number, why } => {
            say("source", json!(source.ip().to_canonical()));
            say("user", json!(user));
            say("method", json!(method));
            say("call_id", json!(call_id));
            say("number", json!(number));
            say("what", json!(why.as_str()));
        }
        Event::TollReached { call_id, source, seat: (profile, value), reached } => {
            say("source", json!(source.map(|source| source.ip().to_canonical())));
            say(if *profile == Profile::User { "user" } else { "gateway" }, json!(value));
            say("call_id", json!(call_id));
            say("what", json!(reached.as_str()));
            say("ended", json!(source.is_none()));
        }
        _ => {}
    }
    alarm
}

#[cfg(test)]
mod tests {
    use signaling_core::event::Barred;
    use signaling_core::flow::Protocol;
    use signaling_core::secfilter;
    use signaling_core::tolls::{Reached, of_user};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    fn dropped(source: &str) -> Event {
        Event::Dropped {
            source: source.parse().unwrap(),
            method: "INVITE".into(),
            call_id: "c@x".into(),
            why: Hostility::Listed(secfilter::Kind::Country),
            value: "XA".into(),
        }
    }

    fn blocked(user: &str) -> Event {
        Event::AuthFailed {
            source: "192.0.2.7:5060".parse().unwrap(),
            transport: Protocol::Udp,
            user: user.into(),
            method: "REGISTER".into(),
            call_id: "c@x".into(),
            reason: AuthFailure::BlockedNow,
        }
    }

    /// One of each kind, and what of it is posted.
    fn one_of_each() -> Vec<(Event, &'static str, Value)> {
        let source = "192.0.2.7:5060".parse().unwrap();
        let (method, call_id) = ("INVITE".to_owned(), "c@x".to_owned());
        vec![
            (
                blocked("alice"),
                "auth_block",
                json!({"source": "192.0.2.7", "user": "alice", "method": "REGISTER", "call_id": "c@x", "what": "blocked from now on"}),
            ),
            (
                Event::Flooded { source, method: method.clone(), ban: Duration::from_secs(300) },
                "flood",
                json!({"source": "192.0.2.7", "what": "not heard any more for a while", "seconds": 300}),
            ),
            (
                Event::UserFlooded { source, method: method.clone(), user: "bob@x".into() },
                "flood",
                json!({"source": "192.0.2.7", "user": "bob@x", "what": "sends too much"}),
            ),
            (
                dropped("[::ffff:192.0.2.7]:5060"),
                "secfilter",
                json!({"source": "192.0.2.7", "method": "INVITE", "call_id": "c@x", "what": "country", "value": "XA"}),
            ),
            (
                Event::Barred {
                    source,
                    method,
                    call_id: call_id.clone(),
                    user: "bob@x".into(),
                    number: "+979".into(),
                    why: Barred::Premium,
                },
                "premium",
                json!({"source": "192.0.2.7", "user": "bob@x", "method": "INVITE", "call_id": "c@x", "number": "+979", "what": "premium"}),
            ),
            (
                Event::TollReached {
                    call_id,
                    source: None,
                    seat: of_user("bob@x"),
                    reached: Reached::Minutes,
                },
                "toll",
                json!({"source": null, "user": "bob@x", "call_id": "c@x", "what": "minutes", "ended": true}),
            ),
        ]
    }

    /// A server that answers each request with the next of `answers`: the head and the body of each.
    async fn serve(listener: TcpListener, answers: &[&str]) -> Vec<(String, String)> {
        let mut heard = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            let whole = loop {
                stream.read_buf(&mut request).await.unwrap();
                let text = String::from_utf8_lossy(&request).into_owned();
                if let Some((head, body)) = text.split_once("\r\n\r\n")
                    && body.ends_with('}')
                {
                    break (head.to_owned(), body.to_owned());
                }
            };
            heard.push(whole);
            let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        heard
    }

    async fn posting(key: Option<&str>) -> (Alarms, JoinHandle<()>, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let settings = Settings {
            url: Some(Url::parse(&format!("http://{}/alarm", listener.local_addr().unwrap())).unwrap()),
            key: key.map(|key| hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes())),
            interval: Duration::from_secs(60),
            kinds: Kind::ALL.into(),
        };
        let (alarms, task) = Alarms::start(&settings, "sip.example").unwrap();
        (alarms, task.unwrap(), listener)
    }

    #[tokio::test]
    async fn each_alarm_is_posted_as_json_with_a_signature() {
        let (alarms, task, listener) = posting(Some("a key")).await;
        let all = one_of_each();
        all.iter().for_each(|(event, ..)| alarms.note(event));
        alarms.note(&Event::CallRinging { call_id: "c".into(), code: 180 });
        let heard = serve(listener, &["204 Taken"; 6]).await;
        for ((head, body), (_, event, expected)) in heard.iter().zip(&all) {
            assert!(
                head.starts_with("POST /alarm HTTP/1.1\r\n") && head.contains("application/json"),
                "{head}"
            );
            let mut told: Value = serde_json::from_str(body).unwrap();
            let fields = told.as_object_mut().unwrap();
            let id = fields.remove("id").unwrap();
            let at = fields.remove("at").unwrap();
            assert!(id.as_str().unwrap().len() == 16 && at.as_str().unwrap().ends_with('Z'), "{body}");
            let mut expected = expected.clone();
            expected["event"] = json!(event);
            expected["suppressed"] = json!(0);
            expected["domain"] = json!("sip.example");
            assert_eq!(told, expected);
            let line = head.lines().find_map(|line| line.strip_prefix("x-causeway-signature: ")).unwrap();
            let (at, tag) = line.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
            let key = hmac::Key::new(hmac::HMAC_SHA256, b"a key");
            let signed = format!("{at}.{body}");
            hmac::verify(&key, signed.as_bytes(), &hex::decode(tag).unwrap()).expect("the signature");
        }
        alarms.close();
        task.await.unwrap();
        assert_eq!(alarms.counts(), Counts { raised: [1, 2, 1, 1, 1], posted: 6, lost: 0 });
    }

    /// RFC 4231 has no such text: this one was computed with another program.
    #[test]
    fn the_signature_is_the_hmac_of_time_and_body() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"key");
        assert_eq!(
            signature(&key, 1_700_000_000, "{}"),
            "t=1700000000,v1=9d713ed406bb7076d4123f0dc2c39d2df5c654ed4b0cd56b52c8b4c940bd63ae"
        );
    }

    #[tokio::test]
    async fn it_is_tried_again_and_what_is_refused_is_lost() {
        let (alarms, task, listener) = posting(None).await;
        alarms.note(&blocked("alice"));
        alarms.note(&blocked("bob"));
        let heard = serve(listener, &["503 No", "429 Later", "200 OK", "400 Never"]).await;
        let users: Vec<Value> = heard
            .iter()
            .map(|(_, body)| serde_json::from_str::<Value>(body).unwrap()["user"].clone())
            .collect();
        assert_eq!(users, ["alice", "alice", "alice", "bob"]);
        assert!(heard.iter().all(|(head, _)| !head.contains("x-causeway-signature")), "no key, no signature");
        alarms.close();
        task.await.unwrap();
        assert_eq!((alarms.counts().posted, alarms.counts().lost), (1, 1));
    }

    /// A flood of them costs nobody anything: each once, some a second, and no more than can wait.
    #[tokio::test]
    async fn what_attackers_cause_is_bounded() {
        let (alarms, task, _listener) = posting(None).await;
        let hook = alarms.inner.hook.as_ref().unwrap();
        let now = Instant::now();
        assert_eq!([hook.is_due(now, 1), hook.is_due(now, 1), hook.is_due(now, 2)], [Some(0), None, Some(0)]);
        assert_eq!(hook.is_due(now + hook.interval, 1), Some(1), "how often it was raised meanwhile");
        for subject in 0..300_000 {
            assert!(hook.is_due(now, subject << 6 | 7).is_some());
        }
        assert!(hook.recent.each().all(|part| part.len() <= REMEMBERED));
        let posted = (0..1000).filter(|_| hook.has_rate(now + Duration::from_secs(5))).count();
        assert_eq!(posted as u64, A_SECOND);
        assert!(hook.has_rate(now + Duration::from_secs(6)));
        for number in 0..1000 {
            alarms.note(&dropped(&format!("192.0.{}.{}:5060", number / 250, number % 250)));
        }
        let counts = alarms.counts();
        assert_eq!((counts.raised[2], counts.posted), (1000, 0));
        assert!(counts.lost > 500, "{counts:?}");
        task.abort();
    }

    #[tokio::test]
    async fn without_a_url_they_are_counted_and_only_wanted_ones_are_posted() {
        let (alarms, task) = Alarms::start(&Settings::default(), "x").unwrap();
        one_of_each().iter().for_each(|(event, ..)| alarms.note(event));
        assert!(task.is_none());
        assert_eq!(alarms.counts(), Counts { raised: [1, 2, 1, 1, 1], posted: 0, lost: 0 });
        assert_eq!(Kind::ALL.map(|kind| Kind::named(kind.as_str())), Kind::ALL.map(Some));
        assert!(Kind::ALL.iter().enumerate().all(|(place, kind)| *kind as usize == place));
    }
}
