//! Where all that happens comes together and goes out to those who want to hear of it: webhooks, and readers of the stream.
//!
//! The signalling threads wait for nobody. What nobody wants costs them a look at one number; what somebody wants is copied into a
//! queue of fixed size, and what has no room there is lost and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::RngExt as _;
use serde_json::json;
use signaling_core::event::Event;
use tokio::task::JoinHandle;

use super::alarm::{self, Gate};
use super::kind::{Kind, Kinds};
use super::stream::{Reader, Since, Stream};
use super::told::{self, Told};
use super::webhook::{self, Webhook};
use crate::accounting::record::Record;
use crate::queue::Queue;

/// Events that may wait until they are given to those who want them.
const ROOM: usize = 8192;
/// Events that are taken together.
const BATCH: usize = 64;

/// What is told to whom.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Where events are posted.
    pub webhooks: Vec<webhook::Settings>,
    /// The same alarm is told again no sooner than this.
    pub interval: Duration,
}

/// The events of this process; clones share them.
#[derive(Debug, Clone)]
pub struct Hub {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Alarms, each kind in the place that it has in [`Kind::ALARMS`].
    raised: [AtomicU64; Kind::ALARMS.len()],
    /// A bit for each kind that somebody wants.
    wanted: AtomicU32,
    /// Whether the ends of calls come by way of their records.
    records: AtomicBool,
    gate: Gate,
    waiting: Queue<Noted>,
    /// Events that had no room there, and alarms that were too many.
    lost: AtomicU64,
    hooks: Vec<Webhook>,
    stream: Stream,
    /// Tells this process from those before it.
    origin: u32,
    domain: String,
}

/// Something that has happened.
#[derive(Debug)]
struct Noted {
    /// Since 1970.
    at: Duration,
    /// How often the same alarm was raised since it was told last.
    again: Option<u64>,
    kind: Kind,
    what: What,
}

#[derive(Debug)]
enum What {
    Event(Event),
    /// An answered call is over, and the relay has said what it has counted.
    Ended(Arc<Record>),
}

/// How many there have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Alarms, each kind in the place that it has in [`Kind::ALARMS`].
    pub raised: [u64; Kind::ALARMS.len()],
    /// Taken by webhooks.
    pub posted: u64,
    /// Not taken by webhooks that should have had them.
    pub unposted: u64,
    /// Given to readers of the stream.
    pub given: u64,
    /// Not given to readers that were too slow.
    pub ungiven: u64,
    /// Given to nobody, for want of room.
    pub lost: u64,
}

impl Hub {
    /// Starts the tasks. Must be called within a runtime. `domain` says in events whose they are.
    ///
    /// # Errors
    /// No TLS.
    pub fn start(settings: &Settings, domain: &str) -> anyhow::Result<(Self, Vec<JoinHandle<()>>)> {
        let hooks: Vec<Webhook> = settings.webhooks.iter().cloned().map(Webhook::new).collect();
        let posts = hooks.iter().map(Webhook::post).collect::<anyhow::Result<Vec<_>>>()?;
        let wanted = hooks.iter().fold(0, |bits, hook| bits | hook.kinds().bits());
        let inner = Arc::new(Inner {
            raised: Default::default(),
            wanted: AtomicU32::new(wanted),
            records: AtomicBool::new(false),
            gate: Gate::new(settings.interval),
            waiting: Queue::new(ROOM),
            lost: AtomicU64::new(0),
            hooks,
            stream: Stream::default(),
            origin: rand::rng().random(),
            domain: domain.to_owned(),
        });
        let mut tasks = Vec::new();
        for (index, post) in posts.into_iter().enumerate() {
            let inner = Arc::clone(&inner);
            tasks.push(tokio::spawn(async move { inner.hooks[index].serve(&post).await }));
        }
        let serving = Arc::clone(&inner);
        tasks.push(tokio::spawn(async move { serving.serve().await }));
        Ok((Self { inner }, tasks))
    }

    /// Takes note of what has happened.
    pub fn note(&self, event: &Event) {
        let Some(kind) = Kind::of(event) else { return };
        let inner = &*self.inner;
        if let Some(count) = inner.raised.get(kind as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        if !inner.wants(kind) || (kind == Kind::CallEnded && inner.records.load(Ordering::Relaxed)) {
            return;
        }
        let mut again = None;
        if kind.is_alarm() {
            let now = Instant::now();
            again = inner.gate.is_due(now, alarm::subject(kind, event));
            if again.is_none() {
                return;
            }
            if !inner.gate.has_rate(now) {
                return inner.lose();
            }
        }
        inner.put(again, kind, What::Event(event.clone()));
    }

    /// The ends of answered calls are told by [`Hub::note_record`] from now on.
    pub fn expect_records(&self) {
        self.inner.records.store(true, Ordering::Relaxed);
    }

    /// A call is over, and all is known of it. Calls that nobody has answered are told of at once, as events.
    pub fn note_record(&self, record: &Arc<Record>) {
        if record.answer.is_some() && self.inner.wants(Kind::CallEnded) {
            self.inner.put(None, Kind::CallEnded, What::Ended(Arc::clone(record)));
        }
    }

    /// A reader of events; `None` when there are too many, or the gateway ends. From the first one on, events are kept for those
    /// who come back.
    #[must_use]
    pub fn subscribe(&self, kinds: Kinds, since: Since) -> Option<Reader> {
        self.inner.wanted.fetch_or(Kinds::ALL.bits(), Ordering::Relaxed);
        self.inner.stream.subscribe(kinds, since)
    }

    /// The name of an event, by which a reader says where it was.
    #[must_use]
    pub fn id(&self, seq: u64) -> String {
        self.inner.id(seq)
    }

    /// Where a reader goes on that has read the event with this name last; from now on, if it is none of ours.
    #[must_use]
    pub fn since(&self, id: &str) -> Since {
        match id.split_once('-') {
            Some((origin, seq)) if origin == format!("{:08x}", self.inner.origin) => {
                seq.parse().map_or(Since::Now, Since::Event)
            }
            Some(_) => Since::Restart,
            None => Since::Now,
        }
    }

    /// How many there have been.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let inner = &*self.inner;
        let hooks = inner.hooks.iter().map(Webhook::counts);
        let (posted, unposted) = hooks.fold((0, 0), |sum, more| (sum.0 + more.0, sum.1 + more.1));
        let (given, ungiven) = inner.stream.counts();
        let raised = inner.raised.each_ref().map(|count| count.load(Ordering::Relaxed));
        Counts { raised, posted, unposted, given, ungiven, lost: inner.lost.load(Ordering::Relaxed) }
    }

    /// Takes no more; what waits is still told.
    pub fn close(&self) {
        self.inner.waiting.close();
    }
}

impl Inner {
    fn wants(&self, kind: Kind) -> bool {
        self.wanted.load(Ordering::Relaxed) & (1 << kind as u32) != 0
    }

    fn put(&self, again: Option<u64>, kind: Kind, what: What) {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if !self.waiting.put(Noted { at, again, kind, what }) {
            self.lose();
        }
    }

    fn lose(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// Gives what waits to those who want it, until it is closed.
    async fn serve(&self) {
        let mut seq = 0;
        loop {
            let some = self.waiting.take(BATCH).await;
            if some.is_empty() {
                break;
            }
            for noted in some {
                seq += 1;
                let told = Arc::new(self.told(seq, noted));
                self.hooks.iter().for_each(|hook| hook.offer(&told));
                self.stream.push(&told);
            }
        }
        self.hooks.iter().for_each(Webhook::close);
        self.stream.close();
    }

    fn told(&self, seq: u64, Noted { at, again, kind, what }: Noted) -> Told {
        let mut fields = match what {
            What::Event(event) => told::fields(&event),
            What::Ended(record) => told::ended(&record),
        };
        for (name, value) in [
            ("id", json!(self.id(seq))),
            ("at", json!(told::moment(at))),
            ("event", json!(kind.as_str())),
            ("domain", json!(self.domain)),
        ] {
            fields.insert(name.to_owned(), value);
        }
        if let Some(again) = again {
            fields.insert("suppressed".to_owned(), json!(again));
        }
        Told { seq, kind, body: serde_json::Value::Object(fields).to_string() }
    }

    fn id(&self, seq: u64) -> String {
        format!("{:08x}-{seq}", self.origin)
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::hmac;
    use serde_json::{Value, json};
    use signaling_core::event::{
        Answerer, AuthFailure, Barred, CallRecord, EndCause, Expiry, Hostility, Parties,
    };
    use signaling_core::flow::Protocol;
    use signaling_core::secfilter;
    use signaling_core::tolls::{Reached, of_user};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::post::Url;

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

    fn parties() -> Arc<Parties> {
        Arc::new(Parties {
            from_tag: "a".into(),
            src_user: "alice".into(),
            src_domain: "x".into(),
            src_ip: [192, 0, 2, 7].into(),
            dst_ouser: "1001".into(),
            dst_user: "bob".into(),
            dst_domain: "x".into(),
            to_user: true,
        })
    }

    fn call_record() -> CallRecord {
        CallRecord {
            call_id: "c@x".into(),
            from: "alice@x".into(),
            to: "1001@x".into(),
            started_at: 1_700_000_000,
            answered_at: 1_700_000_003,
            duration: Duration::from_millis(61_250),
            cause: EndCause::CalleeBye,
            parties: parties(),
            answerer: Answerer { to_tag: "b".into(), dst_ip: None },
        }
    }

    /// One alarm of each kind, and what of it is told.
    fn alarms() -> Vec<(Event, &'static str, Value)> {
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

    /// What happens in calls, to users and to relays, and what of it is told.
    fn ordinary() -> Vec<(Event, &'static str, Value)> {
        let (call_id, source) = ("c@x".to_owned(), "192.0.2.7:5060".parse().unwrap());
        let (aor, contact, transport) = ("bob@x".to_owned(), "sip:bob@192.0.2.7".to_owned(), Protocol::Wss);
        vec![
            (
                Event::CallInvited {
                    call_id: call_id.clone(),
                    from: "alice@x".into(),
                    to: "1001@x".into(),
                    source,
                    branches: 2,
                    parties: parties(),
                    at: 1_700_000_000,
                },
                "call_started",
                json!({"call_id": "c@x", "from": "alice@x", "to": "1001@x", "source": "192.0.2.7:5060", "branches": 2, "dialled": "1001"}),
            ),
            (
                Event::CallRinging { call_id: call_id.clone(), code: 180 },
                "call_ringing",
                json!({"call_id": "c@x", "code": 180}),
            ),
            (
                Event::CallAnswered {
                    call_id: call_id.clone(),
                    after: Duration::from_millis(3021),
                    parties: parties(),
                    answerer: Answerer { to_tag: "b".into(), dst_ip: Some([192, 0, 2, 8].into()) },
                    at: 1_700_000_003,
                },
                "call_answered",
                json!({"call_id": "c@x", "from": "alice@x", "to": "1001@x", "after": 3.021, "answered_from": "192.0.2.8"}),
            ),
            (
                Event::CallEnded(call_record()),
                "call_ended",
                json!({"call_id": "c@x", "from": "alice@x", "to": "1001@x", "started_at": "2023-11-14T22:13:20Z",
                    "answered_at": "2023-11-14T22:13:23Z", "duration": 61.25, "cause": "callee hung up"}),
            ),
            (
                Event::CallFailed {
                    call_id,
                    from: "alice@x".into(),
                    to: "1001@x".into(),
                    code: 486,
                    reason: "Busy Here".into(),
                    parties: parties(),
                    to_tag: "b".into(),
                    started_at: 1_700_000_000,
                    at: 1_700_000_001,
                },
                "call_failed",
                json!({"call_id": "c@x", "from": "alice@x", "to": "1001@x", "code": 486, "reason": "Busy Here", "started_at": "2023-11-14T22:13:20Z"}),
            ),
            (
                Event::Registered {
                    aor: aor.clone(),
                    contact: contact.clone(),
                    transport,
                    source,
                    expires: 600,
                    renewed: false,
                },
                "registered",
                json!({"aor": "bob@x", "contact": "sip:bob@192.0.2.7", "transport": "WSS", "source": "192.0.2.7:5060", "expires": 600}),
            ),
            (
                Event::Unregistered { aor: aor.clone(), contact: contact.clone(), transport, source },
                "unregistered",
                json!({"aor": "bob@x", "contact": "sip:bob@192.0.2.7", "transport": "WSS", "source": "192.0.2.7:5060"}),
            ),
            (
                Event::Expired { aor, contact, transport, source, cause: Expiry::ConnectionLost },
                "registration_expired",
                json!({"aor": "bob@x", "contact": "sip:bob@192.0.2.7", "transport": "WSS", "source": "192.0.2.7:5060", "cause": "connection lost"}),
            ),
            (Event::RelayDown { relay: "udp:a:1".into() }, "relay_down", json!({"relay": "udp:a:1"})),
            (Event::RelayUp { relay: "udp:a:1".into() }, "relay_up", json!({"relay": "udp:a:1"})),
            (Event::Overloaded { pending: 9 }, "overload", json!({"pending": 9})),
            (Event::OverloadEnded { refused: 3 }, "overload_ended", json!({"refused": 3})),
        ]
    }

    /// A server that answers each request with the next of `answers`: the head and the body of each.
    async fn serve(listener: &TcpListener, answers: &[&str]) -> Vec<(String, String)> {
        let mut heard = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            let whole = loop {
                stream.read_buf(&mut request).await.unwrap();
                let text = String::from_utf8_lossy(&request).into_owned();
                if let Some((head, body)) = text.split_once("\r\n\r\n")
                    && head.contains(&format!("content-length: {}", body.len()))
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

    async fn hook(kinds: Kinds, key: Option<&str>) -> (webhook::Settings, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/hook", listener.local_addr().unwrap())).unwrap();
        let key = key.map(|key| hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()));
        (webhook::Settings { name: "events.webhooks", url, key, kinds }, listener)
    }

    fn start(webhooks: Vec<webhook::Settings>) -> (Hub, Vec<JoinHandle<()>>) {
        Hub::start(&Settings { webhooks, interval: Duration::from_secs(60) }, "sip.example").unwrap()
    }

    async fn end(hub: &Hub, tasks: Vec<JoinHandle<()>>) {
        hub.close();
        for task in tasks {
            task.await.unwrap();
        }
    }

    /// Takes out what differs each time, and looks whether it is as it should be.
    fn without_moment(body: &str) -> Value {
        let mut told: Value = serde_json::from_str(body).unwrap();
        let fields = told.as_object_mut().unwrap();
        let (id, at) = (fields.remove("id").unwrap(), fields.remove("at").unwrap());
        let (id, at) = (id.as_str().unwrap(), at.as_str().unwrap());
        assert!(id.split_once('-').unwrap().1.parse::<u64>().is_ok(), "{body}");
        assert!(at.len() == "2026-11-28T08:00:00.000Z".len() && at.ends_with('Z'), "{body}");
        told
    }

    #[tokio::test]
    async fn each_event_is_posted_as_json_with_a_signature() {
        let (settings, listener) = hook(Kinds::ALL, Some("a key")).await;
        let (hub, tasks) = start(vec![settings]);
        let all: Vec<_> = alarms().into_iter().chain(ordinary()).collect();
        all.iter().for_each(|(event, ..)| hub.note(event));
        hub.note(&Event::CallReanchored { call_id: "c".into() });
        let heard = serve(&listener, &vec!["204 Taken"; all.len()]).await;
        for ((head, body), (event, kind, expected)) in heard.iter().zip(&all) {
            assert!(
                head.starts_with("POST /hook HTTP/1.1\r\n") && head.contains("application/json"),
                "{head}"
            );
            let mut expected = expected.clone();
            expected["event"] = json!(kind);
            expected["domain"] = json!("sip.example");
            if Kind::of(event).unwrap().is_alarm() {
                expected["suppressed"] = json!(0);
            }
            assert_eq!(without_moment(body), expected);
            let line = head.lines().find_map(|line| line.strip_prefix("x-causeway-signature: ")).unwrap();
            let (at, tag) = line.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
            let key = hmac::Key::new(hmac::HMAC_SHA256, b"a key");
            let signed = format!("{at}.{body}");
            hmac::verify(&key, signed.as_bytes(), &hex::decode(tag).unwrap()).expect("the signature");
        }
        end(&hub, tasks).await;
        let counts = hub.counts();
        assert_eq!((counts.raised, counts.posted, counts.unposted), ([1, 2, 1, 1, 1], all.len() as u64, 0));
    }

    #[tokio::test]
    async fn each_url_gets_what_it_wants() {
        let (alarms_only, first) = hook(Kind::ALARMS.into_iter().collect(), None).await;
        let (calls_only, second) = hook(Kinds::named(["call_failed", "call_ended"]).unwrap(), None).await;
        let (hub, tasks) = start(vec![alarms_only, calls_only]);
        let all: Vec<_> = alarms().into_iter().chain(ordinary()).collect();
        all.iter().for_each(|(event, ..)| hub.note(event));
        let (alarmed, told) = tokio::join!(serve(&first, &["200 OK"; 6]), serve(&second, &["200 OK"; 2]));
        let of = |heard: &[(String, String)]| -> Vec<Value> {
            heard.iter().map(|(_, body)| without_moment(body)["event"].clone()).collect()
        };
        assert_eq!(of(&alarmed), ["auth_block", "flood", "flood", "secfilter", "premium", "toll"]);
        assert_eq!(of(&told), ["call_ended", "call_failed"]);
        end(&hub, tasks).await;
        assert_eq!(hub.counts().posted, 8);
    }

    #[tokio::test]
    async fn it_is_tried_again_and_what_is_refused_is_lost() {
        let (settings, listener) = hook(Kinds::ALL, None).await;
        let (hub, tasks) = start(vec![settings]);
        hub.note(&blocked("alice"));
        hub.note(&blocked("bob"));
        let heard = serve(&listener, &["503 No", "429 Later", "200 OK", "400 Never"]).await;
        let users: Vec<Value> = heard.iter().map(|(_, body)| without_moment(body)["user"].clone()).collect();
        assert_eq!(users, ["alice", "alice", "alice", "bob"]);
        assert!(heard.iter().all(|(head, _)| !head.contains("x-causeway-signature")), "no key, no signature");
        end(&hub, tasks).await;
        assert_eq!((hub.counts().posted, hub.counts().unposted), (1, 1));
    }

    /// A call is told of when its record is whole, with what the relay has counted.
    #[tokio::test]
    async fn an_ended_call_has_its_quality_where_records_have_it() {
        let (hub, tasks) = start(Vec::new());
        hub.expect_records();
        let mut reader = hub.subscribe(Kinds::named(["call_ended"]).unwrap(), Since::Now).unwrap();
        hub.note(&Event::CallEnded(call_record()));
        let mut record = Record::of_answered(&call_record());
        record.src_media.mos = Some(4.4);
        record.src_media.codec = Some("opus".into());
        hub.note_record(&Arc::new(record.clone()));
        hub.note_record(&Arc::new(Record { answer: None, ..record }));
        end(&hub, tasks).await;
        let told = reader.next().await.unwrap();
        let body = without_moment(&told.body);
        assert_eq!((&body["caller"]["mos"], &body["caller"]["codec"]), (&json!(4.4), &json!("opus")));
        assert_eq!((&body["ended_by"], &body["cause"]), (&json!("callee"), &json!("callee hung up")));
        assert_eq!((&body["from"], &body["duration"]), (&json!("alice@x"), &json!(61.25)));
        assert!(reader.next().await.is_none(), "each call once");
        assert_eq!(hub.since(&hub.id(told.seq)), Since::Event(told.seq));
        let others = [hub.since("00000000-7x"), hub.since("x")];
        assert!(others[0] == Since::Restart && others[1] == Since::Now, "{others:?}");
    }

    /// A flood of alarms costs nobody anything: each once, and some in a second. Nothing is kept that nobody wants.
    #[tokio::test]
    async fn what_attackers_cause_is_bounded() {
        let (settings, _listener) = hook(Kinds::ALL, None).await;
        let (hub, tasks) = start(vec![settings]);
        for number in 0..1000 {
            hub.note(&dropped(&format!("192.0.{}.{}:5060", number / 250, number % 250)));
        }
        let counts = hub.counts();
        assert_eq!((counts.raised[2], counts.posted), (1000, 0));
        assert!(counts.lost > 500, "{counts:?}");
        tasks.iter().for_each(JoinHandle::abort);
        let (hub, tasks) = start(Vec::new());
        alarms().iter().chain(&ordinary()).for_each(|(event, ..)| hub.note(event));
        let counts = hub.counts();
        assert_eq!((counts.raised, counts.lost), ([1, 2, 1, 1, 1], 0));
        let mut reader = hub.subscribe(Kinds::ALL, Since::Restart).unwrap();
        for _ in 0..ROOM + 10 {
            hub.note(&Event::CallRinging { call_id: "c".into(), code: 180 });
        }
        assert_eq!(hub.counts().lost, 10, "nobody has had time to take them");
        end(&hub, tasks).await;
        assert!(reader.next().await.is_some());
    }
}
