//! The formats of one end of a mirrored line, and what ng `codec` does to such a list.

use super::wish::{Wish, is_everything, made};
use crate::codec::Format;
use crate::sdp::Codec;

/// Formats that pass beside what is converted, as with rtpengine: those of RFC 3551 §6, and later ones.
const KNOWN: [&str; 15] = [
    "AMR", "AMR-WB", "DVI4", "EVRC", "EVRC0", "EVRC1", "G723", "G728", "G729", "GSM", "iLBC", "LPC", "MPA",
    "QCELP", "speex",
];

/// One format of an end.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::call) struct Listed {
    pub(in crate::call) codec: Codec,
    /// The relay converts to it, whatever the other end has: it was put in, or is `accepted`.
    pub(in crate::call) made: bool,
    /// ng `accept` and `consume`: answered to the end whatever the other one takes.
    pub(in crate::call) accepted: bool,
    /// Bits per second, where the controller gave them.
    pub(in crate::call) bit_rate: Option<u32>,
}

impl Listed {
    pub(super) fn new(codec: Codec) -> Self {
        Self { codec, made: false, accepted: false, bit_rate: None }
    }

    /// How it is decoded, and encoded in packets of `ptime` milliseconds.
    pub(in crate::call) fn format(&self, ptime: Option<u16>) -> Option<Format> {
        let mut format = Format::of(&self.codec, ptime)?;
        if let Some(most) = self.bit_rate {
            format.opus.max_average_bit_rate = format.opus.max_average_bit_rate.min(most);
        }
        Some(format)
    }

    /// Whether it goes along with another format and does not stand for itself.
    pub(super) fn is_supplement(&self) -> bool {
        is_supplement(&self.codec)
    }

    /// Whether the relay could convert it.
    pub(super) fn is_convertible(&self) -> bool {
        self.is_supplement() || Format::of(&self.codec, None).is_some()
    }

    /// Whether it is sound that the relay can convert.
    pub(super) fn is_sound(&self) -> bool {
        !self.is_supplement() && self.is_convertible()
    }

    /// Whether it may stand beside what is converted: then its packets pass where both ends have it.
    fn is_known(&self) -> bool {
        self.is_convertible() || KNOWN.iter().any(|name| self.codec.is(name))
    }

    /// Whether packets of the one serve as packets of the other, but for their number. A stream of Opus says itself how
    /// many channels it has (RFC 7587 §3.4), unless the controller wants one of its own.
    pub(super) fn is_same_stream(&self, other: &Self) -> bool {
        let (one, two) = (&self.codec, &other.codec);
        let opus = one.is("opus") && two.is("opus") && self.bit_rate.is_none() && other.bit_rate.is_none();
        one.same_format(two) || (opus && one.clock == two.clock)
    }
}

pub(super) fn is_supplement(codec: &Codec) -> bool {
    codec.is_dtmf() || codec.is_comfort_noise()
}

/// Which clocks of a list were changed on purpose: there the formats that go along are changed too.
#[derive(Debug, Clone, Default, PartialEq)]
struct Touched {
    all: bool,
    clocks: Vec<u32>,
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::call) struct Formats {
    listed: Vec<Listed>,
    /// What is put in goes before this place: that of the first supplement.
    place: Option<usize>,
    touched: Touched,
    /// `strip` or `mask` was `full`: nothing of the end's own comes back.
    is_full: bool,
}

impl Formats {
    /// What an end said; formats known before keep what was decided about them.
    pub(super) fn heard(codecs: &[Codec], before: &Self) -> Self {
        let mut formats = Self::default();
        for codec in codecs {
            let known = before
                .listed
                .iter()
                .find(|it| it.codec.payload_type == codec.payload_type && it.codec.same_format(codec));
            let known = known.cloned().unwrap_or_else(|| Listed::new(codec.clone()));
            formats.push(Listed { codec: codec.clone(), ..known });
        }
        formats
    }

    /// Of what an end answered that which it was `told`.
    pub(super) fn agreed(codecs: &[Codec], told: &Self) -> Self {
        let mut formats = Self::default();
        for codec in codecs {
            let same = |it: &&Listed| it.codec.same_format(codec);
            let number = |it: &&Listed| it.codec.payload_type == codec.payload_type;
            let known = told.listed.iter().find(|it| same(it) && number(it));
            let known = known.or_else(|| told.listed.iter().find(same));
            let Some(known) = known.filter(|_| formats.by_number(codec.payload_type).is_none()) else {
                continue;
            };
            if known.made {
                formats.touch(codec);
            }
            formats.push(Listed { codec: codec.clone(), ..known.clone() });
        }
        formats
    }

    /// All of them.
    pub(in crate::call) fn iter(&self) -> std::slice::Iter<'_, Listed> {
        self.listed.iter()
    }

    /// As they stand in the SDP.
    pub(in crate::call) fn codecs(&self) -> Vec<Codec> {
        self.listed.iter().map(|it| it.codec.clone()).collect()
    }

    /// Whether one of them is more than a supplement.
    pub(super) fn has_media(&self) -> bool {
        self.listed.iter().any(|it| !it.is_supplement())
    }

    pub(super) fn by_number(&self, number: u8) -> Option<&Listed> {
        self.listed.iter().find(|it| it.codec.payload_type == number)
    }

    /// The supplement `name` at `clock`.
    pub(super) fn supplement(&self, name: &str, clock: u32) -> Option<&Listed> {
        self.listed.iter().find(|it| it.codec.is(name) && it.codec.clock == clock)
    }

    /// What is converted to where nothing is in common: what is accepted on purpose, else the first.
    pub(super) fn preferred(&self) -> Option<&Listed> {
        let mut sounds = self.listed.iter().filter(|it| it.is_sound());
        let accepted = sounds.clone().find(|it| it.accepted);
        accepted.or_else(|| sounds.next())
    }

    /// Whether what goes along with `codec` was changed on purpose.
    pub(super) fn is_touched(&self, codec: &Codec) -> bool {
        self.touched.all || self.touched.clocks.contains(&codec.clock)
    }

    fn touch(&mut self, codec: &Codec) {
        match is_supplement(codec) {
            true => self.touched.all = true,
            false if self.touched.clocks.contains(&codec.clock) => {}
            false => self.touched.clocks.push(codec.clock),
        }
    }

    /// Adds at the end.
    pub(super) fn push(&mut self, listed: Listed) {
        if listed.is_supplement() && self.place.is_none() {
            self.place = Some(self.listed.len());
        }
        self.listed.push(listed);
    }

    /// Adds before the formats that go along.
    fn insert(&mut self, listed: Listed) {
        match self.place {
            None => self.push(listed),
            Some(place) => {
                self.listed.insert(place, listed);
                self.place = Some(place + 1);
            }
        }
    }

    fn remove(&mut self, at: usize) {
        let gone = self.listed.remove(at);
        self.touch(&gone.codec);
        self.place = match self.place {
            Some(place) if place > at => Some(place - 1),
            place => place,
        };
        self.place = self.place.filter(|place| *place < self.listed.len());
    }

    fn remove_all(&mut self, which: impl Fn(&Listed) -> bool) {
        for at in (0..self.listed.len()).rev() {
            if self.listed.get(at).is_some_and(&which) {
                self.remove(at);
            }
        }
    }

    fn is_named(&self, name: &str) -> bool {
        self.listed.iter().any(|it| Wish::of(name).means(&it.codec))
    }

    /// ng `strip`, and what is not offered of `mask` and `consume`.
    pub(super) fn strip(&mut self, names: &[String], except: &[String]) {
        for name in names {
            self.is_full |= name == "full";
            let wish = Wish::of(name);
            self.remove_all(|it| match is_everything(name) {
                true => !except.iter().any(|name| Wish::of(name).means(&it.codec)),
                false => wish.means(&it.codec),
            });
        }
    }

    /// ng `offer`: what was stripped comes back, in this order.
    pub(super) fn restore(&mut self, names: &[String], said: &[Codec]) {
        for name in names {
            if !self.is_named(name) {
                self.restore_one(name, said);
            }
        }
    }

    /// Whether `said` has what is named.
    fn restore_one(&mut self, name: &str, said: &[Codec]) -> bool {
        let wish = Wish::of(name);
        let mut any = false;
        for codec in said.iter().filter(|codec| wish.means(codec)) {
            any = true;
            if self.by_number(codec.payload_type).is_none() {
                self.touch(codec);
                self.insert(Listed::new(codec.clone()));
            }
        }
        any
    }

    /// Leaves what an end said where nothing would be left; whether it did.
    pub(super) fn restore_if_empty(&mut self, said: &[Codec]) -> bool {
        let is_empty = !self.has_media() && said.iter().any(|codec| !is_supplement(codec));
        if is_empty {
            *self = Self::heard(said, &Self::default());
        }
        is_empty
    }

    /// ng `accept`; with `said` ng `consume`, which brings back what was stripped.
    pub(super) fn accept(&mut self, names: &[String], said: Option<&[Codec]>) {
        for name in names {
            if !is_everything(name) && !self.is_named(name) {
                said.into_iter().for_each(|said| {
                    self.restore_one(name, said);
                });
            }
            let wish = Wish::of(name);
            let mut accepted = Vec::new();
            for it in self.listed.iter_mut().filter(|it| is_everything(name) || wish.means(&it.codec)) {
                (it.made, it.accepted) = (true, true);
                accepted.push(it.codec.clone());
            }
            accepted.iter().for_each(|codec| self.touch(codec));
        }
    }

    /// ng `mask` on the side of the end that made the offer: nothing is gone there, but supplements may change.
    pub(super) fn track(&mut self, names: &[String]) {
        for name in names {
            let wish = Wish::of(name);
            let meant = self.listed.iter().filter(|it| wish.means(&it.codec));
            let meant: Vec<Codec> = meant.map(|it| it.codec.clone()).collect();
            self.touched.all |= is_everything(name);
            meant.iter().for_each(|codec| self.touch(codec));
        }
    }

    /// ng `transcode`: what the end said itself comes back, what it did not is put in. A warning for what cannot be.
    pub(super) fn transcode(&mut self, names: &[String], said: &[Codec]) -> Vec<String> {
        let mut warnings = Vec::new();
        for name in names.iter().filter(|name| !name.is_empty()) {
            if self.is_named(name) || (!self.is_full && self.restore_one(name, said)) {
                continue;
            }
            match made(&Wish::of(name)).and_then(|listed| self.numbered(listed, said)) {
                Some(listed) => {
                    self.touch(&listed.codec);
                    self.insert(listed);
                }
                None => warnings.push(format!("codec-transcode: no conversion to {name}")),
            }
        }
        warnings
    }

    /// ng `set`: bit rates for formats that are converted to without having been asked for.
    pub(super) fn set(&mut self, names: &[String]) {
        for wish in names.iter().map(|name| Wish::of(name)) {
            let meant = self.listed.iter_mut().filter(|it| wish.is_format_of(&it.codec));
            meant.for_each(|it| it.bit_rate = wish.bit_rate.or(it.bit_rate));
        }
    }

    /// Gives a format a number that means nothing else here nor in `said`: its static one, or the first of the dynamic ones.
    fn numbered(&self, listed: Listed, said: &[Codec]) -> Option<Listed> {
        let own = Some(listed.codec.payload_type).filter(|number| *number < 96);
        let is_free = |number: &u8| {
            let mut theirs = said.iter().filter(|codec| codec.payload_type == *number);
            self.by_number(*number).is_none() && theirs.all(|codec| codec.same_format(&listed.codec))
        };
        let number = own.into_iter().chain(96..=127).find(is_free)?;
        Some(Listed { codec: Codec { payload_type: number, ..listed.codec.clone() }, ..listed })
    }

    /// Supplements stand beside media of their clock (RFC 4733 §2.1): where clocks were changed on purpose, those of no
    /// clock any more go, and a clock without gets its own.
    pub(super) fn follow_clocks(&mut self) {
        let media = self.listed.iter().filter(|it| !it.is_supplement());
        let mut clocks: Vec<u32> = media.map(|it| it.codec.clock).collect();
        clocks.sort_unstable();
        clocks.dedup();
        for name in ["telephone-event", "CN"] {
            let Some(like) = self.listed.iter().find(|it| it.codec.is(name)).cloned() else { continue };
            let stray: Vec<u32> = self
                .listed
                .iter()
                .filter(|it| it.codec.is(name) && !clocks.contains(&it.codec.clock))
                .map(|it| it.codec.clock)
                .collect();
            for clock in &clocks {
                let codec = Codec { clock: *clock, ..like.codec.clone() };
                if self.is_touched(&codec) && self.supplement(name, *clock).is_none() {
                    let own = made(&Wish::of(&format!("{}/{clock}", like.codec.name)));
                    let own = own.and_then(|listed| self.numbered(listed, &[]));
                    own.into_iter().for_each(|listed| self.insert(listed));
                }
            }
            let touched = self.touched.clone();
            let is_touched = |codec: &Codec| touched.all || touched.clocks.contains(&codec.clock);
            self.remove_all(|it| {
                it.codec.is(name) && stray.contains(&it.codec.clock) && is_touched(&it.codec)
            });
        }
    }

    /// Takes out what may not stand beside what is converted.
    pub(super) fn retain_known(&mut self) {
        self.remove_all(|it| !it.is_known());
    }
}
