//! [`MediaControl`] over ng (bencode in UDP datagrams): drives rtpengine, or our own relay in another process.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use rand::RngExt as _;
use signaling_core::outside::{LegKind, MediaControl, MediaError, MediaExchange};
use tokio::net::UdpSocket;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::bencode::{Value, encode, find};

/// Waits for a reply before the command is sent again. The relay's cookie cache makes repeating harmless.
const WAITS: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];
const MAX_DATAGRAM: usize = 65_535;

/// A client of one relay; clones share its socket.
#[derive(Clone, Debug)]
pub struct NgClient {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    link: Arc<Link>,
    receiver: AbortHandle,
}

#[derive(Debug)]
struct Link {
    address: SocketAddr,
    socket: UdpSocket,
    /// Unique among the clients of a relay, which may be many.
    prefix: String,
    next: AtomicU64,
    waiting: Mutex<HashMap<String, oneshot::Sender<Bytes>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.receiver.abort();
    }
}

impl NgClient {
    /// A client of the relay at `address`, whether or not that is there yet. Must be called within a runtime.
    ///
    /// # Errors
    /// No socket can be opened.
    pub fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = std::net::UdpSocket::bind(any).context("socket")?;
        socket.connect(address).with_context(|| address.to_string())?;
        socket.set_nonblocking(true)?;
        let link = Arc::new(Link {
            address,
            socket: UdpSocket::from_std(socket)?,
            prefix: format!("{:016x}", rand::rng().random::<u64>()),
            next: AtomicU64::new(0),
            waiting: Mutex::default(),
        });
        let receiver = tokio::spawn(receive(Arc::clone(&link))).abort_handle();
        Ok(Self { inner: Arc::new(Inner { link, receiver }) })
    }

    /// Where the relay is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.inner.link.address
    }

    /// Whether it answers.
    pub async fn ping(&self) -> bool {
        let reply = self.inner.link.request(&encode(&mut [("command", "ping".into())])).await;
        reply.is_ok_and(|reply| find(&reply, "result") == Some(b"pong"))
    }

    async fn exchange(&self, command: &str, exchange: MediaExchange) -> Result<Bytes, MediaError> {
        let mut entries = words(command, &exchange);
        let source = exchange.from.signalling_source.map(|ip| ip.to_string());
        let family =
            if exchange.from.signalling_source.is_some_and(|ip| ip.is_ipv4()) { "IP4" } else { "IP6" };
        let received_from;
        if let Some(source) = &source {
            received_from = [family, source.as_str()];
            entries.push(("received-from", Value::List(&received_from)));
        }
        let reply = self.inner.link.request(&encode(&mut entries)).await?;
        match find(&reply, "result") {
            Some(b"ok") => find(&reply, "sdp")
                .map(|sdp| match (exchange.from.kind, exchange.to.kind) {
                    (LegKind::Browser, LegKind::Legacy) => for_phones(sdp),
                    _ => reply.slice_ref(sdp),
                })
                .ok_or_else(|| MediaError::Unavailable("reply without SDP".into())),
            _ => Err(refused(&reply)),
        }
    }
}

impl NgClient {
    /// Has something done whose failure changes nothing for the call.
    fn ask<'a, const N: usize>(
        &self,
        command: &'static str,
        call_id: &'a str,
        words: [(&'a str, Value<'a>); N],
    ) {
        let mut entries: Vec<(&str, Value<'_>)> =
            vec![("command", command.into()), ("call-id", call_id.into())];
        entries.extend(words);
        let (bytes, link) = (encode(&mut entries), Arc::clone(&self.inner.link));
        let call_id = call_id.to_owned();
        tokio::spawn(async move {
            match link.request(&bytes).await {
                Ok(reply) if find(&reply, "result") == Some(b"ok") => {}
                Ok(reply) => tracing::warn!(call_id, error = %refused(&reply), command),
                Err(error) => tracing::warn!(call_id, %error, command),
            }
        });
    }
}

/// The words of an offer or answer. What the leg is decides them all.
fn words<'a>(command: &'a str, exchange: &'a MediaExchange) -> Vec<(&'a str, Value<'a>)> {
    let mut entries = vec![
        ("command", command.into()),
        ("call-id", exchange.call_id.as_str().into()),
        ("from-tag", exchange.offerer_tag.as_str().into()),
        ("sdp", Value::Text(&exchange.sdp)),
        ("replace", Value::List(&["origin", "session-connection"])),
    ];
    if let Some(tag) = &exchange.answerer_tag {
        entries.push(("to-tag", tag.as_str().into()));
    }
    if let Some(branch) = &exchange.branch {
        entries.push(("via-branch", branch.as_str().into()));
    }
    match exchange.to.kind {
        LegKind::Browser => entries.extend([
            ("transport-protocol", "UDP/TLS/RTP/SAVPF".into()),
            ("ICE", "force".into()),
            ("SDES", Value::List(&["off"])),
            ("rtcp-mux", Value::List(&["offer", "require"])),
            ("flags", Value::List(&["generate-mid", "no-rtcp-attribute"])),
        ]),
        LegKind::Legacy => entries.extend([
            ("transport-protocol", "RTP/AVP".into()),
            ("ICE", "remove".into()),
            ("DTLS", "off".into()),
            ("rtcp-mux", Value::List(&["demux"])),
        ]),
    }
    entries
}

/// Takes out the attributes that mean nothing in plain RTP/AVP and that rtpengine passes on. Old phones stumble over them, and
/// they make the INVITE too long for one datagram (RFC 3261 §18.1.1).
fn for_phones(sdp: &[u8]) -> Bytes {
    const WITHOUT_MEANING: [&[u8]; 9] = [
        b"extmap",
        b"extmap-allow-mixed",
        b"mid",
        b"msid",
        b"msid-semantic",
        b"rtcp-fb",
        b"rtcp-rsize",
        b"ssrc",
        b"ssrc-group",
    ];
    let has_meaning = |line: &&[u8]| {
        let Some(attribute) = line.strip_prefix(b"a=") else { return true };
        let name = attribute.split(|byte| *byte == b':').next().unwrap_or_default().trim_ascii();
        !WITHOUT_MEANING.contains(&name)
    };
    sdp.split_inclusive(|byte| *byte == b'\n').filter(has_meaning).flatten().copied().collect()
}

/// rtpengine gives its reasons as words only; those of a full relay and of a lost call are told from those of a bad SDP.
fn refused(reply: &[u8]) -> MediaError {
    let reason =
        String::from_utf8_lossy(find(reply, "error-reason").unwrap_or(b"no reason given")).into_owned();
    let lower = reason.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if has(&["out of ports", "no free port", "limit", "load"]) {
        MediaError::Full(reason)
    } else if has(&["unknown call", "not found", "internal"]) {
        MediaError::Unavailable(reason)
    } else {
        MediaError::NotAcceptable(reason)
    }
}

impl MediaControl for NgClient {
    fn offer<'a>(&'a self, exchange: MediaExchange) -> LocalBoxFuture<'a, Result<Bytes, MediaError>> {
        Box::pin(self.exchange("offer", exchange))
    }

    fn answer<'a>(&'a self, exchange: MediaExchange) -> LocalBoxFuture<'a, Result<Bytes, MediaError>> {
        Box::pin(self.exchange("answer", exchange))
    }

    fn play(&self, call_id: &str, tag: &str, file: &str, forever: bool) {
        // Nothing says "for ever" to every version; a long time does.
        let times = if forever { "1000000" } else { "1" };
        let words = [("file", file.into()), ("repeat-times", times.into()), ("from-tag", tag.into())];
        self.ask("play media", call_id, words);
    }

    fn stop(&self, call_id: &str, tag: &str) {
        self.ask("stop media", call_id, [("from-tag", tag.into())]);
    }

    fn record(&self, call_id: &str, from_tag: &str) {
        self.ask("start recording", call_id, [("from-tag", from_tag.into())]);
    }

    fn delete(&self, call_id: &str, from_tag: &str, branch: Option<&str>) {
        let mut entries: Vec<(&str, Value<'_>)> =
            vec![("command", "delete".into()), ("call-id", call_id.into())];
        if let Some(branch) = branch {
            entries.extend([("from-tag", from_tag.into()), ("via-branch", branch.into())]);
        }
        let bytes = encode(&mut entries);
        let link = Arc::clone(&self.inner.link);
        tokio::spawn(async move {
            if let Err(error) = link.request(&bytes).await {
                tracing::warn!(%error, "delete");
            }
        });
    }
}

impl Link {
    async fn request(&self, command: &[u8]) -> Result<Bytes, MediaError> {
        let cookie = format!("{}_{}", self.prefix, self.next.fetch_add(1, Ordering::Relaxed));
        let datagram = [cookie.as_bytes(), b" ", command].concat();
        let (sender, mut reply) = oneshot::channel();
        self.waiting().insert(cookie.clone(), sender);
        let _forget = Forget { link: self, cookie: &cookie };
        for wait in WAITS {
            // Refused by a relay that is not there: it may be in a moment.
            if let Err(error) = self.socket.send(&datagram).await {
                tracing::debug!(%error, "ng");
            }
            if let Ok(Ok(bytes)) = tokio::time::timeout(wait, &mut reply).await {
                return Ok(bytes);
            }
        }
        Err(MediaError::Unavailable("the relay does not answer".into()))
    }

    /// Nothing that is done under the lock can panic half-way.
    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<String, oneshot::Sender<Bytes>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the wait for a reply also when the request is dropped half-way.
struct Forget<'a> {
    link: &'a Link,
    cookie: &'a str,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.link.waiting().remove(self.cookie);
    }
}

async fn receive(link: Arc<Link>) {
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let length = match link.socket.recv(&mut buffer).await {
            Ok(length) => length,
            Err(error) => {
                // An ICMP error of an earlier send; the next request will tell.
                tracing::debug!(%error, "ng");
                continue;
            }
        };
        let datagram = &buffer[..length];
        let Some(space) = datagram.iter().position(|byte| *byte == b' ') else { continue };
        let Ok(cookie) = std::str::from_utf8(&datagram[..space]) else { continue };
        if let Some(waiting) = link.waiting().remove(cookie)
            && waiting.send(Bytes::copy_from_slice(&datagram[space + 1..])).is_err()
        {
            tracing::trace!("reply to a request that was given up");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use signaling_core::outside::MediaLeg;

    use super::*;

    fn exchange(to: LegKind) -> MediaExchange {
        let leg = |kind| MediaLeg {
            kind,
            local: IpAddr::from([192, 0, 2, 1]),
            signalling_source: Some(IpAddr::from([198, 51, 100, 1])),
        };
        MediaExchange {
            call_id: "c".into(),
            offerer_tag: "f".into(),
            answerer_tag: None,
            branch: Some("b".into()),
            from: leg(LegKind::Legacy),
            to: leg(to),
            sdp: Bytes::from_static(b"v=0"),
        }
    }

    /// Receives one command; its cookie, its dictionary, and who sent it.
    async fn take(relay: &UdpSocket) -> (String, Vec<u8>, SocketAddr) {
        let mut buffer = vec![0; MAX_DATAGRAM];
        let (length, from) = relay.recv_from(&mut buffer).await.unwrap();
        let space = buffer.iter().position(|byte| *byte == b' ').unwrap();
        (String::from_utf8(buffer[..space].to_vec()).unwrap(), buffer[space + 1..length].to_vec(), from)
    }

    #[tokio::test]
    async fn a_lost_command_is_sent_again_under_the_same_cookie() {
        let relay = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let client = NgClient::connect(relay.local_addr().unwrap()).unwrap();
        let answering = async {
            let (lost, ..) = take(&relay).await;
            let (cookie, command, from) = take(&relay).await;
            assert_eq!(cookie, lost);
            assert_eq!(find(&command, "command"), Some(&b"offer"[..]));
            assert_eq!(find(&command, "transport-protocol"), Some(&b"UDP/TLS/RTP/SAVPF"[..]));
            assert_eq!(find(&command, "via-branch"), Some(&b"b"[..]));
            relay.send_to(b"stranger d6:result2:oke", from).await.unwrap();
            relay.send_to(format!("{cookie} d6:result2:ok3:sdp5:v=0\r\ne").as_bytes(), from).await.unwrap();
        };
        let (sdp, ()) = tokio::join!(client.offer(exchange(LegKind::Browser)), answering);
        assert_eq!(sdp.unwrap(), "v=0\r\n");
        assert!(client.inner.link.waiting().is_empty());
    }

    #[test]
    fn phones_get_nothing_of_webrtc() {
        let from_rtpengine = b"v=0\r\na=extmap-allow-mixed\r\na=msid-semantic: WMS x\r\nm=audio 25000 RTP/AVP 0 126\r\n\
            a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\na=msid:x y\r\na=rtcp-rsize\r\na=ssrc:1 cname:c\r\n\
            a=mid:0\r\na=rtcp-fb:0 transport-cc\r\na=rtpmap:126 telephone-event/8000\r\na=middle:1\r\na=sendrecv\r\n\
            a=rtcp:25001\r\n";
        let expected = "v=0\r\nm=audio 25000 RTP/AVP 0 126\r\na=rtpmap:126 telephone-event/8000\r\na=middle:1\r\n\
            a=sendrecv\r\na=rtcp:25001\r\n";
        assert_eq!(for_phones(from_rtpengine), expected);
        for other in ["", "a", "a=", "a=mid", "a=mid:0", "\n\n", "a=:\r\n"] {
            let left = if other.starts_with("a=mid") { "" } else { other };
            assert_eq!(for_phones(other.as_bytes()), left);
        }
    }

    #[tokio::test]
    async fn a_refusal_keeps_its_reason() {
        let relay = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let client = NgClient::connect(relay.local_addr().unwrap()).unwrap();
        for (reason, status) in [("bad SDP", 488), ("ran out of ports", 503), ("Unknown call-id", 500)] {
            let answering = async {
                let (cookie, command, from) = take(&relay).await;
                assert_eq!(find(&command, "transport-protocol"), Some(&b"RTP/AVP"[..]));
                let reply = format!("{cookie} d12:error-reason{}:{reason}6:result5:errore", reason.len());
                relay.send_to(reply.as_bytes(), from).await.unwrap();
            };
            let (refused, ()) = tokio::join!(client.answer(exchange(LegKind::Legacy)), answering);
            let code = match refused.unwrap_err() {
                MediaError::NotAcceptable(_) => 488,
                MediaError::Full(_) => 503,
                MediaError::Unavailable(_) => 500,
            };
            assert_eq!(code, status, "{reason}");
        }
    }

    #[tokio::test]
    async fn delete_is_not_waited_for() {
        let relay = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let client = NgClient::connect(relay.local_addr().unwrap()).unwrap();
        client.delete("c", "f", None);
        let (_, command, _) = take(&relay).await;
        assert_eq!(command, b"d7:call-id1:c7:command6:deletee");
    }
}
