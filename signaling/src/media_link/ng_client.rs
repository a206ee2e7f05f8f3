//! A client of one relay over ng (bencode in UDP datagrams): rtpengine, or our own relay in another process.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use rand::RngExt as _;
use signaling_core::outside::{Keys, LegKind, MediaError, MediaExchange};
use signaling_core::shards::Shards;
use tokio::net::UdpSocket;
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;

use super::bencode::{Value, encode, find, find_integer};
use super::blobs::Blobs;

const MAX_DATAGRAM: usize = 65_535;

/// How often a host may refuse a command (there is no socket) before it is believed, where another relay would take it.
const REFUSALS: u32 = 2;
/// Between the two: a relay that is being restarted may be there in a moment.
const REST: Duration = Duration::from_millis(50);

/// How long a relay is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Kamailio's `rtpengine_tout_ms`: the longest wait for a reply before the command is sent again. The relay's cookie
    /// cache makes repeating harmless, so the first waits are a quarter and half of it.
    pub(super) tout: Duration,
    /// Kamailio's `rtpengine_retr`: how often it is sent.
    pub(super) tries: u32,
    /// Another relay is there: a host that refuses commands is not asked to the end.
    pub(super) hurry: bool,
}

impl Patience {
    /// For what nobody waits for.
    const IDLE: Self = Self { tout: Duration::from_secs(1), tries: 5, hurry: false };
}

/// What a relay has not done.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It has not answered.
    Silent,
    /// It has, in these words.
    Refused(MediaError),
}

/// A client of one relay; clones share its socket.
#[derive(Clone, Debug)]
pub(super) struct NgClient {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    link: Arc<Link>,
    receiver: AbortHandle,
    /// Sounds, where the relay has not their files.
    blobs: Option<Arc<Blobs>>,
    /// Held by what is played until it is read: what stops it must not overtake it.
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug)]
struct Link {
    socket: UdpSocket,
    /// Unique among the clients of a relay, which may be many.
    prefix: String,
    next: AtomicU64,
    waiting: Shards<HashMap<String, oneshot::Sender<Bytes>>>,
    /// Told when the host says that nobody listens there.
    refused: Notify,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.receiver.abort();
    }
}

impl NgClient {
    /// A client of the relay at `address`, whether or not that is there yet; with `blobs` it is sent what is in files to be played.
    /// Must be called within a runtime.
    ///
    /// # Errors
    /// No socket can be opened.
    pub(super) fn connect(address: SocketAddr, blobs: bool) -> anyhow::Result<Self> {
        let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = std::net::UdpSocket::bind(any).context("socket")?;
        socket.connect(address).with_context(|| address.to_string())?;
        socket.set_nonblocking(true)?;
        let link = Arc::new(Link {
            socket: UdpSocket::from_std(socket)?,
            prefix: format!("{:016x}", rand::rng().random::<u64>()),
            next: AtomicU64::new(0),
            waiting: Shards::default(),
            refused: Notify::new(),
        });
        let receiver = tokio::spawn(receive(Arc::clone(&link))).abort_handle();
        let blobs = blobs.then(Arc::default);
        Ok(Self { inner: Arc::new(Inner { link, receiver, blobs, turn: Arc::default() }) })
    }

    /// Whether the relay is there.
    pub(super) async fn ping(&self, patience: Patience) -> bool {
        self.inner.link.request(&encode(&mut [("command", "ping".into())]), patience).await.is_ok()
    }

    /// Whether the relay has a call; one that does not answer has none that is of use.
    pub(super) async fn knows(&self, call_id: &str) -> bool {
        let query = encode(&mut [("command", "query".into()), ("call-id", call_id.into())]);
        let reply = self.inner.link.request(&query, Patience::IDLE).await;
        reply.is_ok_and(|reply| find(&reply, "result") == Some(b"ok"))
    }

    /// Takes an offer or an answer there.
    pub(super) async fn exchange(
        &self,
        offer: bool,
        exchange: MediaExchange,
        patience: Patience,
    ) -> Result<Bytes, Trouble> {
        let unusable = |why: &str| Trouble::Refused(MediaError::Unavailable(why.into()));
        let mut entries = words(if offer { "offer" } else { "answer" }, &exchange);
        let source = exchange.from.signalling_source.map(|ip| ip.to_string());
        let family =
            if exchange.from.signalling_source.is_some_and(|ip| ip.is_ipv4()) { "IP4" } else { "IP6" };
        let received_from;
        if let Some(source) = &source {
            received_from = [family, source.as_str()];
            entries.push(("received-from", Value::List(&received_from)));
        }
        let reply = self.inner.link.request(&encode(&mut entries), patience).await?;
        match find(&reply, "result") {
            Some(b"ok") => find(&reply, "sdp")
                .map(|sdp| match (exchange.from.kind, exchange.to.kind) {
                    (LegKind::Browser, LegKind::Legacy) => for_phones(sdp),
                    _ => reply.slice_ref(sdp),
                })
                .ok_or_else(|| unusable("reply without SDP")),
            _ => Err(Trouble::Refused(refused(&reply))),
        }
    }

    /// Says what is in `file` to an end.
    pub(super) fn play(&self, call_id: &str, tag: &str, file: &str, forever: bool) {
        let (client, names) = (self.clone(), [call_id, tag, file].map(str::to_owned));
        tokio::spawn(async move {
            let [call_id, tag, file] = names;
            // Nothing says "for ever" to every version; a long time does.
            let times = if forever { "1000000" } else { "1" };
            if let Err(error) = client.playing(&call_id, &tag, &file, times).await {
                tracing::warn!(call_id, %error, "play media");
            }
        });
    }

    /// The same, once; how long it takes.
    pub(super) async fn announce(
        &self,
        call_id: &str,
        tag: &str,
        file: &str,
    ) -> Result<Duration, MediaError> {
        let reply = self.playing(call_id, tag, file, "1").await?;
        let milliseconds = find_integer(&reply, "duration");
        milliseconds.map(Duration::from_millis).ok_or_else(|| MediaError::Unavailable("no duration".into()))
    }

    async fn playing(&self, call_id: &str, tag: &str, file: &str, times: &str) -> Result<Bytes, MediaError> {
        let unreadable = |error: anyhow::Error| MediaError::Unavailable(format!("{error:#}"));
        let blob = match &self.inner.blobs {
            Some(blobs) => {
                let _turn = self.inner.turn.lock().await;
                Some(blobs.read(file).await.map_err(unreadable)?)
            }
            None => None,
        };
        let sound = match &blob {
            Some(blob) => ("blob", Value::Text(blob)),
            None => ("file", file.into()),
        };
        self.done("play media", call_id, [("from-tag", tag.into()), ("repeat-times", times.into()), sound])
            .await
    }

    /// Presses a key in place of an end.
    pub(super) async fn press(
        &self,
        call_id: &str,
        tag: &str,
        code: u8,
        duration: Duration,
    ) -> Result<(), MediaError> {
        let (code, duration) = (code.to_string(), duration.as_millis().to_string());
        let words = [
            ("from-tag", tag.into()),
            ("code", code.as_str().into()),
            ("duration", duration.as_str().into()),
        ];
        self.done("play DTMF", call_id, words).await.map(drop)
    }

    /// Stops what is played to an end.
    pub(super) fn stop(&self, call_id: &str, tag: &str) {
        let (client, names) = (self.clone(), [call_id, tag].map(str::to_owned));
        tokio::spawn(async move {
            let [call_id, tag] = names;
            drop(client.inner.turn.lock().await);
            if let Err(error) = client.done("stop media", &call_id, [("from-tag", tag.as_str().into())]).await
            {
                tracing::warn!(call_id, %error, "stop media");
            }
        });
    }

    /// Records a call.
    pub(super) fn record(&self, call_id: &str, from_tag: &str) {
        self.ask("start recording", call_id, [("from-tag", from_tag.into())]);
    }

    /// Ends a call or a branch.
    pub(super) fn delete(&self, call_id: &str, from_tag: &str, branch: Option<&str>) {
        match branch {
            None => self.ask("delete", call_id, []),
            Some(branch) => {
                self.ask("delete", call_id, [("from-tag", from_tag.into()), ("via-branch", branch.into())]);
            }
        }
    }

    /// Has something done; the reply.
    async fn done<'a, const N: usize>(
        &'a self,
        command: &'a str,
        call_id: &'a str,
        words: [(&'a str, Value<'a>); N],
    ) -> Result<Bytes, MediaError> {
        let mut entries: Vec<(&str, Value<'_>)> =
            vec![("command", command.into()), ("call-id", call_id.into())];
        entries.extend(words);
        let reply = self.inner.link.request(&encode(&mut entries), Patience::IDLE).await;
        let reply = reply.map_err(|_| MediaError::NoRelay("the relay does not answer".into()))?;
        if find(&reply, "result") == Some(b"ok") { Ok(reply) } else { Err(refused(&reply)) }
    }

    /// Has something done whose failure changes nothing for the call: nobody waits for the reply.
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
            match link.request(&bytes, Patience::IDLE).await {
                // A relay that has forgotten a call has nothing to delete.
                Ok(reply) if find(&reply, "result") == Some(b"ok") || command == "delete" => {}
                Ok(reply) => tracing::warn!(call_id, error = %refused(&reply), command),
                Err(_) => tracing::debug!(call_id, command, "the relay does not answer"),
            }
        });
    }
}

/// Behind the codecs of its sender an offer gets those that the relay makes of them, as the relay of this process does by
/// itself: ends that share none hear each other all the same.
const LEGACY_OFFER: &[&str] = &[INJECT, "codec-transcode-PCMU", "codec-transcode-PCMA"];
const LEGACY_ANSWER: &[&str] = &[INJECT];
const BROWSER_ANSWER: &[&str] = &[INJECT, "generate-mid", "no-rtcp-attribute"];
const BROWSER_OFFER: &[&str] = &[
    INJECT,
    "generate-mid",
    "no-rtcp-attribute",
    "codec-transcode-opus",
    "codec-transcode-PCMU",
    "codec-transcode-PCMA",
];

/// rtpengine presses keys in calls alone of which it was told this beforehand, and is slower there.
const INJECT: &str = "inject-DTMF";

/// The flags of an exchange, whose lists begin with [`INJECT`].
fn flags(exchange: &MediaExchange, offer: bool) -> &'static [&'static str] {
    let all = match (exchange.to.kind, offer) {
        (LegKind::Browser, true) => BROWSER_OFFER,
        (LegKind::Browser, false) => BROWSER_ANSWER,
        (LegKind::Legacy, true) => LEGACY_OFFER,
        (LegKind::Legacy, false) => LEGACY_ANSWER,
    };
    let presses = [exchange.from.keys, exchange.to.keys] != [Keys::Agreed; 2];
    if presses { all } else { &all[1..] }
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
    let flags = flags(exchange, command == "offer");
    if !flags.is_empty() {
        entries.push(("flags", Value::List(flags)));
    }
    match exchange.to.kind {
        LegKind::Browser => entries.extend([
            ("transport-protocol", "UDP/TLS/RTP/SAVPF".into()),
            ("ICE", "force".into()),
            ("SDES", Value::List(&["off"])),
            ("rtcp-mux", Value::List(&["offer", "require"])),
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

impl Link {
    async fn request(&self, command: &[u8], patience: Patience) -> Result<Bytes, Trouble> {
        let cookie = format!("{}_{}", self.prefix, self.next.fetch_add(1, Ordering::Relaxed));
        let datagram = [cookie.as_bytes(), b" ", command].concat();
        let (sender, mut reply) = oneshot::channel();
        self.waiting.of(&*cookie).insert(cookie.clone(), sender);
        let _forget = Forget { link: self, cookie: &cookie };
        let mut refusals = 0;
        for turn in 0..patience.tries {
            let wait = patience.tout / (4 >> turn.min(2));
            let refused = self.refused.notified();
            tokio::pin!(refused);
            refused.as_mut().enable();
            // Refused by a relay that is not there: it may be in a moment.
            let sent = self.socket.send(&datagram).await;
            if let Err(error) = &sent {
                tracing::debug!(%error, "ng");
            }
            tokio::select! {
                biased;
                answered = tokio::time::timeout(wait, &mut reply), if sent.is_ok() || !patience.hurry => {
                    if let Ok(Ok(bytes)) = answered {
                        return Ok(bytes);
                    }
                }
                () = refused, if sent.is_ok() && patience.hurry => refusals += 1,
                () = std::future::ready(()), if sent.is_err() && patience.hurry => refusals += 1,
            }
            if refusals >= REFUSALS {
                break;
            }
            if refusals > 0 {
                tokio::time::sleep(REST).await;
            }
        }
        Err(Trouble::Silent)
    }
}

/// Ends the wait for a reply also when the request is dropped half-way.
struct Forget<'a> {
    link: &'a Link,
    cookie: &'a str,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.link.waiting.of(self.cookie).remove(self.cookie);
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
                if error.kind() == std::io::ErrorKind::ConnectionRefused {
                    link.refused.notify_waiters();
                }
                continue;
            }
        };
        let datagram = &buffer[..length];
        let Some(space) = datagram.iter().position(|byte| *byte == b' ') else { continue };
        let Ok(cookie) = std::str::from_utf8(&datagram[..space]) else { continue };
        if let Some(waiting) = link.waiting.of(cookie).remove(cookie)
            && waiting.send(Bytes::copy_from_slice(&datagram[space + 1..])).is_err()
        {
            tracing::trace!("reply to a request that was given up");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use signaling_core::outside::{Keys, MediaLeg};

    use super::*;

    const PATIENCE: Patience = Patience { tout: Duration::from_secs(1), tries: 20, hurry: false };

    fn exchange(to: LegKind) -> MediaExchange {
        let leg = |kind| MediaLeg {
            kind,
            local: IpAddr::from([192, 0, 2, 1]),
            signalling_source: Some(IpAddr::from([198, 51, 100, 1])),
            keys: Keys::Agreed,
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
        let client = NgClient::connect(relay.local_addr().unwrap(), false).unwrap();
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
        let (sdp, ()) = tokio::join!(client.exchange(true, exchange(LegKind::Browser), PATIENCE), answering);
        assert_eq!(sdp.unwrap(), "v=0\r\n");
        assert!(client.inner.link.waiting.each().all(|part| part.is_empty()));
    }

    #[test]
    fn ends_without_a_codec_in_common_are_transcoded() {
        let flags = |command, to| {
            let exchange = exchange(to);
            let bytes = encode(&mut words(command, &exchange));
            String::from_utf8(bytes).unwrap().matches("codec-transcode-").count()
        };
        assert_eq!([flags("offer", LegKind::Legacy), flags("offer", LegKind::Browser)], [2, 3]);
        assert_eq!([flags("answer", LegKind::Legacy), flags("answer", LegKind::Browser)], [0, 0]);
    }

    #[test]
    fn keys_may_be_pressed_where_somebody_wants_them_in_the_media() {
        let injects = |from: Keys, to: Keys, command| {
            let mut exchange = exchange(LegKind::Legacy);
            (exchange.from.keys, exchange.to.keys) = (from, to);
            String::from_utf8(encode(&mut words(command, &exchange))).unwrap().contains(INJECT)
        };
        for command in ["offer", "answer"] {
            assert!(!injects(Keys::Agreed, Keys::Agreed, command));
            assert!(
                injects(Keys::Info, Keys::Agreed, command) && injects(Keys::Agreed, Keys::Events, command)
            );
        }
    }

    /// Nobody is there, and somebody else would take the call.
    #[tokio::test]
    async fn a_host_that_refuses_is_believed_where_others_are() {
        let closed = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let client = NgClient::connect(closed.local_addr().unwrap(), false).unwrap();
        drop(closed);
        let hurry = Patience { tout: Duration::from_secs(600), tries: 3, hurry: true };
        let ended = tokio::time::timeout(Duration::from_secs(60), client.ping(hurry)).await;
        assert!(!ended.expect("the time-out is ten times as long"));
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
        let client = NgClient::connect(relay.local_addr().unwrap(), false).unwrap();
        for (reason, status) in [("bad SDP", 488), ("ran out of ports", 503), ("Unknown call-id", 500)] {
            let answering = async {
                let (cookie, command, from) = take(&relay).await;
                assert_eq!(find(&command, "transport-protocol"), Some(&b"RTP/AVP"[..]));
                let reply = format!("{cookie} d12:error-reason{}:{reason}6:result5:errore", reason.len());
                relay.send_to(reply.as_bytes(), from).await.unwrap();
            };
            let (refused, ()) =
                tokio::join!(client.exchange(false, exchange(LegKind::Legacy), PATIENCE), answering);
            let code = match refused.unwrap_err() {
                Trouble::Refused(MediaError::NotAcceptable(_)) => 488,
                Trouble::Refused(MediaError::Full(_)) => 503,
                Trouble::Refused(MediaError::Unavailable(_)) => 500,
                Trouble::Refused(MediaError::NoRelay(_)) | Trouble::Silent => panic!("it has answered"),
            };
            assert_eq!(code, status, "{reason}");
        }
    }

    #[tokio::test]
    async fn delete_is_not_waited_for() {
        let relay = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let client = NgClient::connect(relay.local_addr().unwrap(), false).unwrap();
        client.delete("c", "f", None);
        let (_, command, _) = take(&relay).await;
        assert_eq!(command, b"d7:call-id1:c7:command6:deletee");
    }

    /// The dictionary of the next command that is no retransmission, answered with `reply`.
    async fn served(relay: &UdpSocket, reply: &str) -> Vec<u8> {
        let (cookie, command, from) = take(relay).await;
        relay.send_to(format!("{cookie} {reply}").as_bytes(), from).await.unwrap();
        command
    }

    #[tokio::test]
    async fn a_relay_without_the_files_gets_their_sound() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("busy.wav");
        let sound = media::command::WavClip::new(8000, vec![7; 800]).to_file();
        std::fs::write(&file, &sound).unwrap();
        let (file, relay) = (file.display().to_string(), UdpSocket::bind("127.0.0.1:0").await.unwrap());
        for blobs in [true, false] {
            let client = NgClient::connect(relay.local_addr().unwrap(), blobs).unwrap();
            let (length, command) = tokio::join!(
                client.announce("c", "t", &file),
                served(&relay, "d8:durationi100e6:result2:oke")
            );
            assert_eq!(length.unwrap(), Duration::from_millis(100));
            assert_eq!(find(&command, "command"), Some(&b"play media"[..]));
            let sent = [find(&command, "blob"), find(&command, "file")];
            let expected = if blobs { [Some(&sound[..]), None] } else { [None, Some(file.as_bytes())] };
            assert_eq!(sent, expected, "{blobs}");
            // What stops a sound comes behind it, however long that takes to read.
            client.play("c", "t", &file, true);
            client.stop("c", "t");
            for name in ["play media", "stop media"] {
                let command = served(&relay, "d6:result2:oke").await;
                assert_eq!(find(&command, "command"), Some(name.as_bytes()), "{blobs}");
            }
        }
        let client = NgClient::connect(relay.local_addr().unwrap(), true).unwrap();
        let missing = client.announce("c", "t", "/nowhere/none.wav").await;
        assert!(matches!(missing, Err(MediaError::Unavailable(why)) if why.contains("No such file")));
    }

    #[tokio::test]
    async fn a_key_is_pressed_and_a_refusal_told() {
        let relay = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let client = NgClient::connect(relay.local_addr().unwrap(), false).unwrap();
        for (reply, pressed) in [("d6:result2:oke", true), ("d12:error-reason4:none6:result5:errore", false)]
        {
            let press = client.press("c", "t", 11, Duration::from_millis(160));
            let (result, command) = tokio::join!(press, served(&relay, reply));
            assert_eq!(result.is_ok(), pressed);
            let words = ["command", "code", "duration", "from-tag"].map(|word| find(&command, word));
            assert_eq!(words, [&b"play DTMF"[..], b"11", b"160", b"t"].map(Some));
        }
    }
}
