//! Recordings: what the writer gets.

use super::*;
use crate::command::{Record, RecordedKind, Recording};
use crate::tape::Tape;

fn record(bed: &mut Bed, what: Recording, metadata: Option<&str>) {
    let metadata = metadata.map(str::to_owned);
    let record = Record { call_id: "call-1".to_owned(), what, metadata, warnings: vec![] };
    let reply = bed.engine.handle_command(bed.now, &Command::Record(record));
    assert_eq!(reply, Reply::Done { warnings: vec![] });
    bed.drain();
}

fn packets(bed: &Bed) -> usize {
    bed.recorded.iter().filter(|it| matches!(it.what, RecordedKind::Packet(_))).count()
}

#[test]
fn the_writer_gets_what_both_ends_say_decrypted() {
    let mut bed = Bed::new(Browser, Legacy, 51);
    bed.connect();
    bed.settle(Duration::from_secs(5));
    bed.talk(2);
    assert_eq!(bed.recorded.len(), 0);
    record(&mut bed, Recording::Start, Some("a=b"));
    bed.talk(3);
    let mut tape = None;
    let mut said = [0, 0];
    for recorded in &bed.recorded {
        match &recorded.what {
            RecordedKind::Begun(begun) => {
                assert_eq!((&*begun.call_id, begun.metadata.as_deref()), ("call-1", Some("a=b")));
                tape = Some(Tape::new(begun.now));
            }
            RecordedKind::Packet(packet) => {
                let Some((header, format)) = packet.sound else { continue };
                let payload = header.payload(&packet.octets).expect("a payload");
                let side = usize::from(!packet.caller);
                assert_eq!(payload, speech(side, said[side]));
                assert_eq!(packet.from.ip(), bed.phones[side].address.ip());
                said[side] += 1;
                tape.as_mut().expect("it began").take(packet.now, side, format, header, payload);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(said, [3, 3]);
    let mut loud = [false; 2];
    tape.expect("it began").finish(bed.now, &mut |frames| {
        frames.iter().for_each(|frame| {
            (0..2).for_each(|side| loud[side] |= frame[side].unsigned_abs() > 1000);
        });
    });
    assert_eq!(loud, [true, true]);
}

#[test]
fn a_pause_is_left_out_and_the_end_is_told_once() {
    let mut bed = Bed::new(Legacy, Legacy, 52);
    bed.connect();
    record(&mut bed, Recording::Start, None);
    record(&mut bed, Recording::Start, Some("again"));
    bed.talk(2);
    assert_eq!(packets(&bed), 4);
    record(&mut bed, Recording::Pause, None);
    bed.talk(2);
    assert_eq!(packets(&bed), 4);
    record(&mut bed, Recording::Start, None);
    bed.talk(1);
    assert_eq!(packets(&bed), 6);
    let delete = Delete { call_id: "call-1".to_owned(), ..Delete::default() };
    bed.engine.handle_command(bed.now, &Command::Delete(delete));
    bed.drain();
    let kinds: Vec<&str> = bed
        .recorded
        .iter()
        .filter_map(|it| match &it.what {
            RecordedKind::Begun(_) => Some("begun"),
            RecordedKind::Metadata(words) => Some(words),
            RecordedKind::Packet(_) => None,
            RecordedKind::Ended { .. } => Some("ended"),
        })
        .collect();
    assert_eq!(kinds, ["begun", "again", "ended"]);
    assert!(bed.recorded.iter().all(|it| it.recording == bed.recorded[0].recording));
    let missing =
        Record { call_id: "x".to_owned(), what: Recording::Start, metadata: None, warnings: vec![] };
    let reply = bed.engine.handle_command(bed.now, &Command::Record(missing));
    assert_eq!(reply, Reply::error(Cause::UnknownCall, "unknown call-id"));
}
