//! What a message costs grows with its length and not with the square of it, whatever is in it. Counted are the bytes that
//! the scanner looks at, which tells more than a clock and never fails for a busy machine.

use bytes::Bytes;

use super::header::{Authorization, Contact, RecordRoute, Route, Via};
use super::scan::steps;
use super::*;

/// No limits, so that the parser is asked and not they.
const UNLIMITED: Limits = Limits { message: 1 << 24, uri: 1 << 24, line: 1 << 24, headers: 1 << 20 };

/// Bytes looked at for each byte of a message, at most: some headers are read for several questions.
const PER_BYTE: u64 = 24;

fn message(uri: &str, fields: &str) -> Bytes {
    let text = format!(
        "OPTIONS {uri} SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\n\
         Call-ID: x\r\nCSeq: 1 OPTIONS\r\n{fields}\r\n"
    );
    Bytes::from(text)
}

/// Everything that the steps of a route ask of a message, and what they change.
fn treat(bytes: Bytes) {
    let Ok(Message::Request(mut request)) = Message::parse_with(bytes, &UNLIMITED) else { return };
    let _ = (request.uri().map(|uri| uri.is_equivalent(uri)), request.max_forwards());
    let _ = (request.all::<Via<'_>>().count(), request.all::<Route<'_>>().count());
    let _ = (request.all::<RecordRoute<'_>>().count(), request.all::<Contact<'_>>().count());
    for Authorization(credentials) in request.all::<Authorization<'_>>().flatten() {
        let _ = (credentials.params().count(), credentials.realm());
    }
    let _ = request.stamp_source(([192, 0, 2, 7], 5060).into(), true);
    request.edit_values(Name::Contact, |value| Some(value.to_vec()));
    request.retain_values(Name::Supported, |value| value != b"timer");
    request.remove_first_value(Name::Route);
    request.prepend(Name::Via, "SIP/2.0/UDP h");
    request.set(Name::MaxForwards, "1");
    assert!(!request.to_bytes().is_empty());
}

fn assert_linear(what: &str, bytes: Bytes) {
    let length = bytes.len() as u64;
    let steps = steps::of(|| treat(bytes));
    assert!(steps <= PER_BYTE * length, "{what}: {steps} steps for {length} bytes");
}

#[test]
fn a_field_of_a_megabyte_costs_what_it_is_long() {
    for name in
        ["Contact", "Route", "Record-Route", "Via", "Supported", "Authorization", "From", "To", "X-Other"]
    {
        for piece in [
            "<sip:a@b>,",
            "a,",
            ",",
            ";",
            "\"",
            "<",
            ">",
            "\\",
            "\"<",
            ";a=b",
            "=",
            "\r\n ",
            "<sip:a@b;x>;y, ",
            "Digest a=b,",
        ] {
            let value = piece.repeat(if name == "Contact" { 1_000_000 } else { 100_000 } / piece.len());
            assert_linear(&format!("{name}: {piece:?}"), message("sip:a@b", &format!("{name}: {value}\r\n")));
        }
    }
}

#[test]
fn a_hundred_thousand_fields_cost_what_they_are_long() {
    for field in [
        "X: y\r\n",
        "Contact: <sip:a@b>\r\n",
        "Route: <sip:a@b>\r\n",
        "Via: SIP/2.0/UDP h\r\n",
        "l: 0\r\n",
        "k: a\r\n",
    ] {
        assert_linear(field, message("sip:a@b", &field.repeat(100_000)));
    }
}

#[test]
fn a_uri_of_a_million_characters_costs_what_it_is_long() {
    for piece in ["a", ";x", ";x=y", "@", ":", "%41", "?", "&a=b", ";alias=1.2.3.4~1~1"] {
        for start in ["sip:", "sip:a@b", "sip:a@b;x", "sip:a@b?x", "tel:1"] {
            let uri = format!("{start}{}", piece.repeat(1_000_000 / piece.len()));
            assert_linear(&format!("{start}{piece}…"), message(&uri, ""));
        }
    }
}

/// The longest URIs that there are: 65,535 characters, all of them parameters in another order than those of the other.
#[test]
fn comparing_uris_costs_what_they_are_long() {
    for (start, one, other) in [("", ";x", ";y"), ("", ";a=1;b", ";b;a=1"), ("?", "a=1&", "b=2&")] {
        let uri = |piece: &str| {
            Uri::parse(&format!("sip:u@h{start}{}", piece.repeat(60_000 / piece.len()))).expect("a URI")
        };
        let (one, other) = (uri(one), uri(other));
        let steps = steps::of(|| assert!(!one.is_equivalent(&other)));
        assert!(steps <= 200_000, "{steps} steps");
    }
}
