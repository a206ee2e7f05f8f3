//! Many calls between browsers and legacy phones through a relay of its own process, on loopback.
//!
//! `cargo run --release -p media --example relay_bench -- [CALLS] [SECONDS] [WORKERS]` prints what a packet costs the
//! relay, what a call takes of its memory, and what was lost; then the same for a tenth of the calls with Opus at the
//! browser and PCMU at the phone, which the relay transcodes. The phones here are ours and cost about as much as the relay, so
//! use half the cores for it.

#![allow(clippy::print_stdout, reason = "its purpose")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use media::{Relay, RelayConfig};
use media_core::codec::Format;
use media_core::command::LegKind::{Browser, Legacy};
use media_core::sdp::Codec;
use support::{OPUS, PCMU, Phone, SpokenCodec, certificate};

/// Between two packets of a phone.
const CADENCE: Duration = Duration::from_millis(20);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|argument| argument == "relay") {
        return run_relay(arguments.get(1).and_then(|workers| workers.parse().ok()).unwrap_or(0));
    }
    let number =
        |at: usize, default: usize| arguments.get(at).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (calls, seconds, workers) = (number(0, 200), number(1, 10), number(2, 1));
    let (mut child, ng) = start_relay(workers);
    let duration = Duration::from_secs(seconds as u64);
    measure(&child, ng, calls, duration, PCMU);
    drop(child.stdin.take());
    child.wait().expect("it ends with its input");
    println!();
    let (mut child, ng) = start_relay(workers);
    measure(&child, ng, (calls / 10).max(1), duration, OPUS);
    drop(child.stdin.take());
    child.wait().expect("it ends with its input");
}

/// The child: a relay until its input ends.
fn run_relay(workers: usize) {
    let relay = Relay::start(RelayConfig {
        port_min: 10_000,
        port_max: 32_000,
        workers,
        listen_ng: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        ..RelayConfig::default()
    })
    .expect("a relay");
    println!("{}", relay.ng_address().expect("ng is on"));
    std::io::stdin().lines().for_each(drop);
    relay.shutdown();
}

fn start_relay(workers: usize) -> (Child, SocketAddr) {
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["relay", &workers.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child");
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut line).expect("its ng address");
    let ng = line.trim().parse().expect("an address");
    (child, ng)
}

/// The browsers speak `codec`, the phones PCMU.
fn measure(child: &Child, ng: SocketAddr, calls: usize, duration: Duration, codec: SpokenCodec) {
    let control = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    control.connect(ng).expect("connected");
    control.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    let certificate = certificate();
    let empty = resident_kib(child.id());
    let begun = Instant::now();
    let cpu_before = media_cpu(child.id());
    let mut phones: Vec<Phone> = Vec::with_capacity(2 * calls);
    for number in 0..calls {
        let mut browser = Phone::new(Browser, &certificate, number as u32).speaking(codec);
        let mut legacy = Phone::new(Legacy, &certificate, number as u32);
        let offer = ask(&control, number, "offer", &browser.sdp(true), "RTP/AVP");
        legacy.take_sdp(&offer, true);
        let answer = ask(&control, number, "answer", &legacy.sdp(false), "UDP/TLS/RTP/SAVPF");
        browser.take_sdp(&answer, false);
        phones.extend([browser, legacy]);
        // Those before go on with their handshakes meanwhile.
        phones.iter_mut().rev().take(40).for_each(Phone::pump);
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    while !phones.iter().all(Phone::is_ready) {
        assert!(Instant::now() < deadline, "not all calls came up");
        phones.iter_mut().for_each(Phone::pump);
    }
    let set_up = begun.elapsed();
    let cpu_up = media_cpu(child.id());
    // The relay may still be a flight behind its browsers.
    let sounds = [sound(codec), sound(PCMU)];
    talk(&mut phones, &sounds, Duration::from_secs(1));
    pump_for(&mut phones, Duration::from_millis(200));
    let heard_before: u64 = phones.iter().map(|phone| phone.heard).sum();
    let cpu_start = media_cpu(child.id());
    let start = Instant::now();
    let said = talk(&mut phones, &sounds, duration);
    let elapsed = start.elapsed();
    pump_for(&mut phones, Duration::from_millis(300));
    let cpu = media_cpu(child.id()) - cpu_start;
    let heard: u64 = phones.iter().map(|phone| phone.heard).sum::<u64>() - heard_before;
    let full = resident_kib(child.id());

    println!("calls (browser SRTP <-> legacy RTP)  {calls}");
    println!("codecs                               {} <-> {}", codec.rtpmap, PCMU.rtpmap);
    println!(
        "set-up of all                        {:.2} s, {:.0} us of relay CPU a call",
        set_up.as_secs_f64(),
        (cpu_up - cpu_before).as_secs_f64() * 1e6 / calls as f64
    );
    println!("packets sent, received, lost         {said}, {heard}, {}", said.saturating_sub(heard));
    println!("packets per second                   {:.0}", said as f64 / elapsed.as_secs_f64());
    println!("relay CPU per packet                 {:.2} us", cpu.as_secs_f64() * 1e6 / heard.max(1) as f64);
    println!(
        "relay CPU in all                     {:.1} % of a core",
        100.0 * cpu.as_secs_f64() / elapsed.as_secs_f64()
    );
    println!(
        "relay memory per call                {:.1} KiB",
        full.saturating_sub(empty) as f64 / calls as f64
    );
    // A bench that loses packets measures something else, and this many calls must fit.
    assert!(heard >= said, "{} of {said} packets were lost", said - heard);
}

/// Packets of a second of something like a voice.
fn sound(codec: SpokenCodec) -> Vec<Vec<u8>> {
    let rtpmap = format!("{} {}", codec.payload_type, codec.rtpmap);
    let format =
        Codec::parse_rtpmap(&rtpmap).and_then(|codec| Format::of(&codec, Some(20))).expect("a format");
    let rate = format.rate().unwrap_or(48_000);
    let mut encoder = format.encoder(rate).expect("an encoder");
    let wave = (0..rate).map(|at| {
        let turns = f64::from(at) / f64::from(rate) * std::f64::consts::TAU;
        let voice: f64 =
            (1..20).map(|harmonic| (f64::from(harmonic) * 130.0 * turns).sin() / f64::from(harmonic)).sum();
        (3000.0 * voice * (1.5 + (4.0 * turns).sin())) as i16
    });
    let wave: Vec<i16> = wave.collect();
    let packets = wave.chunks_exact(rate as usize / 50).map(|pcm| {
        let mut payload = vec![0; 1500];
        let len = encoder.encode(pcm, &mut payload).expect("a payload");
        payload.truncate(len);
        payload
    });
    packets.collect()
}

/// All phones speak every 20 ms, evenly spread, those with even places the first of `sounds`; returns how many packets were sent.
fn talk(phones: &mut [Phone], sounds: &[Vec<Vec<u8>>; 2], duration: Duration) -> u64 {
    let start = Instant::now();
    let count = phones.len();
    let mut said = 0u64;
    while start.elapsed() < duration {
        let due = (start.elapsed().as_nanos() * count as u128 / CADENCE.as_nanos()) as u64;
        while said < due {
            let at = said as usize % count;
            let sound = &sounds[at % 2];
            phones[at].say(&sound[said as usize / count % sound.len()]);
            said += 1;
        }
        phones.iter_mut().for_each(Phone::pump);
        std::thread::sleep(Duration::from_micros(500));
    }
    said
}

fn pump_for(phones: &mut [Phone], duration: Duration) {
    let end = Instant::now() + duration;
    while Instant::now() < end {
        phones.iter_mut().for_each(Phone::pump);
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// An offer or answer over ng; returns the SDP of the reply.
fn ask(control: &UdpSocket, call: usize, command: &str, sdp: &str, protocol: &str) -> String {
    let text = |value: &str| format!("{}:{value}", value.len());
    let mut message = format!("{command}{call} d");
    if command == "offer" {
        message += "5:codecd9:transcodel4:PCMUee";
    }
    for (key, value) in [
        ("call-id", format!("bench-{call}").as_str()),
        ("command", command),
        ("from-tag", "a"),
        ("media address", "127.0.0.1"),
        ("sdp", sdp),
        ("to-tag", "b"),
        ("transport-protocol", protocol),
    ] {
        if key != "to-tag" || command == "answer" {
            message += &(text(key) + &text(value));
        }
    }
    message.push('e');
    control.send(message.as_bytes()).expect("sent");
    let mut buffer = vec![0; 65_535];
    let len = control.recv(&mut buffer).expect("a reply");
    let reply = String::from_utf8(buffer[..len].to_vec()).expect("text");
    let (_, rest) = reply.split_once("3:sdp").unwrap_or_else(|| panic!("no SDP: {reply}"));
    let (length, rest) = rest.split_once(':').expect("a length");
    rest[..length.parse().expect("a number")].to_owned()
}

/// Run time of the relay's media threads.
fn media_cpu(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("its threads");
    let nanos: u64 = tasks
        .filter_map(|task| {
            let task = task.ok()?.path();
            let name = fs::read_to_string(task.join("comm")).ok()?;
            if !name.starts_with("media-") {
                return None;
            }
            fs::read_to_string(task.join("schedstat")).ok()?.split(' ').next()?.parse::<u64>().ok()
        })
        .sum();
    Duration::from_nanos(nanos)
}

fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("its memory");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}
