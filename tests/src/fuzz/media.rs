//! The relay: SDP, the control protocol, and every kind of datagram.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use media_core::command::{Cause, Command, Delete, Exchange, LegKind, Replace, Reply, Side};
use media_core::demux::{Kind, classify, classify_separate};
use media_core::dtmf::{Detector, Event, EventRewriter};
use media_core::ng::{self, DecodeError, Encoding};
use media_core::packet::Packet;
use media_core::rtp::Header;
use media_core::sdp::{Description, Sdp};
use media_core::srtp::{MasterKey, Profile, SrtpContext};
use media_core::{rtcp, stun};

use crate::sim::relay::Relay;
use crate::sim::{GATEWAY, World};

/// The largest datagram.
pub(super) const MTU: usize = 1500;

/// A description: every line of it is a line of the input, in order, and all octets are kept.
pub fn sdp(input: &[u8]) {
    let text = Bytes::copy_from_slice(input);
    let Ok(sdp) = Sdp::parse(text.clone()) else {
        assert!(Description::parse(text).is_err());
        return;
    };
    assert_eq!(sdp.as_bytes(), &text);
    let section = |index| sdp.media(index).count() + sdp.session_behind(index).count();
    let sections: usize = (0..sdp.media_count()).map(section).sum();
    assert_eq!(sdp.lines().count(), sdp.session().count() + sections);
    for line in sdp.lines() {
        let _ = (line.attribute(), line.attribute_name());
    }
    if let Ok(description) = Description::parse(text) {
        assert_eq!(description.media.len(), sdp.media_count());
    }
}

/// The first octet says from what kind of end to what, the rest is its offer: what the relay writes can be read, is
/// bounded, and is freed.
pub fn offer(input: &[u8]) {
    thread_local!(static RELAY: RefCell<Option<(std::rc::Rc<Relay>, usize)>> = const { RefCell::new(None) });
    let Some((kinds, sdp)) = input.split_first() else { return };
    RELAY.with_borrow_mut(|kept| {
        let (relay, count) = kept.take().unwrap_or_else(|| {
            (Relay::new([7; 32], std::time::Instant::now(), Duration::from_secs(1_700_000_000)), 0)
        });
        exchange_and_free(&relay, *kinds, sdp);
        // Ports rest for a while after a call, and the clock stands still here.
        *kept = (count < 500).then_some((relay, count + 1));
    });
}

fn exchange_and_free(relay: &Relay, kinds: u8, sdp: &[u8]) {
    let kind = |bit: u8| if kinds & bit == 0 { LegKind::Legacy } else { LegKind::Browser };
    let side = |bit| Side { kind: Some(kind(bit)), announce: Some(GATEWAY), ..Side::default() };
    let mut exchange = Exchange {
        call_id: "call".to_owned(),
        from_tag: "a".to_owned(),
        sdp: Bytes::copy_from_slice(sdp),
        sender: side(1),
        receiver: side(2),
        replace: Replace::ALL,
        ..Exchange::default()
    };
    let now = relay.now.get();
    let written = |reply: Reply| match reply {
        Reply::Sdp { sdp: written, .. } => {
            assert!(written.len() <= 2 * sdp.len() + 16_384, "{} for {}", written.len(), sdp.len());
            Description::parse(written.clone()).expect("what is written can be read");
            Some(written)
        }
        Reply::Error(failure) => {
            assert!(failure.cause != Cause::Internal, "{failure}");
            None
        }
        other => panic!("no answer to an offer: {other:?}"),
    };
    let mut engine = relay.engine.borrow_mut();
    let offered = written(engine.handle_command(now, &Command::Offer(Box::new(exchange.clone()))));
    if let Some(offered) = offered {
        // The same again as answer, as a peer that mirrors everything would have it.
        exchange.to_tag = Some("b".to_owned());
        std::mem::swap(&mut exchange.sender, &mut exchange.receiver);
        for answer in [exchange.sdp.clone(), offered] {
            exchange.sdp = answer;
            written(engine.handle_command(now, &Command::Answer(Box::new(exchange.clone()))));
        }
    }
    let delete = Delete { call_id: "call".to_owned(), fast: true, ..Delete::default() };
    engine.handle_command(now, &Command::Delete(delete));
    while engine.poll_transmit().is_some() {}
    let stats = engine.stats();
    assert_eq!((stats.calls_created, stats.legs_opened), (stats.calls_ended, stats.legs_closed));
    assert_eq!(relay.sockets.count(), relay.idle_sockets);
}

/// A stream of control messages: where it is cut into pieces changes nothing, no octet is lost but blanks between messages,
/// and every message found is one that the decoder answers.
pub fn ng_stream(input: &[u8]) {
    let cut = |size: usize| {
        let mut framer = ng::Framer::default();
        let mut messages = Vec::new();
        for piece in input.chunks(size) {
            framer.push(piece);
            loop {
                match framer.message() {
                    Ok(Some(message)) => messages.push(message),
                    Ok(None) => break,
                    Err(unframed) => return (messages, Some(unframed)),
                }
            }
        }
        (messages, None)
    };
    let whole = cut(input.len().max(1));
    for size in [1, 2, 3, 7, 64] {
        assert_eq!(cut(size), whole, "in pieces of {size}");
    }
    let solid = |octets: &[u8]| octets.iter().filter(|octet| !octet.is_ascii_whitespace()).count();
    let found: usize = whole.0.iter().map(|message| solid(message)).sum();
    assert!(found <= solid(input));
    for message in &whole.0 {
        assert_ne!(ng::decode(message), Err(DecodeError::NoCookie), "{}", message.escape_ascii());
        ng(message);
    }
    if let Some(cookie) = whole.1.and_then(|unframed| unframed.cookie) {
        assert!(!cookie.contains(&b' ') && !cookie.is_empty());
    }
}

/// A control message: refused in words, or a command whose reply can be written in its encoding.
pub fn ng(input: &[u8]) {
    let (cookie, encoding) = match ng::decode(input) {
        Ok(message) => (message.cookie, message.encoding),
        Err(DecodeError::NoCookie) => return,
        Err(DecodeError::Refused { cookie, encoding, failure }) => {
            let reply = ng::encode(&cookie, &Reply::Error(failure), encoding);
            assert!(reply.len() <= 2 * input.len() + 1024, "a refusal is no amplifier");
            (cookie, encoding)
        }
    };
    assert!(input.starts_with(&cookie));
    let sdp = Bytes::copy_from_slice(input);
    let warnings = vec![String::from_utf8_lossy(input).into_owned()];
    let reply = ng::encode(&cookie, &Reply::Sdp { sdp, warnings }, encoding);
    assert!(reply.starts_with(&cookie));
    if encoding == Encoding::Json {
        let body = &reply[cookie.len() + 1..];
        serde_json::from_slice::<serde_json::Value>(body).expect("JSON");
    }
}

/// A value in bencode, alone, as the value of each key that is read, and as what a text holds: whatever it is, it is refused in
/// words or read, and a text comes out as it went in.
pub fn bencode(input: &[u8]) {
    let wrapped = |head: &[u8], tail: &[u8]| [b"0 ", head, input, tail].concat();
    ng(&wrapped(b"", b""));
    for key in ["command", "call-id", "flags", "sdp", "codec", "SDES", "received-from"] {
        let head = format!("d7:command5:offer7:call-id1:x8:from-tag1:a{}:{key}", key.len());
        ng(&wrapped(head.as_bytes(), b"e"));
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    let message = format!("0 d7:call-id{}:{text}7:command5:querye", text.len());
    match ng::decode(message.as_bytes()) {
        Ok(message) => assert_eq!(message.command.call_id(), Some(text)),
        Err(error) => assert!(text.is_empty() || text.len() > 255, "{error}"),
    }
}

/// The first octet says who sends to which port, and whether it is protected first; the rest is the datagram. The call of a
/// browser and a phone goes on, and one datagram makes few.
pub fn datagram(input: &[u8]) {
    thread_local!(static WORLD: RefCell<Option<(World, usize)>> = const { RefCell::new(None) });
    let Some((way, bytes)) = input.split_first() else { return };
    let bytes = &bytes[..bytes.len().min(MTU)];
    let _ = (classify(bytes), classify_separate(bytes), stun::route(bytes), stun::transaction_id(bytes));
    WORLD.with_borrow_mut(|kept| {
        let (mut world, count) = kept.take().unwrap_or_else(|| (talking(), 0));
        let side = usize::from(way & 1);
        let mut to = world.phones[side].audio.relay().expect("it is in a call");
        to.set_port(to.port() + u16::from(way >> 1 & 1));
        let own = world.phones[side].audio.address;
        let from = if way & 4 == 0 { own } else { SocketAddr::from(([203, 0, 113, 66], 5000)) };
        let sealed = (way & 8 != 0).then(|| world.phones[side].audio.seal(bytes)).flatten();
        let now = world.now();
        world.network.send_media(now, own, from, to, sealed.unwrap_or_else(|| bytes.to_vec()));
        let before = world.relay.stats();
        world.run(Duration::from_millis(1));
        let after = world.relay.stats();
        assert!(after.forwarded - before.forwarded <= 1, "one packet becomes one packet");
        if count < 250 {
            *kept = Some((world, count + 1));
            return;
        }
        still_talking(&mut world);
    });
}

/// A browser and a phone in a call, both silent at the moment.
fn talking() -> World {
    let mut world = World::of_kinds(1, LegKind::Browser, LegKind::Legacy);
    world.recording = false;
    world.phones.iter_mut().for_each(|phone| phone.audio.talking = true);
    world.act(0, |phone, now| phone.invite(now, "bob", "call-1", None));
    let heard = |world: &World| world.phones.iter().all(|phone| phone.audio.heard.len() > 5);
    assert!(world.run_until(Duration::from_secs(10), heard), "a call");
    world.phones.iter_mut().for_each(|phone| phone.audio.talking = false);
    world
}

/// After all that, each still hears the other.
fn still_talking(world: &mut World) {
    for phone in &mut world.phones {
        phone.audio.talking = true;
        phone.audio.heard.clear();
        phone.audio.spoken.clear();
    }
    world.run(Duration::from_secs(10));
    for side in 0..2 {
        let spoken = &world.phones[1 - side].audio.spoken;
        let heard = world.phones[side].audio.heard.iter().filter(|packet| spoken.contains(packet)).count();
        assert!(heard * 100 >= spoken.len() * 90, "side {side} heard {heard} of {}", spoken.len());
    }
    world.act(0, |phone, now| phone.hang_up(now));
    world.run(Duration::from_secs(60));
    world.assert_nothing_left("after the datagrams");
}

/// A datagram of somebody without the keys opens in no profile and changes nothing; one with the keys opens as it was.
pub fn srtp(input: &[u8]) {
    let bytes = &input[..input.len().min(MTU)];
    for profile in [
        Profile::Aes128CmHmacSha1_80,
        Profile::Aes128CmHmacSha1_32,
        Profile::AeadAes128Gcm,
        Profile::AeadAes256Gcm,
    ] {
        let key = |octet: u8| {
            MasterKey::new(profile, &vec![octet; profile.key_len()], &vec![octet; profile.salt_len()])
                .expect("a key")
        };
        let (mut sender, mut receiver) =
            (SrtpContext::new(&key(1), &key(2)), SrtpContext::new(&key(2), &key(1)));
        let mut stranger = Packet::new();
        stranger.fill(bytes).expect("it fits");
        // Four octets of tag can be guessed by a fuzzer that lives long enough.
        if profile.rtp_overhead() > 4 {
            assert!(receiver.unprotect(&mut stranger).is_err());
        }
        stranger.fill(bytes).expect("it fits");
        assert!(receiver.unprotect_rtcp(&mut stranger).is_err());
        let mut own = Packet::new();
        own.fill(bytes).expect("it fits");
        match classify(bytes) {
            Kind::Rtp if sender.protect(&mut own).is_ok() => {
                assert!(own.as_slice().len() <= bytes.len() + profile.rtp_overhead());
                receiver.unprotect(&mut own).expect("it is authentic");
                assert_eq!(own.as_slice(), bytes);
            }
            Kind::Rtcp if sender.protect_rtcp(&mut own).is_ok() => {
                receiver.unprotect_rtcp(&mut own).expect("it is authentic");
                assert_eq!(own.as_slice(), bytes);
            }
            _ => {}
        }
    }
}

/// RTCP: bounded by its length, and the parts make the whole.
pub fn rtcp(input: &[u8]) {
    let Ok(raw) = rtcp::parse_raw(input) else {
        assert!(rtcp::parse(input).is_err());
        return;
    };
    assert!(raw.count() <= input.len() / 4);
    let packets = rtcp::parse(input).expect("each part was checked");
    for packet in packets {
        match packet {
            rtcp::RtcpPacket::SenderReport(report) => {
                for block in report.reports.iter() {
                    assert_eq!(rtcp::ReportBlock::from_bytes(&block.to_bytes()), block);
                }
            }
            other => assert!(!format!("{other:?}").is_empty()),
        }
    }
}

/// RTP with telephone-events: the payload, its recognition, and its way to another clock.
pub fn telephone_event(input: &[u8]) {
    if let Some(event) = Event::parse(input) {
        assert_eq!(Event::parse(&event.to_bytes()), Some(event));
        let _ = event.digit();
    }
    let now = std::time::Instant::now();
    let (mut detector, mut rewriter) = (Detector::new(8000), EventRewriter::new(110, 8000, 48_000));
    let mut keys = 0;
    for (number, bytes) in input.chunks(20).enumerate() {
        let mut packet = Packet::new();
        packet.fill(bytes).expect("it fits");
        let Ok(mut header) = Header::parse(packet.as_slice()) else { continue };
        let mut same = bytes.to_vec();
        header.write(&mut same);
        assert_eq!(same, bytes, "a header is written as it was read");
        let Ok(payload) = header.payload(bytes) else { continue };
        let Some(event) = Event::parse(payload) else { continue };
        let at = now + Duration::from_millis(20 * number as u64);
        keys += detector.on_packet(at, &header, event).count();
        let timestamp = header.timestamp.wrapping_mul(6);
        if let Ok(rewritten) = rewriter.rewrite(&mut packet, &mut header, timestamp) {
            let read = Header::parse(packet.as_slice()).expect("RTP");
            assert_eq!((read.payload_type, read.timestamp), (110, header.timestamp));
            assert_eq!(read.payload(packet.as_slice()).ok().and_then(Event::parse), Some(rewritten));
        }
        let _ = detector.handle_timeout(at);
    }
    assert!(keys <= input.len() / 8 + 1, "a packet finishes at most two keys");
}
