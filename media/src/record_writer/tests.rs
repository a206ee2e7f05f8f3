//! Recordings on a disk.

use std::fs;
use std::net::SocketAddr;

use media_core::codec::wav::Clip;
use media_core::codec::{Coding, Format, OpusParameters};
use media_core::packet::Packet;
use media_core::rtp::Header;

use super::*;

const PCMU: Format =
    Format { coding: Coding::Pcmu, clock: 8000, ptime: 20, opus: OpusParameters { fec: false, ..OPUS } };
const OPUS: OpusParameters = OpusParameters {
    fec: false,
    dtx: false,
    constant_bit_rate: false,
    max_playback_rate: 48_000,
    max_average_bit_rate: 510_000,
};

fn config(directory: &Path, method: RecordingMethod) -> RecordingConfig {
    RecordingConfig { directory: directory.to_owned(), method, max_octets: 0, max_age: Duration::ZERO }
}

/// Half a second of a call, the caller loud, the callee silent. Returns when the writer is through with it.
fn record(writer: &RecordWriter, recording: u64, call_id: &str) {
    let start = Instant::now();
    let at = Duration::from_secs(1_700_000_000);
    let tags = vec!["a".to_owned(), "b".to_owned()];
    let metadata = Some("words".to_owned());
    let begun = Begun { call_id: call_id.into(), tags, at, now: start, metadata };
    writer.give(Recorded { recording, what: RecordedKind::Begun(begun) });
    for number in 0..25u16 {
        for caller in [true, false] {
            let mut packet = Packet::new();
            let payload = if caller { [0x80, 0].repeat(80) } else { vec![0xff; 160] };
            let header = Header::new(0, number, u32::from(number) * 160, u32::from(caller));
            header.start(&mut packet, &payload).expect("it fits");
            let packet = RecordedPacket {
                now: start + Duration::from_millis(20 * u64::from(number) + 20),
                at: at + Duration::from_millis(20 * u64::from(number)),
                caller,
                from: SocketAddr::from(([192, 0, 2, 1], 4000)),
                to: SocketAddr::from(([192, 0, 2, 2], 30_000)),
                sound: Some((header, PCMU)),
                octets: packet.as_slice().into(),
            };
            writer.give(Recorded { recording, what: RecordedKind::Packet(packet) });
        }
    }
    writer.give(Recorded { recording, what: RecordedKind::Ended { at: at + Duration::from_millis(500) } });
    assert_eq!(check(writer), Ok(()));
}

fn check(writer: &RecordWriter) -> Result<(), String> {
    let (sender, receiver) = channel();
    writer.check(Box::new(move |result| drop(sender.send(result))));
    receiver.recv().expect("an answer")
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn a_call_becomes_sound_and_metadata() {
    for (method, suffixes) in [
        (RecordingMethod::Stereo, &[".wav"][..]),
        (RecordingMethod::Mixed, &[".wav"]),
        (RecordingMethod::Separate, &["-caller.wav", "-callee.wav"]),
    ] {
        let directory = tempfile::tempdir().expect("a directory");
        let writer = RecordWriter::start(config(directory.path(), method)).expect("a thread");
        record(&writer, 7, "call/1");
        let base = "call%2f1-0000000000000007";
        for (at, suffix) in suffixes.iter().enumerate() {
            let octets = fs::read(directory.path().join(format!("{base}{suffix}"))).expect("a recording");
            let clip = Clip::parse(&octets).expect("a WAV file");
            assert_eq!(clip.rate(), 16_000);
            // The file ends when the last word comes, and that is at once.
            assert_eq!(octets[22], if method == RecordingMethod::Stereo { 2 } else { 1 });
            let loud = clip.samples().iter().any(|sample| sample.unsigned_abs() > 10_000);
            assert_eq!(loud, at == 0, "{method:?} {suffix}");
        }
        let json = fs::read(directory.path().join(format!("{base}.json"))).expect("metadata");
        let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
        assert_eq!((&json["call_id"], &json["tags"][1]), (&"call/1".into(), &"b".into()));
        assert_eq!((&json["duration"], &json["metadata"]), (&0.5.into(), &"words".into()));
        assert_eq!(
            (&json["error"], json["files"].as_array().map(Vec::len)),
            (&().into(), Some(suffixes.len()))
        );
        assert_eq!(names(directory.path()).len(), suffixes.len() + 1);
    }
}

#[test]
fn a_capture_has_every_packet() {
    for (ethernet, link, header) in [(false, 101, 28), (true, 1, 42)] {
        let directory = tempfile::tempdir().expect("a directory");
        let method = RecordingMethod::Pcap { ethernet };
        let writer = RecordWriter::start(config(directory.path(), method)).expect("a thread");
        record(&writer, 9, "c");
        let octets = fs::read(directory.path().join("pcaps/c-0000000000000009.pcap")).expect("a capture");
        assert_eq!((&octets[..4], octets[20]), (&[0xd4, 0xc3, 0xb2, 0xa1][..], link));
        assert_eq!(octets.len(), 24 + 50 * (16 + header + 12 + 160));
        let text =
            fs::read_to_string(directory.path().join("metadata/c-0000000000000009.txt")).expect("text");
        assert!(
            text.starts_with(&*directory.path().to_string_lossy()) && text.ends_with("\nwords\n"),
            "{text}"
        );
    }
}

#[test]
fn where_nothing_can_be_written_it_says_so() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("file");
    fs::write(&file, b"").expect("written");
    let writer = RecordWriter::start(config(&file.join("below"), RecordingMethod::Stereo)).expect("a thread");
    assert!(check(&writer).expect_err("no directory").contains("Not a directory"));
    // A full disk: every write to it fails.
    let full = Path::new("/dev/full");
    if full.exists() {
        let shelf = Shelf::new(config(directory.path(), RecordingMethod::Stereo));
        std::os::unix::fs::symlink(full, directory.path().join("x-0000000000000001.wav")).expect("a link");
        let mut sound =
            Sound::open(&shelf, "x-0000000000000001", RecordingMethod::Stereo, Instant::now()).expect("open");
        assert!(sound.flush().expect_err("full").to_string().contains("No space"));
    }
}

#[test]
fn the_oldest_make_room_and_strangers_stay() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut limits = config(directory.path(), RecordingMethod::Stereo);
    limits.max_octets = 40_000;
    fs::write(directory.path().join("notes.txt"), vec![0; 100_000]).expect("written");
    let writer = RecordWriter::start(limits.clone()).expect("a thread");
    for (age, number) in [(300, 1), (200, 2), (100, 3)] {
        let path = directory.path().join(format!("old-{number:016x}.wav"));
        fs::write(&path, vec![0; 15_000]).expect("written");
        let file = fs::File::options().write(true).open(&path).expect("open");
        file.set_modified(std::time::SystemTime::now() - Duration::from_secs(age)).expect("older");
    }
    record(&writer, 4, "new");
    let kept = names(directory.path());
    assert!(!kept.iter().any(|name| name.starts_with("old-0000000000000001")), "{kept:?}");
    assert!(kept.iter().any(|name| name.starts_with("old-0000000000000003")), "{kept:?}");
    assert!(kept.iter().any(|name| name == "notes.txt"));
    limits.max_age = Duration::from_secs(60);
    Shelf::new(limits).make_room(&["new-0000000000000004"]);
    let kept = names(directory.path());
    assert!(!kept.iter().any(|name| name.starts_with("old-")), "{kept:?}");
    assert_eq!(kept.iter().filter(|name| name.starts_with("new-")).count(), 2);
}
