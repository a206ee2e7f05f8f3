//! A whole relay on loopback: SDP in, SDP out, and sound between real sockets.

mod support;

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use media::{Command, RecordingConfig, RecordingMethod, Relay, RelayConfig, Reply};
use media_core::command::LegKind::{self, Browser, Legacy};
use media_core::command::{Cause, Delete, Query, Record, Recording, WavClip};
use support::{Phone, certificate, exchange, wait};

fn relay(plain_io: bool) -> Relay {
    recording_relay(plain_io, None)
}

fn recording_relay(plain_io: bool, recording: Option<RecordingConfig>) -> Relay {
    start(|config| RelayConfig { plain_io, recording: recording.clone(), ..config })
}

fn start(adapt: impl Fn(RelayConfig) -> RelayConfig) -> Relay {
    support::relay(adapt(RelayConfig::default()))
}

fn sdp(reply: Reply) -> String {
    match reply {
        Reply::Sdp { sdp, .. } => String::from_utf8(sdp.to_vec()).expect("text"),
        other => panic!("no SDP: {other:?}"),
    }
}

/// Sets a call up and waits until both can speak.
fn call(relay: &Relay, call_id: &str, kinds: [LegKind; 2]) -> [Phone; 2] {
    let certificate = certificate();
    let [mut caller, mut callee] = kinds.map(|kind| Phone::new(kind, &certificate, 1));
    let offer = sdp(wait(relay.execute(exchange(call_id, true, &caller, &callee, &caller.sdp(true)))));
    callee.take_sdp(&offer, true);
    let answer = sdp(wait(relay.execute(exchange(call_id, false, &callee, &caller, &callee.sdp(false)))));
    caller.take_sdp(&answer, false);
    let mut phones = [caller, callee];
    pump_until(&mut phones, "both to be ready", |phones| phones.iter().all(Phone::is_ready));
    phones
}

fn pump_until(phones: &mut [Phone; 2], what: &str, done: impl Fn(&[Phone; 2]) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !done(phones) {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        phones.iter_mut().for_each(Phone::pump);
        std::thread::yield_now();
    }
}

/// Both speak, and hear what the other says.
fn talk(phones: &mut [Phone; 2]) {
    let said = [vec![0x11; 160], vec![0x22; 160]];
    let deadline = Instant::now() + Duration::from_secs(10);
    phones.iter_mut().for_each(|phone| phone.last_payload.clear());
    // A browser's keys may be there before the relay's: it speaks until it is heard, as a real one does.
    while phones[0].last_payload != said[1] || phones[1].last_payload != said[0] {
        assert!(Instant::now() < deadline, "not heard: {} and {}", phones[0].heard, phones[1].heard);
        for (phone, payload) in phones.iter_mut().zip(&said) {
            phone.say(payload);
        }
        let next = Instant::now() + Duration::from_millis(5);
        while Instant::now() < next {
            phones.iter_mut().for_each(Phone::pump);
        }
    }
}

#[test]
fn all_pairings_talk_on_both_back_ends() {
    for plain_io in [false, true] {
        let relay = relay(plain_io);
        for (number, kinds) in [[Browser, Legacy], [Legacy, Browser], [Browser, Browser], [Legacy, Legacy]]
            .into_iter()
            .enumerate()
        {
            let call_id = format!("call-{number}");
            let mut phones = call(&relay, &call_id, kinds);
            talk(&mut phones);
            let query = Query { call_id: call_id.clone(), ..Query::default() };
            let Reply::Call { report: Some(report), .. } = wait(relay.execute(Command::Query(query))) else {
                panic!("no report")
            };
            assert!(report.rtp.packets >= 2 && report.tags.len() == 2, "{report:?}");
            let Reply::Calls(calls) = wait(relay.execute(Command::List { limit: 9 })) else {
                panic!("no list")
            };
            assert_eq!(calls, std::slice::from_ref(&call_id));
            let delete = Delete { call_id, ..Delete::default() };
            assert!(matches!(
                wait(relay.execute(Command::Delete(delete))),
                Reply::Call { report: Some(_), .. }
            ));
            let Reply::Calls(calls) = wait(relay.execute(Command::List { limit: 9 })) else {
                panic!("no list")
            };
            assert!(calls.is_empty());
        }
        let begun = Instant::now();
        relay.shutdown();
        assert!(begun.elapsed() < Duration::from_secs(2));
        assert!(matches!(wait(relay.execute(Command::Query(Query::default()))), Reply::Error(_)));
    }
}

/// Sends a message to the ng port and returns the reply.
fn ask(socket: &UdpSocket, relay: &Relay, message: &str) -> String {
    socket.send_to(message.as_bytes(), relay.ng_address().expect("ng is on")).expect("sent");
    let mut buffer = vec![0; 65_535];
    let len = socket.recv(&mut buffer).expect("a reply");
    String::from_utf8(buffer[..len].to_vec()).expect("text")
}

#[test]
fn the_same_commands_come_over_ng_and_are_not_executed_twice() {
    let relay = relay(false);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    assert_eq!(ask(&socket, &relay, "a1 d7:command4:pinge"), "a1 d6:result4:ponge");
    assert_eq!(ask(&socket, &relay, r#"a2 {"command":"ping"}"#), r#"a2 {"result":"pong"}"#);
    assert!(ask(&socket, &relay, "a3 d7:command4:wakee").contains("error"));
    assert!(ask(&socket, &relay, "a4 i1e").contains("error"));

    let phone = Phone::new(Legacy, &certificate(), 1);
    let offer = phone.sdp(true);
    let message = format!(
        "a5 d7:call-id4:ng-17:command5:offer8:from-tag1:a3:sdp{}:{offer}18:transport-protocol17:UDP/TLS/RTP/SAVPFe",
        offer.len()
    );
    let first = ask(&socket, &relay, &message);
    assert!(first.contains("a=ice-ufrag") && first.contains("UDP/TLS/RTP/SAVPF"), "{first}");
    assert_eq!(ask(&socket, &relay, &message), first, "the same reply");
    let fresh = ask(&socket, &relay, &message.replacen("a5", "a6", 1));
    assert!(fresh.starts_with("a6 "));
    let list = ask(&socket, &relay, "a7 d7:command4:liste");
    assert!(list.contains("ng-1"), "{list}");
    let statistics = ask(&socket, &relay, "a8 d7:command10:statisticse");
    assert!(statistics.contains("managedsessions"), "{statistics}");
    assert!(ask(&socket, &relay, "a9 d7:call-id4:ng-17:command6:delete8:from-tag1:ae").contains("2:ok"));
    assert!(!ask(&socket, &relay, "a10 d7:command4:liste").contains("ng-1"));
    relay.shutdown();
}

#[test]
fn a_file_is_played_and_a_broken_one_leaves_the_call_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("a.wav");
    std::fs::write(&file, WavClip::new(8000, vec![16_000; 16_000]).to_file()).expect("written");
    let broken = directory.path().join("b.wav");
    std::fs::write(&broken, b"no sound").expect("written");
    let relay = relay(false);
    let mut phones = call(&relay, "call-1", [Legacy, Browser]);
    talk(&mut phones);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let play = |cookie: &str, file: &std::path::Path| {
        let file = file.display();
        let message = format!(
            r#"{cookie} {{"command":"play media","call-id":"call-1","from-tag":"caller","file":"{file}"}}"#
        );
        ask(&socket, &relay, &message)
    };
    for missing in [&broken, &directory.path().join("none.wav")] {
        let reply = play(&format!("a-{}", missing.display()), missing);
        assert!(reply.contains(r#""result":"error""#) && reply.contains("error-reason"), "{reply}");
    }
    assert_eq!(play("b", &file), r#"b {"duration":2000,"result":"ok"}"#);
    // A constant sample is the same octet over and over.
    pump_until(&mut phones, "the sound", |phones| {
        let payload = &phones[0].last_payload;
        payload.len() == 160 && payload.iter().all(|octet| *octet == payload[0]) && payload[0] != 0x22
    });
    let stop = r#"c {"command":"stop media","call-id":"call-1","from-tag":"caller"}"#;
    assert_eq!(ask(&socket, &relay, stop), r#"c {"result":"ok"}"#);
    talk(&mut phones);
    relay.shutdown();
}

#[test]
fn a_call_is_recorded_and_where_it_cannot_be_it_goes_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let blocked = directory.path().join("file");
    std::fs::write(&blocked, b"").expect("written");
    let record = |relay: &Relay, cookie: &str, command: &str| {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        ask(&socket, relay, &format!(r#"{cookie} {{"command":"{command} recording","call-id":"call-1"}}"#))
    };
    let config = |directory: &std::path::Path| RecordingConfig {
        directory: directory.to_owned(),
        method: RecordingMethod::Stereo,
        max_octets: 0,
        max_age: Duration::ZERO,
    };
    for recording in [None, Some(config(&blocked))] {
        let relay = recording_relay(false, recording);
        let mut phones = call(&relay, "call-1", [Legacy, Legacy]);
        let reply = record(&relay, "a", "start");
        assert!(reply.contains("error-reason"), "{reply}");
        talk(&mut phones);
        relay.shutdown();
    }
    let relay = recording_relay(false, Some(config(directory.path())));
    let mut phones = call(&relay, "call-1", [Browser, Legacy]);
    assert_eq!(record(&relay, "a", "start"), r#"a {"result":"ok"}"#);
    talk(&mut phones);
    assert_eq!(record(&relay, "b", "stop"), r#"b {"result":"ok"}"#);
    let deadline = Instant::now() + Duration::from_secs(20);
    let metadata = loop {
        let files = std::fs::read_dir(directory.path()).expect("a directory");
        let mut paths = files.filter_map(|entry| Some(entry.ok()?.path()));
        let json = paths.find(|path| path.extension().is_some_and(|it| it == "json"));
        let text = json.and_then(|path| std::fs::read_to_string(path).ok());
        match text.filter(|text| !text.contains(r#""ended": null"#)) {
            Some(text) => break text,
            None => assert!(Instant::now() < deadline, "the recording does not end"),
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(
        metadata.contains(r#""call_id": "call-1""#) && metadata.contains(r#""error": null"#),
        "{metadata}"
    );
    relay.shutdown();
}

#[test]
fn a_recording_is_complete_when_the_relay_has_ended() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = RecordingConfig {
        directory: directory.path().to_owned(),
        method: RecordingMethod::Stereo,
        max_octets: 0,
        max_age: Duration::ZERO,
    };
    let relay = recording_relay(false, Some(config));
    let mut phones = call(&relay, "call-1", [Legacy, Legacy]);
    let record =
        Record { call_id: "call-1".to_owned(), what: Recording::Start, metadata: None, warnings: Vec::new() };
    assert_eq!(wait(relay.execute(Command::Record(record))), Reply::Done { warnings: vec![] });
    talk(&mut phones);
    relay.shutdown();
    let files = std::fs::read_dir(directory.path()).expect("a directory");
    let paths: Vec<_> = files.filter_map(|entry| Some(entry.ok()?.path())).collect();
    let file = |extension: &str| {
        let path = paths.iter().find(|path| path.extension().is_some_and(|it| it == extension));
        std::fs::read(path.expect(extension)).expect("readable")
    };
    let metadata = String::from_utf8(file("json")).expect("text");
    assert!(!metadata.contains(r#""ended": null"#), "{metadata}");
    let sound = WavClip::parse(&file("wav")).expect("a whole WAV file");
    assert!(sound.millis() > 0);
}

#[test]
fn no_more_calls_than_it_may_have() {
    let relay = start(|config| RelayConfig { max_sessions: Some(1), ..config });
    let certificate = certificate();
    let [caller, callee] = [Legacy, Legacy].map(|kind| Phone::new(kind, &certificate, 1));
    let offer =
        |call_id: &str| wait(relay.execute(exchange(call_id, true, &caller, &callee, &caller.sdp(true))));
    sdp(offer("first"));
    let refused = offer("second");
    assert!(matches!(&refused, Reply::Error(failure) if failure.cause == Cause::Full), "{refused:?}");
    sdp(offer("first"));
    let delete = Delete { call_id: "first".to_owned(), ..Delete::default() };
    wait(relay.execute(Command::Delete(delete)));
    sdp(offer("second"));
    relay.shutdown();
}
