use super::*;

fn list(text: &str) -> Vec<Codec> {
    text.split(", ").filter_map(Codec::parse_rtpmap).collect()
}

fn show(formats: &Formats) -> String {
    let codecs = formats.codecs();
    codecs.iter().map(Codec::rtpmap).collect::<Vec<_>>().join(", ")
}

/// `strip=PCMU,G722 transcode=PCMA`
fn edits(text: &str) -> CodecEdits {
    let mut edits = CodecEdits::default();
    for (key, value) in text.split(' ').filter_map(|word| word.split_once('=')) {
        let list = match key {
            "strip" => &mut edits.strip,
            "except" => &mut edits.except,
            "offer" => &mut edits.offer,
            "mask" => &mut edits.mask,
            "consume" => &mut edits.consume,
            "accept" => &mut edits.accept,
            "set" => &mut edits.set,
            "transcode" => &mut edits.transcode,
            other => panic!("{other}"),
        };
        list.extend(value.split(',').map(str::to_owned));
    }
    edits
}

fn offered(said: &str, wish: &str) -> Offered {
    let none = Formats::default();
    offer([&none, &none], &list(said), MediaKind::Audio, &edits(wish), Packing::default())
}

const PHONE: &str = "0 PCMU/8000, 9 G722/8000, 18 G729/8000, 101 telephone-event/8000";
const BROWSER: &str = "111 opus/48000/2, 8 PCMA/8000, 110 telephone-event/48000, 126 telephone-event/8000";

#[test]
fn what_the_receiver_is_offered() {
    for (said, wish, expected, warnings) in [
        (PHONE, "", PHONE, 0),
        (PHONE, "strip=G722,G729", "0 PCMU/8000, 101 telephone-event/8000", 0),
        (PHONE, "strip=g722,g729", "0 PCMU/8000, 101 telephone-event/8000", 0),
        (PHONE, "strip=all except=G729,telephone-event", "18 G729/8000, 101 telephone-event/8000", 0),
        (
            PHONE,
            "strip=all offer=G729,PCMU,telephone-event",
            "18 G729/8000, 0 PCMU/8000, 101 telephone-event/8000",
            0,
        ),
        (PHONE, "strip=all", PHONE, 1),
        (PHONE, "strip=PCMU/16000,G722/8000/2", PHONE, 0),
        (PHONE, "strip=PCMU/8000,G722/8000/1", "18 G729/8000, 101 telephone-event/8000", 0),
        (PHONE, "mask=all transcode=PCMA", "8 PCMA/8000", 0),
        (
            PHONE,
            "transcode=pcma",
            "0 PCMU/8000, 9 G722/8000, 18 G729/8000, 8 pcma/8000, 101 telephone-event/8000",
            0,
        ),
        // What is not known by name goes once something is converted.
        ("0 PCMU/8000, 96 EVS/16000", "transcode=PCMA", "0 PCMU/8000, 8 PCMA/8000", 0),
        ("0 PCMU/8000, 96 EVS/16000", "strip=G729", "0 PCMU/8000, 96 EVS/16000", 0),
        // What passes and cannot be converted has events of its clock too, and is there to be asked for.
        (
            "0 PCMU/8000, 97 speex/16000",
            "transcode=telephone-event",
            "0 PCMU/8000, 97 speex/16000, 98 telephone-event/16000, 96 telephone-event/8000",
            0,
        ),
        ("0 PCMU/8000, 97 speex/16000", "mask=all transcode=speex", "97 speex/16000", 0),
        (PHONE, "transcode=PCMU", PHONE, 0),
        (PHONE, "strip=G729 transcode=AMR", "0 PCMU/8000, 9 G722/8000, 101 telephone-event/8000", 1),
        ("18 G729/8000", "transcode=PCMA", "18 G729/8000", 1),
        (PHONE, "accept=G722", PHONE, 0),
        // Events follow the clocks that were changed, and only those.
        (
            "8 PCMA/8000, 97 telephone-event/8000",
            "transcode=opus",
            "8 PCMA/8000, 96 opus/48000/2, 98 telephone-event/48000, 97 telephone-event/8000",
            0,
        ),
        (
            "8 PCMA/8000, 97 telephone-event/8000",
            "transcode=opus mask=PCMA",
            "96 opus/48000/2, 98 telephone-event/48000",
            0,
        ),
        (BROWSER, "strip=opus", "8 PCMA/8000, 126 telephone-event/8000", 0),
        (BROWSER, "strip=PCMA", "111 opus/48000/2, 110 telephone-event/48000", 0),
        (
            "8 PCMA/8000, 101 telephone-event/16000",
            "transcode=G722",
            "8 PCMA/8000, 9 G722/8000, 96 telephone-event/8000, 101 telephone-event/16000",
            0,
        ),
        (
            "0 PCMU/8000",
            "transcode=CN,telephone-event",
            "0 PCMU/8000, 96 telephone-event/8000, 13 CN/8000",
            0,
        ),
        // With more than channels it is a format of its own, with a number of its own.
        (
            "0 PCMU/8000, 96 opus/48000/2",
            "transcode=opus/48000/2/16000//useinbandfec--1",
            "0 PCMU/8000, 96 opus/48000/2, 97 opus/48000/2",
            0,
        ),
        (
            "0 PCMU/8000, 97 opus/48000, 98 opus/48000/2",
            "strip=opus/48000",
            "0 PCMU/8000, 98 opus/48000/2",
            0,
        ),
        // `full`: what is converted to is new, though the offer has it.
        (BROWSER, "mask=full transcode=PCMA,telephone-event", "8 PCMA/8000, 96 telephone-event/8000", 0),
        (BROWSER, "consume=opus", "8 PCMA/8000, 126 telephone-event/8000", 0),
    ] {
        let offered = offered(said, wish);
        assert_eq!((show(&offered.told).as_str(), offered.warnings.len()), (expected, warnings), "{wish}");
    }
    let told =
        offered("0 PCMU/8000", "transcode=opus////stereo--1;useinbandfec--1,telephone-event").told.codecs();
    let parameters: Vec<_> = told.iter().map(|codec| codec.fmtp.as_deref()).collect();
    assert_eq!(parameters, [None, None, Some("0-15"), Some("0-15")]);
}

#[test]
fn a_wish_brings_parameters_and_a_bit_rate() {
    let told = offered("0 PCMU/8000", "transcode=opus/48000/2/16000//stereo--1;usedtx--1").told;
    let opus = told.iter().nth(1).expect("opus");
    assert_eq!(opus.codec.fmtp.as_deref(), Some("stereo=1;usedtx=1"));
    let format = opus.format(None).expect("a format").opus;
    assert_eq!((format.dtx, format.max_average_bit_rate), (true, 16_000));
    let set = offered("111 opus/48000/2", "set=opus/48000/2/24000,opus/48000/1/9 transcode=PCMU").offerer;
    assert_eq!(set.iter().next().and_then(|it| it.bit_rate), Some(24_000));
}

/// What the sender is answered.
fn answered_with(said: &str, wish: &str, accepted: &str, single: bool) -> Answered {
    let offered = offered(said, wish);
    let (lists, edits) = ([&offered.offerer, &offered.told], CodecEdits::default());
    answer(lists, &list(accepted), MediaKind::Audio, &edits, single, Packing::default())
}

#[test]
fn what_the_sender_is_answered() {
    let phone = "8 PCMA/8000, 107 opus/48000/2, 101 telephone-event/8000";
    for (said, wish, accepted, expected) in [
        (
            PHONE,
            "",
            "9 G722/8000, 0 PCMU/8000, 97 telephone-event/8000",
            "9 G722/8000, 0 PCMU/8000, 101 telephone-event/8000",
        ),
        (PHONE, "", "3 GSM/8000, 18 G729/8000", "18 G729/8000"),
        (PHONE, "", "8 PCMA/8000", ""),
        (
            PHONE,
            "transcode=PCMA",
            "8 PCMA/8000, 101 telephone-event/8000",
            "0 PCMU/8000, 101 telephone-event/8000",
        ),
        (PHONE, "transcode=PCMA accept=PCMU", "9 G722/8000, 8 PCMA/8000", "0 PCMU/8000"),
        (
            phone,
            "transcode=G722",
            "107 opus/48000/2, 101 telephone-event/8000",
            "107 opus/48000/2, 101 telephone-event/8000",
        ),
        // The events of the clock that was added to follow the format they belong to.
        (
            phone,
            "transcode=G722",
            "107 opus/48000/2, 101 telephone-event/8000, 9 G722/8000",
            "107 opus/48000/2, 8 PCMA/8000, 101 telephone-event/8000",
        ),
        (phone, "transcode=G722", "9 G722/8000", "8 PCMA/8000"),
        // Those of the receiver's clock become those of the sender's.
        (
            "96 opus/48000/2, 120 telephone-event/48000",
            "mask=all transcode=PCMA,telephone-event",
            "8 PCMA/8000, 96 telephone-event/8000",
            "96 opus/48000/2, 120 telephone-event/48000",
        ),
        // Events that the receiver refused are taken from the sender only where they are converted.
        ("0 PCMU/8000, 101 telephone-event/8000", "", "0 PCMU/8000", "0 PCMU/8000"),
        (
            "0 PCMU/8000, 101 telephone-event/8000",
            "accept=all",
            "0 PCMU/8000",
            "0 PCMU/8000, 101 telephone-event/8000",
        ),
        ("0 PCMU/8000, 13 CN/8000", "accept=all", "0 PCMU/8000", "0 PCMU/8000, 13 CN/8000"),
        (
            "0 PCMU/8000",
            "transcode=CN,telephone-event",
            "0 PCMU/8000, 13 CN/8000, 96 telephone-event/8000",
            "0 PCMU/8000",
        ),
        (
            "8 PCMA/8000, 13 CN/8000, 101 telephone-event/8000",
            "strip=all consume=CN offer=PCMA,telephone-event",
            "8 PCMA/8000, 101 telephone-event/8000",
            "8 PCMA/8000, 13 CN/8000, 101 telephone-event/8000",
        ),
        // The parameters of what passes are those of the answer.
        ("0 PCMU/8000, 97 opus/48000", "", "97 opus/48000", "97 opus/48000"),
    ] {
        assert_eq!(show(&answered_with(said, wish, accepted, false).offerer), expected, "{wish} {accepted}");
    }
    assert_eq!(
        show(&answered_with(PHONE, "", PHONE, true).offerer),
        "0 PCMU/8000, 101 telephone-event/8000",
        "single codec"
    );
}

#[test]
fn what_was_decided_holds_for_the_next_offer() {
    let first = answered_with("0 PCMU/8000, 101 telephone-event/8000", "accept=all", "0 PCMU/8000", false);
    let said = list("0 PCMU/8000, 101 telephone-event/8000");
    let again =
        offer([&first.offerer, &first.answerer], &said, MediaKind::Audio, &edits(""), Packing::default());
    let lists = [&again.offerer, &again.told];
    let answer = answer(lists, &list("0 PCMU/8000"), MediaKind::Audio, &edits(""), false, Packing::default());
    assert_eq!(show(&answer.offerer), "0 PCMU/8000, 101 telephone-event/8000");
}

#[test]
fn what_becomes_of_payloads() {
    use crate::call::plan::Payload;
    let maps = |said: &str, wish: &str, accepted: &str, packing: Packing| {
        let offered = offered(said, wish);
        let (lists, edits) = ([&offered.offerer, &offered.told], CodecEdits::default());
        let it = answer(lists, &list(accepted), MediaKind::Audio, &edits, false, packing);
        let show = |from, to, packing| {
            let maps = payloads(from, to, packing);
            let name = |payload| match payload {
                Payload::Transcode { to, .. } => format!("transcoded in {} ms", to.ptime),
                other => format!("{other:?}"),
            };
            maps.iter()
                .map(|map| format!("{}>{} {}", map.from, map.to, name(map.payload)))
                .collect::<Vec<_>>()
        };
        [show(&it.offerer, &it.answerer, packing), show(&it.answerer, &it.offerer, packing.reversed())]
    };
    let plain = Packing::default();
    assert_eq!(
        maps("0 PCMU/8000", "transcode=PCMA", "0 PCMU/8000, 8 PCMA/8000", plain),
        [vec!["0>0 Media"], vec!["0>0 Media", "8>0 AlawToUlaw"]]
    );
    assert_eq!(
        maps(
            "111 opus/48000/2, 110 telephone-event/48000",
            "mask=all transcode=PCMA,telephone-event",
            "8 PCMA/8000, 96 telephone-event/8000",
            plain
        ),
        [vec!["110>96 Dtmf", "111>8 transcoded in 20 ms"], vec!["8>111 transcoded in 20 ms", "96>110 Dtmf"]]
    );
    // The same stream under another number, and with other channels in its name.
    assert_eq!(
        maps("96 opus/48000/2", "mask=all transcode=opus/48000/1", "97 opus/48000", plain),
        [vec!["96>97 Media"], vec!["97>96 Media"]]
    );
    let repacked = Packing { ptimes: [Some(20), Some(30)], repacks: true };
    assert_eq!(
        maps("0 PCMU/8000", "", "0 PCMU/8000", repacked),
        [vec!["0>0 transcoded in 30 ms"], vec!["0>0 transcoded in 20 ms"]]
    );
    assert_eq!(
        maps("0 PCMU/8000", "", "0 PCMU/8000", Packing { repacks: false, ..repacked }),
        [vec!["0>0 Media"], vec!["0>0 Media"]]
    );
}

#[test]
fn hostile_lists_are_answered_in_time() {
    let said: Vec<Codec> =
        (0..=127).map(|n| Codec::new(n, "telephone-event", 8000 + u32::from(n), 1)).collect();
    let many: Vec<String> = (0..64).map(|n| format!("opus/48000/{n}/1")).collect();
    let wishes = CodecEdits { transcode: many.clone(), strip: many, ..CodecEdits::default() };
    let none = Formats::default();
    let offered = offer([&none, &none], &said, MediaKind::Audio, &wishes, Packing::default());
    assert!(offered.told.iter().count() <= 128);
}
