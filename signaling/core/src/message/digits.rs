//! Numbers as digits at the end of a text: what is written into every message is written without the machinery of `fmt`, which takes
//! ten times as long.

/// Adds a number.
pub(crate) fn push_decimal(text: &mut String, number: u64) {
    let (mut digits, mut at, mut rest) = ([b'0'; 20], 20, number);
    loop {
        at -= 1;
        digits[at] += (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    push_ascii(text, &digits[at..]);
}

/// Adds bytes in lower-case hexadecimal digits.
pub(crate) fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let mut pairs = [[0; 2]; 32];
    for some in bytes.chunks(pairs.len()) {
        for (pair, byte) in pairs.iter_mut().zip(some) {
            *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
        }
        push_ascii(text, pairs[..some.len()].as_flattened());
    }
}

/// Adds digits in one piece.
fn push_ascii(text: &mut String, digits: &[u8]) {
    text.push_str(std::str::from_utf8(digits).unwrap_or_default());
}

/// A number alone.
#[must_use]
pub(crate) fn decimal(number: u64) -> String {
    let mut text = String::with_capacity(20);
    push_decimal(&mut text, number);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_fmt() {
        for number in [0, 1, 9, 10, 65_535, 1_000_000, u64::MAX] {
            let mut text = "x".to_owned();
            push_decimal(&mut text, number);
            assert_eq!(text, format!("x{number}"));
            assert_eq!(decimal(number), number.to_string());
            let mut text = "x".to_owned();
            push_hex(&mut text, &number.to_be_bytes());
            assert_eq!(text, format!("x{number:016x}"));
        }
        let bytes: Vec<u8> = (0..=255).collect();
        for length in [0, 1, 31, 32, 33, 64, 256] {
            let mut text = String::new();
            push_hex(&mut text, &bytes[..length]);
            assert_eq!(text, bytes[..length].iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        }
    }
}
