//! Nanoseconds per parse and per forward of an INVITE as JsSIP sends it (2.6 kB):
//! `cargo run --release -p signaling-core --example parse_bench`.
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a stopwatch for people")]

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use signaling_core::message::{Message, Name, Request, Uri, peek_call_id};

const ROUNDS: u32 = 200_000;

fn main() {
    let bytes = invite();
    println!("INVITE of {} bytes, {} header lines", bytes.len(), request(&bytes).len());
    measure("peek at the Call-ID", || {
        black_box(peek_call_id(&bytes));
    });
    measure("parse", || {
        black_box(request(&bytes));
    });
    measure("parse and write untouched", || {
        black_box(request(&bytes).to_bytes());
    });
    let target = Uri::parse("sip:bob@192.0.2.7:5060").expect("a URI");
    measure("parse, forward as a proxy does", || {
        black_box(forward(request(&bytes), &target));
    });
}

/// RFC 3261 §16.6 as far as the message goes: request-URI, Max-Forwards, Record-Route twice, Via.
fn forward(mut request: Request, target: &Uri) -> Bytes {
    request.stamp_source("198.51.100.3:49152".parse().expect("an address"), true).expect("a Via");
    let hops = request.max_forwards().unwrap_or(70).saturating_sub(1);
    request.set_uri(target);
    request.set(Name::MaxForwards, hops.to_string());
    request.prepend(Name::RecordRoute, "<sip:192.0.2.1:8443;transport=ws;r2=on;lr>");
    request.prepend(Name::RecordRoute, "<sip:192.0.2.1;r2=on;lr>");
    request.prepend(Name::Via, "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK4f2d;rport");
    request.to_bytes()
}

fn request(bytes: &Bytes) -> Request {
    match Message::parse(bytes.clone()) {
        Ok(Message::Request(request)) => request,
        other => panic!("{other:?}"),
    }
}

fn measure(what: &str, mut work: impl FnMut()) {
    for _ in 0..ROUNDS / 10 {
        work();
    }
    let start = Instant::now();
    for _ in 0..ROUNDS {
        work();
    }
    println!("{:>8} ns  {what}", start.elapsed().as_nanos() / u128::from(ROUNDS));
}

/// What JsSIP writes, with the SDP of a Chromium audio call.
fn invite() -> Bytes {
    let mut sdp = String::from(
        "v=0\r\no=- 4962303333179871723 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
         a=extmap-allow-mixed\r\na=msid-semantic: WMS 7c1d4c2e\r\nm=audio 54321 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126\r\n\
         c=IN IP4 198.51.100.3\r\na=rtcp:9 IN IP4 0.0.0.0\r\n",
    );
    for n in 0..10 {
        sdp.push_str(&format!(
            "a=candidate:{n}99061107 1 udp 2113937151 192.168.1.{n} 5432{n} typ host generation 0 network-cost 999\r\n"
        ));
    }
    sdp.push_str(
        "a=ice-ufrag:4ZcD\r\na=ice-pwd:2/1muCWoOi3uLifh0NuRHlX8\r\na=ice-options:trickle\r\n\
         a=fingerprint:sha-256 19:E2:1C:3B:4B:9F:81:E6:B8:5C:F4:A5:A8:D8:73:04:BB:05:2F:70:9F:04:A9:0E:05:E9:26:33:E8:70:88:A2\r\n\
         a=setup:actpass\r\na=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\n\
         a=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\na=rtpmap:9 G722/8000\r\n\
         a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:13 CN/8000\r\na=rtpmap:110 telephone-event/48000\r\n\
         a=rtpmap:126 telephone-event/8000\r\na=ssrc:3570614608 cname:4TOk42mSjXCkVIa6\r\n",
    );
    format!(
        "INVITE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/WSS u8hqbb6j5t1b.invalid;branch=z9hG4bK7514213\r\n\
         Max-Forwards: 69\r\nTo: <sip:bob@example.com>\r\nFrom: \"Alice\" <sip:alice@example.com>;tag=i4ol1g05gb\r\n\
         Call-ID: 1u2v2cqkcq5n4j7r0p4f\r\nCSeq: 4711 INVITE\r\n\
         Proxy-Authorization: Digest algorithm=MD5, username=\"alice\", realm=\"example.com\", \
         nonce=\"5f1b2c3d4e5f60718293a4b5c6d7e8f9\", uri=\"sip:bob@example.com\", \
         response=\"0123456789abcdef0123456789abcdef\", qop=auth, cnonce=\"3q1f0gq9d1ad\", nc=00000001\r\n\
         Contact: <sip:9kq5kdnl@u8hqbb6j5t1b.invalid;transport=ws;ob>\r\nContent-Type: application/sdp\r\n\
         Session-Expires: 90\r\nAllow: INVITE,ACK,CANCEL,BYE,UPDATE,MESSAGE,OPTIONS,REFER,INFO,NOTIFY\r\n\
         Supported: timer,gruu,ice,replaces,outbound\r\nUser-Agent: JsSIP 3.13.8\r\nContent-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    )
    .into()
}
