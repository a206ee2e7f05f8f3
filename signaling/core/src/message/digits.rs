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
    text.extend(digits[at..].iter().map(|digit| char::from(*digit)));
}

/// Adds bytes in lower-case hexadecimal digits.
pub(crate) fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let digit = |four: u8| char::from(DIGITS[usize::from(four & 15)]);
    text.extend(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]));
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
    }
}
