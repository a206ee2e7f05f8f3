//! Which formats an end is offered, which were agreed, and what becomes of each payload type on the way.

use super::plan::{Along, MediaKind, Payload, PayloadMap};
use crate::codec::Format;
use crate::command::{Exchange, LegKind};
use crate::sdp::Codec;

/// What browsers decode of what phones send; anything else in an offer would only be refused by them (RFC 7874 §3).
const BROWSER_AUDIO: [&str; 6] = ["opus", "PCMU", "PCMA", "G722", "CN", "telephone-event"];
/// The clocks of telephone-event and Chromium's numbers for them. One that is added has such a number: the phone's own is that of
/// its own clock, and after a move from another relay the browser knows it already, which may not change its meaning
/// (RFC 3264 §8.3.2) though this relay has seen nothing of that.
const BROWSER_DTMF: [(u32, u8); 2] = [(48000, 110), (8000, 126)];
/// The number that phones have for telephone-event.
const LEGACY_DTMF: u8 = 101;
/// What the relay says of the Opus it takes.
const OPUS_FMTP: &str = "minptime=10;useinbandfec=1";
/// RTCP feedback that the relay passes on or makes itself; of the rest nobody would act on it.
const FEEDBACK: [&str; 4] = ["nack", "nack pli", "ccm fir", "goog-remb"];

/// The formats to offer to an end of kind `to`, out of those an end of kind `from` offered. Numbers are still the
/// offerer's. Empty when nothing is left. Behind them follows of `more` what the relay can make of the offerer's: an end
/// that shares no codec with it takes one of those.
pub(super) fn offered(
    codecs: &[Codec],
    kind: MediaKind,
    from: LegKind,
    to: LegKind,
    more: More<'_>,
) -> Vec<Codec> {
    let more = if kind == MediaKind::Audio { made_of(codecs, from, to, more) } else { Vec::new() };
    let mut kept: Vec<Codec> = match (from, to) {
        (LegKind::Legacy, LegKind::Legacy) => codecs.iter().chain(&more).cloned().collect(),
        // Retransmission and redundancy wrap other numbers; the relay forwards media only, so NACK is answered with the
        // media packet itself.
        (LegKind::Browser, LegKind::Browser) => {
            codecs.iter().filter(|codec| !codec.is_wrapper()).chain(&more).cloned().collect()
        }
        (LegKind::Browser, LegKind::Legacy) => for_legacy(codecs, more),
        (LegKind::Legacy, LegKind::Browser) => for_browser(codecs, more),
    };
    let video_between_browsers = kind == MediaKind::Video && from == to && to == LegKind::Browser;
    for codec in &mut kept {
        codec.feedback.retain(|what| video_between_browsers && FEEDBACK.contains(&what.as_str()));
    }
    if kept.iter().any(Codec::is_media) { kept } else { Vec::new() }
}

/// Which codecs the relay may add to an offer.
#[derive(Debug, Clone, Copy)]
pub(super) enum More<'a> {
    /// None.
    Nothing,
    /// What an end of the receiver's kind may understand.
    Any,
    /// These, as ng `transcode` names them: `PCMU`, or with more of the rtpmap behind a slash.
    Named(&'a [String]),
}

impl<'a> More<'a> {
    /// What the controller asked for.
    pub(super) fn of(exchange: &'a Exchange) -> Self {
        match exchange.codec.transcode.as_slice() {
            [] if exchange.transcoding => Self::Any,
            [] => Self::Nothing,
            names => Self::Named(names),
        }
    }
}

/// What of `more` `codecs` lacks and can be made of one of them.
fn made_of(codecs: &[Codec], from: LegKind, to: LegKind, more: More<'_>) -> Vec<Codec> {
    if !codecs.iter().any(|codec| Format::of(codec, None).is_some()) {
        return Vec::new();
    }
    let g711 = codecs.iter().any(|codec| codec.is("PCMU") || codec.is("PCMA"));
    let opus = Codec { fmtp: Some(OPUS_FMTP.to_owned()), ..Codec::new(111, "opus", 48_000, 2) };
    let fixed = [9, 0, 8].into_iter().filter_map(Codec::from_static);
    let wanted = std::iter::once(opus).chain(fixed).filter(|codec| match (more, to) {
        (More::Nothing, _) => false,
        (More::Named(names), _) => {
            names.iter().any(|name| codec.is(name.split('/').next().unwrap_or_default()))
        }
        // Every browser has G.711 (RFC 7874 §3); a page may have put all but Opus aside.
        (More::Any, LegKind::Browser) => codec.is("opus") || (!g711 && !codec.is("G722")),
        // Phones choose by their own order; between two of them G.722 would only cost.
        (More::Any, LegKind::Legacy) if codec.is("G722") => from == LegKind::Browser || !g711,
        (More::Any, LegKind::Legacy) => !codec.is("opus"),
    });
    wanted.filter(|codec| !codecs.iter().any(|own| own.same_format(codec))).collect()
}

fn for_legacy(codecs: &[Codec], more: Vec<Codec>) -> Vec<Codec> {
    let mut kept: Vec<Codec> = codecs.iter().filter(|codec| codec.is_media()).cloned().collect();
    kept.extend(more);
    let clock = dtmf_clock(&kept);
    kept.extend(dtmf_at(codecs, clock));
    kept
}

fn for_browser(codecs: &[Codec], more: Vec<Codec>) -> Vec<Codec> {
    let known = |codec: &&Codec| BROWSER_AUDIO.iter().any(|name| codec.is(name)) && !codec.is_dtmf();
    let mut kept: Vec<Codec> = codecs.iter().filter(known).cloned().collect();
    // Comfort noise at 8000 Hz has no place in a stream that may be Opus.
    if kept.iter().any(|codec| codec.is("opus")) {
        kept.retain(|codec| !codec.is_comfort_noise());
    }
    kept.extend(more);
    for (clock, number) in BROWSER_DTMF {
        if kept.iter().any(|codec| codec.is_media() && codec.clock == clock) {
            kept.extend(dtmf_at(codecs, clock).map(|codec| {
                match codecs.iter().any(|own| own.same_format(&codec)) {
                    true => codec,
                    false => Codec { payload_type: number, ..codec },
                }
            }));
        }
    }
    kept
}

/// The clock of telephone-event that suits these formats: phones know 8000 Hz alone, whatever codec leads.
fn dtmf_clock(codecs: &[Codec]) -> u32 {
    let has_8000 = codecs.iter().any(|codec| codec.is_media() && codec.clock == 8000);
    if has_8000 { 8000 } else { codecs.first().map_or(8000, |codec| codec.clock) }
}

/// telephone-event at `clock`, made out of one at another clock if need be; `None` when there is none at all.
fn dtmf_at(codecs: &[Codec], clock: u32) -> Option<Codec> {
    let exact = codecs.iter().find(|codec| codec.is_dtmf() && codec.clock == clock);
    let like = exact.or_else(|| codecs.iter().find(|codec| codec.is_dtmf()))?;
    let fmtp = like.fmtp.clone().or_else(|| Some("0-15".to_owned()));
    Some(Codec { clock, fmtp, feedback: Vec::new(), ..like.clone() })
}

/// telephone-events for an end that is offered `codecs`, at the clocks that suit these.
pub(super) fn events_for(codecs: &[Codec], to: LegKind) -> Vec<Codec> {
    let event = |clock, number| Codec {
        fmtp: Some("0-15".to_owned()),
        ..Codec::new(number, "telephone-event", clock, 1)
    };
    let suits = |clock: u32| codecs.iter().any(|codec| codec.is_media() && codec.clock == clock);
    match to {
        LegKind::Browser => {
            let suitable = BROWSER_DTMF.into_iter().filter(|(clock, _)| suits(*clock));
            suitable.map(|(clock, number)| event(clock, number)).collect()
        }
        LegKind::Legacy => vec![event(dtmf_clock(codecs), LEGACY_DTMF)],
    }
}

/// Of the telephone-events of an offer the one that suits an answer at `clock`.
pub(super) fn own_events(offer: &[Codec], clock: u32) -> Option<&Codec> {
    let events = || offer.iter().filter(|codec| codec.is_dtmf());
    events().find(|codec| codec.clock == clock).or_else(|| events().next())
}

/// The answer to an offerer: of `offer` (its formats and numbers) what the other end accepted, in the latter's order.
///
/// With other branches under way G.711 leads: a browser sends the first format of the one answer it gets, and that one
/// must suit whichever phone is picked up.
pub(super) fn answered(
    offer: &[Codec],
    accepted: &[Codec],
    between_browsers: bool,
    other_branches: bool,
) -> Vec<Codec> {
    let mut answer: Vec<Codec> = Vec::new();
    for other in accepted.iter().filter(|codec| !codec.is_dtmf()) {
        let Some(own) = offer.iter().find(|own| own.same_format(other)) else { continue };
        if answer.iter().any(|codec| codec.payload_type == own.payload_type) {
            continue;
        }
        let feedback = own.feedback.iter().filter(|what| between_browsers && other.feedback.contains(what));
        let feedback = feedback.filter(|what| FEEDBACK.contains(&what.as_str())).cloned().collect();
        answer.push(Codec { fmtp: other.fmtp.clone(), feedback, ..own.clone() });
    }
    if !answer.iter().any(Codec::is_media) {
        answer.extend(made_for(offer, accepted));
    }
    if other_branches {
        answer.sort_by_key(|codec| !(codec.is("PCMU") || codec.is("PCMA")));
    }
    let Some(clock) = answer.iter().find(|codec| codec.is_media()).map(|codec| codec.clock) else {
        return Vec::new();
    };
    if let Some(other) = accepted.iter().find(|codec| codec.is_dtmf()) {
        let own = own_events(offer, clock).cloned();
        let fmtp = other.fmtp.clone();
        answer.extend(own.map(|own| Codec { fmtp: fmtp.or(own.fmtp.clone()), feedback: Vec::new(), ..own }));
    }
    answer
}

/// With no codec in common: what of `offer` can be made into one of `accepted`.
fn made_for(offer: &[Codec], accepted: &[Codec]) -> Option<Codec> {
    let codable = |codecs: &[Codec]| codecs.iter().find_map(|it| Some((it.clone(), Format::of(it, None)?)));
    let ((own, _), (_, other)) = (codable(offer)?, codable(accepted)?);
    let fmtp = match other.rate() {
        // Finer sound than the other end hears is not worth its bits (RFC 7587 §6.1).
        Some(rate) if own.is("opus") => Some(format!("{OPUS_FMTP};maxplaybackrate={rate}")),
        _ => own.fmtp.clone(),
    };
    Some(Codec { fmtp, feedback: Vec::new(), ..own })
}

/// Of an end's own list what it was also told: what was agreed with it, in its numbers.
pub(super) fn agreed(own: &[Codec], told: &[Codec]) -> Vec<Codec> {
    own.iter().filter(|codec| told.iter().any(|other| other.same_format(codec))).cloned().collect()
}

/// What becomes of the payload types that one end sends. `sent` is what was agreed with the sender, `told` the formats and
/// numbers the relay gave it (it may use either number, RFC 3264 §5.1), `wanted` what was agreed with the receiver, in
/// its numbers, and `ptime` the milliseconds per packet it asked for.
pub(super) fn payloads(
    sent: &[Codec],
    told: &[Codec],
    wanted: &[Codec],
    ptime: Option<u16>,
) -> Vec<PayloadMap> {
    let mut maps: Vec<PayloadMap> = Vec::new();
    // Browsers send the first codec of an offer, even if a page's codec preferences kept it out of their answer.
    let told = told.iter().filter(|codec| codec.is_media() || sent.iter().any(|it| it.same_format(codec)));
    for codec in sent.iter().chain(told) {
        if maps.iter().any(|map| map.from == codec.payload_type) {
            continue;
        }
        maps.extend(target(codec, wanted, ptime).map(|(to, payload)| PayloadMap {
            from: codec.payload_type,
            to: to.payload_type,
            from_clock: codec.clock,
            to_clock: to.clock,
            payload,
        }));
    }
    maps.sort_by_key(|map| map.from);
    maps
}

fn target<'a>(codec: &Codec, wanted: &'a [Codec], ptime: Option<u16>) -> Option<(&'a Codec, Payload)> {
    let same = wanted.iter().find(|other| other.same_format(codec));
    if codec.is_dtmf() {
        let events = same.or_else(|| wanted.iter().find(|other| other.is_dtmf()));
        let tones = || wanted.iter().find_map(|to| Some((to, Payload::Tone { to: Format::of(to, ptime)? })));
        return events.map(|to| (to, Payload::Dtmf)).or_else(tones);
    }
    if codec.is_comfort_noise() {
        return same.map(|to| (to, Payload::ComfortNoise));
    }
    if let Some(to) = same {
        return Some((to, Payload::Media));
    }
    let laws = [("PCMU", "PCMA", Payload::UlawToAlaw), ("PCMA", "PCMU", Payload::AlawToUlaw)];
    let law = laws.into_iter().find(|(law, ..)| codec.is(law) && codec.clock == 8000);
    let other = law.and_then(|(_, other, payload)| {
        wanted.iter().find(|to| to.is(other) && to.clock == 8000).map(|to| (to, payload))
    });
    other.or_else(|| {
        let from = Format::of(codec, None)?;
        wanted.iter().find_map(|to| {
            Some((to, Payload::Transcode { from, to: Format::of(to, ptime)?, along: Along::default() }))
        })
    })
}

/// The numbers by which an end knows formats. A number never changes its meaning in a session (RFC 3264 §8.3.2).
#[derive(Debug, Clone, Default)]
pub(super) struct Numbers {
    known: Vec<Codec>,
}

impl Numbers {
    /// Remembers what the end itself wrote, or was told.
    pub(super) fn learn(&mut self, codecs: &[Codec]) {
        for codec in codecs {
            self.known.retain(|known| known.payload_type != codec.payload_type);
            self.known.push(codec.clone());
        }
    }

    /// Gives `codecs` the end's numbers: those it knows, else those they have, else free ones. `taken` holds what other
    /// lines of the same SDP use: bundled lines share one number space (RFC 9143 §10.1.1).
    pub(super) fn assign(&self, codecs: &mut Vec<Codec>, taken: &mut Vec<Codec>) {
        let mut line: Vec<Codec> = Vec::with_capacity(codecs.len());
        for codec in codecs.drain(..) {
            let free = |number: &u8| {
                !line.iter().any(|other| other.payload_type == *number)
                    && !taken.iter().any(|other| other.payload_type == *number && !other.same_format(&codec))
            };
            let unknown = |number: &u8| {
                !self.known.iter().any(|known| known.payload_type == *number && !known.same_format(&codec))
            };
            let known =
                self.known.iter().filter(|known| known.same_format(&codec)).map(|known| known.payload_type);
            let own = Some(codec.payload_type).filter(unknown);
            let spare = (96..=127).rev().chain(35..=63).filter(unknown);
            let number = known.chain(own).chain(spare).find(free);
            line.extend(number.map(|payload_type| Codec { payload_type, ..codec.clone() }));
        }
        taken.extend(line.iter().cloned());
        *codecs = line;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Coding;

    fn list(text: &str) -> Vec<Codec> {
        text.split(", ").map(|rtpmap| Codec::parse_rtpmap(rtpmap).unwrap()).collect()
    }

    fn show(codecs: &[Codec]) -> String {
        codecs.iter().map(Codec::rtpmap).collect::<Vec<_>>().join(", ")
    }

    const CHROME: &str = "111 opus/48000/2, 63 red/48000/2, 9 G722/8000, 0 PCMU/8000, 8 PCMA/8000, 13 CN/8000, \
        110 telephone-event/48000, 126 telephone-event/8000";

    #[test]
    fn formats_offered() {
        use LegKind::{Browser, Legacy};
        for (codecs, from, to, expected) in [
            (
                CHROME,
                Browser,
                Legacy,
                "111 opus/48000/2, 9 G722/8000, 0 PCMU/8000, 8 PCMA/8000, 126 telephone-event/8000",
            ),
            (
                "111 opus/48000/2, 110 telephone-event/48000",
                Browser,
                Legacy,
                "111 opus/48000/2, 110 telephone-event/48000",
            ),
            (
                "0 PCMU/8000, 110 telephone-event/48000",
                Browser,
                Legacy,
                "0 PCMU/8000, 110 telephone-event/8000",
            ),
            (
                "0 PCMU/8000, 18 G729/8000, 13 CN/8000, 101 telephone-event/8000",
                Legacy,
                Browser,
                "0 PCMU/8000, 13 CN/8000, 101 telephone-event/8000",
            ),
            (
                "96 opus/48000/2, 0 PCMU/8000, 13 CN/8000, 101 telephone-event/8000",
                Legacy,
                Browser,
                "96 opus/48000/2, 0 PCMU/8000, 110 telephone-event/48000, 101 telephone-event/8000",
            ),
            ("18 G729/8000, 101 telephone-event/8000", Legacy, Browser, ""),
        ] {
            assert_eq!(show(&offered(&list(codecs), MediaKind::Audio, from, to, More::Nothing)), expected);
        }
    }

    #[test]
    fn formats_offered_with_those_that_can_be_made() {
        use LegKind::{Browser, Legacy};
        for (codecs, from, to, expected) in [
            (
                CHROME,
                Browser,
                Legacy,
                "111 opus/48000/2, 9 G722/8000, 0 PCMU/8000, 8 PCMA/8000, 126 telephone-event/8000",
            ),
            (
                "111 opus/48000/2, 110 telephone-event/48000",
                Browser,
                Legacy,
                "111 opus/48000/2, 9 G722/8000, 0 PCMU/8000, 8 PCMA/8000, 110 telephone-event/8000",
            ),
            (
                "0 PCMU/8000, 13 CN/8000, 101 telephone-event/8000",
                Legacy,
                Browser,
                "0 PCMU/8000, 13 CN/8000, 111 opus/48000/2, 110 telephone-event/48000, 101 telephone-event/8000",
            ),
            ("9 G722/8000", Legacy, Browser, "9 G722/8000, 111 opus/48000/2, 0 PCMU/8000, 8 PCMA/8000"),
            ("97 L16/16000", Legacy, Browser, "111 opus/48000/2, 0 PCMU/8000, 8 PCMA/8000"),
            ("18 G729/8000, 101 telephone-event/8000", Legacy, Browser, ""),
            ("0 PCMU/8000", Legacy, Legacy, "0 PCMU/8000, 8 PCMA/8000"),
            ("9 G722/8000", Legacy, Legacy, "9 G722/8000, 0 PCMU/8000, 8 PCMA/8000"),
            ("18 G729/8000", Legacy, Legacy, "18 G729/8000"),
        ] {
            assert_eq!(show(&offered(&list(codecs), MediaKind::Audio, from, to, More::Any)), expected);
        }
    }

    #[test]
    fn formats_offered_by_name() {
        let names = ["PCMA".to_owned(), "opus/48000/2".to_owned(), "G729".to_owned()];
        let offered = |codecs| {
            let (from, to) = (LegKind::Browser, LegKind::Legacy);
            show(&offered(&list(codecs), MediaKind::Audio, from, to, More::Named(&names)))
        };
        assert_eq!(offered("0 PCMU/8000"), "0 PCMU/8000, 111 opus/48000/2, 8 PCMA/8000");
        assert_eq!(offered("18 G729/8000"), "18 G729/8000", "nothing can be made of it");
    }

    #[test]
    fn an_answer_without_a_common_codec_takes_one_that_can_be_made() {
        let answer = |offer: &str, accepted: &str| answered(&list(offer), &list(accepted), false, false);
        let events = "110 telephone-event/48000";
        let told = answer(&format!("111 opus/48000/2, {events}"), "0 PCMU/8000, 101 telephone-event/8000");
        assert_eq!(show(&told), format!("111 opus/48000/2, {events}"));
        assert_eq!(told[0].parameter("maxplaybackrate"), Some("8000"));
        assert_eq!(show(&answer("18 G729/8000, 9 G722/8000", "111 opus/48000/2")), "9 G722/8000");
        assert_eq!(show(&answer("18 G729/8000", "111 opus/48000/2")), "");
        assert_eq!(show(&answer("111 opus/48000/2, 8 PCMA/8000", "8 PCMA/8000")), "8 PCMA/8000");
    }

    #[test]
    fn payloads_that_are_transcoded() {
        let (browser, phone) = (list("111 opus/48000/2, 110 telephone-event/48000"), list("9 G722/8000"));
        let maps = payloads(&browser, &browser, &phone, Some(30));
        let [events, PayloadMap { from: 111, to: 9, from_clock: 48_000, to_clock: 8000, payload }] = maps[..]
        else {
            panic!("{maps:?}");
        };
        assert!(matches!((events.from, events.payload), (110, Payload::Tone { .. })));
        let Payload::Transcode { from, to, .. } = payload else { panic!("{payload:?}") };
        assert_eq!((from.coding, to.coding, to.ptime), (Coding::Opus, Coding::G722, 30));
        let law = payloads(&list("0 PCMU/8000"), &[], &list("9 G722/8000, 8 PCMA/8000"), None);
        assert_eq!(law[0].payload, Payload::UlawToAlaw, "the cheaper way");
    }

    #[test]
    fn a_number_keeps_its_meaning() {
        let mut numbers = Numbers::default();
        numbers.learn(&list("111 opus/48000/2, 0 PCMU/8000, 101 ILBC/8000"));
        let mut codecs =
            list("96 opus/48000/2, 0 PCMU/8000, 101 telephone-event/48000, 101 telephone-event/8000");
        numbers.assign(&mut codecs, &mut Vec::new());
        assert_eq!(
            show(&codecs),
            "111 opus/48000/2, 0 PCMU/8000, 127 telephone-event/48000, 126 telephone-event/8000"
        );
    }

    #[test]
    fn payload_types_between_two_numberings() {
        let phone = list("8 PCMA/8000, 101 telephone-event/8000");
        let told = list("8 PCMA/8000, 126 telephone-event/8000");
        let browser = list("0 PCMU/8000, 110 telephone-event/48000");
        let maps = payloads(&phone, &told, &browser, None);
        let short: Vec<_> = maps.iter().map(|map| (map.from, map.to, map.to_clock, map.payload)).collect();
        assert_eq!(
            short,
            [
                (8, 0, 8000, Payload::AlawToUlaw),
                (101, 110, 48000, Payload::Dtmf),
                (126, 110, 48000, Payload::Dtmf)
            ]
        );
    }
}
