//! Phones on loopback for tests and benchmarks: a browser (ICE, DTLS-SRTP) and a legacy phone (plain RTP), each with
//! real sockets and as much SDP as it needs.

#![allow(dead_code, missing_docs, unreachable_pub, reason = "each user takes a part")]

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use media::{Relay, RelayConfig};
use media_core::command::{Command, Exchange, LegKind, Replace, Side};
use media_core::demux::{Kind, classify};
use media_core::dtls::{Certificate, Dtls, DtlsConfig, DtlsEvent, Fingerprint};
use media_core::ice::{Credentials, IceAgent, IceEvent};
use media_core::packet::Packet;
use media_core::rtp::Header;
use media_core::srtp::{DtlsRole, SrtpContext};

/// What an SDP says, line by line.
pub struct Sdp<'a>(pub &'a str);

impl<'a> Sdp<'a> {
    pub fn attribute(&self, name: &str) -> Option<&'a str> {
        self.0.lines().find_map(|line| line.strip_prefix("a=")?.strip_prefix(name)?.strip_prefix(':'))
    }

    pub fn candidates(&self) -> Vec<&'a str> {
        self.0.lines().filter_map(|line| line.strip_prefix("a=candidate:")).collect()
    }

    pub fn audio_port(&self) -> u16 {
        let line = self.0.lines().find(|line| line.starts_with("m=audio ")).expect("audio");
        line.split(' ').nth(1).and_then(|port| port.parse().ok()).expect("a port")
    }
}

/// A relay of two workers on a range of ports that nobody uses now, with the ng protocol on any port.
pub fn relay(config: RelayConfig) -> Relay {
    let mut first = 20_000 + (std::process::id() as u16 % 97) * 100;
    loop {
        let config = RelayConfig {
            port_min: first,
            port_max: first + 400,
            workers: 2,
            listen_ng: Some("127.0.0.1:0".parse().expect("an address")),
            ..config.clone()
        };
        match Relay::start(config) {
            Ok(relay) => return relay,
            Err(error) if first > 50_000 => panic!("no ports: {error}"),
            Err(_) => first += 401,
        }
    }
}

pub fn certificate() -> Certificate {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
    let params = rcgen::CertificateParams::new(Vec::new()).expect("no names");
    let certificate = params.self_signed(&key).expect("a certificate");
    Certificate::new(certificate.der().to_vec(), key.serialize_der())
}

/// One phone.
pub struct Phone {
    pub kind: LegKind,
    pub socket: UdpSocket,
    pub rtcp: Option<UdpSocket>,
    /// Where the relay wants our packets.
    pub relay: Option<SocketAddr>,
    pub heard: u64,
    pub last_payload: Vec<u8>,
    pub heard_rtcp: u64,
    pub srtp: Option<SrtpContext>,
    credentials: Credentials,
    certificate: Certificate,
    config: DtlsConfig,
    ice: Option<IceAgent>,
    dtls: Option<Dtls>,
    selected: Option<SocketAddr>,
    ssrc: u32,
    sequence_number: u16,
    timestamp: u32,
    packet: Packet,
    codec: SpokenCodec,
}

/// What a phone speaks.
#[derive(Clone, Copy)]
pub struct SpokenCodec {
    pub payload_type: u8,
    pub rtpmap: &'static str,
    /// Timestamp units of 20 ms.
    pub step: u32,
}

pub const PCMU: SpokenCodec = SpokenCodec { payload_type: 0, rtpmap: "PCMU/8000", step: 160 };
pub const OPUS: SpokenCodec = SpokenCodec { payload_type: 111, rtpmap: "opus/48000/2", step: 960 };

impl Phone {
    pub fn new(kind: LegKind, certificate: &Certificate, number: u32) -> Phone {
        let open = || {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            socket.set_nonblocking(true).expect("non-blocking");
            socket
        };
        Phone {
            kind,
            socket: open(),
            rtcp: (kind == LegKind::Legacy).then(open),
            relay: None,
            heard: 0,
            last_payload: Vec::new(),
            heard_rtcp: 0,
            srtp: None,
            credentials: Credentials::random(&mut rand::rng()),
            certificate: certificate.clone(),
            config: DtlsConfig::new(false).expect("a configuration"),
            ice: None,
            dtls: None,
            selected: None,
            ssrc: 1000 + number,
            sequence_number: 1,
            timestamp: 0,
            packet: Packet::new(),
            codec: PCMU,
        }
    }

    /// The same phone with another codec.
    pub fn speaking(self, codec: SpokenCodec) -> Phone {
        Phone { codec, ..self }
    }

    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("bound")
    }

    /// Its SDP, as an offer or an answer.
    pub fn sdp(&self, offer: bool) -> String {
        let port = self.address().port();
        let SpokenCodec { payload_type, rtpmap, .. } = self.codec;
        let head = "v=0\r\no=- 7 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n";
        if self.kind == LegKind::Legacy {
            let rtcp = self
                .rtcp
                .as_ref()
                .and_then(|socket| socket.local_addr().ok())
                .map_or(port + 1, |at| at.port());
            return format!(
                "{head}m=audio {port} RTP/AVP {payload_type} 101\r\na=rtcp:{rtcp}\r\na=rtpmap:{payload_type} {rtpmap}\r\n\
                 a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=sendrecv\r\n"
            );
        }
        let setup = if offer { "actpass" } else { "active" };
        format!(
            "{head}a=group:BUNDLE 0\r\nm=audio {port} UDP/TLS/RTP/SAVPF {payload_type} 126\r\na=rtcp-mux\r\na=mid:0\r\n\
             a=rtpmap:{payload_type} {rtpmap}\r\na=rtpmap:126 telephone-event/8000\r\na=fmtp:126 0-16\r\na=sendrecv\r\n\
             a=ice-ufrag:{}\r\na=ice-pwd:{}\r\na=fingerprint:sha-256 {}\r\na=setup:{setup}\r\n\
             a=candidate:1 1 udp 2130706431 127.0.0.1 {port} typ host\r\n\
             a=candidate:2 1 udp 2130706430 0e7f9b2c-1d6a.local {port} typ host\r\n",
            self.credentials.ufrag,
            self.credentials.pwd,
            self.certificate.fingerprint(),
        )
    }

    /// Takes the relay's SDP, an answer to ours or an offer.
    pub fn take_sdp(&mut self, sdp: &str, offer: bool) {
        let sdp = Sdp(sdp);
        let now = Instant::now();
        self.relay = Some(SocketAddr::from(([127, 0, 0, 1], sdp.audio_port())));
        if self.kind == LegKind::Legacy {
            return;
        }
        let relay = Credentials {
            ufrag: sdp.attribute("ice-ufrag").expect("ufrag").to_owned(),
            pwd: sdp.attribute("ice-pwd").expect("pwd").to_owned(),
        };
        let (hash, digits) =
            sdp.attribute("fingerprint").and_then(|value| value.split_once(' ')).expect("a fingerprint");
        let digest =
            digits.split(':').map(|pair| u8::from_str_radix(pair, 16).expect("hexadecimal")).collect();
        // Who offered to us is controlling; we answered `active`.
        let role = match sdp.attribute("setup") {
            Some("active") => DtlsRole::Server,
            _ => DtlsRole::Client,
        };
        let mut ice = IceAgent::new(&self.credentials, self.address(), !offer, false, 1).expect("an agent");
        ice.set_remote_credentials(now, &relay);
        for candidate in sdp.candidates() {
            ice.add_remote_candidate(candidate);
        }
        let mut dtls = Dtls::new(&self.config, &self.certificate, role, now);
        dtls.set_fingerprints(&[Fingerprint { hash: hash.to_owned(), digest }]);
        (self.ice, self.dtls) = (Some(ice), Some(dtls));
    }

    /// Whether media can be sent.
    pub fn is_ready(&self) -> bool {
        self.relay.is_some() && (self.kind == LegKind::Legacy || self.srtp.is_some())
    }

    /// Does what can be done now.
    pub fn pump(&mut self) {
        let now = Instant::now();
        while let Ok((len, from)) = self.socket.recv_from(self.packet.receive_space()) {
            self.packet.set_received(len);
            self.hear(now, from);
        }
        if let Some(rtcp) = &self.rtcp {
            let mut buffer = [0; 1500];
            while rtcp.recv_from(&mut buffer).is_ok() {
                self.heard_rtcp += 1;
            }
        }
        if self.kind == LegKind::Browser {
            self.drive(now);
        }
    }

    fn hear(&mut self, now: Instant, from: SocketAddr) {
        match classify(self.packet.as_slice()) {
            Kind::Stun => {
                if let Some(ice) = self.ice.as_mut() {
                    ice.handle_datagram(now, from, self.packet.as_slice());
                }
            }
            Kind::Dtls => {
                if let Some(dtls) = self.dtls.as_mut() {
                    dtls.handle_datagram(now, self.packet.as_slice());
                }
            }
            Kind::Rtp => {
                if self.kind == LegKind::Browser {
                    let Some(srtp) = self.srtp.as_mut() else { return };
                    srtp.unprotect(&mut self.packet).expect("authentic");
                }
                let header = Header::parse(self.packet.as_slice()).expect("RTP");
                self.heard += 1;
                self.last_payload.clear();
                self.last_payload
                    .extend_from_slice(header.payload(self.packet.as_slice()).expect("a payload"));
            }
            Kind::Rtcp => {
                if let Some(srtp) = self.srtp.as_mut() {
                    srtp.unprotect_rtcp(&mut self.packet).expect("authentic");
                }
                self.heard_rtcp += 1;
            }
            Kind::Unknown => panic!("the relay sent something unknown"),
        }
    }

    fn drive(&mut self, now: Instant) {
        let (Some(ice), Some(dtls)) = (self.ice.as_mut(), self.dtls.as_mut()) else { return };
        if ice.poll_timeout().is_some_and(|at| at <= now) {
            ice.handle_timeout(now);
        }
        while let Some(event) = ice.poll_event() {
            if let IceEvent::Selected(to) = event {
                self.selected = Some(to);
            }
        }
        while let Some((to, octets)) = ice.poll_transmit() {
            self.socket.send_to(&octets, to).expect("sent");
        }
        let Some(to) = self.selected else { return };
        if dtls.poll_timeout().is_none_or(|at| at <= now) {
            dtls.handle_timeout(now);
        }
        let socket = &self.socket;
        while let Some(event) = dtls.poll(|record| drop(socket.send_to(record, to))) {
            match event {
                DtlsEvent::Connected((local, remote)) => self.srtp = Some(SrtpContext::new(&local, &remote)),
                DtlsEvent::Failed(why) => panic!("DTLS: {why}"),
                DtlsEvent::Closed => self.srtp = None,
            }
        }
    }

    pub fn say(&mut self, payload: &[u8]) {
        let (Some(relay), true) = (self.relay, self.is_ready()) else { return };
        self.sequence_number = self.sequence_number.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(self.codec.step);
        let header = Header::new(self.codec.payload_type, self.sequence_number, self.timestamp, self.ssrc);
        header.start(&mut self.packet, payload).expect("it fits");
        if let Some(srtp) = self.srtp.as_mut() {
            srtp.protect(&mut self.packet).expect("protected");
        }
        let to = self.selected.unwrap_or(relay);
        drop(self.socket.send_to(self.packet.as_slice(), to));
    }
}

/// The offer or answer of `from` in call `call_id`.
pub fn exchange(call_id: &str, offer: bool, from: &Phone, to: &Phone, sdp: &str) -> Command {
    let side = |phone: &Phone| Side {
        kind: Some(phone.kind),
        announce: Some([127, 0, 0, 1].into()),
        ..Side::default()
    };
    let exchange = Box::new(Exchange {
        call_id: call_id.to_owned(),
        from_tag: "caller".to_owned(),
        to_tag: (!offer).then(|| "callee".to_owned()),
        via_branch: Some("z9hG4bK1".to_owned()),
        sdp: sdp.as_bytes().to_vec().into(),
        sender: side(from),
        receiver: side(to),
        replace: Replace::ALL,
        ..Exchange::default()
    });
    if offer { Command::Offer(exchange) } else { Command::Answer(exchange) }
}

/// Waits for a future without an executor: its end wakes this thread.
pub fn wait<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::task::Waker::from(std::sync::Arc::new(Unpark(std::thread::current())));
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => std::thread::park_timeout(Duration::from_secs(5)),
        }
    }
}
