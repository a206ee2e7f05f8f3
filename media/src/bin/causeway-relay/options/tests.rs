use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use media::RecordingMethod;

use super::declared::PRINTED;
use super::*;

#[test]
fn recording_options() {
    let settings = run("--recording-dir=/tmp/r --recording-format=eth --recording-max-days 3", "").unwrap();
    let recording = settings.relay.recording.unwrap();
    assert_eq!(recording.directory, PathBuf::from("/tmp/r"));
    assert_eq!(recording.method, RecordingMethod::Pcap { ethernet: true });
    assert_eq!(recording.max_age, Duration::from_secs(3 * 86_400));
    let settings = run("--recording-method=stereo --recording-dir=/tmp/r", "").unwrap();
    assert_eq!(settings.relay.recording.unwrap().method, RecordingMethod::Stereo);
    let settings = run("--recording-method=pcap", "").unwrap();
    assert_eq!((settings.relay.recording, settings.warnings.len()), (None, 1));
    assert!(run("--recording-method=proc", "").unwrap_err().contains("kernel module"));
}

#[test]
fn forwarding_options() {
    let forwarding = |line: &str| run(line, "").map(|it| (it.relay.forwarding, it.warnings.len()));
    let (Some(tls), 0) =
        forwarding("--tls-resample=16000 --tls-send-ca=ca.pem --tls-send-to=[::1]:443").unwrap()
    else {
        panic!("forwarded")
    };
    assert_eq!((tls.to, tls.rate), ("[::1]:443".parse().unwrap(), 16_000));
    assert_eq!(tls.tls.unwrap().authorities, Some("ca.pem".into()));
    let (Some(tcp), 0) = forwarding("--tcp-send-to 192.0.2.1:9000").unwrap() else { panic!("forwarded") };
    assert_eq!((tcp.to, tcp.rate, tcp.tls), ("192.0.2.1:9000".parse().unwrap(), 8000, None));
    assert_eq!(forwarding("--tcp-resample=8000").unwrap(), (None, 1));
    for (line, reason) in [
        ("--tcp-send-to=x", "tcp-send-to: \"x\" is no IP:PORT"),
        ("--tcp-send-to=192.0.2.1:0", "tcp-send-to: 0 is no port of a receiver"),
        (
            "--tcp-send-to=192.0.2.1:1 --tls-send-to=192.0.2.1:2",
            "tls-send-to: sound is forwarded to one receiver",
        ),
    ] {
        assert_eq!(forwarding(line).unwrap_err(), reason);
    }
    assert!(forwarding("--tcp-resample=1").unwrap_err().starts_with("tcp-resample: 1 is none of 8000, "));
}

fn run(line: &str, file: &str) -> Result<Settings, String> {
    let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    match parse(&arguments, |_| Ok(file.to_owned()))? {
        Wanted::Run(settings) => Ok(*settings),
        Wanted::Print(text) => Err(text),
    }
}

#[test]
fn codecs_are_listed_one_a_line() {
    let listed = run("--codecs", "").unwrap_err();
    let names: Vec<&str> = listed.lines().collect();
    for name in ["PCMU", "PCMA", "G722", "opus", "telephone-event", "CN"] {
        assert_eq!(names.iter().filter(|it| it.eq_ignore_ascii_case(name)).count(), 1, "{name} in {names:?}");
    }
}

#[test]
fn every_option_is_declared_once() {
    for (at, opt) in OPTIONS.iter().enumerate() {
        let before = &OPTIONS[..at];
        assert!(!before.iter().any(|other| other.long == opt.long), "{}", opt.long);
        assert!(opt.short.is_none() || !before.iter().any(|other| other.short == opt.short), "{}", opt.long);
    }
}

/// Help and manual page say the same of every option, and none is missing in them that is taken.
#[test]
fn help_and_manual_show_every_option() {
    let (help, manual) = (run("--help", "").unwrap_err(), run("--man", "").unwrap_err());
    let shown = |line: &str| {
        let names = line.trim_start().split("  ").next().unwrap_or_default().trim().to_owned();
        let meaning = line.split_once(&names).map(|(_, rest)| rest.trim().to_owned()).unwrap_or_default();
        (names, meaning)
    };
    // The usage has the first words.
    let in_help: Vec<_> = help.lines().filter(|line| line.starts_with("  ")).map(shown).collect();
    let plain = manual.replace("\\-", "-").replace("\\e", "\\");
    let (_, options) = plain.split_once(".SH OPTIONS\n").unwrap();
    let entries = options.split(".TP\n.B ").filter_map(|entry| entry.trim_end().split_once('\n'));
    let in_manual: Vec<_> = entries.map(|(names, meaning)| (names.to_owned(), meaning.to_owned())).collect();
    assert_eq!(in_help.len(), OPTIONS.len() + 1 + PRINTED.len());
    for ((names, meaning), said) in in_help.iter().zip(&in_manual) {
        // A long name has no room for its column.
        let all = (format!("{names} {meaning}"), format!("{} {}", said.0, said.1));
        assert_eq!(all.0.trim_end(), all.1.trim_end());
        assert!(!said.1.is_empty(), "{names} means nothing");
    }
    assert_eq!(in_manual.len(), in_help.len());
    for opt in OPTIONS.iter().chain(PRINTED) {
        let long = format!("--{}", opt.long);
        let is_it = |names: &str| names.split([',', '=', ' ']).any(|word| word == long);
        let (names, _) = in_manual.iter().find(|(names, _)| is_it(names)).unwrap_or_else(|| panic!("{long}"));
        assert_eq!(opt.short.is_some(), names.starts_with('-') && !names.starts_with("--"), "{names}");
        // It is taken, or it is said why not; a value that does not fit is another matter.
        let value = if opt.value.is_empty() { "" } else { " x" };
        if let Err(refused) = run(&format!("{long}{value}"), "") {
            assert!(!refused.contains("there is no option"), "{refused}");
        }
    }
}

#[test]
fn a_command_line_of_rtpengine() {
    let settings = run(
        "--config-file=none -t -1 -i 127.0.0.1 -i pub/127.0.0.2!203.0.113.5 -n 2223 -c 12345 -fE -L7 -u 2222 \
         --log-level-internals=7 --timeout 90 -m 20000 -M20999 --delete-delay=0 --tos 184",
        "",
    )
    .unwrap();
    let relay = &settings.relay;
    assert_eq!(relay.interfaces.len(), 2);
    assert_eq!((relay.interfaces[1].name.as_str(), settings.log_level), ("pub", 7));
    assert_eq!((relay.port_min, relay.port_max, relay.tos), (20_000, 20_999, 184));
    assert_eq!((relay.media_timeout.as_secs(), relay.delete_delay.as_secs()), (90, 0));
    assert_eq!(relay.listen_ng, Some("[::]:2223".parse().unwrap()));
    assert_eq!(relay.listen_cli, ["[::]:12345".parse().unwrap()]);
    assert_eq!(settings.warnings.len(), 2, "{:?}", settings.warnings);
    assert!(!settings.log_json && run("--log-format=json", "").unwrap().log_json);
    assert!(run("--log-format=xml", "").is_err());
}

#[test]
fn the_command_line_goes_before_the_file() {
    let file = "# a comment\n[other]\ntimeout = 1\n[rtpengine]\ninterface = a/127.0.0.1;b/127.0.0.2\ntimeout = 70\n\
                foreground = true\nno-fallback = false\nlisten-ng = localhost:2300\nmax-sessions = 9\n";
    let settings = run("--config-file=f -o 80", file).unwrap();
    assert_eq!((settings.relay.interfaces.len(), settings.relay.media_timeout.as_secs()), (2, 80));
    assert_eq!(settings.relay.listen_ng, Some("127.0.0.1:2300".parse().unwrap()));
    assert_eq!(settings.relay.max_sessions, Some(9));
    let settings = run("--config-file=f --config-section=other", file).unwrap();
    assert_eq!(settings.relay.media_timeout.as_secs(), 1);
}

#[test]
fn keys_of_a_trigger() {
    let apart = |line: &str| run(line, "").unwrap().relay.keys_apart.as_millis();
    assert_eq!((apart(""), apart("--dtmf-digit-delay=500")), (2500, 500));
}

#[test]
fn the_doors_of_control() {
    let settings = run(
        "-N 127.0.0.1:2300 --listen-http=127.0.0.1:80;[::1]:81 --listen-http 82 --listen-https=127.0.0.1:443 \
         --https-cert=c.pem --https-key=k.pem",
        "",
    );
    let relay = settings.unwrap().relay;
    let text = |all: &[SocketAddr]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(text(&relay.listen_tcp_ng), ["127.0.0.1:2300"]);
    assert_eq!(text(&relay.listen_http), ["127.0.0.1:80", "[::1]:81", "[::]:82"]);
    assert_eq!(text(&relay.listen_https), ["127.0.0.1:443"]);
    assert_eq!((relay.https_cert, relay.https_key), (Some("c.pem".into()), Some("k.pem".into())));
}

#[test]
fn what_is_refused_is_named() {
    for (line, file, reason) in [
        ("--moon", "", "there is no option --moon"),
        ("-Z", "", "there is no option -Z"),
        ("word", "", "\"word\" is no option"),
        ("--timeout", "", "timeout wants a value"),
        ("--timeout=x", "", "timeout: \"x\" is no number that fits"),
        ("--listen-http=x:y", "", "listen-http: \"x:y\" is no [IP:]PORT"),
        ("-F", "", "no-fallback is not possible: there is no kernel module"),
        ("--redis=127.0.0.1:6379/1", "", "redis is not possible: calls are not kept in Redis"),
        ("--config-file=f", "[rtpengine]\nmoon = 1\n", "f:2: there is no key moon"),
        ("--config-file=f", "[rtpengine]\nforeground = maybe\n", "f:2: expected true or false"),
        (
            "--config-file=f",
            "[rtpengine]\nport-min = 70000\n",
            "f: port-min: \"70000\" is no number that fits",
        ),
    ] {
        assert_eq!(run(line, file).unwrap_err(), reason, "{line}");
    }
    assert!(run("--help", "").unwrap_err().contains("--interface"));
}

#[test]
fn the_name_told_to_others_is_plain() {
    let name = |line: &str| run(line, "").unwrap().relay.software_id;
    assert_eq!(name("--software-id=my/relay.1"), "my-relay-1");
    assert!(name("").starts_with("rtpengine-causeway-") && !name("").contains('.'));
    assert_eq!(run("--software-id=", "").unwrap_err(), "software-id: 1 to 64 characters");
}
