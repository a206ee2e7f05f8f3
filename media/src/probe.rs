//! One end of a test call as far as media goes: what a browser or a phone does with its microphone, on a socket of its own. It
//! plays a tone and says what it has heard, and how far it came where it has heard nothing.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use media_core::codec::g711::{decode_ulaw, encode_ulaw};
use media_core::demux::{Kind, classify};
use media_core::dtls::{Certificate, Dtls, DtlsConfig, DtlsEvent, Fingerprint};
use media_core::dtmf::Tone;
use media_core::ice::{Credentials, IceAgent, IceEvent};
use media_core::packet::Packet;
use media_core::rtp::Header;
use media_core::sdp::{Description, Media, Setup};
use media_core::srtp::{DtlsRole, SrtpContext};
use rand::RngExt as _;

use crate::certificate;

/// One packet every so often.
const PACKET_TIME: Duration = Duration::from_millis(20);
/// Samples in one.
const PACKET: u32 = RATE / 50;
const RATE: u32 = 8_000;
/// What is listened to at a time, 400 ms: a tone of a multiple of 5 Hz is then a whole number of waves.
const HEARD: usize = RATE as usize * 2 / 5;
/// The part of the power that has to be the tone's.
const PURE: f64 = 0.7;
/// An end to which nothing at all has come for so long is not waited for.
const SILENCE: Duration = Duration::from_secs(4);
/// Of the tone that is played, in -dBm0.
const VOLUME: u8 = 10;
/// Static payload type of PCMU (RFC 3551 §6).
const PCMU: u8 = 0;

/// What an end of a test call behaves like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeKind {
    /// ICE, and DTLS-SRTP (RFC 8827).
    Browser,
    /// Plain RTP.
    Phone,
}

/// Why a description of the other end is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadDescription {
    /// It is not SDP.
    #[error("it is no session description")]
    NoSdp,
    /// It has no line of sound, or the line is refused.
    #[error("it has no sound")]
    NoSound,
    /// PCMU is not among its codecs.
    #[error("it has no PCMU")]
    NoCodec,
    /// A phone is told to encrypt, or a browser is not.
    #[error("its protocol is {0}")]
    Protocol(String),
    /// There is no address to send to, or none that ICE can try.
    #[error("it has no address to send to")]
    NoAddress,
    /// A browser has no credentials or fingerprint to go by.
    #[error("it has no {0}")]
    Missing(&'static str),
}

/// What an end has found out in a call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Where the other end is, as its description says.
    pub peer: Option<SocketAddr>,
    /// Whether anything of ICE was answered; always for a phone.
    pub ice_answered: bool,
    /// Whether ICE has agreed on a pair; always for a phone.
    pub ice_connected: bool,
    /// Whether a DTLS record came; always for a phone.
    pub dtls_answered: bool,
    /// Whether there are keys; always for a phone.
    pub keyed: bool,
    /// Why there are none.
    pub dtls_failure: Option<String>,
    /// RTP packets sent.
    pub sent: u32,
    /// RTP packets received that were authentic.
    pub received: u32,
    /// Those that were not.
    pub not_authentic: u32,
    /// Packets that are missing among those received.
    pub lost: u32,
    /// From the beginning until the first packet came.
    pub first: Option<Duration>,
    /// Whether the tone of the other end was heard.
    pub heard: bool,
}

/// One end. It has its port from the beginning, so that it can be offered.
#[derive(Debug)]
pub struct Probe {
    kind: ProbeKind,
    socket: UdpSocket,
    local: SocketAddr,
    plays: Tone,
    listens_for: u16,
    secure: Secure,
    ssrc: u32,
    sequence_number: u16,
    timestamp: u32,
    last_received: Option<u16>,
    samples: Vec<i16>,
    found: Found,
}

/// What only a browser needs.
#[derive(Debug)]
struct Secure {
    certificate: Certificate,
    config: DtlsConfig,
    own: Credentials,
    ice: Option<IceAgent>,
    dtls: Option<Dtls>,
    srtp: Option<SrtpContext>,
    selected: Option<SocketAddr>,
}

impl Probe {
    /// An end at `ip` that plays one tone and listens for another, in Hz, multiples of 5.
    ///
    /// # Errors
    /// There is no port, or no certificate can be made.
    pub fn new(kind: ProbeKind, ip: IpAddr, plays: u16, listens_for: u16) -> std::io::Result<Self> {
        let socket = UdpSocket::bind((ip, 0))?;
        let (local, mut rng) = (socket.local_addr()?, rand::rng());
        let secure = Secure {
            certificate: certificate::make().map_err(std::io::Error::other)?,
            config: DtlsConfig::new(false).map_err(std::io::Error::other)?,
            own: Credentials::random(&mut rng),
            ice: None,
            dtls: None,
            srtp: None,
            selected: None,
        };
        Ok(Self {
            kind,
            socket,
            local,
            plays: Tone::single(plays, VOLUME),
            listens_for,
            secure,
            ssrc: rng.random(),
            sequence_number: rng.random::<u16>() & 0x7fff,
            timestamp: rng.random(),
            last_received: None,
            samples: Vec::new(),
            found: Found::default(),
        })
    }

    /// An offer of PCMU.
    #[must_use]
    pub fn offer(&self) -> String {
        self.describe("actpass")
    }

    /// Takes an offer; the answer to it.
    ///
    /// # Errors
    /// The offer cannot be answered.
    pub fn answer(&mut self, offer: &str) -> Result<String, BadDescription> {
        let media = sound(offer)?;
        let active = media.setup != Some(Setup::Active);
        self.begin(&media, active, false)?;
        Ok(self.describe(if active { "active" } else { "passive" }))
    }

    /// Takes the answer to [`Probe::offer`].
    ///
    /// # Errors
    /// It is of no use.
    pub fn answered(&mut self, answer: &str) -> Result<(), BadDescription> {
        let media = sound(answer)?;
        self.begin(&media, media.setup == Some(Setup::Passive), true)
    }

    /// Plays its tone and listens until `until`, or until `hearing`, which counts the ends of the call that have heard
    /// something, is 2; for 4 seconds where nothing at all comes.
    #[must_use]
    pub fn talk(mut self, until: Instant, hearing: &AtomicUsize) -> Found {
        let begun = Instant::now();
        let (mut next, most, mut buffer) = (begun, until, [0; 2_048]);
        let mut until = until.min(begun + SILENCE);
        loop {
            let now = Instant::now();
            if now >= until || hearing.load(Ordering::Relaxed) >= 2 {
                return self.found;
            }
            if now >= next {
                next += PACKET_TIME;
                self.speak();
            }
            self.handle_timeout(now);
            let wait = next.min(until).saturating_duration_since(now).max(Duration::from_millis(1));
            let received =
                self.socket.set_read_timeout(Some(wait)).and_then(|()| self.socket.recv_from(&mut buffer));
            // Nothing came in time; or a port that is closed has been told to us, which says nothing of the next packet.
            let Ok((len, from)) = received else { continue };
            until = most;
            let had = self.found.heard;
            self.take(from, &buffer[..len], begun);
            if self.found.heard && !had {
                hearing.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn describe(&self, setup: &str) -> String {
        let (ip, port) = (self.local.ip(), self.local.port());
        let family = if ip.is_ipv4() { "IP4" } else { "IP6" };
        let head =
            format!("v=0\r\no=- {} 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n", self.ssrc);
        match self.kind {
            ProbeKind::Phone => {
                format!("{head}m=audio {port} RTP/AVP {PCMU}\r\na=rtpmap:{PCMU} PCMU/8000\r\na=sendrecv\r\n")
            }
            ProbeKind::Browser => {
                let (own, print) = (&self.secure.own, self.secure.certificate.fingerprint());
                format!(
                    "{head}a=group:BUNDLE 0\r\nm=audio {port} UDP/TLS/RTP/SAVPF {PCMU}\r\na=rtpmap:{PCMU} PCMU/8000\r\n\
                     a=mid:0\r\na=rtcp-mux\r\na=ice-ufrag:{}\r\na=ice-pwd:{}\r\na=fingerprint:sha-256 {print}\r\n\
                     a=setup:{setup}\r\na=candidate:1 1 udp 2122260223 {ip} {port} typ host\r\na=end-of-candidates\r\n\
                     a=sendrecv\r\n",
                    own.ufrag, own.pwd
                )
            }
        }
    }

    fn begin(&mut self, media: &Media, active: bool, controlling: bool) -> Result<(), BadDescription> {
        if media.is_dtls() != (self.kind == ProbeKind::Browser) || !(media.is_dtls() || media.is_plain()) {
            return Err(BadDescription::Protocol(media.protocol.clone()));
        }
        let address = media.address.ok_or(BadDescription::NoAddress)?;
        self.found.peer = Some((address, media.port).into());
        if self.kind == ProbeKind::Phone {
            let found = &mut self.found;
            (found.ice_answered, found.ice_connected) = (true, true);
            (found.dtls_answered, found.keyed) = (true, true);
            return Ok(());
        }
        let remote = media.ice.as_ref().ok_or(BadDescription::Missing("ICE credentials"))?;
        if media.fingerprints.is_empty() {
            return Err(BadDescription::Missing("fingerprint"));
        }
        let (now, secure) = (Instant::now(), &mut self.secure);
        let ice = IceAgent::new(&secure.own, self.local, controlling, false, u64::from(self.ssrc));
        let mut ice = ice.ok_or(BadDescription::NoAddress)?;
        let credentials = Credentials { ufrag: remote.ufrag.clone(), pwd: remote.pwd.clone() };
        ice.set_remote_credentials(now, &credentials);
        for candidate in &remote.candidates {
            ice.add_remote_candidate(&candidate.to_string());
        }
        secure.ice = Some(ice);
        let role = if active { DtlsRole::Client } else { DtlsRole::Server };
        let mut dtls = Dtls::new(&secure.config, &secure.certificate, role, now);
        let prints = media.fingerprints.iter();
        let prints =
            prints.map(|print| Fingerprint { hash: print.algorithm.clone(), digest: print.digest.clone() });
        dtls.set_fingerprints(&prints.collect::<Vec<_>>());
        secure.dtls = Some(dtls);
        self.drain(now);
        Ok(())
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.kind == ProbeKind::Phone {
            return;
        }
        if let Some(ice) = &mut self.secure.ice
            && ice.poll_timeout().is_some_and(|at| at <= now)
        {
            ice.handle_timeout(now);
        }
        if let Some(dtls) = &mut self.secure.dtls
            && self.secure.selected.is_some()
            && dtls.poll_timeout().is_none_or(|at| at <= now)
            && let Some(failure) = dtls.handle_timeout(now)
        {
            self.found.dtls_failure.get_or_insert_with(|| failure.to_string());
        }
        self.drain(now);
    }

    /// Sends what ICE and DTLS have to send, and notes what they tell.
    fn drain(&mut self, now: Instant) {
        let (secure, found, socket) = (&mut self.secure, &mut self.found, &self.socket);
        if let Some(ice) = &mut secure.ice {
            while let Some(event) = ice.poll_event() {
                if let IceEvent::Selected(to) = event {
                    (secure.selected, found.ice_connected) = (Some(to), true);
                }
            }
            while let Some((to, message)) = ice.poll_transmit() {
                // What cannot be sent is not answered, and that is what is found.
                let _ = socket.send_to(&message, to);
            }
        }
        let (Some(dtls), Some(to)) = (&mut secure.dtls, secure.selected) else { return };
        if dtls.poll_timeout().is_none() && !dtls.is_connected() {
            let failure = dtls.handle_timeout(now).map(|failure| failure.to_string());
            found.dtls_failure = found.dtls_failure.take().or(failure);
        }
        while let Some(event) = dtls.poll(|record| _ = socket.send_to(record, to)) {
            match event {
                DtlsEvent::Connected((local, remote)) => {
                    (secure.srtp, found.keyed) = (Some(SrtpContext::new(&local, &remote)), true);
                }
                DtlsEvent::Failed(failure) => {
                    _ = found.dtls_failure.get_or_insert_with(|| failure.to_string())
                }
                DtlsEvent::Closed => {}
            }
        }
    }

    /// Sends the next packet of the tone, once it can be sent.
    fn speak(&mut self) {
        let to = match self.kind {
            ProbeKind::Phone => self.found.peer,
            ProbeKind::Browser => self.secure.selected.filter(|_| self.secure.srtp.is_some()),
        };
        let Some(to) = to else { return };
        let from = self.found.sent * PACKET;
        let payload: Vec<u8> =
            (from..from + PACKET).map(|at| encode_ulaw(self.plays.sample(at, RATE))).collect();
        let mut header = Header::new(PCMU, self.sequence_number, self.timestamp, self.ssrc);
        header.marker = self.found.sent == 0;
        self.sequence_number = self.sequence_number.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(PACKET);
        let mut packet = Packet::new();
        let whole = header.start(&mut packet, &payload).is_ok()
            && self.secure.srtp.as_mut().is_none_or(|srtp| srtp.protect(&mut packet).is_ok());
        if whole && self.socket.send_to(packet.as_slice(), to).is_ok() {
            self.found.sent += 1;
        }
    }

    fn take(&mut self, from: SocketAddr, datagram: &[u8], begun: Instant) {
        let now = Instant::now();
        match classify(datagram) {
            Kind::Stun => {
                if let Some(ice) = &mut self.secure.ice {
                    self.found.ice_answered |= ice.handle_datagram(now, from, datagram);
                }
            }
            Kind::Dtls => {
                self.found.dtls_answered = true;
                if let Some(dtls) = &mut self.secure.dtls
                    && let Some(failure) = dtls.handle_datagram(now, datagram)
                {
                    self.found.dtls_failure.get_or_insert_with(|| failure.to_string());
                }
            }
            Kind::Rtp => self.hear(datagram, now - begun),
            Kind::Rtcp | Kind::Unknown => {}
        }
        if self.kind == ProbeKind::Browser {
            self.drain(now);
        }
    }

    fn hear(&mut self, datagram: &[u8], since: Duration) {
        let mut packet = Packet::new();
        if packet.fill(datagram).is_err() {
            return;
        }
        let open = match self.kind {
            ProbeKind::Phone => true,
            ProbeKind::Browser => {
                self.secure.srtp.as_mut().is_some_and(|srtp| srtp.unprotect(&mut packet).is_ok())
            }
        };
        let header =
            Header::parse(packet.as_slice()).ok().filter(|header| open && header.payload_type == PCMU);
        let Some(header) = header else {
            self.found.not_authentic += u32::from(!open);
            return;
        };
        let Ok(payload) = header.payload(packet.as_slice()) else { return };
        self.found.received += 1;
        self.found.first.get_or_insert(since);
        if let Some(last) = self.last_received.replace(header.sequence_number) {
            let step = header.sequence_number.wrapping_sub(last);
            self.found.lost += if step < 0x8000 { u32::from(step.saturating_sub(1)) } else { 0 };
        }
        self.samples.extend(payload.iter().map(|octet| decode_ulaw(*octet)));
        let surplus = self.samples.len().saturating_sub(HEARD);
        self.samples.drain(..surplus);
        self.found.heard |=
            self.samples.len() == HEARD && share(&self.samples, f64::from(self.listens_for)) > PURE;
    }
}

/// The line of sound in a description.
fn sound(text: &str) -> Result<Media, BadDescription> {
    let description = Description::parse(text.to_owned().into()).map_err(|_| BadDescription::NoSdp)?;
    let media =
        description.media.into_iter().find(|media| media.media_word == "audio" && !media.is_refused());
    let media = media.ok_or(BadDescription::NoSound)?;
    let has_codec = media.codecs.iter().any(|codec| codec.payload_type == PCMU && codec.is("PCMU"));
    if has_codec { Ok(media) } else { Err(BadDescription::NoCodec) }
}

/// The part of the power of `samples` that is a tone of so many Hz, by Goertzel's algorithm.
fn share(samples: &[i16], hertz: f64) -> f64 {
    let turn = std::f64::consts::TAU * hertz / f64::from(RATE);
    let coefficient = 2.0 * turn.cos();
    let (mut last, mut before, mut power) = (0.0, 0.0, 0.0);
    for sample in samples {
        let sample = f64::from(*sample);
        (last, before) = (sample + coefficient * last - before, last);
        power += sample * sample;
    }
    let tone = last * last + before * before - coefficient * last * before;
    // A pure tone of amplitude A: its term of the Fourier sum is A·n/2, its power A²·n/2.
    if power > 0.0 { tone * 2.0 / (power * samples.len() as f64) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    /// Two ends that speak to each other without anybody between them.
    fn call(kind: ProbeKind, spoil: impl Fn(String) -> String) -> [Found; 2] {
        let mut caller = Probe::new(kind, LOOPBACK, 440, 620).unwrap();
        let mut callee = Probe::new(kind, LOOPBACK, 620, 440).unwrap();
        let answer = callee.answer(&caller.offer()).unwrap();
        caller.answered(&spoil(answer)).unwrap();
        let (until, hearing) = (Instant::now() + Duration::from_secs(20), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let other = scope.spawn(|| callee.talk(until, &hearing));
            let one = caller.talk(until, &hearing);
            // The other needs not wait for one who has given up.
            hearing.store(2, Ordering::Relaxed);
            [one, other.join().unwrap()]
        })
    }

    #[test]
    fn two_ends_of_a_kind_hear_each_other() {
        for kind in [ProbeKind::Phone, ProbeKind::Browser] {
            for found in call(kind, |answer| answer) {
                assert!(found.heard && found.keyed && found.received >= 20, "{kind:?}: {found:?}");
                assert_eq!((found.not_authentic, found.dtls_failure), (0, None));
            }
        }
    }

    #[test]
    fn a_description_that_is_of_no_use_says_why() {
        let browser = Probe::new(ProbeKind::Browser, LOOPBACK, 440, 620).unwrap().offer();
        let phone = Probe::new(ProbeKind::Phone, LOOPBACK, 440, 620).unwrap().offer();
        let line = |text: &str, start: &str| -> String {
            text.split_inclusive("\r\n").filter(|line| !line.starts_with(start)).collect()
        };
        let answer =
            |kind, offer: &str| Probe::new(kind, LOOPBACK, 620, 440).unwrap().answer(offer).unwrap_err();
        for (kind, offer, expected) in [
            (ProbeKind::Phone, "v".to_owned(), BadDescription::NoSdp),
            (ProbeKind::Phone, phone.replace("m=audio", "m=video"), BadDescription::NoSound),
            (
                ProbeKind::Phone,
                phone.replace("AVP 0\r\na=rtpmap:0 PCMU", "AVP 8\r\na=rtpmap:8 PCMA"),
                BadDescription::NoCodec,
            ),
            (ProbeKind::Phone, browser.clone(), BadDescription::Protocol("UDP/TLS/RTP/SAVPF".into())),
            (ProbeKind::Browser, phone.clone(), BadDescription::Protocol("RTP/AVP".into())),
            (ProbeKind::Browser, line(&browser, "a=fingerprint"), BadDescription::Missing("fingerprint")),
            (ProbeKind::Browser, line(&browser, "a=ice-pwd"), BadDescription::Missing("ICE credentials")),
        ] {
            assert_eq!(answer(kind, &offer), expected, "{offer}");
        }
    }

    #[test]
    fn only_its_tone_is_heard() {
        let tone = |hertz: u16| -> Vec<i16> {
            let tone = Tone::single(hertz, VOLUME);
            (0..HEARD as u32).map(|at| tone.sample(at, RATE)).collect()
        };
        assert!(share(&tone(440), 440.0) > 0.99);
        assert!(share(&tone(620), 440.0) < 0.01);
        assert!(share(&[0; HEARD], 440.0) < 0.01);
    }
}
