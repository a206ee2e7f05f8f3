//! Speech through calls whose ends share no codec, by how much of it is left: as the relay leads them by itself, and over ng.

use std::time::Duration;

use super::bed::settings;
use super::mirror::{A, B, Ng};
use crate::codec::Format;
use crate::codec::resample::Resampler;
use crate::command::{Exchange, LegKind, Side};
use crate::packet::Packet;
use crate::rtp::Header;
use crate::sdp::Codec;
use crate::testing::{likeness, voice};

const PCMU: &str = "0 PCMU/8000";
const PCMA: &str = "8 PCMA/8000";
const G722: &str = "9 G722/8000";
const OPUS: &str = "111 opus/48000/2";

/// At this rate all delays of filters are whole.
const FINE: u32 = 48_000;

/// What is compared, in samples at [`FINE`]: a syllable, once the codecs have settled.
const PIECE: std::ops::Range<usize> = 14_400..28_800;

fn format(rtpmap: &str) -> Format {
    Format::of(&Codec::parse_rtpmap(rtpmap).expect("an rtpmap"), None).expect("a format")
}

fn number(rtpmap: &str) -> u8 {
    rtpmap.split(' ').next().and_then(|number| number.parse().ok()).expect("a number")
}

fn description(end: &str, rtpmap: &str) -> String {
    let text = super::mirror::sdp(end, "RTP/AVP", &format!("a=rtpmap:{rtpmap}\n"));
    text.replace("RTP/AVP 0\r\n", &format!("RTP/AVP {}\r\n", number(rtpmap)))
}

fn rate(format: Format) -> u32 {
    format.rate().unwrap_or(FINE)
}

/// A call of A, who has one codec, and B, who has another.
fn call(by_ng: bool, from: &str, to: &str) -> Ng {
    let mut ng = Ng::new(settings());
    let wish = |codec: &str| {
        let name = codec.split(' ').nth(1).unwrap_or_default().to_owned();
        move |exchange: &mut Exchange| {
            exchange.codec.transcode = vec![name];
            if !by_ng {
                let side = Side { kind: Some(LegKind::Legacy), ..Side::default() };
                (exchange.sender, exchange.receiver) = (side.clone(), side);
            }
        }
    };
    ng.exchange(true, B, &description(A, from), wish(to));
    ng.exchange(false, A, &description(B, to), wish(to));
    ng
}

/// How far a voice of A stands above what B hears beside it, dB.
fn heard(by_ng: bool, from: &str, to: &str) -> f64 {
    let (mut ng, format_in, format_out) = (call(by_ng, from, to), format(from), format(to));
    let (rate_in, rate_out) = (rate(format_in), rate(format_out));
    let mut encoder = format_in.encoder(rate_in).expect("an encoder");
    let mut decoder = format_out.decoder(rate_out).expect("a decoder");
    let mut fine = Resampler::new(rate_out, FINE);
    let (mut payload, mut pcm, mut heard) = ([0; 1500], vec![0; rate_out as usize / 4], Vec::new());
    for (at, piece) in voice(rate_in, rate_in as usize).chunks_exact(rate_in as usize / 50).enumerate() {
        let len = encoder.encode(piece, &mut payload).expect("a payload");
        let at = u32::try_from(at).expect("few");
        let header = Header::new(number(from), at as u16, at * format_in.clock / 50, 7);
        let mut packet = Packet::new();
        header.start(&mut packet, &payload[..len]).expect("it fits");
        let sent = ng.say(A, packet.as_slice()).into_iter().chain(ng.pass(Duration::from_millis(20)));
        for (_, _, octets) in sent.filter(|(_, end, _)| end.to_string() == B) {
            let header = Header::parse(&octets).expect("RTP");
            assert_eq!(header.payload_type, number(to));
            let len = decoder.decode(header.payload(&octets).expect("a payload"), &mut pcm).expect("samples");
            match fine.as_mut() {
                Some(fine) => fine.process(&pcm[..len], |sample| heard.push(sample)),
                None => heard.extend_from_slice(&pcm[..len]),
            }
        }
    }
    let spoken = voice(FINE, PIECE.end);
    likeness(&spoken[PIECE], &heard[PIECE.start..], 2000).0
}

/// A little under what was measured: Opus does not keep the shape of a wave, only its sound.
#[test]
fn a_voice_is_the_same_on_the_other_side() {
    for (from, to, least) in [
        (OPUS, PCMU, 12.0),
        (PCMU, OPUS, 12.0),
        (OPUS, PCMA, 12.0),
        (PCMA, OPUS, 12.0),
        (OPUS, G722, 12.0),
        (G722, OPUS, 12.0),
        (PCMU, G722, 24.0),
        (G722, PCMU, 24.0),
    ] {
        for by_ng in [false, true] {
            let like = heard(by_ng, from, to);
            assert!(like >= least, "{from} to {to}, ng: {by_ng}: {like:.1} dB");
        }
    }
}
