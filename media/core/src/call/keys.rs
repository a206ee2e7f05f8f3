//! Keys between the ends of a pair that do not press them alike: telephone-events (RFC 4733) for those that have them, tones for
//! those that have not, and a word to the controller for those that take them by other means.

use super::codecs;
use super::end::End;
use super::plan::{Along, Payload, PayloadMap};
use crate::codec::Format;
use crate::command::{Keys, LegKind};
use crate::sdp::Codec;

/// What counts of an end here.
pub(super) type Hand = (LegKind, Keys);

pub(super) fn hand(end: &End) -> Hand {
    (end.kind, end.keys)
}

/// Whether `to` has telephone-events though `from` has none.
fn adds((from, from_keys): Hand, (to, keys): Hand) -> bool {
    let to_browser = (from, to) == (LegKind::Legacy, LegKind::Browser);
    let apart = matches!(from_keys, Keys::Tones | Keys::Told);
    keys != Keys::Tones && (to_browser || keys == Keys::Events || apart)
}

/// Brings telephone-events into what `to` is offered, or takes them out.
pub(super) fn offered(offer: &mut Vec<Codec>, from: Hand, to: Hand) {
    if to.1 == Keys::Tones {
        offer.retain(|codec| !codec.is_dtmf());
    } else if adds(from, to) && !offer.iter().any(Codec::is_dtmf) {
        let events = codecs::events_for(offer, to.0);
        offer.extend(events);
    }
}

/// The same for what an offerer is answered, who has said in his `offer` which there are.
pub(super) fn answered(answer: &mut Vec<Codec>, offer: &[Codec], from: Hand, to: Hand) {
    if to.1 == Keys::Tones {
        answer.retain(|codec| !codec.is_dtmf());
    } else if adds(from, to) && !answer.iter().any(Codec::is_dtmf) {
        let clock = answer.iter().find(|codec| codec.is_media()).map(|codec| codec.clock);
        answer.extend(clock.and_then(|clock| codecs::own_events(offer, clock)).cloned());
    }
}

/// Whether keys that `from` presses as tones are to be told in place of `to`'s own means. `sent`: what was agreed with `from`.
pub(super) fn is_heard(sent: &[Codec], to: Hand) -> bool {
    to.1 == Keys::Told && !sent.iter().any(Codec::is_dtmf)
}

/// Puts in place what becomes of keys between two ends. `sent` and `told` are the formats of the sender as in
/// [`codecs::payloads`], `wanted` those of the receiver.
pub(super) fn arrange(
    payloads: &mut Vec<PayloadMap>,
    [sent, told, wanted]: [&[Codec]; 3],
    from: Hand,
    to: Hand,
    ptime: Option<u16>,
) {
    if to.1 == Keys::Told {
        payloads.retain(|map| !map.payload.is_event());
        payloads.extend(sent.iter().filter(|codec| codec.is_dtmf()).map(|codec| PayloadMap {
            from_clock: codec.clock,
            to_clock: codec.clock,
            payload: Payload::Told,
            ..PayloadMap::same(codec.payload_type)
        }));
        return payloads.sort_by_key(|map| map.from);
    }
    let bridged = to.1 == Keys::Events || (from.1 == Keys::Tones && to.0 == LegKind::Legacy);
    if !bridged || sent.iter().any(Codec::is_dtmf) {
        return;
    }
    for map in payloads {
        let format = |codecs: &[Codec], number: u8, ptime| {
            Format::of(codecs.iter().find(|codec| codec.payload_type == number)?, ptime)
        };
        let from = format(sent, map.from, None).or_else(|| format(told, map.from, None));
        let events = wanted.iter().find(|codec| codec.is_dtmf() && codec.clock == map.to_clock);
        if let (Some(from), Some(to), Some(events)) = (from, format(wanted, map.to, ptime), events) {
            let along = Along { events: Some(events.payload_type), noise: None };
            map.payload = Payload::Transcode { from, to, along };
        }
    }
}

#[cfg(test)]
mod tests {
    use LegKind::{Browser, Legacy};

    use super::*;

    fn list(text: &str) -> Vec<Codec> {
        text.split(", ").filter_map(Codec::parse_rtpmap).collect()
    }

    fn show(codecs: &[Codec]) -> String {
        codecs.iter().map(Codec::rtpmap).collect::<Vec<_>>().join(", ")
    }

    const PLAIN: &str = "0 PCMU/8000";
    const EVENTS: &str = "0 PCMU/8000, 101 telephone-event/8000";

    #[test]
    fn who_is_offered_telephone_events() {
        let both = "111 opus/48000/2, 0 PCMU/8000";
        for (offer, from, to, expected) in [
            (PLAIN, (Legacy, Keys::Agreed), (Legacy, Keys::Agreed), PLAIN.to_owned()),
            (
                PLAIN,
                (Legacy, Keys::Agreed),
                (Browser, Keys::Agreed),
                format!("{PLAIN}, 126 telephone-event/8000"),
            ),
            (
                both,
                (Legacy, Keys::Agreed),
                (Browser, Keys::Agreed),
                format!("{both}, 110 telephone-event/48000, 126 telephone-event/8000"),
            ),
            (PLAIN, (Legacy, Keys::Agreed), (Legacy, Keys::Events), EVENTS.to_owned()),
            (PLAIN, (Legacy, Keys::Told), (Legacy, Keys::Agreed), EVENTS.to_owned()),
            (EVENTS, (Legacy, Keys::Agreed), (Legacy, Keys::Tones), PLAIN.to_owned()),
            (EVENTS, (Browser, Keys::Agreed), (Legacy, Keys::Told), EVENTS.to_owned()),
        ] {
            let mut codecs = list(offer);
            offered(&mut codecs, from, to);
            assert_eq!(show(&codecs), expected, "{from:?} to {to:?}");
        }
    }

    #[test]
    fn who_is_answered_telephone_events() {
        let offer = "111 opus/48000/2, 110 telephone-event/48000, 126 telephone-event/8000, 0 PCMU/8000";
        for (offer, answer, from, to, expected) in [
            (
                offer,
                PLAIN,
                (Legacy, Keys::Agreed),
                (Browser, Keys::Agreed),
                "0 PCMU/8000, 126 telephone-event/8000",
            ),
            (offer, PLAIN, (Legacy, Keys::Agreed), (Legacy, Keys::Agreed), PLAIN),
            (EVENTS, PLAIN, (Legacy, Keys::Tones), (Legacy, Keys::Agreed), EVENTS),
            (EVENTS, EVENTS, (Legacy, Keys::Agreed), (Legacy, Keys::Tones), PLAIN),
            (PLAIN, PLAIN, (Legacy, Keys::Agreed), (Browser, Keys::Agreed), PLAIN),
        ] {
            let mut codecs = list(answer);
            answered(&mut codecs, &list(offer), from, to);
            assert_eq!(show(&codecs), expected, "{from:?} to {to:?}");
        }
    }

    /// What becomes of payload types, each as its number and a word.
    fn becomes(sent: &str, wanted: &str, from: Hand, to: Hand) -> Vec<(u8, &'static str)> {
        let (sent, wanted) = (list(sent), list(wanted));
        let mut maps = codecs::payloads(&sent, &sent, &wanted, None);
        arrange(&mut maps, [&sent, &sent, &wanted], from, to, None);
        let word = |payload: &Payload| match payload {
            Payload::Media => "passes",
            Payload::Dtmf => "event",
            Payload::Tone { .. } => "tone",
            Payload::Told => "told",
            Payload::Transcode { along: Along { events: Some(_), .. }, .. } => "listened to",
            _ => "other",
        };
        maps.iter().map(|map| (map.from, word(&map.payload))).collect()
    }

    #[test]
    fn what_becomes_of_keys() {
        let (agreed, browser) = ((Legacy, Keys::Agreed), (Browser, Keys::Agreed));
        let alaw = "8 PCMA/8000, 96 telephone-event/8000";
        for (sent, wanted, from, to, expected) in [
            (EVENTS, EVENTS, agreed, agreed, &[(0, "passes"), (101, "event")][..]),
            (EVENTS, PLAIN, browser, agreed, &[(0, "passes"), (101, "tone")]),
            (PLAIN, EVENTS, agreed, agreed, &[(0, "passes")]),
            (PLAIN, EVENTS, agreed, (Legacy, Keys::Events), &[(0, "listened to")]),
            (PLAIN, alaw, agreed, (Legacy, Keys::Events), &[(0, "listened to")]),
            (PLAIN, EVENTS, (Legacy, Keys::Tones), agreed, &[(0, "listened to")]),
            (PLAIN, EVENTS, (Legacy, Keys::Tones), browser, &[(0, "passes")]),
            (EVENTS, EVENTS, agreed, (Legacy, Keys::Told), &[(0, "passes"), (101, "told")]),
            (EVENTS, PLAIN, agreed, (Legacy, Keys::Told), &[(0, "passes"), (101, "told")]),
            ("18 G729/8000, 101 telephone-event/8000", "18 G729/8000", agreed, agreed, &[(18, "passes")]),
        ] {
            assert_eq!(becomes(sent, wanted, from, to), expected, "{sent} to {wanted} {to:?}");
        }
        assert!(
            is_heard(&list(PLAIN), (Legacy, Keys::Told)) && !is_heard(&list(EVENTS), (Legacy, Keys::Told))
        );
        assert!(!is_heard(&list(PLAIN), agreed));
    }
}
