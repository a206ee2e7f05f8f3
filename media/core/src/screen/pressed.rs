//! The keys that were pressed, on the time line of the sender's sound.

use std::collections::VecDeque;

use super::Mode;

/// Keys that are remembered: more than anybody presses within the longest delay.
const MOST: usize = 128;

/// A key that was pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pressed {
    pub(super) code: u8,
    /// dBm0 below 0.
    pub(super) volume: u8,
    /// The timestamp of its beginning, and that behind it as far as is known.
    pub(super) began: u32,
    pub(super) end: u32,
    /// What becomes of it.
    pub(super) mode: Mode,
    /// The key in its place, where chance decides.
    pub(super) other: u8,
    /// So many units of it went on as sound.
    pub(super) made: u32,
}

impl Pressed {
    pub(super) fn new(code: u8, volume: u8, began: u32, units: u32) -> Self {
        Self { code, volume, began, end: began.wrapping_add(units), mode: Mode::Off, other: 0, made: 0 }
    }

    /// Whether any of the time within `around` units of `timestamp` is its. What is half a circle away is long forgotten.
    fn covers(&self, timestamp: u32, around: u32) -> bool {
        let begun = timestamp.wrapping_add(around).wrapping_sub(self.began).cast_signed() >= 0;
        let lasts = self.end.wrapping_sub(timestamp.wrapping_sub(around)).cast_signed() > 0;
        begun && lasts
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    keys: VecDeque<Pressed>,
}

impl Timeline {
    pub(super) fn push(&mut self, key: Pressed) {
        if self.keys.len() >= MOST {
            self.keys.pop_front();
        }
        self.keys.push_back(key);
    }

    /// The newest has lasted so long.
    pub(super) fn newest_lasts(&mut self, units: u32) {
        if let Some(key) = self.keys.back_mut() {
            let known = key.end.wrapping_sub(key.began);
            key.end = key.began.wrapping_add(units.max(known));
        }
    }

    /// The newest lasts until there.
    pub(super) fn newest_ends(&mut self, timestamp: u32) {
        if let Some(key) = self.keys.back_mut() {
            key.end = timestamp;
        }
    }

    /// From now on `mode` becomes of all of them.
    pub(super) fn all(&mut self, mode: Mode) {
        self.keys.iter_mut().for_each(|key| key.mode = mode);
    }

    /// The newest key within `around` units of a timestamp.
    pub(super) fn at(&self, timestamp: u32, around: u32) -> Option<&Pressed> {
        self.keys.iter().rev().find(|key| key.covers(timestamp, around))
    }

    /// The newest key to which an event packet of `timestamp` belongs.
    pub(super) fn of(&mut self, code: u8, timestamp: u32) -> Option<&mut Pressed> {
        let same =
            |key: &&mut Pressed| key.code == code && (key.began == timestamp || key.covers(timestamp, 0));
        self.keys.iter_mut().rev().find(same)
    }
}
