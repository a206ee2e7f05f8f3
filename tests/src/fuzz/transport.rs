//! What reaches the relay's ports before a call's keys are there: STUN, DTLS, and RTP as such.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use media_core::dtls::{Certificate, Dtls, DtlsConfig, DtlsEvent, Fingerprint};
use media_core::ice::{Credentials, IceAgent};
use media_core::jitter::Sequencer;
use media_core::packet::Packet;
use media_core::rtp::{self, Header, ReceiverStats, extension};
use media_core::srtp::DtlsRole;
use media_core::stun;

use super::media::MTU;

/// The first octet says whether the message is protected by the password, the rest is the message: without it nothing is
/// learnt and nothing is said, with it little.
pub fn stun(input: &[u8]) {
    let Some((sealed, message)) = input.split_first() else { return };
    let message = &message[..message.len().min(MTU)];
    let now = Instant::now();
    let known = |ufrag: &str, pwd: &str| Credentials { ufrag: ufrag.to_owned(), pwd: pwd.to_owned() };
    let (ours, theirs) =
        (known("OURS", "our-password-of-22-letters"), known("THEM", "the-password-of-22-letters"));
    let local = ([198, 51, 100, 1], 30_000).into();
    let source = ([192, 0, 2, 1], 4000).into();
    let mut agent = IceAgent::new(&ours, local, sealed & 2 != 0, sealed & 4 != 0, 7).expect("an agent");
    if sealed & 8 == 0 {
        agent.set_remote_credentials(now, &theirs);
    }
    let _ = (stun::route(message), stun::transaction_id(message), stun::is_request(message));
    let key = if sealed & 1 == 0 { "another password" } else { ours.pwd.as_str() };
    let made = stun::with_software(message, "fuzz", key.as_bytes());
    let said = made.as_deref().unwrap_or(message);
    let accepted = agent.handle_datagram(now, source, said);
    assert!(!accepted || sealed & 1 == 1, "nobody knows the password");
    assert_eq!(agent.has_proved(source), accepted);
    agent.handle_timeout(now);
    let answers: Vec<_> = std::iter::from_fn(|| agent.poll_transmit()).collect();
    assert!(answers.len() <= 2 && (accepted || answers.is_empty()), "{} answers", answers.len());
    assert!(answers.iter().all(|(_, answer)| answer.len() <= 200));
    while agent.poll_event().is_some() {}
}

/// Two ends of a handshake, made once: certificates are dear.
struct Ends {
    certificates: [Certificate; 2],
    configs: [DtlsConfig; 2],
}

impl Ends {
    fn new() -> Self {
        let certificate = || {
            let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
            let params = rcgen::CertificateParams::new(Vec::new()).expect("no names");
            let certificate = params.self_signed(&key).expect("a certificate");
            Certificate::new(certificate.der().to_vec(), key.serialize_der())
        };
        let config = |only_12| DtlsConfig::new(only_12).expect("a configuration").cautious();
        Self { certificates: [certificate(), certificate()], configs: [config(true), config(false)] }
    }

    fn pair(&self, only_12: bool, now: Instant) -> [Dtls; 2] {
        let config = &self.configs[usize::from(!only_12)];
        [(0, DtlsRole::Client), (1, DtlsRole::Server)].map(|(own, role)| {
            let mut dtls = Dtls::new(config, &self.certificates[own], role, now);
            let digest = self.certificates[1 - own].digest().to_vec();
            dtls.set_fingerprints(&[Fingerprint { hash: "sha-256".to_owned(), digest }]);
            dtls
        })
    }
}

/// A datagram on its way within a handshake: to the client or the server.
type Flight = (usize, Vec<u8>);

/// The first octet says which version and which end is meant, the second how far the handshake has come; the rest is a datagram,
/// or changes to the one whose turn it is. Nobody gets keys without the certificate, and little is said for much.
pub fn dtls(input: &[u8]) {
    thread_local!(static ENDS: RefCell<Option<Ends>> = const { RefCell::new(None) });
    let [how, steps, rest @ ..] = input else { return };
    let rest = &rest[..rest.len().min(MTU)];
    ENDS.with_borrow_mut(|ends| {
        let now = Instant::now();
        let mut pair = ends.get_or_insert_with(Ends::new).pair(how & 1 != 0, now);
        let mut flights = Vec::new();
        assert!(pair[0].handle_timeout(now).is_none());
        take(&mut pair, 0, &mut flights);
        let mut alive = true;
        for _ in 0..steps % 12 {
            alive &= step(&mut pair, &mut flights, now, |record| record);
        }
        let victim = usize::from(how & 2 != 0);
        if how & 4 != 0 {
            alive &= step(&mut pair, &mut flights, now, |record| changed(record, rest));
        } else {
            let _ = pair[victim].handle_datagram(now, rest);
            let before: usize = flights.iter().map(|(_, record)| record.len()).sum();
            let connected = take(&mut pair, victim, &mut flights);
            let said: usize = flights.iter().map(|(_, record)| record.len()).sum();
            assert!(said - before <= 8192, "{} octets for {}", said - before, rest.len());
            // The other end has said nothing since, so that it was no handshake that came to its end.
            assert!(!connected || steps % 12 > 2, "keys for a single datagram");
        }
        for _ in 0..20 {
            alive &= step(&mut pair, &mut flights, now, |record| record);
        }
        let _ = pair[victim].handle_timeout(now + Duration::from_millis(250));
        take(&mut pair, victim, &mut flights);
        assert!(flights.len() <= 64, "{} flights", flights.len());
        let _ = alive;
    });
}

/// Passes the next datagram on; false when its receiver gave up.
fn step(
    pair: &mut [Dtls; 2],
    flights: &mut Vec<Flight>,
    now: Instant,
    change: impl FnOnce(Vec<u8>) -> Vec<u8>,
) -> bool {
    if flights.is_empty() {
        return true;
    }
    let (to, record) = flights.remove(0);
    let lives = pair[to].handle_datagram(now, &change(record)).is_none();
    take(pair, to, flights);
    lives
}

/// Takes what an end has to say; whether it is connected now.
fn take(pair: &mut [Dtls; 2], from: usize, flights: &mut Vec<Flight>) -> bool {
    let mut connected = false;
    // An end has a bounded number of things to tell.
    for _ in 0..8 {
        match pair[from].poll(|record| flights.push((1 - from, record.to_vec()))) {
            Some(DtlsEvent::Connected(_)) => connected = true,
            Some(_) => {}
            None => return connected,
        }
    }
    panic!("an association tells without end");
}

/// Changes octets at the places that the pairs of `edits` name, or cuts the record there.
fn changed(mut record: Vec<u8>, edits: &[u8]) -> Vec<u8> {
    for edit in edits.chunks_exact(3).take(8) {
        let at = usize::from(u16::from_be_bytes([edit[0], edit[1]]));
        if record.is_empty() {
            break;
        }
        let place = at % record.len();
        match at >> 14 {
            0 | 1 => record[place] ^= edit[2],
            2 => record.truncate(place),
            _ => record.insert(place, edit[2]),
        }
    }
    record.truncate(MTU);
    record
}

/// Packets of a stream, in pieces that the first octet says: what is read of one is written the same, what is cut out of it leaves
/// the rest, and a stream of them is put into order with none lost or doubled.
pub fn rtp(input: &[u8]) {
    let Some((size, stream)) = input.split_first() else { return };
    let now = Instant::now();
    let (mut stats, mut order) = (ReceiverStats::new(8000), Sequencer::default());
    let (mut put, mut got) = (0, 0);
    for (number, bytes) in stream.chunks(usize::from(*size).max(12)).take(200).enumerate() {
        let mut packet = Packet::new();
        packet.fill(bytes).expect("it fits");
        let Ok(mut header) = Header::parse(bytes) else { continue };
        let mut same = bytes.to_vec();
        header.write(&mut same);
        assert_eq!(same, bytes, "a header is written as it was read");
        assert_eq!(header.csrcs(bytes).count(), usize::from(header.csrc_count()));
        if let Some(block) = header.extension() {
            assert!(block.offset + block.len <= bytes.len());
            assert!(extension::elements(block, bytes).all(|(_, data)| data.len() <= 255));
        }
        let payload = header.payload(bytes).map(<[u8]>::to_vec);
        let at = now + Duration::from_millis(number as u64);
        let _ = stats.on_packet(at, &header, payload.as_ref().map_or(0, Vec::len));
        if let Some(reception) = stats.report() {
            assert!((-(1 << 23)..1 << 23).contains(&reception.cumulative_lost));
        }
        rtp::strip_extension(&mut packet, &mut header);
        assert!(header.extension().is_none());
        assert_eq!(rtp::strip_padding(&mut packet, &mut header).is_ok(), payload.is_ok());
        let again = Header::parse(packet.as_slice()).expect("what is left is RTP");
        assert_eq!((again, header.payload(packet.as_slice()).ok()), (header, payload.as_deref().ok()));
        rtp::set_payload(&mut packet, &mut header, b"other").expect("it fits");
        assert_eq!(header.payload(packet.as_slice()), Ok(&b"other"[..]));
        put += usize::from(order.put(at, header.sequence_number, number).is_none());
        got += std::iter::from_fn(|| order.pop(at)).count();
        assert!(got <= put + 8, "{got} of {put}");
    }
    got += order.restart().count();
    assert!(got <= put + 8, "{got} of {put}");
}
