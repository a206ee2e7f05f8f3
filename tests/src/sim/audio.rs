//! The media end of a phone: its SDP, ICE, DTLS-SRTP, and speech whose every packet says who and which.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use media_core::codec::g711::{decode_ulaw, encode_ulaw};
use media_core::codec::{Encode, Format};
use media_core::command::LegKind;
use media_core::demux::{Kind, classify};
use media_core::dtls::{Dtls, DtlsConfig, DtlsEvent, Fingerprint};
use media_core::dtmf::{self, Listener, Tone};
use media_core::ice::{Credentials, IceAgent, IceEvent};
use media_core::packet::Packet;
use media_core::rtp::Header;
use media_core::sdp::Codec;
use media_core::srtp::{DtlsRole, SrtpContext};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::relay::certificate;
use crate::sip::Sdp;
use crate::tone::{Heard, hear, tone};

/// One packet of speech every so often.
const PACKET_TIME: Duration = Duration::from_millis(20);

/// A key as it was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// RFC 4733 event number.
    pub code: u8,
    /// Of the whole event, in units of the clock agreed with this end.
    pub duration: u16,
    /// RTP timestamp of the event.
    pub timestamp: u32,
}

/// The one codec of an end, and the tone it plays in it instead of speech.
struct Tune {
    rtpmap: &'static str,
    format: Format,
    encoder: Box<dyn Encode>,
    samples: Vec<i16>,
    said: usize,
}

impl Tune {
    /// Samples per second of a codec.
    fn rate(format: Format) -> u32 {
        format.rate().unwrap_or(48_000)
    }

    fn next(&mut self) -> Vec<u8> {
        let packet = Self::rate(self.format) as usize / 50;
        let from = self.said % (self.samples.len() - packet + 1);
        self.said = from + packet;
        let mut payload = vec![0; 1500];
        let len = self.encoder.encode(&self.samples[from..from + packet], &mut payload).expect("a payload");
        payload.truncate(len);
        payload
    }
}

/// The media end of a phone.
#[allow(missing_debug_implementations)]
pub struct Audio {
    kind: LegKind,
    /// Where it sends from and receives.
    pub address: SocketAddr,
    /// What is said in `a=sendrecv` and its like when this end offers next.
    pub direction: &'static str,
    /// Whether the microphone is on.
    pub talking: bool,
    /// Payloads spoken, in order.
    pub spoken: Vec<Vec<u8>>,
    /// Payloads heard, in order of arrival.
    pub heard: Vec<Vec<u8>>,
    /// Keys heard.
    pub keys: Vec<Key>,
    /// Clock of telephone-event as agreed.
    pub event_clock: u32,
    /// Whether it has telephone-event.
    pub events: bool,
    /// Packets of tones to be sent in the place of speech.
    tones: VecDeque<Vec<u8>>,
    /// Datagrams to send: to where, and what.
    pub out: Vec<(SocketAddr, Vec<u8>)>,
    /// SRTP packets that did not open.
    pub not_authentic: usize,
    /// What the other end allows: it receives.
    may_send: bool,
    relay: Option<SocketAddr>,
    version: u32,
    audio_type: u8,
    event_type: u8,
    queue: Vec<[u8; 4]>,
    event_timestamp: u32,
    next_tick: Option<Instant>,
    secure: Option<Secure>,
    ssrc: u32,
    sequence_number: u16,
    timestamp: u32,
    count: u32,
    tune: Option<Tune>,
}

/// What only a browser has.
struct Secure {
    config: DtlsConfig,
    own: Credentials,
    ice: Option<IceAgent>,
    dtls: Option<Dtls>,
    srtp: Option<SrtpContext>,
    selected: Option<SocketAddr>,
    /// Decided by whoever answers (RFC 5763 §5).
    role: DtlsRole,
}

impl Audio {
    /// A silent end.
    #[must_use]
    pub fn new(kind: LegKind, address: SocketAddr, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let secure = (kind == LegKind::Browser).then(|| Secure {
            config: DtlsConfig::new(false).expect("a configuration"),
            own: Credentials::random(&mut rng),
            ice: None,
            dtls: None,
            srtp: None,
            selected: None,
            role: DtlsRole::Client,
        });
        Self {
            kind,
            address,
            direction: "sendrecv",
            talking: false,
            spoken: Vec::new(),
            heard: Vec::new(),
            keys: Vec::new(),
            event_clock: 8000,
            events: true,
            tones: VecDeque::new(),
            out: Vec::new(),
            not_authentic: 0,
            may_send: false,
            relay: None,
            version: 1,
            audio_type: 0,
            event_type: if kind == LegKind::Browser { 110 } else { 101 },
            queue: Vec::new(),
            event_timestamp: 0,
            next_tick: None,
            secure,
            ssrc: rng.random(),
            sequence_number: rng.random::<u16>() & 0x7fff,
            timestamp: rng.random(),
            count: 0,
            tune: None,
        }
    }

    /// Makes it an end that has no codec but this, an rtpmap of its own numbers, and plays a tone in it.
    pub fn only(&mut self, rtpmap: &'static str, hertz: f64) {
        let codec = Codec::parse_rtpmap(rtpmap).expect("an rtpmap");
        let format = Format::of(&codec, None).expect("a codec of the relay");
        let rate = Tune::rate(format);
        let encoder = format.encoder(rate).expect("an encoder");
        // A second, which every whole pitch fills without a seam.
        let samples = tone(hertz, rate, rate as usize).collect();
        self.tune = Some(Tune { rtpmap, format, encoder, samples, said: 0 });
    }

    /// What the last packets of an end with [`Audio::only`] one codec sound like.
    #[must_use]
    pub fn hears(&self) -> Heard {
        let format = self.tune.as_ref().expect("it has a codec").format;
        let rate = Tune::rate(format);
        let mut decoder = format.decoder(rate).expect("a decoder");
        let mut pcm = vec![0; rate as usize / 4];
        let packets = &self.heard[self.heard.len().saturating_sub(50)..];
        let samples = packets.iter().flat_map(|payload| {
            let len = decoder.decode(payload, &mut pcm).expect("samples");
            pcm[..len].to_vec()
        });
        // Behind the beginning, where a decoder that comes in later still learns.
        let samples: Vec<i16> = samples.skip(rate as usize / 5).collect();
        hear(&samples, rate)
    }

    /// Forgets the last call; what was spoken and heard stays to be looked at.
    pub fn hang_up(&mut self) {
        let mut next = Self::new(self.kind, self.address, u64::from(self.ssrc) + 1);
        std::mem::swap(&mut next.spoken, &mut self.spoken);
        std::mem::swap(&mut next.heard, &mut self.heard);
        std::mem::swap(&mut next.keys, &mut self.keys);
        (next.talking, next.events) = (self.talking, self.events);
        *self = next;
    }

    /// Whether media can leave: an address is known, and a browser has its keys.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        match &self.secure {
            Some(secure) => secure.srtp.is_some() && secure.selected.is_some(),
            None => self.relay.is_some(),
        }
    }

    /// An offer: PCMU and, from a browser, telephone-event at 48000 Hz alone, so that the relay must change the clock.
    pub fn offer(&mut self) -> String {
        let own = self.tune.as_ref().map(|tune| tune.rtpmap);
        let formats: &[&str] = match (self.kind, own) {
            (LegKind::Browser, Some(own)) => &[own, "110 telephone-event/48000"],
            (LegKind::Legacy, Some(own)) => &[own, "101 telephone-event/8000"],
            (LegKind::Browser, None) => &["111 opus/48000/2", "0 PCMU/8000", "110 telephone-event/48000"],
            (LegKind::Legacy, None) => &["0 PCMU/8000", "101 telephone-event/8000"],
        };
        let known = |format: &&&str| self.events || !format.contains("telephone-event");
        let formats: Vec<&str> = formats.iter().filter(known).copied().collect();
        self.describe(&formats, "actpass", self.direction)
    }

    /// Takes an offer, and answers with PCMU and whatever number telephone-event has in it.
    pub fn answer(&mut self, now: Instant, offer: &str) -> String {
        let sdp = self.take(now, offer);
        let codecs = sdp.codecs(0);
        let events = codecs.iter().find(|(_, name)| self.events && name.starts_with("telephone-event/"));
        let own = self.tune.as_ref().map_or("0 PCMU/8000", |tune| tune.rtpmap);
        let mut formats = vec![own.to_owned()];
        formats.extend(events.map(|(number, name)| format!("{number} {name}")));
        let formats: Vec<&str> = formats.iter().map(String::as_str).collect();
        let direction = match sdp.direction(0) {
            "sendonly" => "recvonly",
            "recvonly" => "sendonly",
            "inactive" => "inactive",
            _ => "sendrecv",
        };
        let setup = if sdp.attribute(0, "setup:") == Some("active") { "passive" } else { "active" };
        let answer = self.describe(&formats, setup, direction);
        self.start(now, &sdp, setup == "active", false);
        answer
    }

    /// Takes the answer to [`Audio::offer`].
    pub fn answered(&mut self, now: Instant, answer: &str) {
        let sdp = self.take(now, answer);
        let active = sdp.attribute(0, "setup:") == Some("passive");
        self.start(now, &sdp, active, true);
    }

    /// Presses a key (RFC 4733 event number) for 100 ms: five updates, then the end three times.
    pub fn press(&mut self, code: u8) {
        let step = (self.event_clock / 50) as u16;
        let updates = (1..=5).map(|number| (false, number * step)).chain([(true, 5 * step); 3]);
        for (end, duration) in updates {
            self.queue.push(dtmf::Event { code, end, volume: 10, duration }.to_bytes());
        }
    }

    /// Presses a key as its two tones in PCMU, for 100 ms and with a pause behind it.
    pub fn press_tone(&mut self, code: u8) {
        let tone = Tone::new(code, 10).expect("a key");
        for packet in 0..10u32 {
            let sample =
                |at: u32| if packet < 5 { encode_ulaw(tone.sample(160 * packet + at, 8000)) } else { 0xff };
            self.tones.push_back((0..160).map(sample).collect());
        }
    }

    /// The keys that are heard as tones in what came, which is PCMU.
    #[must_use]
    pub fn heard_tones(&self) -> Vec<u8> {
        let mut listener = Listener::new(8000).expect("a listener");
        let (mut keys, mut before) = (Vec::new(), None);
        for payload in &self.heard {
            listener.listen(&payload.iter().map(|octet| decode_ulaw(*octet)).collect::<Vec<_>>());
            let now = listener.sounding().map(|key| key.code);
            keys.extend(now.filter(|_| now != before));
            before = now;
        }
        keys
    }

    /// Protects what a browser is about to send, so that the relay believes it; `None` when there are no keys or it cannot
    /// be protected, and the bytes themselves from a legacy phone.
    pub fn seal(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let Some(secure) = self.secure.as_mut() else { return Some(bytes.to_vec()) };
        let mut packet = Packet::new();
        packet.fill(bytes).ok()?;
        let srtp = secure.srtp.as_mut()?;
        match classify(bytes) {
            Kind::Rtp => srtp.protect(&mut packet).ok()?,
            Kind::Rtcp => srtp.protect_rtcp(&mut packet).ok()?,
            Kind::Stun | Kind::Dtls | Kind::Unknown => return None,
        }
        Some(packet.as_slice().to_vec())
    }

    /// The relay's port towards this end.
    #[must_use]
    pub fn relay(&self) -> Option<SocketAddr> {
        self.relay
    }

    /// When [`Audio::handle_timeout`] has something to do.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        let tick =
            self.next_tick.filter(|_| self.talking || !self.queue.is_empty() || !self.tones.is_empty());
        let Some(secure) = self.secure.as_mut() else { return tick };
        let ice = secure.ice.as_mut().and_then(IceAgent::poll_timeout);
        let dtls = secure.dtls.as_ref().filter(|_| secure.selected.is_some()).and_then(Dtls::poll_timeout);
        [tick, ice, dtls].into_iter().flatten().min()
    }

    /// Speaks, and lets ICE and DTLS do what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.next_tick.is_some_and(|at| at <= now) {
            self.next_tick = Some(now + PACKET_TIME);
            self.tick();
        }
        if let Some(secure) = self.secure.as_mut() {
            if let Some(ice) = secure.ice.as_mut()
                && ice.poll_timeout().is_some_and(|at| at <= now)
            {
                ice.handle_timeout(now);
            }
            if let Some(dtls) = secure.dtls.as_mut()
                && secure.selected.is_some()
                && dtls.poll_timeout().is_none_or(|at| at <= now)
            {
                dtls.handle_timeout(now);
            }
        }
        self.drain_secure(now);
    }

    /// A datagram came.
    pub fn handle_datagram(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        match classify(bytes) {
            Kind::Stun => {
                if let Some(ice) = self.secure.as_mut().and_then(|secure| secure.ice.as_mut()) {
                    ice.handle_datagram(now, from, bytes);
                }
            }
            Kind::Dtls => {
                if let Some(dtls) = self.secure.as_mut().and_then(|secure| secure.dtls.as_mut()) {
                    dtls.handle_datagram(now, bytes);
                }
            }
            Kind::Rtp => self.hear(bytes),
            Kind::Rtcp => {}
            Kind::Unknown => panic!("the relay sent something that is no protocol of media"),
        }
        self.drain_secure(now);
    }

    fn describe(&mut self, formats: &[&str], setup: &str, direction: &str) -> String {
        let (ip, port) = (self.address.ip(), self.address.port());
        self.version += 1;
        let numbers: Vec<&str> = formats.iter().filter_map(|format| format.split(' ').next()).collect();
        let maps: String = formats.iter().map(|format| format!("a=rtpmap:{format}\r\n")).collect();
        let protocol = if self.secure.is_some() { "UDP/TLS/RTP/SAVPF" } else { "RTP/AVP" };
        let secure = self.secure.as_ref().map_or(String::new(), |secure| {
            format!(
                "a=mid:0\r\na=rtcp-mux\r\na=ice-ufrag:{}\r\na=ice-pwd:{}\r\na=fingerprint:sha-256 {}\r\n\
                 a=setup:{setup}\r\na=candidate:1 1 udp 2122260223 {ip} {port} typ host\r\na=end-of-candidates\r\n",
                secure.own.ufrag,
                secure.own.pwd,
                certificate().fingerprint()
            )
        });
        let group = if self.secure.is_some() { "a=group:BUNDLE 0\r\n" } else { "" };
        format!(
            "v=0\r\no=- {} {} IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n{group}\
             m=audio {port} {protocol} {}\r\n{maps}{secure}a={direction}\r\n",
            self.ssrc,
            self.version,
            numbers.join(" ")
        )
    }

    /// What every SDP of the other end says of its address, its direction and its numbers.
    fn take(&mut self, now: Instant, text: &str) -> Sdp {
        let sdp = Sdp::parse(text).expect("what the gateway sends is SDP");
        let line = sdp.lines("c=IN IP4 ").last().expect("a connection line");
        let ip = line["c=IN IP4 ".len()..].parse().expect("an address");
        let port = sdp.m_line(0)[1].parse().expect("a port");
        self.relay = Some(SocketAddr::new(ip, port));
        self.may_send = matches!(sdp.direction(0), "sendrecv" | "recvonly");
        let codecs = sdp.codecs(0);
        if let Some((number, name)) = codecs.iter().find(|(_, name)| name.starts_with("telephone-event/")) {
            self.event_type = *number;
            self.event_clock = name["telephone-event/".len()..].parse().expect("a clock");
        }
        let own = self.tune.as_ref().and_then(|tune| tune.rtpmap.split(' ').next()?.parse().ok());
        self.audio_type = own.unwrap_or(0);
        assert!(
            codecs.iter().any(|(number, _)| *number == self.audio_type),
            "its own codec is there: {text}"
        );
        self.next_tick = self.next_tick.or(Some(now));
        sdp
    }

    /// Both descriptions are known: ICE and DTLS begin, once.
    fn start(&mut self, now: Instant, sdp: &Sdp, active: bool, controlling: bool) {
        let Some(secure) = self.secure.as_mut() else { return };
        let value = |name| sdp.attribute(0, name).unwrap_or_default().to_owned();
        let remote = Credentials { ufrag: value("ice-ufrag:"), pwd: value("ice-pwd:") };
        if secure.ice.is_none() {
            let ice = IceAgent::new(&secure.own, self.address, controlling, false, u64::from(self.ssrc));
            let mut ice = ice.expect("an agent");
            ice.set_remote_credentials(now, &remote);
            for candidate in sdp.media[0].iter().filter_map(|line| line.strip_prefix("a=candidate:")) {
                ice.add_remote_candidate(candidate);
            }
            secure.ice = Some(ice);
            secure.role = if active { DtlsRole::Client } else { DtlsRole::Server };
            let mut dtls = Dtls::new(&secure.config, &certificate(), secure.role, now);
            let digest = certificate().digest().to_vec();
            dtls.set_fingerprints(&[Fingerprint { hash: "SHA-256".to_owned(), digest }]);
            secure.dtls = Some(dtls);
        }
        self.drain_secure(now);
    }

    fn drain_secure(&mut self, now: Instant) {
        let Some(secure) = self.secure.as_mut() else { return };
        if let Some(ice) = secure.ice.as_mut() {
            while let Some(event) = ice.poll_event() {
                if let IceEvent::Selected(to) = event {
                    secure.selected = Some(to);
                    if let Some(dtls) = secure.dtls.as_mut() {
                        dtls.handle_timeout(now);
                    }
                }
            }
            while let Some(sent) = ice.poll_transmit() {
                self.out.push(sent);
            }
        }
        if let (Some(dtls), Some(to)) = (secure.dtls.as_mut(), secure.selected) {
            let out = &mut self.out;
            while let Some(event) = dtls.poll(|record| out.push((to, record.to_vec()))) {
                if let DtlsEvent::Connected((local, remote)) = event {
                    secure.srtp = Some(SrtpContext::new(&local, &remote));
                }
            }
        }
    }

    fn tick(&mut self) {
        let step = self.tune.as_ref().map_or(160, |tune| tune.format.clock / 50);
        self.timestamp = self.timestamp.wrapping_add(step);
        if !self.is_ready() {
            return;
        }
        if !self.queue.is_empty() {
            let event = self.queue.remove(0);
            let first =
                dtmf::Event::parse(&event).is_some_and(|e| u32::from(e.duration) == self.event_clock / 50);
            if first {
                self.event_timestamp = self.timestamp;
            }
            self.send(self.event_type, self.event_timestamp, first, &event);
        } else if let Some(payload) = self.tones.pop_front() {
            self.send(self.audio_type, self.timestamp, false, &payload);
        } else if self.talking && self.may_send && self.direction != "recvonly" {
            self.count += 1;
            if let Some(tune) = self.tune.as_mut() {
                let payload = tune.next();
                return self.send(self.audio_type, self.timestamp, self.count == 1, &payload);
            }
            let mut payload: Vec<u8> = (0..160u32)
                .map(|at| (at * 3).wrapping_add(self.count).wrapping_add(self.ssrc) as u8)
                .collect();
            payload[..4].copy_from_slice(&self.count.to_be_bytes());
            payload[4..8].copy_from_slice(&self.ssrc.to_be_bytes());
            self.send(self.audio_type, self.timestamp, self.count == 1, &payload);
            self.spoken.push(payload);
        }
    }

    fn send(&mut self, payload_type: u8, timestamp: u32, marker: bool, payload: &[u8]) {
        self.sequence_number = self.sequence_number.wrapping_add(1);
        let mut header = Header::new(payload_type, self.sequence_number, timestamp, self.ssrc);
        header.marker = marker;
        let mut packet = Packet::new();
        header.start(&mut packet, payload).expect("it fits");
        let to = match self.secure.as_mut() {
            Some(secure) => {
                let Some(srtp) = secure.srtp.as_mut() else { return };
                srtp.protect(&mut packet).expect("protected");
                secure.selected
            }
            None => self.relay,
        };
        self.out.extend(to.map(|to| (to, packet.as_slice().to_vec())));
    }

    fn hear(&mut self, bytes: &[u8]) {
        let mut packet = Packet::new();
        packet.fill(bytes).expect("it fits");
        if let Some(secure) = self.secure.as_mut() {
            let opened = secure.srtp.as_mut().is_some_and(|srtp| srtp.unprotect(&mut packet).is_ok());
            if !opened {
                self.not_authentic += 1;
                return;
            }
        }
        let header = Header::parse(packet.as_slice()).expect("RTP");
        let payload = header.payload(packet.as_slice()).expect("a payload");
        if header.payload_type != self.event_type {
            self.heard.push(payload.to_vec());
            return;
        }
        let event = dtmf::Event::parse(payload).expect("an event");
        let key = Key { code: event.code, duration: event.duration, timestamp: header.timestamp };
        match self.keys.iter_mut().find(|key| key.timestamp == header.timestamp) {
            Some(known) => known.duration = known.duration.max(key.duration),
            None => self.keys.push(key),
        }
    }
}
