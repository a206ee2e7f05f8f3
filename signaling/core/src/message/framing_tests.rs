use super::*;

const HEAD: &str = "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n\
    To: <sip:c@d>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n";

fn message(body: &str) -> String {
    format!("{HEAD}l: {}\r\n\r\n{body}", body.len())
}

fn drain(framer: &mut Framer) -> Vec<Frame> {
    std::iter::from_fn(|| framer.poll_frame().expect("no fault")).collect()
}

fn fault(stream: &str) -> FramingError {
    let mut framer = Framer::new(Limits::default());
    for piece in stream.as_bytes().chunks(8192) {
        framer.push(piece);
        match framer.poll_frame() {
            Ok(frame) => assert_eq!(frame, None),
            Err(error) => return error,
        }
        assert!(framer.buffer_mut().len() <= Limits::default().message + 8192, "bounded");
    }
    panic!("no fault in {} bytes", stream.len());
}

#[test]
fn messages_and_pings_come_out_however_the_stream_is_cut() {
    let (a, b) = (message("hello\r\n\r\n"), message(""));
    let stream = format!("\r\n{a}\r\n\r\n{b}{a}\r\n\r\n\r\n\r\n\r\n{b}");
    let (a, b) = (Frame::Message(a.into()), Frame::Message(b.into()));
    let expected = [a.clone(), Frame::Ping, b.clone(), a, Frame::Ping, Frame::Ping, b];
    for size in 1..stream.len() {
        let mut framer = Framer::new(Limits::default());
        let mut frames = Vec::new();
        for piece in stream.as_bytes().chunks(size) {
            framer.push(piece);
            frames.extend(drain(&mut framer));
        }
        assert_eq!(frames, expected, "pieces of {size}");
        assert!(!framer.is_mid_message());
    }
}

#[test]
fn a_part_of_a_message_waits() {
    let mut framer = Framer::new(Limits::default());
    framer.push(b"\r\n");
    assert_eq!(drain(&mut framer), []);
    assert!(!framer.is_mid_message());
    framer.push(b"OPT");
    assert_eq!(drain(&mut framer), []);
    assert!(framer.is_mid_message());
}

#[test]
fn what_is_too_long_is_refused_with_its_status_and_answered_where_possible() {
    let long = "y".repeat(1_000_000);
    #[rustfmt::skip]
    let cases = [
        (format!("OPTIONS sip:{long}@b SIP/2.0\r\n"), 414, false),
        (format!("{HEAD}X: {long}\r\nl: 0\r\n\r\n"), 513, true),
        (format!("{HEAD}{}l: 0\r\n\r\n", "X: y\r\n".repeat(20_000)), 513, true),
        (format!("{HEAD}l: 100000\r\n\r\n"), 413, true),
        (format!("{HEAD}\r\n"), 400, true),
        (format!("{HEAD}l: x\r\n\r\n"), 400, true),
        (format!("{HEAD}l: 1\r\nContent-Length: 2\r\n\r\n"), 400, true),
        (long, 414, false),
    ];
    for (stream, status, answerable) in cases {
        let fault = fault(&stream);
        assert_eq!(fault.0.kind.status().code(), status, "{fault}");
        let response = fault.response("t").map(|response| response.to_bytes());
        assert_eq!(response.is_some(), answerable, "{fault}");
        if let Some(response) = response {
            assert!(response.starts_with(format!("SIP/2.0 {status} ").as_bytes()), "{response:?}");
        }
    }
}

#[test]
fn a_folded_line_is_no_content_length() {
    let mut framer = Framer::new(Limits::default());
    let text = format!("{HEAD}Subject: a\r\n Content-Length: 99\r\nl: 1\r\n\r\nx");
    framer.push(text.as_bytes());
    assert_eq!(drain(&mut framer), [Frame::Message(text.into())]);
}

#[test]
fn random_streams_are_survived() {
    use rand::{RngExt, SeedableRng};
    let mut rng = rand::rngs::StdRng::seed_from_u64(5);
    for _ in 0..5000 {
        let mut stream = message("hello").into_bytes();
        for _ in 0..rng.random_range(1..6) {
            let at = rng.random_range(0..stream.len());
            stream[at] = b"\r\n:0 l\xff"[rng.random_range(0..7)];
        }
        let mut framer = Framer::new(Limits::default());
        framer.push(&stream);
        while let Ok(Some(frame)) = framer.poll_frame() {
            if let Frame::Message(bytes) = frame {
                let _ = Message::parse(bytes);
            }
        }
    }
}
