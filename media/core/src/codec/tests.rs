//! Every codec and every ratio of rates, by what is heard.

use super::resample::Resampler;
use super::*;
use crate::testing::{likeness, tone, tone_above_rest, voice};

fn format(rtpmap: &str) -> Format {
    Format::of(&sdp::Codec::parse_rtpmap(rtpmap).expect("an rtpmap"), None).expect("a format")
}

/// Through an encoder and a decoder, in packets of 20 ms.
fn through(format: Format, rate: u32, pcm: &[i16]) -> Vec<i16> {
    let mut encoder = format.encoder(rate).expect("an encoder");
    let mut decoder = format.decoder(rate).expect("a decoder");
    assert_eq!((encoder.rate(), decoder.rate()), (rate, rate));
    let (mut payload, mut out) = ([0; 1500], vec![0; rate as usize / 8]);
    let mut heard = Vec::new();
    for packet in pcm.chunks_exact(rate as usize / 50) {
        let len = encoder.encode(packet, &mut payload).expect("a payload");
        let got = decoder.decode(&payload[..len], &mut out).expect("samples");
        assert_eq!(got, packet.len());
        heard.extend_from_slice(&out[..got]);
    }
    heard
}

/// By codec and sample rate: the SNR of a tone of 1 kHz and that of a voice, both a little under what was measured.
const QUALITY: [(&str, u32, f64, f64); 8] = [
    ("0 PCMU/8000", 8000, 36.0, 35.0),
    ("8 PCMA/8000", 8000, 50.0, 35.0),
    ("9 G722/8000", 16_000, 45.0, 32.0),
    ("96 L16/8000", 8000, 70.0, 70.0),
    ("96 L16/16000", 16_000, 70.0, 70.0),
    ("111 opus/48000/2", 8000, 30.0, 12.0),
    ("111 opus/48000/2", 16_000, 30.0, 12.0),
    ("111 opus/48000/2", 48_000, 30.0, 12.0),
];

#[test]
fn sound_survives_every_codec() {
    for (rtpmap, rate, tone_snr, voice_snr) in QUALITY {
        let second = rate as usize;
        let heard = through(format(rtpmap), rate, &tone(1000.0, rate, 10_000.0, 2 * second));
        let above = tone_above_rest(&heard[second..], 1000.0, rate);
        let spoken = voice(rate, second * 6 / 10);
        let (like, _) = likeness(&spoken, &through(format(rtpmap), rate, &spoken), second / 50);
        assert!(above >= tone_snr, "{rtpmap} at {rate}: tone {above:.1} dB");
        assert!(like >= voice_snr, "{rtpmap} at {rate}: voice {like:.1} dB");
    }
}

#[test]
fn g722_agrees_with_another_implementation() {
    let mut signals = vec![tone(1000.0, 16_000, 30_000.0, 16_000), voice(16_000, 32_000)];
    // Noise at full scale drives every limiter.
    let mut state = 1u32;
    signals.push(
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as i16
        })
        .take(32_000)
        .collect(),
    );
    signals.push(std::iter::repeat_n([i16::MIN, i16::MAX], 4000).flatten().collect());
    for (which, signal) in signals.iter().enumerate() {
        let mut encoder = g722::Encoder::default();
        let octets: Vec<u8> = signal.chunks_exact(2).map(|two| encoder.encode(two[0], two[1])).collect();
        assert_eq!(octets, sipx_audio::g722::Encoder::new().encode(signal), "signal {which}");
        let mut decoder = g722::Decoder::default();
        let heard: Vec<i16> = octets.iter().flat_map(|octet| decoder.decode(*octet)).collect();
        assert_eq!(heard, sipx_audio::g722::Decoder::new().decode(&octets), "signal {which}");
    }
    let noise: Vec<u8> = signals[2].iter().map(|sample| *sample as u8).collect();
    let mut decoder = g722::Decoder::default();
    let heard: Vec<i16> = noise.iter().flat_map(|octet| decoder.decode(*octet)).collect();
    assert_eq!(heard, sipx_audio::g722::Decoder::new().decode(&noise), "any octets");
}

fn resampled(from: u32, to: u32, pcm: &[i16]) -> Vec<i16> {
    let mut resampler = Resampler::new(from, to).expect("a ratio");
    let mut heard = Vec::new();
    // In odd pieces: where a packet ends must not matter.
    for piece in pcm.chunks(37) {
        let before = heard.len();
        resampler.process(piece, |sample| heard.push(sample));
        assert!(heard.len() - before <= resampler.room(piece.len()));
    }
    heard
}

#[test]
fn resampling_leaves_tones_alone_and_lets_no_alias_through() {
    for (from, to) in [
        (8000, 16_000),
        (8000, 48_000),
        (16_000, 48_000),
        (16_000, 8000),
        (48_000, 8000),
        (48_000, 16_000),
        (44_100, 8000),
        (44_100, 48_000),
        (11_025, 8000),
    ] {
        let lower = f64::from(from.min(to));
        let mut worst = f64::INFINITY;
        for part in [0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.44] {
            let hertz = lower * part;
            let heard = resampled(from, to, &tone(hertz, from, 16_000.0, from as usize / 2));
            let expected = to as usize / 2;
            assert!(heard.len().abs_diff(expected) <= 1, "{from} to {to}: {} samples", heard.len());
            let settled = &heard[expected / 4..];
            worst = worst.min(tone_above_rest(settled, hertz, to));
            let power = settled.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>();
            let amplitude = (2.0 * power / settled.len() as f64).sqrt();
            assert!((15_900.0..16_100.0).contains(&amplitude), "{from} to {to}: {hertz} Hz has {amplitude}");
        }
        assert!(worst > 70.0, "{from} to {to}: {worst:.1} dB");
        // What the lower rate cannot carry is silent, not somewhere else.
        for part in
            [0.56, 0.7, 0.9].into_iter().filter(|part| from > to && part * lower < f64::from(from) / 2.0)
        {
            let heard = resampled(from, to, &tone(lower * part, from, 16_000.0, from as usize / 2));
            let loudest = heard[to as usize / 8..].iter().map(|sample| sample.unsigned_abs()).max();
            assert!(loudest < Some(8), "{from} to {to}: {} Hz leaves {loudest:?}", lower * part);
        }
    }
}

#[test]
fn a_voice_survives_the_way_to_another_rate_and_back() {
    for (narrow, wide) in [(8000, 16_000), (8000, 48_000), (16_000, 48_000)] {
        // Compared at the higher rate, where the delays of both filters are whole.
        let spoken = resampled(narrow, wide, &voice(narrow, narrow as usize * 4 / 10));
        let heard = resampled(narrow, wide, &resampled(wide, narrow, &spoken));
        let (like, delay) = likeness(&spoken, &heard, wide as usize / 100);
        assert!(like > 60.0, "{wide} to {narrow}: {like:.1} dB");
        assert!(delay * 1000 < 10 * wide as usize, "less than 10 ms");
    }
}

#[test]
fn a_lost_packet_is_concealed() {
    for (rtpmap, rate) in [
        ("0 PCMU/8000", 8000),
        ("9 G722/8000", 16_000),
        ("96 L16/48000", 48_000),
        ("111 opus/48000/2", 8000),
        ("111 opus/48000/2", 48_000),
    ] {
        let format = format(rtpmap);
        let mut encoder = format.encoder(rate).expect("an encoder");
        let mut decoder = format.decoder(rate).expect("a decoder");
        let packet = rate as usize / 50;
        let (mut payload, mut out) = ([0; 2000], vec![0; 6 * packet]);
        let mut energies = Vec::new();
        for (number, pcm) in tone(200.0, rate, 10_000.0, 40 * packet).chunks_exact(packet).enumerate() {
            let len = encoder.encode(pcm, &mut payload).expect("a payload");
            let heard = match number {
                20 | 30..36 => {
                    decoder.conceal(None, &mut out[..packet]);
                    packet
                }
                _ => decoder.decode(&payload[..len], &mut out).expect("samples"),
            };
            let energy: f64 = out[..heard].iter().map(|sample| f64::from(*sample).powi(2)).sum();
            energies.push((energy / packet as f64).sqrt());
        }
        assert!(energies[20] > 0.5 * energies[19], "{rtpmap} at {rate}: a hole, {energies:.0?}");
        assert!(energies[21] > 0.7 * energies[19], "{rtpmap} at {rate}: it goes on, {energies:.0?}");
        assert!(energies[35] < 0.5 * energies[29], "{rtpmap} at {rate}: it fades, {energies:.0?}");
    }
}

#[test]
fn opus_repairs_a_loss_from_the_next_packet() {
    let codec =
        sdp::Codec { fmtp: Some("useinbandfec=1".to_owned()), ..sdp::Codec::new(111, "opus", 48_000, 2) };
    let format = Format::of(&codec, None).expect("a format");
    assert!(format.opus.fec);
    let rate = 16_000;
    let spoken = voice(rate, rate as usize);
    let mut likeness_of = [0.0; 2];
    for (repair, like) in likeness_of.iter_mut().enumerate() {
        let mut encoder = format.encoder(rate).expect("an encoder");
        let mut decoder = format.decoder(rate).expect("a decoder");
        let payloads: Vec<Vec<u8>> = spoken
            .chunks_exact(320)
            .map(|pcm| {
                let mut payload = [0; 1500];
                let len = encoder.encode(pcm, &mut payload).expect("a payload");
                payload[..len].to_vec()
            })
            .collect();
        let (mut heard, mut out) = (Vec::new(), [0; 1920]);
        for (number, payload) in payloads.iter().enumerate() {
            if number % 5 == 4 {
                let next = payloads.get(number + 1).filter(|_| repair == 1);
                decoder.conceal(next.map(Vec::as_slice), &mut out[..320]);
                heard.extend_from_slice(&out[..320]);
            } else {
                let len = decoder.decode(payload, &mut out).expect("samples");
                heard.extend_from_slice(&out[..len]);
            }
        }
        *like = likeness(&spoken, &heard, 640).0;
    }
    assert!(likeness_of[1] > likeness_of[0] + 1.0, "{likeness_of:?}");
}

#[test]
fn what_the_sdp_says_of_formats() {
    for (rtpmap, ptime, expected) in [
        ("0 PCMU/8000", None, Some((Coding::Pcmu, 20))),
        ("97 pcma/8000", Some(30), Some((Coding::Pcma, 30))),
        ("9 G722/8000", Some(5), Some((Coding::G722, 10))),
        ("111 opus/48000/2", Some(30), Some((Coding::Opus, 20))),
        ("111 opus/48000/2", Some(200), Some((Coding::Opus, 60))),
        ("96 L16/48000", Some(20), Some((Coding::L16, 10))),
        ("96 L16/16000", Some(60), Some((Coding::L16, 40))),
        ("10 L16/44100/2", None, None),
        ("0 PCMU/11025", None, None),
        ("18 G729/8000", None, None),
        ("101 telephone-event/8000", None, None),
    ] {
        let codec = sdp::Codec::parse_rtpmap(rtpmap).expect("an rtpmap");
        let format = Format::of(&codec, ptime).map(|format| (format.coding, format.ptime));
        assert_eq!(format, expected, "{rtpmap} {ptime:?}");
    }
}

#[test]
fn any_payload_is_survived() {
    let mut state = 7u32;
    let mut octet = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    for (rtpmap, rate, ..) in QUALITY {
        let mut decoder = format(rtpmap).decoder(rate).expect("a decoder");
        let mut out = vec![0; rate as usize / 4];
        for len in (0..200).chain([500, 1499, 1908]) {
            let payload: Vec<u8> = (0..len).map(|_| octet()).collect();
            let room = out.len() - usize::from(octet());
            let _any = decoder.decode(&payload, &mut out[..room]);
            let gap = (usize::from(octet()) * 8).min(out.len());
            decoder.conceal(Some(&payload), &mut out[..gap]);
            let _any = decoder.pauses(&payload);
        }
        assert!(decoder.decode(&[1; 400], &mut out[..100]).is_err(), "{rtpmap}: no room");
    }
}
