//! What is remembered for each SSRC: the highest packet index and which of the 128 before it were seen
//! (RFC 3711 §3.3.1, §3.3.2). A check changes nothing; only [`Sources::commit`], after authentication, does.

use super::Error;
use crate::rtp::sequence::nearest_index;

/// Packets of the replay window (RFC 3711 §3.3.2 asks for 64 at least).
pub(super) const WINDOW: u64 = 128;

/// The most SSRCs one key keeps at a time. A browser leg has one or two for each media section.
pub(super) const MAX_SOURCES: usize = 64;

/// What happens with a new SSRC when the table is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WhenFull {
    /// The sender's rule: forgetting an SSRC would let its key stream be used twice.
    Refuse,
    /// The receiver's rule: a peer may change its SSRC with every re-INVITE for days.
    ForgetOldest,
}

#[derive(Debug)]
struct Source {
    ssrc: u32,
    highest: u64,
    /// Bit n: index `highest - n` was seen.
    seen: u128,
    last_used: u64,
}

/// The index of a packet that passed the check, to be committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Checked {
    slot: Option<usize>,
    pub(super) index: u64,
}

/// The table of one key and direction.
#[derive(Debug)]
pub(super) struct Sources {
    entries: Vec<Source>,
    when_full: WhenFull,
    uses: u64,
}

impl Sources {
    pub(super) const fn new(when_full: WhenFull) -> Self {
        Self { entries: Vec::new(), when_full, uses: 0 }
    }

    /// The index of an RTP packet by the guess of RFC 3711 §3.3.1; a new SSRC starts with rollover counter 0.
    pub(super) fn check_sequence(&self, ssrc: u32, sequence_number: u16) -> Result<Checked, Error> {
        let slot = self.position(ssrc);
        let index = match slot {
            Some(slot) => {
                let highest = self.entries[slot].highest;
                nearest_index(highest, sequence_number).ok_or(if highest >> 16 == 0 {
                    Error::Replayed
                } else {
                    Error::Exhausted
                })?
            }
            None => u64::from(sequence_number),
        };
        self.check(slot, index)
    }

    /// The same for an index that the packet carries itself, as SRTCP does (RFC 3711 §3.4).
    pub(super) fn check_index(&self, ssrc: u32, index: u32) -> Result<Checked, Error> {
        self.check(self.position(ssrc), u64::from(index))
    }

    fn check(&self, slot: Option<usize>, index: u64) -> Result<Checked, Error> {
        match slot {
            Some(slot) => {
                let source = &self.entries[slot];
                if let Some(behind) = source.highest.checked_sub(index)
                    && (behind >= WINDOW || source.seen >> behind & 1 == 1)
                {
                    return Err(Error::Replayed);
                }
            }
            None if self.entries.len() >= MAX_SOURCES && self.when_full == WhenFull::Refuse => {
                return Err(Error::TooManySources);
            }
            None => {}
        }
        Ok(Checked { slot, index })
    }

    /// Remembers a packet that was authenticated. `checked` must come from the last check of the same `ssrc`.
    pub(super) fn commit(&mut self, ssrc: u32, checked: Checked) {
        self.uses += 1;
        let Checked { slot, index } = checked;
        let Some(slot) = slot else {
            let source = Source { ssrc, highest: index, seen: 1, last_used: self.uses };
            if self.entries.len() < MAX_SOURCES {
                self.entries.push(source);
            } else if let Some(oldest) = self.entries.iter_mut().min_by_key(|s| s.last_used) {
                *oldest = source;
            }
            return;
        };
        let source = &mut self.entries[slot];
        source.last_used = self.uses;
        if let Some(ahead) = index.checked_sub(source.highest) {
            source.seen = if ahead < WINDOW { source.seen << ahead | 1 } else { 1 };
            source.highest = index;
        } else {
            source.seen |= 1 << (source.highest - index);
        }
    }

    /// The highest index seen of `ssrc`.
    pub(super) fn highest(&self, ssrc: u32) -> Option<u64> {
        self.position(ssrc).map(|slot| self.entries[slot].highest)
    }

    /// How many SSRCs are remembered.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn position(&self, ssrc: u32) -> Option<usize> {
        self.entries.iter().position(|source| source.ssrc == ssrc)
    }
}
