//! What a packet of 20 ms costs to convert: `cargo run --release --package media-core --example transcode_bench`. The best
//! of many rounds, so that what else the machine does is left out.
#![expect(clippy::print_stdout, reason = "printing the figures is what it is for")]
#![expect(clippy::disallowed_methods, reason = "it measures wall time")]

use std::hint::black_box;
use std::time::Instant;

use media_core::codec::Format;
use media_core::sdp::Codec;
use media_core::transcode::{Content, Received, Silence, Transcoder};

/// Packets of a round: a second of sound.
const PACKETS: u32 = 50;
const ROUNDS: u32 = 100;

fn main() {
    let rtpmaps = ["0 PCMU/8000", "9 G722/8000", "111 opus/48000/2"];
    let formats =
        rtpmaps.map(|it| Format::of(&Codec::parse_rtpmap(it).expect("an rtpmap"), None).expect("a codec"));
    println!("| from | to | µs per packet | calls of two ways per core |\n|---|---|---|---|");
    for from in formats {
        for to in formats.into_iter().filter(|to| *to != from) {
            report(from, to, false);
        }
    }
    report(formats[0], formats[0], true);
}

fn report(from: Format, to: Format, keys: bool) {
    let packets = voice(from);
    let mut transcoder =
        Transcoder::new(from, to).expect("a transcoder").with(&Silence::default(), keys, false);
    let (begin, mut made, mut best) = (Instant::now(), 0, f64::MAX);
    for round in 0..ROUNDS {
        let start = Instant::now();
        for (at, payload) in (round * PACKETS..).zip(&packets) {
            let timestamp = at * from.clock / 50;
            let received = Received { content: Content::Sound(from), timestamp, payload, lost: 0 };
            transcoder.take(begin, &received, &mut |_, payload| made += black_box(payload).len());
        }
        best = best.min(start.elapsed().as_secs_f64());
    }
    assert!(made > 0);
    let micros = best * 1e6 / f64::from(PACKETS);
    let what = if keys { ", keys heard" } else { "" };
    // Both directions of a call are 100 packets a second.
    println!("| {:?} | {:?}{what} | {micros:.1} | {:.0} |", from.coding, to.coding, 1e6 / (100.0 * micros));
}

/// A second of something like a voice.
fn voice(format: Format) -> Vec<Vec<u8>> {
    let rate = format.rate().unwrap_or(48_000);
    let mut encoder = format.encoder(rate).expect("an encoder");
    let mut payload = [0; 1500];
    let mut packets = Vec::new();
    for packet in 0..50 {
        let samples = (0..rate / 50).map(|at| {
            let time = f64::from(packet * (rate / 50) + at) / f64::from(rate);
            let pitch =
                (1..20).map(|n| (std::f64::consts::TAU * 130.0 * f64::from(n) * time).sin() / f64::from(n));
            (6000.0 * pitch.sum::<f64>() * (0.5 - 0.5 * (std::f64::consts::TAU * 4.0 * time).cos())) as i16
        });
        let pcm: Vec<i16> = samples.collect();
        packets.extend(encoder.encode(&pcm, &mut payload).map(|len| payload[..len].to_vec()));
    }
    packets
}
