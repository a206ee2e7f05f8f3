//! Arithmetic of 16-bit sequence numbers (RFC 1982, RFC 3550 appendix A.1).

/// Whether `a` comes after `b` on the circle of 16-bit numbers (RFC 1982 §3.2). Numbers exactly half a circle apart
/// have no order: then neither is newer.
#[must_use]
pub const fn is_newer(a: u16, b: u16) -> bool {
    let ahead = a.wrapping_sub(b);
    ahead != 0 && ahead < 0x8000
}

/// How far `a` is ahead of `b`, negative when behind: -32768 to 32767.
#[must_use]
pub const fn distance(a: u16, b: u16) -> i16 {
    a.wrapping_sub(b).cast_signed()
}

/// The 48-bit packet index (RFC 3711 §3.3.1) of `sequence_number` that lies nearest to `highest`, the highest index
/// seen so far; `None` when that would lie before index 0 or after the last one.
#[must_use]
pub const fn nearest_index(highest: u64, sequence_number: u16) -> Option<u64> {
    let index = highest.checked_add_signed(distance(sequence_number, highest as u16) as i64);
    match index {
        Some(index) if index < 1 << 48 => Some(index),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_on_the_circle() {
        for (a, b, newer) in [
            (1, 0, true),
            (0, 1, false),
            (0, 0xffff, true),
            (0xffff, 0, false),
            (0x7fff, 0, true),
            (0x8000, 0, false),
            (0, 0x8000, false),
            (5, 5, false),
        ] {
            assert_eq!(is_newer(a, b), newer, "{a} after {b}");
        }
        assert_eq!(distance(2, 0xfffe), 4);
        assert_eq!(distance(0xfffe, 2), -4);
    }

    /// The cases of RFC 3711 appendix A: below, above and across a wrap.
    #[test]
    fn index_nearest_to_the_highest() {
        for (highest, seq, index) in [
            (0x1_0000, 0xffff, Some(0xffff)),
            (0x1_0000, 1, Some(0x1_0001)),
            (0xffff, 0, Some(0x1_0000)),
            (0, 0xffff, None),
            (0x2_7fff, 0xffff, Some(0x1_ffff)),
            ((1 << 48) - 1, 0, None),
            ((1 << 48) - 1, 0xfffe, Some((1 << 48) - 2)),
        ] {
            assert_eq!(nearest_index(highest, seq), index, "{highest:#x} {seq:#x}");
        }
    }
}
