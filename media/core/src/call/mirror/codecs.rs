//! ng `codec`: which formats the receiver is offered, and which of them the sender is answered with.

use crate::call::codecs;
use crate::call::plan::{MediaKind, PayloadMap};
use crate::command::CodecEdits;
use crate::sdp::Codec;

/// Whether a name of the `codec` lists means this format.
fn means(name: &str, codec: &Codec) -> bool {
    let mut parts = name.split('/');
    let encoding = parts.next().unwrap_or_default();
    let clock = parts.next().filter(|part| !part.is_empty()).map(str::parse::<u32>);
    let channels = parts.next().filter(|part| !part.is_empty()).map(str::parse::<u8>);
    codec.is(encoding)
        && clock.is_none_or(|clock| clock == Ok(codec.clock))
        && channels.is_none_or(|channels| channels == Ok(codec.channels))
}

fn is_all(name: &str) -> bool {
    name == "all" || name == "full"
}

fn named(list: &[String], codec: &Codec) -> bool {
    list.iter().any(|name| means(name, codec))
}

/// Whether it stands beside another format and not for itself.
fn is_supplemental(codec: &Codec) -> bool {
    codec.is_dtmf() || codec.is_comfort_noise()
}

/// Whether the relay can turn the one format into the other.
fn converts(from: &Codec, to: &Codec) -> bool {
    !codecs::payloads(std::slice::from_ref(from), &[], std::slice::from_ref(to), None).is_empty()
}

/// A format that the relay can offer on its own account where it can make it of one of `offer`.
fn own(name: &str, offer: &[Codec]) -> Option<Codec> {
    let opus = Codec { fmtp: Some("useinbandfec=1".to_owned()), ..Codec::new(96, "opus", 48000, 2) };
    let event =
        |clock| Codec { fmtp: Some("0-15".to_owned()), ..Codec::new(101, "telephone-event", clock, 1) };
    let known = [0, 8, 9, 3, 13].into_iter().filter_map(Codec::from_static);
    let mut known = known.chain([opus, event(8000), event(48000)]);
    known.find(|own| means(name, own) && offer.iter().any(|it| converts(it, own)))
}

/// What was made of an offer.
pub(super) struct Edited {
    /// For the receiver, in the sender's numbers.
    pub(super) offered: Vec<Codec>,
    /// Wishes that cannot be met.
    pub(super) warnings: Vec<String>,
}

/// The formats to offer to the receiver out of those the sender offered.
pub(super) fn offered(offer: &[Codec], kind: MediaKind, edits: &CodecEdits) -> Edited {
    let mut warnings = Vec::new();
    if edits.is_empty() || kind == MediaKind::Other {
        return Edited { offered: offer.to_vec(), warnings };
    }
    let taken = |list: &[String], codec: &Codec| {
        let all = list.iter().any(|name| is_all(name)) && !named(&edits.except, codec);
        all || named(list, codec)
    };
    let mut kept: Vec<Codec> = offer
        .iter()
        .filter(|codec| ![&edits.strip, &edits.mask, &edits.consume].iter().any(|list| taken(list, codec)))
        .cloned()
        .collect();
    for name in &edits.offer {
        restore(&mut kept, offer, name);
    }
    // After `full` nothing of the sender's comes back: what is converted to is new.
    let full = edits.strip.iter().any(|name| name == "full");
    for name in &edits.transcode {
        if kept.iter().any(|codec| means(name, codec)) || (!full && restore(&mut kept, offer, name)) {
            continue;
        }
        match own(name, offer).filter(|_| kind == MediaKind::Audio) {
            Some(own) => insert(&mut kept, own),
            None => warnings.push(format!("codec-transcode: no conversion to {name}")),
        }
    }
    if kept != offer {
        follow_clocks(&mut kept, offer);
    }
    if !kept.iter().any(|codec| !is_supplemental(codec)) {
        warnings.push("codec: no format is left, so all stay".to_owned());
        kept = offer.to_vec();
    }
    Edited { offered: kept, warnings }
}

/// Events stand beside media of their clock (RFC 4733 §2.1): those of no clock any more go, and where the sender has events
/// a new clock gets its own.
fn follow_clocks(kept: &mut Vec<Codec>, offer: &[Codec]) {
    let mut clocks: Vec<u32> = kept.iter().filter(|it| !is_supplemental(it)).map(|it| it.clock).collect();
    clocks.dedup();
    let had = kept.iter().any(Codec::is_dtmf);
    kept.retain(|codec| !codec.is_dtmf() || clocks.contains(&codec.clock));
    let Some(event) = offer.iter().find(|codec| codec.is_dtmf()).filter(|_| had) else { return };
    for clock in clocks {
        if !kept.iter().any(|codec| codec.is_dtmf() && codec.clock == clock) {
            let fmtp = Some("0-15".to_owned());
            insert(kept, Codec { clock, fmtp, ..event.clone() });
        }
    }
}

/// Puts back what of `offer` a name means; whether there was any.
fn restore(kept: &mut Vec<Codec>, offer: &[Codec], name: &str) -> bool {
    let mut any = false;
    for codec in offer.iter().filter(|codec| means(name, codec)) {
        any = true;
        if !kept.iter().any(|other| other.payload_type == codec.payload_type) {
            insert(kept, codec.clone());
        }
    }
    any
}

/// Media before the formats that only go along with it.
fn insert(kept: &mut Vec<Codec>, codec: Codec) {
    let tail = kept.iter().rev().take_while(|codec| is_supplemental(codec)).count();
    let at = if is_supplemental(&codec) { kept.len() } else { kept.len() - tail };
    let mut codec = codec;
    if kept.iter().any(|other| other.payload_type == codec.payload_type) {
        let free = |number: &u8| !kept.iter().any(|other| other.payload_type == *number);
        codec.payload_type = (96..=127).find(free).unwrap_or(codec.payload_type);
    }
    kept.insert(at, codec);
}

/// The answer to the sender of an offer: `offer` is what it offered, `told` what the receiver was offered, `accepted` what
/// the receiver answered, and `edits` were those of the offer.
pub(super) fn answered(
    offer: &[Codec],
    told: &[Codec],
    accepted: &[Codec],
    edits: &CodecEdits,
    single: bool,
) -> Vec<Codec> {
    let forced = offer.iter().find(|codec| named(&edits.accept, codec) || named(&edits.consume, codec));
    let forced = forced.filter(|forced| !is_supplemental(forced));
    let allowed = |codec: &Codec| !named(&edits.strip, codec) || named(&edits.offer, codec);
    let mut answer: Vec<Codec> = forced.into_iter().cloned().collect();
    for codec in accepted {
        if !told.iter().any(|told| told.same_format(codec)) {
            continue;
        }
        let same = offer.iter().find(|own| own.same_format(codec));
        let own = match same {
            Some(own) => Some(own).filter(|_| forced.is_none() || is_supplemental(codec)),
            None => offer.iter().find(|own| converts(codec, own) && allowed(own)),
        };
        let Some(own) = own.filter(|own| !answer.iter().any(|it| it.payload_type == own.payload_type)) else {
            continue;
        };
        let media = |codec: &Codec| !is_supplemental(codec);
        if single && media(own) && answer.iter().any(media) {
            continue;
        }
        let fmtp = if same.is_some() { codec.fmtp.clone() } else { own.fmtp.clone() };
        answer.push(Codec { fmtp, feedback: codec.feedback.clone(), ..own.clone() });
    }
    answer
}

/// What becomes of the payload types that one end sends: `sent` in its numbers, `wanted` in those of the other, which asked
/// for packets of `ptime` milliseconds.
pub(super) fn payloads(sent: &[Codec], wanted: &[Codec], ptime: Option<u16>) -> Vec<PayloadMap> {
    codecs::payloads(sent, &[], wanted, ptime)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<Codec> {
        text.split(", ").map(|rtpmap| Codec::parse_rtpmap(rtpmap).unwrap()).collect()
    }

    fn numbers(codecs: &[Codec]) -> Vec<u8> {
        codecs.iter().map(|codec| codec.payload_type).collect()
    }

    /// `strip=PCMU,G722 transcode=PCMA`
    fn edits(text: &str) -> CodecEdits {
        let mut edits = CodecEdits::default();
        for (key, value) in text.split(' ').filter_map(|word| word.split_once('=')) {
            let list = match key {
                "strip" => &mut edits.strip,
                "except" => &mut edits.except,
                "offer" => &mut edits.offer,
                "mask" => &mut edits.mask,
                "consume" => &mut edits.consume,
                "accept" => &mut edits.accept,
                _ => &mut edits.transcode,
            };
            list.extend(value.split(',').map(str::to_owned));
        }
        edits
    }

    const PHONE: &str = "0 PCMU/8000, 9 G722/8000, 18 G729/8000, 101 telephone-event/8000";

    #[test]
    fn what_the_receiver_is_offered() {
        for (wish, expected, warnings) in [
            ("", vec![0, 9, 18, 101], 0),
            ("strip=G722,G729", vec![0, 101], 0),
            ("strip=all except=G729,telephone-event", vec![18, 101], 0),
            ("strip=all offer=G729,PCMU,telephone-event", vec![18, 0, 101], 0),
            ("mask=all transcode=PCMA", vec![8], 0),
            ("transcode=PCMA", vec![0, 9, 18, 8, 101], 0),
            ("transcode=PCMU", vec![0, 9, 18, 101], 0),
            ("strip=G729 transcode=AMR", vec![0, 9, 101], 1),
            ("strip=all", vec![0, 9, 18, 101], 1),
            ("consume=PCMU", vec![9, 18, 101], 0),
            ("strip=PCMU/16000,G722/8000/2", vec![0, 9, 18, 101], 0),
            ("strip=telephone-event", vec![0, 9, 18], 0),
        ] {
            let edited = offered(&list(PHONE), MediaKind::Audio, &edits(wish));
            assert_eq!((numbers(&edited.offered), edited.warnings.len()), (expected, warnings), "{wish}");
        }
    }

    #[test]
    fn what_the_sender_is_answered() {
        for (wish, accepted, expected) in [
            ("", "9 G722/8000, 0 PCMU/8000, 97 telephone-event/8000", vec![9, 0, 101]),
            ("", "3 GSM/8000, 18 G729/8000", vec![18]),
            ("transcode=PCMA", "8 PCMA/8000, 101 telephone-event/8000", vec![0, 101]),
            ("transcode=PCMA accept=PCMU", "18 G729/8000, 8 PCMA/8000", vec![0]),
            ("", "8 PCMA/8000", vec![]),
        ] {
            let edits = edits(wish);
            let told = offered(&list(PHONE), MediaKind::Audio, &edits).offered;
            let answer = answered(&list(PHONE), &told, &list(accepted), &edits, false);
            assert_eq!(numbers(&answer), expected, "{wish}");
        }
        let two = list("0 PCMU/8000, 96 opus/48000/2, 101 telephone-event/8000, 97 telephone-event/48000");
        assert_eq!(numbers(&offered(&two, MediaKind::Audio, &edits("strip=PCMU")).offered), [96, 97]);
        let answer = answered(&list(PHONE), &list(PHONE), &list(PHONE), &CodecEdits::default(), true);
        assert_eq!(numbers(&answer), [0, 101], "single codec");
    }
}
