//! ng `codec`: which formats the receiver is offered, which of them the sender is answered with, and what becomes of the
//! packets between the two.
//!
//! Each end has a list ([`Formats`]). An offer makes two of one: that of the offerer, with what it will be answered on purpose,
//! and what the receiver is told. The answer shows what is left of the latter, and by what each of those becomes at the
//! offerer's end it gets its answer.

mod convert;
mod list;
mod wish;

use self::convert::{Conversion, conversions};
pub(super) use self::convert::{Packing, payloads};
pub(in crate::call) use self::list::Formats;
use self::list::Listed;
use crate::call::plan::MediaKind;
use crate::command::CodecEdits;
use crate::sdp::Codec;

/// The lists of one line of a pair, by side.
#[derive(Debug, Clone, Default)]
pub(in crate::call) struct LineFormats {
    /// By the last offer that was answered.
    pub(in crate::call) agreed: [Formats; 2],
    /// By the latest offer; more answers to it may follow.
    pub(in crate::call) proposed: [Formats; 2],
}

/// The list of an end of which nothing is known but what it may send.
pub(super) fn spoken(codecs: &[Codec]) -> Formats {
    Formats::heard(codecs, &Formats::default())
}

/// Whether a name of ng `codec` means this format.
pub(super) fn means(name: &str, codec: &Codec) -> bool {
    wish::Wish::of(name).means(codec)
}

/// What was made of an offer.
pub(super) struct Offered {
    /// The offerer's own.
    pub(super) offerer: Formats,
    /// For the receiver, in the offerer's numbers.
    pub(super) told: Formats,
    /// Wishes that cannot be met.
    pub(super) warnings: Vec<String>,
}

/// Takes an offer of the formats `said`. `before` are the lists that are in force, the offerer's first.
pub(super) fn offer(
    before: [&Formats; 2],
    said: &[Codec],
    kind: MediaKind,
    edits: &CodecEdits,
    packing: Packing,
) -> Offered {
    let mut offerer = Formats::heard(said, before[0]);
    let mut told = Formats::heard(said, before[1]);
    if kind == MediaKind::Other {
        return Offered { offerer, told, warnings: Vec::new() };
    }
    offerer.set(&edits.set);
    offerer.strip(&edits.strip, &edits.except);
    offerer.restore(&edits.offer, said);
    if !edits.strip.iter().any(|name| name == "full") {
        offerer.restore(&edits.transcode, said);
    }
    offerer.restore_if_empty(said);
    offerer.accept(&edits.accept, None);
    offerer.accept(&edits.consume, Some(said));
    offerer.track(&edits.mask);

    for list in [&edits.strip, &edits.consume, &edits.mask] {
        told.strip(list, &edits.except);
    }
    told.restore(&edits.offer, said);
    let mut warnings = Vec::new();
    if kind == MediaKind::Audio {
        let is_convertible = offerer.preferred().is_some();
        let wishes = if is_convertible { edits.transcode.as_slice() } else { &[] };
        warnings.extend(told.transcode(wishes, said));
        if !is_convertible {
            told.restore(&edits.transcode, said);
            warnings.extend(
                edits.transcode.first().map(|_| "codec-transcode: nothing to convert from".to_owned()),
            );
        }
    }
    if told.restore_if_empty(said) {
        warnings.push("codec: no format is left, so all stay".to_owned());
    }
    told.follow_clocks();
    if is_converted(&told, &offerer, packing.reversed()) {
        told.retain_known();
        told.follow_clocks();
    }
    Offered { offerer, told, warnings }
}

/// Whether any format of the one list is more than renumbered on its way to the other.
fn is_converted(from: &Formats, to: &Formats, packing: Packing) -> bool {
    conversions(from, to, packing, false).iter().any(|it| it.is_made)
}

/// What was made of an answer.
pub(super) struct Answered {
    /// For the offerer, in its numbers.
    pub(super) offerer: Formats,
    /// The answerer's own.
    pub(super) answerer: Formats,
}

/// Takes the answer `said` to what [`offer`] made: `offered`, the offerer's first. `edits` are those of the answer.
pub(super) fn answer(
    offered: [&Formats; 2],
    said: &[Codec],
    kind: MediaKind,
    edits: &CodecEdits,
    single: bool,
    packing: Packing,
) -> Answered {
    let mut answerer = Formats::agreed(said, offered[1]);
    if kind == MediaKind::Other {
        return Answered { offerer: offered[0].clone(), answerer };
    }
    let agreed = answerer.codecs();
    answerer.strip(&edits.strip, &edits.except);
    answerer.restore(&edits.offer, &agreed);
    answerer.restore_if_empty(&agreed);
    let back = packing.reversed();
    let mut offerer = answered(&answerer, offered[0], single, back);
    if is_converted(&offerer, &answerer, packing) {
        offerer.retain_known();
    }
    if is_converted(&answerer, &offerer, back) {
        answerer.retain_known();
    }
    Answered { offerer, answerer }
}

/// What the offerer, whose list is `own`, is answered: what becomes at its end of what the answerer sends.
fn answered(answerer: &Formats, own: &Formats, single: bool, packing: Packing) -> Formats {
    let mut answer = Formats::default();
    let mut along: Vec<Listed> = Vec::new();
    for it in conversions(answerer, own, packing, true) {
        let is_supplement = it.from.is_supplement();
        // Those of clocks that were changed on purpose follow their media.
        let touched = answerer.is_touched(&it.from.codec) || own.is_touched(&it.from.codec);
        if is_supplement && (it.from.made || touched) {
            continue;
        }
        if single && !is_supplement && answer.has_media() {
            continue;
        }
        let Some(listed) = reverse(&it) else { continue };
        if answer.by_number(listed.codec.payload_type).is_none() {
            answer.push(listed);
        }
        if !is_supplement {
            along.extend(it.noise.into_iter().chain(it.events).cloned());
        }
    }
    for listed in along {
        if answer.by_number(listed.codec.payload_type).is_none() {
            answer.push(listed);
        }
    }
    answer
}

/// What a format of the answerer is called towards the offerer. Where packets pass as they are so do its parameters.
fn reverse(it: &Conversion<'_>) -> Option<Listed> {
    let own = it.to?;
    if it.from.is_supplement() && !own.codec.is(&it.from.codec.name) {
        return None;
    }
    if it.is_made || !own.codec.same_format(&it.from.codec) {
        return Some(own.clone());
    }
    let codec = Codec { payload_type: own.codec.payload_type, ..it.from.codec.clone() };
    Some(Listed { codec, ..own.clone() })
}

#[cfg(test)]
mod tests;
