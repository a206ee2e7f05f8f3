//! Mutations that know the shapes of protocols: lines and tokens of text, lengths and words of binary messages.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, RngExt as _};

/// The longest input made; beyond it only the limits of the parsers would be tested, again and again.
const LONGEST: usize = 70_000;

/// Pieces that parsers of text treat in a special way.
const TOKENS: &[&str] = &[
    "",
    " ",
    "\t",
    "\r\n",
    "\n",
    "\r",
    "\r\n\r\n",
    "\r\n ",
    "\0",
    ":",
    ";",
    ",",
    "=",
    "@",
    "<",
    ">",
    "\"",
    "\\",
    "%",
    "%00",
    "%zz",
    "[",
    "]",
    "[::1]",
    "[::ffff:1.2.3.4]",
    "*",
    "?",
    "&",
    "/",
    "0",
    "1",
    "-1",
    "255",
    "256",
    "65535",
    "65536",
    "2147483648",
    "4294967295",
    "4294967296",
    "18446744073709551615",
    "99999999999999999999999999",
    "1e9",
    "0x10",
    "\u{fe}",
    "é",
    "\u{202e}",
    "SIP/2.0",
    "sip:",
    "sips:",
    "tel:",
    "INVITE",
    "REGISTER",
    "CANCEL",
    "ACK",
    ";tag=",
    ";branch=z9hG4bK",
    ";rport",
    ";received=",
    ";lr",
    ";transport=udp",
    "Content-Length: 0\r\n",
    "Content-Length: 4294967296\r\n",
    "l:-1\r\n",
    "Max-Forwards: 0\r\n",
    "Via: SIP/2.0/UDP a\r\n",
    "m=audio 0 RTP/AVP 0\r\n",
    "m=audio 4000 UDP/TLS/RTP/SAVPF 111\r\n",
    "a=mid:0\r\n",
    "a=group:BUNDLE 0 0 0\r\n",
    "a=rtcp-mux\r\n",
    "c=IN IP6 ::\r\n",
    "c=IN IP4 0.0.0.0\r\n",
    "a=rtpmap:0 opus/48000/2\r\n",
    "a=setup:holdconn\r\n",
    "a=inactive\r\n",
    "d",
    "l",
    "e",
    "i0e",
    "i-0e",
    "0:",
    "9999999999:",
    "{",
    "}",
    "null",
    "1:",
    "2:ab",
    "\\u0000",
    "Digest ",
    "nonce=",
    "qop=auth",
    "nc=00000001",
    "algorithm=SHA-256",
];

/// A mutation of one of `seeds`, or of two.
pub fn mutated(seeds: &[Vec<u8>], text: bool, rng: &mut StdRng) -> Vec<u8> {
    let mut input = seeds.choose(rng).cloned().unwrap_or_default();
    for _ in 0..rng.random_range(1..5) {
        match (text, rng.random_range(0..10)) {
            (true, 0..4) => lines(&mut input, seeds, rng),
            (true, 4..8) => token(&mut input, rng),
            (false, 0..5) => word(&mut input, rng),
            _ => octets(&mut input, seeds, rng),
        }
    }
    input.truncate(LONGEST);
    input
}

/// Lines doubled, gone, exchanged, taken from another input, or very many.
fn lines(input: &mut Vec<u8>, seeds: &[Vec<u8>], rng: &mut StdRng) {
    let mut lines: Vec<Vec<u8>> =
        input.split_inclusive(|octet| *octet == b'\n').map(<[u8]>::to_vec).collect();
    if lines.is_empty() {
        return;
    }
    let (one, other) = (rng.random_range(0..lines.len()), rng.random_range(0..lines.len()));
    match rng.random_range(0..6) {
        0 => lines.insert(other, lines[one].clone()),
        1 => drop(lines.remove(one)),
        2 => lines.swap(one, other),
        3 => {
            let from = seeds.choose(rng).map_or(&[][..], Vec::as_slice);
            let others: Vec<&[u8]> = from.split_inclusive(|octet| *octet == b'\n').collect();
            lines.insert(one, others.choose(rng).map(|line| line.to_vec()).unwrap_or_default());
        }
        4 if rng.random_range(0..20) == 0 => {
            let many = vec![lines[one].clone(); rng.random_range(2..600)];
            lines.splice(one..one, many);
        }
        _ => {
            let line = lines[one].clone();
            let tail = line.get(rng.random_range(0..line.len().max(1))..).unwrap_or_default();
            lines[other].splice(0..0, tail.to_vec());
        }
    }
    *input = lines.concat();
}

/// A piece that means something, in place of some octets.
fn token(input: &mut Vec<u8>, rng: &mut StdRng) {
    let start = rng.random_range(0..=input.len());
    let end = (start + rng.random_range(0..6)).min(input.len());
    let piece = TOKENS.choose(rng).map_or(&[][..], |token| token.as_bytes());
    let times = if rng.random_range(0..50) == 0 { rng.random_range(1..5000) } else { 1 };
    input.splice(start..end, piece.repeat(times));
}

/// A number of 16 or 32 bits at its place: lengths, counts and types.
fn word(input: &mut [u8], rng: &mut StdRng) {
    let length = input.len() as u32;
    let values = [0, 1, 2, 3, 4, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, length, length / 4, rng.random()];
    let value =
        values.choose(rng).copied().unwrap_or_default().wrapping_add(rng.random_range(0..3)).wrapping_sub(1);
    let size = *[1_usize, 2, 4].choose(rng).unwrap_or(&2);
    if input.len() >= size {
        let at = rng.random_range(0..=input.len() - size);
        input[at..at + size].copy_from_slice(&value.to_be_bytes()[4 - size..]);
    }
}

/// Octets changed, cut, doubled, inserted, or continued with another input.
fn octets(input: &mut Vec<u8>, seeds: &[Vec<u8>], rng: &mut StdRng) {
    let at = rng.random_range(0..=input.len());
    match rng.random_range(0..6) {
        0 if at < input.len() => input[at] ^= 1 << rng.random_range(0..8),
        1 if at < input.len() => input[at] = rng.random(),
        2 => input.truncate(at),
        3 => {
            let piece = input[at..(at + rng.random_range(0..64)).min(input.len())].to_vec();
            input.splice(at..at, piece);
        }
        4 => {
            let mut noise = vec![0; rng.random_range(0..40)];
            rng.fill_bytes(&mut noise);
            input.splice(at..at, noise);
        }
        _ => {
            let other = seeds.choose(rng).map_or(&[][..], Vec::as_slice);
            let from = rng.random_range(0..=other.len());
            input.splice(at.., other[from..].to_vec());
        }
    }
}
