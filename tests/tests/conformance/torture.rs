//! Messages sent byte for byte, and what comes of them judged byte for byte: by code that knows of SIP only where a message
//! is cut into fields.

use std::collections::{BTreeSet, HashSet};
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, bail, ensure};
use e2e::phone::Phone;
use e2e::subject::{Setup, Subject};
use e2e::torture::Case;
use e2e::wait::PATIENCE;
use futures_util::future::select_all;
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// Another answer of Kamailio: the name of the message, the answer, and why.
pub(crate) type Deviation = (&'static str, &'static str, &'static str);

const DOMAIN: &str = "example.com";

/// Judges the subject by `cases`. Messages that would be taken for repetitions of each other, having one branch and one
/// Call-ID, meet different subjects.
pub(crate) async fn judge(cases: &[Case], kamailio: &[Deviation]) -> Result<()> {
    for (name, ..) in kamailio {
        ensure!(cases.iter().any(|case| case.name == *name), "there is no {name}");
    }
    let mut wrong = Vec::new();
    let answer = |case: &Case, subject: &Subject| -> &'static str {
        let deviation = kamailio.iter().find(|(name, ..)| subject.is_kamailio() && *name == case.name);
        deviation.map_or(case.answer, |(_, answer, _)| answer)
    };
    for round in rounds(cases) {
        let subject = Subject::start_as(Setup { domain: DOMAIN, ..Setup::default() }).await?;
        let mut scene = Scene::open(&subject, cases).await?;
        for case in &round {
            if let Err(error) = scene.play(case, answer(case, &subject)).await {
                wrong.push(format!("{} (§{}, {}): {error:#}", case.name, case.section, case.about));
            }
        }
        scene.probe().await.context("after all of them")?;
        let silent: Vec<&Case> =
            round.into_iter().filter(|case| answer(case, &subject) == "silence").collect();
        wrong.extend(scene.said_too_much(&silent));
    }
    ensure!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    Ok(())
}

/// The cases in groups within which no two are one transaction or one dialog.
fn rounds(cases: &[Case]) -> Vec<Vec<&Case>> {
    let mut rounds: Vec<(HashSet<Vec<u8>>, Vec<&Case>)> = Vec::new();
    for case in cases {
        let head = Head::of(&case.bytes);
        let mut via = head.value("via").unwrap_or_default();
        via.extend(head.start.split(|byte| *byte == b' ').next().unwrap_or_default());
        let names = [via, head.value("call-id").unwrap_or_default()];
        let free = rounds.iter().position(|(taken, _)| names.iter().all(|name| !taken.contains(name)));
        let at = free.unwrap_or_else(|| {
            rounds.push(Default::default());
            rounds.len() - 1
        });
        rounds[at].0.extend(names);
        rounds[at].1.push(case);
    }
    rounds.into_iter().map(|(_, cases)| cases).collect()
}

/// The sender, at an address of its own so that it has the ports to which the Vias of the messages lead answers, and the
/// phone of both users.
struct Scene {
    sockets: Vec<UdpSocket>,
    proxy: SocketAddr,
    callee: Phone,
    /// What came to the sender, in order.
    received: Vec<Vec<u8>>,
    /// What of it was looked at.
    seen: usize,
    probes: usize,
}

impl Scene {
    async fn open(subject: &Subject, cases: &[Case]) -> Result<Self> {
        let ports: BTreeSet<u16> = cases.iter().flat_map(|case| answer_ports(&case.bytes)).collect();
        let sockets = own_address(&ports).await?;
        let mut callee = subject.registered("UserB").await?;
        let user = subject.phone("user").await?;
        callee.account = user.account.clone();
        let answer = callee.register(300).await?;
        ensure!(answer.status() == Some(200), "not registered: {answer}");
        Ok(Self { sockets, proxy: subject.proxy(), callee, received: Vec::new(), seen: 0, probes: 0 })
    }

    async fn play(&mut self, case: &Case, expected: &str) -> Result<()> {
        self.send(&case.bytes).await?;
        match expected {
            // The subject has more than one thread: that a later question is answered proves little, but what comes after
            // all is judged at the end.
            "silence" => self.probe().await,
            "forward" => self.forwarded(case).await,
            status => {
                let answer = self.answer(case).await?;
                let start = Head::of(&answer).start;
                let right = start.starts_with(format!("SIP/2.0 {status} ").as_bytes());
                ensure!(right, "{status} was expected: {}", answer.escape_ascii());
                repeats(&case.bytes, &answer)
            }
        }
    }

    /// Answers to messages that should have met with silence.
    fn said_too_much(&self, silent: &[&Case]) -> Vec<String> {
        let told = silent.iter().filter_map(|case| {
            let call_id = Head::of(&case.bytes).value("call-id")?;
            let answer =
                self.received.iter().find(|one| Head::of(one).value("call-id").as_ref() == Some(&call_id))?;
            Some(format!("{}: answered {}", case.name, answer.escape_ascii()))
        });
        told.collect()
    }

    /// The message goes to the callee as it came, and his refusal comes back.
    async fn forwarded(&mut self, case: &Case) -> Result<()> {
        let forwarded = timeout(PATIENCE, self.call(case)).await.context("it was not forwarded")??;
        let result = as_it_came(&case.bytes, &forwarded);
        let head = Head::of(&forwarded);
        let mut refusal = b"SIP/2.0 603 Decline\r\n".to_vec();
        for (name, line) in &head.fields {
            if ["via", "from", "to", "call-id", "cseq"].contains(&name.as_str()) {
                refusal.extend_from_slice(line);
                if name == "to" {
                    refusal.truncate(refusal.len() - 2);
                    refusal.extend_from_slice(b";tag=callee\r\n");
                }
            }
        }
        refusal.extend_from_slice(b"Content-Length: 0\r\n\r\n");
        self.callee.send_bytes(&refusal).await?;
        result?;
        let answer = loop {
            let answer = self.answer(case).await?;
            if !Head::of(&answer).start.starts_with(b"SIP/2.0 1") {
                break answer;
            }
        };
        ensure!(Head::of(&answer).start.starts_with(b"SIP/2.0 603 "), "{}", answer.escape_ascii());
        repeats(&case.bytes, &answer)
    }

    /// The next request to the callee with this message's Call-ID.
    async fn call(&mut self, case: &Case) -> Result<Vec<u8>> {
        let call_id = Head::of(&case.bytes).value("call-id");
        loop {
            let request = self.callee.receive_bytes().await?;
            if Head::of(&request).value("call-id") == call_id {
                return Ok(request);
            }
        }
    }

    /// The next message to the sender with this one's Call-ID.
    async fn answer(&mut self, case: &Case) -> Result<Vec<u8>> {
        let call_id = Head::of(&case.bytes).value("call-id");
        self.receive(|head| head.value("call-id") == call_id).await
    }

    /// It is alive, and all else is as before.
    async fn probe(&mut self) -> Result<()> {
        self.probes += 1;
        let (from, number) = (self.sockets[0].local_addr()?, self.probes);
        let request = format!(
            "OPTIONS sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKprobe{number}\r\nMax-Forwards: 70\r\n\
             From: <sip:probe@probe.test>;tag=p\r\nTo: <sip:{DOMAIN}>\r\nCall-ID: probe-{number}\r\nCSeq: 1 OPTIONS\r\n\
             Content-Length: 0\r\n\r\n"
        );
        self.send(request.as_bytes()).await?;
        let wanted = format!("probe-{number}").into_bytes();
        let answer = self.receive(|head| head.value("call-id").as_ref() == Some(&wanted)).await?;
        ensure!(Head::of(&answer).start.starts_with(b"SIP/2.0 200 "), "{}", answer.escape_ascii());
        Ok(())
    }

    async fn send(&self, bytes: &[u8]) -> Result<()> {
        self.sockets[0].send_to(bytes, self.proxy).await?;
        Ok(())
    }

    async fn receive(&mut self, wanted: impl Fn(&Head<'_>) -> bool) -> Result<Vec<u8>> {
        loop {
            while let Some(next) = self.received.get(self.seen) {
                self.seen += 1;
                if wanted(&Head::of(next)) {
                    return Ok(next.clone());
                }
            }
            let next =
                timeout(PATIENCE, select_all(self.sockets.iter().map(|socket| Box::pin(next(socket)))));
            let (bytes, ..) = next.await.context("no answer")?;
            self.received.push(bytes?);
        }
    }
}

async fn next(socket: &UdpSocket) -> Result<Vec<u8>> {
    let mut buffer = vec![0; 65_536];
    let (length, _) = socket.recv_from(&mut buffer).await?;
    buffer.truncate(length);
    Ok(buffer)
}

/// Sockets on an address of the loopback network that nobody else uses, the first of them on a port of its own.
async fn own_address(ports: &BTreeSet<u16>) -> Result<Vec<UdpSocket>> {
    let start = std::process::id();
    'address: for n in 0..2000_u32 {
        let [_, a, b, c] = (start.wrapping_mul(2000) + n).to_be_bytes();
        let ip = Ipv4Addr::new(127, a.max(1), b, c.clamp(1, 254));
        let mut sockets = vec![UdpSocket::bind((ip, 0)).await?];
        for port in ports {
            match UdpSocket::bind((ip, *port)).await {
                Ok(socket) => sockets.push(socket),
                Err(_) => continue 'address,
            }
        }
        return Ok(sockets);
    }
    bail!("no address of the loopback network is free")
}

/// The ports to which an answer may be sent by the topmost Via (RFC 3261 §18.2.2): the one there, or the default of UDP or
/// of TLS.
fn answer_ports(message: &[u8]) -> Vec<u16> {
    let via = Head::of(message).value("via").unwrap_or_default();
    let via = String::from_utf8_lossy(&via).into_owned();
    let sent_by = via.split([';', ',']).next().unwrap_or_default();
    let port = sent_by.rsplit(':').next().and_then(|port| port.trim().parse().ok());
    port.into_iter().chain([5060, 5061]).collect()
}

/// A response repeats Vias, From, To, Call-ID and CSeq (RFC 3261 §8.2.6.2): To may gain a tag, the topmost Via the source.
fn repeats(request: &[u8], response: &[u8]) -> Result<()> {
    let (asked, answered) = (Head::of(request), Head::of(response));
    for name in ["from", "call-id", "cseq"] {
        let (left, right) = (asked.values(name), answered.values(name));
        ensure!(left == right, "{name} is {:?} in {}", right, response.escape_ascii());
    }
    let (to, answered_to) = (asked.values("to"), answered.values("to"));
    // One that stood twice is a reason for the refusal, and need not stand twice in it.
    let same = to.iter().zip(&answered_to).all(|(to, answered)| answered.starts_with(to));
    ensure!(same && answered_to.is_empty() == to.is_empty(), "To of {}", response.escape_ascii());
    let (vias, answered_vias) = (asked.values("via"), answered.values("via"));
    ensure!(vias.get(1..) == answered_vias.get(1..), "Vias of {}", response.escape_ascii());
    Ok(())
}

/// What a proxy must not touch is there, byte for byte and in order: all fields but those that it edits, and a body that is
/// no SDP, which a relay of media edits.
fn as_it_came(sent: &[u8], forwarded: &[u8]) -> Result<()> {
    const EDITED: [&str; 6] = ["via", "max-forwards", "route", "record-route", "contact", "content-length"];
    let (before, after) = (Head::of(sent), Head::of(forwarded));
    ensure!(!after.start.contains(&b'?'), "headers of the URI went on: {}", after.start.escape_ascii());
    // What is too long for a datagram may lose some octets of its fields' names (RFC 3261 §7.3.3, §18.1.1).
    let long = sent.len() > 1000;
    let value = |line: &[u8]| line.splitn(2, |byte| *byte == b':').nth(1).map(<[u8]>::to_vec);
    let mut rest = after.fields.iter();
    for (name, line) in before.fields.iter().filter(|(name, _)| !EDITED.contains(&name.as_str())) {
        let compact = |other: &(String, &[u8])| {
            long && other.0 == *name && trimmed(value(other.1)) == trimmed(value(line))
        };
        let there = rest.any(|other| other.1 == *line || compact(other));
        ensure!(there, "{name} is not as it came or not in its place: {}", forwarded.escape_ascii());
    }
    let vias = |head: &Head<'_>| -> Vec<Vec<u8>> {
        let vias = head.fields.iter().filter(|(name, _)| name == "via");
        vias.map(|(_, line)| if long { trimmed(value(line)) } else { line.to_vec() }).collect()
    };
    let (below, all) = (vias(&before), vias(&after));
    // Ours on top, then the one that tells the source, then the others.
    ensure!(all.len() == below.len() + 1 && all[2..] == below[1..], "Vias: {}", forwarded.escape_ascii());
    let sdp = before.value("content-type").is_some_and(|kind| kind == b"application/sdp");
    ensure!(sdp || before.body == after.body, "the body is another: {}", forwarded.escape_ascii());
    Ok(())
}

fn trimmed(value: Option<Vec<u8>>) -> Vec<u8> {
    value.unwrap_or_default().trim_ascii().to_vec()
}

/// A message cut into start line, field lines with the long form of their names in lower case, and body.
struct Head<'a> {
    start: &'a [u8],
    fields: Vec<(String, &'a [u8])>,
    body: &'a [u8],
}

impl<'a> Head<'a> {
    fn of(message: &'a [u8]) -> Self {
        let mut rest = message;
        let mut line = || {
            let mut at = 0;
            loop {
                let end =
                    rest[at..].iter().position(|byte| *byte == b'\n').map_or(rest.len(), |end| at + end + 1);
                // A line that begins with a blank goes on with the one before, unless that is the empty one.
                if end > 2 && matches!(rest.get(end), Some(b' ' | b'\t')) {
                    at = end;
                    continue;
                }
                let (line, more) = rest.split_at(end);
                rest = more;
                return line;
            }
        };
        let start = line();
        let mut fields = Vec::new();
        loop {
            let line = line();
            if line.trim_ascii().is_empty() {
                break;
            }
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default().trim_ascii();
            fields.push((long(&String::from_utf8_lossy(name).to_ascii_lowercase()).to_owned(), line));
        }
        Self { start: start.trim_ascii_end(), fields, body: rest }
    }

    /// The values of all fields of this name, unfolded.
    fn values(&self, name: &str) -> Vec<Vec<u8>> {
        let fields = self.fields.iter().filter(|(other, _)| other == name);
        let value = |line: &&[u8]| -> Vec<u8> {
            let value = line.splitn(2, |byte| *byte == b':').nth(1).unwrap_or_default().trim_ascii();
            value.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }).collect()
        };
        fields.map(|(_, line)| value(line)).collect()
    }

    fn value(&self, name: &str) -> Option<Vec<u8>> {
        self.values(name).into_iter().next()
    }
}

fn long(name: &str) -> &str {
    match name {
        "v" => "via",
        "f" => "from",
        "t" => "to",
        "i" => "call-id",
        "m" => "contact",
        "l" => "content-length",
        "c" => "content-type",
        name => name,
    }
}
