//! Forged and malformed datagrams at a live call between the page and a phone: nobody else is spoken to, nothing of it is heard,
//! the call keeps its audio, others can begin theirs, and the counters show it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::bystanders::Bystanders;
use e2e::gateway::{DOMAIN, Gateway};
use e2e::ng;
use e2e::phone::target;
use e2e::sip::Sdp;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use serde_json::json;
use tokio::net::UdpSocket;

/// Datagrams of an attack, at the ports of SIP and of media.
const DATAGRAMS: usize = 100_000;
/// Sent before it is looked whether the last ones were read: what nobody could read would be an attack on the kernel's buffers.
const AT_ONCE: usize = 250;

/// Where a call can be hit, and what its packets look like.
struct Victim {
    sip: SocketAddr,
    /// The port of the browser, the phone's port, and its port for RTCP.
    media: [SocketAddr; 3],
    /// Ufrags of the browser leg, as a check writes them.
    username: String,
    rtp: Vec<u8>,
}

/// A hundred thousand datagrams while two talk and others call each other: what they hear, who else hears, and what was counted.
#[tokio::test]
async fn a_call_keeps_its_audio_under_forged_and_malformed_datagrams() -> Result<()> {
    let mut all = Bystanders::begin(Gateway::start().await?).await?;
    let victim = victim(&all).await?;
    let ng = all.ends.gateway.ng;
    let before = faults(ng).await?;
    let (sent, measured) = all.goes_on_during(attack(&victim, ng)).await?;
    let counted = faults(ng).await? - before;
    report(&format!("{DATAGRAMS} datagrams, {counted} of {sent} at open ports counted: {measured:?}"));
    // The kernel drops what comes to a port faster than a busy machine lets it be read; what was read is counted, each.
    ensure!(
        counted * 10 >= sent * 9,
        "{counted} of {sent} datagrams at open ports were counted; {measured:?}"
    );
    let panics: Vec<_> =
        all.ends.gateway.log().into_iter().filter(|line| line.contains("panicked")).collect();
    ensure!(panics.is_empty(), "{panics:?}");
    Ok(())
}

/// The figures, for whoever runs it to see them (`--nocapture`).
#[allow(clippy::print_stdout, reason = "that is what they are for")]
fn report(figures: &str) {
    println!("{figures}");
}

/// Where a call can be hit.
async fn victim(all: &Bystanders) -> Result<Victim> {
    let (answer, own) = all.ends.page_got("answer").await?;
    let ufrag = |sdp: &Sdp| sdp.attribute(0, "ice-ufrag:").map(str::to_owned).context("no ufrag");
    let phone = target(&all.ours)?;
    let rtcp = SocketAddr::new(phone.ip(), phone.port() + 1);
    let port = answer.m_line(0).get(1).and_then(|port| port.parse().ok()).context("no port")?;
    let candidate = answer.attribute(0, "candidate:").context("no candidate")?;
    let ip: IpAddr = candidate.split(' ').nth(4).context("no address")?.parse()?;
    let rtp = [&[0x80, 0, 0x12, 0x34, 0, 0, 1, 0, 0x12, 0x34, 0x56, 0x78][..], &[0xd5; 160]].concat();
    let username = format!("{}:{}", ufrag(&answer)?, ufrag(&own)?);
    let media = [SocketAddr::new(ip, port), phone, rtcp];
    Ok(Victim { sip: all.ends.gateway.proxy(), media, username, rtp })
}

/// Sends the datagrams from the call's own host and from elsewhere; how many went to ports of media that are open.
async fn attack(victim: &Victim, ng: u16) -> Result<u64> {
    let host = victim.sip.ip();
    let mut sources = Vec::new();
    for ip in [host, host, Ipv4Addr::LOCALHOST.into(), Ipv4Addr::new(127, 0, 0, 9).into()] {
        sources.push(UdpSocket::bind((ip, 0)).await?);
    }
    let sip = UdpSocket::bind((host, 0)).await?;
    let (mut rng, mut at_media, mut read, mut due) = (StdRng::seed_from_u64(6), 0, faults(ng).await?, 0);
    for chunk in 0..DATAGRAMS / AT_ONCE {
        for number in 0..AT_ONCE {
            let datagram = datagram(victim, &mut rng);
            if number % 5 == 0 {
                sip.send_to(&broken_sip(&mut rng), victim.sip).await?;
                continue;
            }
            // Each fifth goes to whatever port of the range is next, as those do it who know none, and are on no host of ours.
            let (from, to) = match number % 5 {
                1 => {
                    let port = victim.media[0].port().saturating_add((chunk % 200) as u16);
                    (rng.random_range(2..4), SocketAddr::new(victim.media[0].ip(), port))
                }
                other => (rng.random_range(0..4), victim.media[other - 2]),
            };
            // A port that is closed may say so to the next that is sent.
            let _ = sources[from].send_to(&datagram, to).await;
            due += u64::from(victim.media.contains(&to));
        }
        at_media += due;
        read = read_all(ng, read + std::mem::take(&mut due)).await?;
    }
    for source in &sources {
        let mut buffer = [0; 2048];
        let heard = source.try_recv_from(&mut buffer);
        ensure!(heard.is_err(), "an attacker was sent {:02x?}", &buffer[..heard?.0]);
    }
    Ok(at_media)
}

/// Waits until so many datagrams were read and found wrong, or no more of them come: what the kernel had no room for never does.
async fn read_all(ng: u16, count: u64) -> Result<u64> {
    let (mut last, mut still) = (0, 0);
    loop {
        let now = faults(ng).await?;
        still = if now == last { still + 1 } else { 0 };
        last = now;
        if now >= count || still > 20 {
            return Ok(now);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Something to send to a port of media that it must not believe.
fn datagram(victim: &Victim, rng: &mut StdRng) -> Vec<u8> {
    let mut noise = vec![0; rng.random_range(1..200)];
    rng.fill_bytes(&mut noise);
    match rng.random_range(0..10) {
        0 => noise,
        // RTP of the phone's own stream, with its SSRC and a number that could be next.
        1 | 2 => {
            let mut rtp = victim.rtp.clone();
            rtp[2..4].copy_from_slice(&rng.random::<u16>().to_be_bytes());
            rtp
        }
        // A BYE for that stream, and a report that all is lost.
        3 => vec![0x81, 203, 0, 1, 0x12, 0x34, 0x56, 0x78],
        4 => [&[0x81, 201, 0, 7, 0, 0, 0, 1, 0x12, 0x34, 0x56, 0x78, 255, 0, 9, 9][..], &[0; 16]].concat(),
        5 => check(victim, rng, &[0, 1]),
        6 => {
            let kind = [[0, 0x11], [1, 1], [1, 0x11], [0, 3]][rng.random_range(0..4)];
            check(victim, rng, &kind)
        }
        // An alert, a hello, and application data of DTLS.
        7 => vec![21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 80],
        8 => {
            let head = [22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, noise.len() as u8];
            [&head[..], &noise].concat()
        }
        _ => [&[23, 0xfe, 0xfd, 0, 1][..], &noise].concat(),
    }
}

/// A check of somebody who knows the names, and not the password.
fn check(victim: &Victim, rng: &mut StdRng, kind: &[u8]) -> Vec<u8> {
    let mut attributes = attribute(0x0006, victim.username.as_bytes());
    attributes.extend(attribute(0x0024, &[0x6e, 0, 1, 0xff]));
    attributes.extend(attribute(0x802a, &[7; 8]));
    attributes.extend(attribute(0x0025, &[]));
    let mut digest = [0; 20];
    rng.fill_bytes(&mut digest);
    attributes.extend(attribute(0x0008, &digest));
    let mut message = kind.to_vec();
    message.extend((attributes.len() as u16).to_be_bytes());
    message.extend([0x21, 0x12, 0xa4, 0x42]);
    message.extend(&digest[..12]);
    message.extend(attributes);
    message
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut attribute = [kind.to_be_bytes(), (value.len() as u16).to_be_bytes()].concat();
    attribute.extend(value);
    attribute.resize(attribute.len().next_multiple_of(4), 0);
    attribute
}

/// A message that is broken somewhere, or noise.
fn broken_sip(rng: &mut StdRng) -> Vec<u8> {
    let whole = format!(
        "INVITE sip:carol@{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:x@y>;tag=1\r\n\
         To: <sip:carol@{DOMAIN}>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\n\r\n"
    );
    let mut bytes = whole.into_bytes();
    for _ in 0..rng.random_range(1..20) {
        let at = rng.random_range(0..bytes.len());
        bytes[at] = rng.random();
    }
    bytes.truncate(rng.random_range(0..bytes.len()));
    bytes
}

/// Datagrams that the relay dropped on arrival, whatever was wrong with them.
async fn faults(port: u16) -> Result<u64> {
    let answer = ng::ask(port, &json!({ "command": "statistics" })).await?;
    let total = &answer["statistics"]["totalstatistics"];
    let names = ["malformed", "strange", "forged", "replayed", "excessive"];
    let counts = names.map(|name| total[format!("{name}datagrams")].as_u64());
    counts.into_iter().sum::<Option<u64>>().with_context(|| format!("no counters in {answer}"))
}
