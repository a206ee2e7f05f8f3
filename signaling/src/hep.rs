//! What was sent and received, for Homer: SIP, the RTCP of ends, and how calls have sounded, over HEP version 3.
//!
//! Nobody waits for it. What was seen goes into a queue of fixed size, and from there by a task of its own to the collector; what has
//! no room there is lost and counted. Without a collector all that is left of it is a look at whether there is one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use bytes::Bytes;
use media::hep::{Agent, Kind, Packet};
use serde_json::json;
use signaling_core::flow::{Flow, Protocol};
use signaling_core::message::peek_call_id;
use signaling_core::topology::Topoh;
use tokio::net::{UdpSocket, lookup_host};
use tokio::task::JoinHandle;

use crate::accounting::record::{Media, Record};
use crate::queue::Queue;

/// What may wait: so much, of so many bytes.
const ROOM: usize = 8192;
const ROOM_BYTES: usize = 16 << 20;
/// Taken together.
const BATCH: usize = 64;
/// Between two tries to find the collector.
const RETRY: Duration = Duration::from_secs(10);

/// Section `[siptrace]`.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "each field is described once, by its key")]
pub struct Settings {
    /// `HOST:PORT`; `None` for none.
    pub collector: Option<String>,
    pub agent: Agent,
    pub mask_secrets: bool,
    pub rtcp: bool,
    pub reports: bool,
}

impl Settings {
    /// Whether the RTCP of ends goes to the collector.
    #[must_use]
    pub fn wants_rtcp(&self) -> bool {
        self.collector.is_some() && self.rtcp
    }
}

/// The way to the collector; clones share it.
#[derive(Debug, Clone)]
pub struct Hep {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    waiting: Queue<Seen>,
    /// Bytes in it.
    bytes: AtomicUsize,
    sent: AtomicU64,
    lost: AtomicU64,
    settings: Settings,
    /// What takes the masks off Call-IDs, where those are masked: both sides of a call belong together.
    masks: Option<Topoh>,
}

#[derive(Debug)]
struct Seen {
    kind: Kind,
    protocol: u8,
    from: SocketAddr,
    to: SocketAddr,
    at: Duration,
    /// Of what is no SIP, which has its own.
    correlation: Option<Arc<str>>,
    payload: Bytes,
}

impl Hep {
    /// Starts the task that sends, if there is a collector. Must be called within a runtime.
    #[must_use]
    pub fn start(settings: &Settings, masks: Option<Topoh>) -> Option<(Self, JoinHandle<()>)> {
        let collector = settings.collector.clone()?;
        let inner = Arc::new(Inner {
            waiting: Queue::new(ROOM),
            bytes: AtomicUsize::new(0),
            sent: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            settings: settings.clone(),
            masks,
        });
        let sending = Arc::clone(&inner);
        let task = tokio::spawn(async move { sending.serve(&collector).await });
        Some((Self { inner }, task))
    }

    /// A message that has come.
    pub fn received(&self, flow: &Flow, bytes: &Bytes) {
        self.sip(flow.protocol, flow.remote, flow.local, bytes);
    }

    /// A message that was sent.
    pub fn sent(&self, protocol: Protocol, local: SocketAddr, remote: SocketAddr, bytes: &Bytes) {
        self.sip(protocol, local, remote, bytes);
    }

    fn sip(&self, protocol: Protocol, from: SocketAddr, to: SocketAddr, bytes: &Bytes) {
        let protocol = if protocol == Protocol::Udp { 17 } else { 6 };
        let (correlation, payload) = (None, bytes.clone());
        self.inner.put(Seen { kind: Kind::Sip, protocol, from, to, at: now(), correlation, payload });
    }

    /// RTCP that an end of a call has sent.
    pub fn rtcp(&self, call_id: &Arc<str>, from: SocketAddr, to: SocketAddr, octets: &[u8]) {
        let Some(report) = media::hep::rtcp_json(octets) else { return };
        let (correlation, payload) = (Some(Arc::clone(call_id)), Bytes::from(report));
        self.inner.put(Seen { kind: Kind::Rtcp, protocol: 17, from, to, at: now(), correlation, payload });
    }

    /// A call is over, and its relay has said how it sounded.
    pub fn report(&self, record: &Record) {
        if !self.inner.settings.reports {
            return;
        }
        let call_id: Arc<str> = record.call_id.as_str().into();
        let ends = [
            ("caller", &record.src_media, record.src_ip, record.dst_ip),
            ("callee", &record.dst_media, record.dst_ip, record.src_ip),
        ];
        for (party, media, from, to) in ends {
            let Some(report) = quality(record, party, media) else { continue };
            let unknown = IpAddr::from(Ipv4Addr::UNSPECIFIED);
            let [from, to] = [from, to].map(|ip| SocketAddr::new(ip.unwrap_or(unknown), 0));
            let (correlation, payload) = (Some(Arc::clone(&call_id)), Bytes::from(report));
            self.inner.put(Seen {
                kind: Kind::Quality,
                protocol: 17,
                from,
                to,
                at: now(),
                correlation,
                payload,
            });
        }
    }

    /// What was sent, and what was lost.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.inner.sent.load(Ordering::Relaxed), self.inner.lost.load(Ordering::Relaxed))
    }

    /// Takes no more; what waits is still sent.
    pub fn close(&self) {
        self.inner.waiting.close();
    }
}

/// How what one end has sent was heard, in the words of Homer's reports; `None` when that is not known.
fn quality(record: &Record, party: &str, media: &Media) -> Option<String> {
    let (mos, packets) = (media.mos?, media.packets?);
    let loss = media.loss.unwrap_or_default();
    // What did not come is the share `loss` of what was sent.
    let expected =
        if loss < 100.0 { (packets as f64 / (1.0 - loss / 100.0)).round() } else { packets as f64 };
    let report = json!({
        "CORRELATION_ID": record.call_id,
        "RTP_SIP_CALL_ID": record.call_id,
        "REPORT_NAME": format!("{}@{}", record.src_user, record.src_domain),
        "PARTY": party,
        "TYPE": "FINAL",
        "CODEC_NAME": media.codec,
        "MOS": mos,
        "MEAN_MOS": mos,
        "JITTER": media.jitter,
        "MEAN_JITTER": media.jitter,
        "TOTAL_PK": packets,
        "EXPECTED_PK": expected,
        "PACKET_LOSS": expected - packets as f64,
        "DELTA": record.duration,
    });
    Some(report.to_string())
}

impl Inner {
    fn put(&self, seen: Seen) {
        let size = seen.payload.len();
        let before = self.bytes.fetch_add(size, Ordering::Relaxed);
        if before + size > ROOM_BYTES || !self.waiting.put(seen) {
            self.bytes.fetch_sub(size, Ordering::Relaxed);
            self.lose("HEP packets lost: too many wait");
        }
    }

    /// Logged the first time, and then ever more rarely.
    fn lose(&self, why: &'static str) {
        let lost = self.lost.fetch_add(1, Ordering::Relaxed) + 1;
        if lost.is_power_of_two() {
            tracing::warn!(lost, "{why}");
        }
    }

    /// Sends what waits, until it is closed. A collector that cannot be found is looked for again; meanwhile all is lost.
    async fn serve(&self, collector: &str) {
        let (mut socket, mut next) = (None, tokio::time::Instant::now());
        loop {
            let some = self.waiting.take(BATCH).await;
            if some.is_empty() {
                return;
            }
            if socket.is_none() && tokio::time::Instant::now() >= next {
                match connect(collector).await {
                    Ok(connected) => socket = Some(connected),
                    Err(error) => {
                        tracing::error!(error = format!("{error:#}"), "siptrace.duplicate_uri: not found");
                        next = tokio::time::Instant::now() + RETRY;
                    }
                }
            }
            for seen in some {
                self.bytes.fetch_sub(seen.payload.len(), Ordering::Relaxed);
                let Some(datagram) = self.encode(&seen) else {
                    self.lose("HEP packets lost: too long for a datagram");
                    continue;
                };
                let Some(socket) = &socket else {
                    self.lose("HEP packets lost: no collector");
                    continue;
                };
                // A collector that is not there yet says so by ICMP, to the next one that is sent.
                match socket.send(&datagram).await {
                    Ok(_) => _ = self.sent.fetch_add(1, Ordering::Relaxed),
                    Err(_) => self.lose("HEP packets lost: the collector does not take them"),
                }
            }
        }
    }

    fn encode(&self, seen: &Seen) -> Option<Vec<u8>> {
        let Seen { kind, protocol, from, to, at, correlation, payload } = seen;
        let masked;
        let mut shown: &[u8] = payload;
        if *kind == Kind::Sip && self.settings.mask_secrets {
            masked = mask(payload);
            shown = &masked;
        }
        let call_id = peek_call_id(payload).unwrap_or_default();
        let plain = self.masks.as_ref().map(|masks| masks.plain_call_id(call_id));
        let of_sip = plain.as_deref().unwrap_or(call_id);
        let correlation = correlation.as_ref().map_or(of_sip, |correlation| correlation.as_bytes());
        let (from, to) = one_family(*from, *to);
        let (kind, protocol, at) = (*kind, *protocol, *at);
        let packet = Packet { kind, protocol, from, to, at, correlation, payload: shown };
        self.settings.agent.encode(&packet)
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Two addresses of one family: HEP has no other pairs. IPv4 goes as what IPv6 has for it (RFC 4291 §2.5.5.2).
fn one_family(from: SocketAddr, to: SocketAddr) -> (SocketAddr, SocketAddr) {
    if from.is_ipv4() == to.is_ipv4() {
        return (from, to);
    }
    let mapped = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    };
    (mapped(from), mapped(to))
}

async fn connect(collector: &str) -> anyhow::Result<UdpSocket> {
    let address = lookup_host(collector).await?.next().context("no address")?;
    let any: IpAddr =
        if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(address).await?;
    Ok(socket)
}

/// Values behind these words are secrets: the proof of a password, tokens, keys of media (RFC 4568). Each ends at one of the octets.
const SECRETS: [(&[u8], &[u8]); 3] =
    [(b"response=\"", b"\"\r\n"), (b"bearer ", b",\r\n"), (b"inline:", b"|;, \r\n")];

/// The same with stars in the place of secrets: as long as before, so that Content-Length stays true.
fn mask(message: &[u8]) -> Vec<u8> {
    let mut out = message.to_vec();
    for (word, ends) in SECRETS {
        let mut from = 0;
        while let Some(at) = find(&out[from..], word) {
            let begin = from + at + word.len();
            let length =
                out[begin..].iter().position(|byte| ends.contains(byte)).unwrap_or(out.len() - begin);
            out[begin..begin + length].fill(b'*');
            from = begin + length;
        }
    }
    out
}

/// Where `word`, in lower case, stands in whatever case.
fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).position(|window| window.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::*;

    /// The chunks of a packet by their numbers: read without any of what has written them.
    fn chunks(datagram: &[u8]) -> BTreeMap<u16, Vec<u8>> {
        let word = |at: usize| u16::from_be_bytes([datagram[at], datagram[at + 1]]);
        assert_eq!((&datagram[..4], usize::from(word(4))), (&b"HEP3"[..], datagram.len()));
        let (mut at, mut chunks) = (6, BTreeMap::new());
        while at < datagram.len() {
            let length = usize::from(word(at + 4));
            assert_eq!(word(at), 0, "the vendor");
            chunks.insert(word(at + 2), datagram[at + 6..at + length].to_vec());
            at += length;
        }
        chunks
    }

    async fn next(collector: &UdpSocket) -> BTreeMap<u16, Vec<u8>> {
        let mut buffer = vec![0; 65_536];
        let received = tokio::time::timeout(Duration::from_secs(20), collector.recv(&mut buffer));
        let length = received.await.expect("a packet").unwrap();
        chunks(&buffer[..length])
    }

    const REGISTER: &str = "REGISTER sip:x SIP/2.0\r\nCall-ID: c@x\r\nAuthorization: Digest username=\"bob\", \
        response=\"0123456789abcdef\", uri=\"sip:x\"\r\nContent-Length: 0\r\n\r\n";

    async fn started(mask_secrets: bool) -> (Hep, JoinHandle<()>, UdpSocket) {
        let collector = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let settings = Settings {
            collector: Some(collector.local_addr().unwrap().to_string()),
            agent: Agent { id: 7, key: String::new() },
            mask_secrets,
            rtcp: true,
            reports: true,
        };
        let (hep, task) = Hep::start(&settings, None).unwrap();
        (hep, task, collector)
    }

    #[tokio::test]
    async fn a_collector_is_told_what_was_received_and_sent() {
        let (hep, task, collector) = started(true).await;
        let (local, remote) = ("192.0.2.1:5060".parse().unwrap(), "192.0.2.7:40000".parse().unwrap());
        let flow = Flow { protocol: Protocol::Wss, local, remote, connection: None };
        let before = now().as_secs();
        hep.received(&flow, &Bytes::from_static(REGISTER.as_bytes()));
        hep.sent(
            Protocol::Udp,
            local,
            remote,
            &Bytes::from_static(b"SIP/2.0 200 OK\r\nCall-ID: c@x\r\n\r\n"),
        );
        let received = next(&collector).await;
        let seconds = u32::from_be_bytes(received[&9][..].try_into().unwrap());
        assert!((before..=now().as_secs()).contains(&u64::from(seconds)), "{seconds}");
        assert!(u32::from_be_bytes(received[&10][..].try_into().unwrap()) < 1_000_000);
        assert_eq!(
            (&received[&1][..], &received[&2][..], &received[&11][..]),
            (&[2][..], &[6][..], &[1][..])
        );
        assert_eq!((&received[&3][..], &received[&4][..]), (&[192, 0, 2, 7][..], &[192, 0, 2, 1][..]));
        assert_eq!(
            (&received[&7][..], &received[&8][..]),
            (&40_000_u16.to_be_bytes()[..], &5060_u16.to_be_bytes()[..])
        );
        assert_eq!((&received[&12][..], &received[&17][..]), (&7_u32.to_be_bytes()[..], &b"c@x"[..]));
        let text = String::from_utf8(received[&15].clone()).unwrap();
        assert_eq!(text, REGISTER.replace("0123456789abcdef", "****************"));
        let sent = next(&collector).await;
        assert_eq!(
            (&sent[&2][..], &sent[&3][..], &sent[&4][..]),
            (&[17][..], &received[&4][..], &received[&3][..])
        );
        assert!(sent[&15].starts_with(b"SIP/2.0 200 OK"));
        hep.close();
        task.await.unwrap();
        assert_eq!(hep.counts(), (2, 0));
    }

    #[tokio::test]
    async fn rtcp_and_quality_belong_to_their_call() {
        let (hep, _task, collector) = started(false).await;
        let receiver = [0x80, 201, 0, 1, 0, 0, 0, 9];
        let (from, to) = ("192.0.2.7:4001".parse().unwrap(), "192.0.2.1:30001".parse().unwrap());
        hep.rtcp(&"c@x".into(), from, to, b"nothing");
        hep.rtcp(&"c@x".into(), from, to, &receiver);
        let rtcp = next(&collector).await;
        assert_eq!((&rtcp[&11][..], &rtcp[&17][..]), (&[5][..], &b"c@x"[..]));
        let told: Value = serde_json::from_slice(&rtcp[&15]).unwrap();
        assert_eq!((&told["type"], &told["ssrc"]), (&json!(201), &json!(9)));
        let src_media = Media {
            mos: Some(4.1),
            packets: Some(990),
            loss: Some(1.0),
            jitter: Some(3.5),
            ..Media::default()
        };
        let record = Record {
            call_id: "c@x".into(),
            src_ip: Some([192, 0, 2, 7].into()),
            dst_ip: Some("2001:db8::8".parse().unwrap()),
            src_media,
            ..Record::default()
        };
        hep.report(&record);
        let report = next(&collector).await;
        assert_eq!((&report[&11][..], &report[&1][..], report[&5].len()), (&[34][..], &[10][..], 16));
        let told: Value = serde_json::from_slice(&report[&15]).unwrap();
        let expected = [
            ("MOS", json!(4.1)),
            ("EXPECTED_PK", json!(1000.0)),
            ("PACKET_LOSS", json!(10.0)),
            ("PARTY", json!("caller")),
        ];
        expected.iter().for_each(|(name, value)| assert_eq!(&told[*name], value, "{told}"));
        hep.sent(Protocol::Tcp, to, from, &Bytes::from_static(REGISTER.as_bytes()));
        assert_eq!(next(&collector).await[&15], REGISTER.as_bytes(), "nothing is masked that is not to be");
    }

    #[tokio::test]
    async fn what_has_no_room_is_lost_and_counted() {
        let (hep, task, _collector) = started(false).await;
        let (local, remote) = ("192.0.2.1:5060".parse().unwrap(), "192.0.2.7:5060".parse().unwrap());
        let large = Bytes::from(vec![b'x'; 60_000]);
        // Nobody has time to take them meanwhile.
        (0..ROOM).for_each(|_| hep.sent(Protocol::Tcp, local, remote, &large));
        let most = (ROOM_BYTES / 60_000) as u64;
        assert_eq!(hep.counts(), (0, ROOM as u64 - most));
        hep.close();
        task.await.unwrap();
        assert_eq!(hep.inner.bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn secrets_are_masked_wherever_they_stand() {
        for (text, expected) in [
            (
                "Authorization: Digest a=b,RESPONSE=\"abc\",x=\"y\"",
                "Authorization: Digest a=b,RESPONSE=\"***\",x=\"y\"",
            ),
            ("Proxy-Authorization: Bearer abc.def\r\nX: y", "Proxy-Authorization: Bearer *******\r\nX: y"),
            ("a=crypto:1 AES inline:abc|2^20 inline:de", "a=crypto:1 AES inline:***|2^20 inline:**"),
            ("response=\"", "response=\""),
            ("", ""),
        ] {
            assert_eq!(String::from_utf8(mask(text.as_bytes())).unwrap(), expected);
        }
    }
}
