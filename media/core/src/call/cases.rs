//! Input ▸ expected, as text: each file under `cases/` is one call. `@ offer a browser > legacy branch=1` and
//! `@ answer a b legacy > browser` are followed by the SDP received, `@ gives` by what must come out, `@ plan` by the
//! plan in short. With `UPDATE_CASES` in the environment the expectations are written anew, to be read in the diff.

use bytes::Bytes;

use super::offer_answer::{Outcome, Session};
use super::plan::{
    LegId, LegRequest, LineEnd, LocalIce, LocalLeg, LocalMedia, LocalSecure, MediaKind, MediaPlan, Payload,
    PayloadMap, Protection, Transports,
};
use crate::command::{Dtls, Exchange, Failure, Ice, LegKind, Replace, RtcpMux, Side, TransportProtocol};
use crate::sdp::{Candidate, CandidateKind, Codec, Description, Fingerprint, Setup};
use crate::srtp::{MasterKey, Profile};

const CASES: [(&str, &str); 12] = [
    ("browser_to_legacy", include_str!("cases/browser_to_legacy.txt")),
    ("legacy_to_browser", include_str!("cases/legacy_to_browser.txt")),
    ("browser_to_browser", include_str!("cases/browser_to_browser.txt")),
    ("legacy_to_legacy", include_str!("cases/legacy_to_legacy.txt")),
    ("hold", include_str!("cases/hold.txt")),
    ("fork", include_str!("cases/fork.txt")),
    ("reoffer", include_str!("cases/reoffer.txt")),
    ("fork_opus", include_str!("cases/fork_opus.txt")),
    ("firefox", include_str!("cases/firefox.txt")),
    ("opus_phone", include_str!("cases/opus_phone.txt")),
    ("transcoded", include_str!("cases/transcoded.txt")),
    ("refused", include_str!("cases/refused.txt")),
];

/// Calls whose controller speaks ng: `@ offer a ng > ng` and its wishes.
const MIRRORED: [(&str, &str); 5] = [
    ("mirror_plain", include_str!("cases/mirror_plain.txt")),
    ("mirror_keys", include_str!("cases/mirror_keys.txt")),
    ("mirror_suites", include_str!("cases/mirror_suites.txt")),
    ("mirror_ice", include_str!("cases/mirror_ice.txt")),
    ("mirror_codecs", include_str!("cases/mirror_codecs.txt")),
];

#[test]
fn cases() {
    for (name, text) in CASES.into_iter().chain(MIRRORED) {
        let actual = run(text);
        if std::env::var_os("UPDATE_CASES").is_some() {
            let path = format!("{}/src/call/cases/{name}.txt", env!("CARGO_MANIFEST_DIR"));
            std::fs::write(path, actual).unwrap();
        } else if actual != text {
            let (at, (is, should)) =
                actual.lines().zip(text.lines()).enumerate().find(|(_, (is, should))| is != should).unwrap();
            panic!("{name}.txt line {}: is\n{is}\nshould be\n{should}\n\n{actual}", at + 1);
        }
    }
}

/// Every SDP of the cases, cut short and with octets changed: an error or an SDP that can be read again, never a panic,
/// and never an effect on what was agreed before.
#[test]
fn broken_descriptions() {
    let mut rng = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(7);
    for (_, text) in CASES.into_iter().chain(MIRRORED) {
        let steps = text.split("@ ").filter(|step| step.starts_with("offer") || step.starts_with("answer"));
        let steps: Vec<(Vec<&str>, &str)> = steps
            .filter_map(|step| step.split_once('\n'))
            .map(|(head, body)| (std::iter::once("@").chain(head.split(' ')).collect(), body))
            .collect();
        let (mut session, mut ports) = (Session::default(), Ports::default());
        for (words, body) in &steps {
            let whole = exchange(words, body);
            for _ in 0..100 {
                let broken = Exchange { sdp: break_up(&whole.sdp, &mut rng), ..whole.clone() };
                try_out(&session, &broken, words[1]);
            }
            for end in (0..whole.sdp.len()).step_by(11) {
                let cut = Exchange { sdp: whole.sdp.slice(..end), ..whole.clone() };
                try_out(&session, &cut, words[1]);
            }
            let _ = match words[1] {
                "offer" => session.offer(&whole, &mut ports),
                _ => session.answer(&whole, &mut ports),
            };
        }
    }
}

fn break_up(sdp: &Bytes, rng: &mut rand::rngs::StdRng) -> Bytes {
    use rand::RngExt as _;
    let mut bytes = sdp.to_vec();
    for _ in 0..rng.random_range(1..6) {
        let at = rng.random_range(0..bytes.len());
        match rng.random_range(0..4) {
            0 => bytes[at] = rng.random(),
            1 if bytes.len() > at + 9 => drop(bytes.drain(at..at + 9)),
            2 => bytes[at] = b"0123456789 :=/\r\n-\xff"[rng.random_range(0..18)],
            _ => {
                let piece: Vec<u8> = bytes[at..(at + 60).min(bytes.len())].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes.into()
}

fn try_out(session: &Session, exchange: &Exchange, what: &str) {
    let mut session = session.clone();
    let mut ports = Ports::default();
    let before = session.pairs.len();
    let result = match what {
        "offer" => session.offer(exchange, &mut ports),
        _ => session.answer(exchange, &mut ports),
    };
    match result {
        Ok(outcome) => {
            let again = Description::parse(outcome.sdp).expect("what is written can be read");
            assert!(!again.media.is_empty());
        }
        Err(_) => assert_eq!(session.pairs.len(), before),
    }
}

/// The offers and answers of a case, with `wishes` of the controller for each.
fn exchanges(text: &str, wishes: [&str; 2]) -> Vec<Result<Outcome, Failure>> {
    let (mut session, mut ports) = (Session::default(), Ports::default());
    let steps = text.split("@ ").filter(|step| step.starts_with("offer") || step.starts_with("answer"));
    let outcomes = steps.take(2).zip(wishes).map(|(step, wishes)| {
        let (head, body) = step.split_once('\n').unwrap();
        let words: Vec<&str> = std::iter::once("@").chain(head.split(' ')).chain(wishes.split(' ')).collect();
        match words[1] {
            "offer" => session.offer(&exchange(&words, body), &mut ports),
            _ => session.answer(&exchange(&words, body), &mut ports),
        }
    });
    outcomes.collect()
}

/// RFC 9143, as far as the controller has a say.
#[test]
fn lines_share_a_transport_as_the_controller_wishes() {
    let call = |wishes: [&str; 2]| {
        let outcomes = exchanges(include_str!("cases/browser_to_browser.txt"), wishes);
        let [Ok(offer), Ok(answer)] = &outcomes[..] else { panic!("{wishes:?}: {outcomes:?}") };
        assert_eq!((offer.warnings.len(), answer.warnings.len()), (0, 0), "{wishes:?}");
        [&offer.sdp, &answer.sdp].map(|sdp| Description::parse(sdp.clone()).unwrap())
    };
    let places = |sdp: &Description| {
        sdp.media.iter().map(|media| (media.port != 0, media.bundle_only)).collect::<Vec<_>>()
    };
    for (wish, port, only) in [
        ("", true, false),
        ("bundle=offer", true, false),
        ("bundle=require", true, true),
        ("bundle=strict", false, true),
    ] {
        let [offer, answer] = call([wish, wish]);
        assert_eq!(places(&offer), [(true, false), (port, only)], "{wish}");
        assert!(offer.bundled(0, 1) && answer.bundled(0, 1), "{wish}");
        assert_eq!(places(&answer), [(true, false); 2], "{wish}: an answer has nothing to require");
    }
    // What has no transport of its own is refused, also by whoever answers, and when the answer alone is to have no group.
    for (wishes, offered) in
        [(["bundle=reject"; 2], 1), (["bundle=reject", ""], 1), (["", "bundle=reject"], 2)]
    {
        let [offer, answer] = call(wishes);
        for (sdp, lines) in [(&offer, offered), (&answer, 1)] {
            let active = sdp.media.iter().filter(|media| !media.is_refused()).count();
            assert_eq!((active, sdp.bundles.is_empty()), (lines, lines == 1), "{wishes:?}");
        }
        assert_eq!(answer.media.len(), 2, "an answer has a line for each of the offer");
    }
}

/// A phone has no ICE that we could stand beside.
#[test]
fn an_offer_without_ice_gets_ours_as_the_controller_wishes() {
    let candidates = |wish: &str| {
        let outcomes = exchanges(include_str!("cases/legacy_to_browser.txt"), [wish, ""]);
        let Some(Ok(offer)) = outcomes.first() else { panic!("{wish}: {outcomes:?}") };
        assert!(offer.warnings.is_empty(), "{wish}: {:?}", offer.warnings);
        let text = String::from_utf8(offer.sdp.to_vec()).unwrap();
        let lines = text.lines().filter_map(|line| line.strip_prefix("a=candidate:"));
        lines.map(|line| line.split_once(' ').unwrap().1.to_owned()).collect::<Vec<_>>()
    };
    let force = candidates("ice=force");
    assert_eq!(candidates("ice=optional"), force);
    let [host] = &force[..] else { panic!("{force:?}") };
    let (place, kind) = host.split_once(" typ ").unwrap();
    let words: Vec<&str> = place.split(' ').collect();
    let [component, transport, priority, address, port] = words[..] else { panic!("{host}") };
    assert_eq!(kind, "host");
    let priority = priority.parse::<u32>().unwrap() & 0x00ff_ffff;
    let relayed =
        format!("{component} {transport} {priority} {address} {port} typ relay raddr {address} rport {port}");
    assert_eq!(candidates("ice=force-relay"), [relayed]);
}

/// What every SDP towards a kind of end must and must not have, whatever the case.
#[test]
fn rules_of_every_description() {
    for (name, text) in CASES {
        let (mut session, mut ports, mut count) = (Session::default(), Ports::default(), 0);
        for step in text.split("@ ").filter(|step| step.starts_with("offer") || step.starts_with("answer")) {
            let (head, body) = step.split_once('\n').unwrap();
            let words: Vec<&str> = std::iter::once("@").chain(head.split(' ')).collect();
            let exchange = exchange(&words, body);
            let offer = words[1] == "offer";
            let result = match offer {
                true => session.offer(&exchange, &mut ports),
                false => session.answer(&exchange, &mut ports),
            };
            let Ok(outcome) = result else { continue };
            count += 1;
            let written = Description::parse(outcome.sdp.clone()).unwrap();
            let text = String::from_utf8(outcome.sdp.to_vec()).unwrap();
            let from = exchange.sender.kind.unwrap();
            match exchange.receiver.kind.unwrap() {
                LegKind::Browser => rules_for_browser(&written, &text, offer),
                LegKind::Legacy => rules_for_legacy(&written, &text, from),
            }
        }
        assert!(count > 0, "{name}");
    }
}

fn rules_for_browser(written: &Description, text: &str, offer: bool) {
    let active = || written.media.iter().filter(|media| !media.is_refused());
    for media in active() {
        assert_eq!(media.protocol, "UDP/TLS/RTP/SAVPF", "{text}");
        assert!(
            media.mid.is_some() && media.rtcp_mux && media.rtcp.is_none() && media.crypto.is_empty(),
            "{text}"
        );
        let ice = media.ice.as_ref().unwrap();
        assert!(
            ice.candidates.iter().all(|candidate| candidate.component == 1) && ice.end_of_candidates,
            "{text}"
        );
        assert_eq!(media.fingerprints.len(), 1, "{text}");
        assert_eq!(media.setup == Some(Setup::ActPass), offer, "{text}");
        assert_eq!(media.ssrcs.len(), 1, "{text}");
        assert!(media.codecs.len() == media.formats.len(), "every format has its rtpmap: {text}");
    }
    let mids: Vec<String> = active().filter_map(|media| media.mid.clone()).collect();
    assert!(
        mids.is_empty() == written.bundles.is_empty() && written.bundles.iter().all(|bundle| *bundle == mids),
        "{text}"
    );
    assert!(!text.contains("transport-cc") && !text.contains("a=rtcp:") && !text.contains("rtx"), "{text}");
    let numbers: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("a=rtcp-fb:")?.split(' ').next()).collect();
    assert!(
        numbers.iter().all(|number| active().any(|media| media.formats.iter().any(|it| it == number))),
        "{text}"
    );
}

fn rules_for_legacy(written: &Description, text: &str, from: LegKind) {
    assert!(text.len() < 700, "an INVITE with it stays under 1300 octets: {}", text.len());
    for media in written.media.iter().filter(|media| !media.is_refused()) {
        assert_eq!(media.protocol, "RTP/AVP", "{text}");
        assert_eq!(media.rtcp, Some((media.port + 1, None)), "{text}");
        assert_eq!(media.port % 2, 0, "{text}");
        assert!(media.codecs.iter().filter(|codec| codec.is_dtmf()).count() <= 1, "{text}");
        assert!(from == LegKind::Legacy || !media.codecs.iter().any(Codec::is_wrapper), "{text}");
    }
    for word in [
        "candidate",
        "ice-",
        "fingerprint",
        "setup",
        "mid:",
        "msid",
        "group:",
        "ssrc",
        "extmap",
        "rtcp-mux",
        "rtcp-fb",
        "rtcp-rsize",
        "crypto",
    ] {
        assert!(!text.contains(&format!("a={word}")), "{word}: {text}");
    }
}

/// Runs a case and writes it again with what really came out.
fn run(text: &str) -> String {
    let (mut session, mut transports, mut out) = (Session::default(), Ports::default(), String::new());
    let mut result = None;
    for step in text.split_inclusive('\n').fold(Vec::<String>::new(), |mut steps, line| {
        match steps.last_mut() {
            Some(step) if !line.starts_with("@ ") => step.push_str(line),
            _ => steps.push(line.to_owned()),
        }
        steps
    }) {
        let (head, body) = step.split_once('\n').unwrap();
        let words: Vec<&str> = head.split(' ').collect();
        match words.get(1).copied() {
            Some("offer" | "answer") => {
                out.push_str(&step);
                let exchange = exchange(&words, body);
                result = Some(match words[1] {
                    "offer" => session.offer(&exchange, &mut transports),
                    _ => session.answer(&exchange, &mut transports),
                });
            }
            Some("gives") => out.push_str(&format!("@ gives\n{}\n", show(result.as_ref().unwrap()))),
            Some("plan") => out.push_str(&format!(
                "@ plan\n{}\n",
                show_plan(&result.as_ref().unwrap().as_ref().unwrap().plan)
            )),
            _ => out.push_str(&step),
        }
    }
    out
}

/// `@ offer a [b] browser > legacy [branch=1] [source=192.0.2.1] [transcoding]`
fn exchange(words: &[&str], body: &str) -> Exchange {
    let arrow = words.iter().position(|word| *word == ">").unwrap();
    let value = |name: &str| {
        words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
    };
    let kind = |word: &str| match word {
        "browser" => Some(LegKind::Browser),
        "ng" => None,
        _ => Some(LegKind::Legacy),
    };
    let side = |word: &str| Side { kind: kind(word), ..Side::default() };
    let mut exchange = Exchange {
        call_id: "call".to_owned(),
        from_tag: words[2].to_owned(),
        to_tag: (arrow == 5).then(|| words[3].to_owned()),
        via_branch: value("branch"),
        sdp: Bytes::from(body.trim_end().replace('\n', "\r\n") + "\r\n"),
        sender: side(words[arrow - 1]),
        receiver: side(words[arrow + 1]),
        received_from: value("source").map(|address| address.parse().unwrap()),
        replace: if words.contains(&"ng") { Replace::default() } else { Replace::ALL },
        transcoding: words.contains(&"transcoding"),
        ..Exchange::default()
    };
    words.iter().for_each(|word| wish(&mut exchange, word));
    exchange
}

/// What a controller may wish, in the words of the cases.
fn wish(exchange: &mut Exchange, word: &str) {
    let list = |text: &str| text.split(',').map(str::to_owned).collect();
    match word.split_once('=').unwrap_or((word, "")) {
        ("ice", "force") => exchange.ice = Some(Ice::Force),
        ("ice", "remove") => exchange.ice = Some(Ice::Remove),
        ("ice", "optional") => exchange.ice = Some(Ice::Optional),
        ("ice", "force-relay") => exchange.ice = Some(Ice::ForceRelay),
        ("bundle", "offer") => exchange.bundle.offer = true,
        ("bundle", "require") => exchange.bundle.require = true,
        ("bundle", "strict") => exchange.bundle.strict = true,
        ("bundle", "reject") => exchange.bundle.reject = true,
        ("mux", "demux") => exchange.rtcp_mux.push(RtcpMux::Demux),
        ("mux", "offer") => exchange.rtcp_mux.push(RtcpMux::Offer),
        ("mux", "require") => exchange.rtcp_mux.push(RtcpMux::Require),
        ("dtls", "off") => exchange.dtls = Some(Dtls::Off),
        ("protocol", name) => exchange.transport_protocol = TransportProtocol::parse(name),
        ("strip", names) => exchange.codec.strip = list(names),
        ("mask", names) => exchange.codec.mask = list(names),
        ("accept", names) => exchange.codec.accept = list(names),
        ("transcode", names) => exchange.codec.transcode = list(names),
        ("only", names) => exchange.sdes.only = list(names),
        ("nonew", _) => exchange.sdes.no_new = true,
        ("order", names) => exchange.sdes.order = list(names),
        ("offerer_pref", names) => exchange.sdes.offerer_pref = list(names),
        ("replace", "origin") => exchange.replace.origin = true,
        ("replace", "zero-address") => exchange.replace.zero_address = true,
        ("osrtp", "accept") => exchange.osrtp.accept = true,
        _ => {}
    }
}

fn show(result: &Result<Outcome, Failure>) -> String {
    match result {
        Ok(outcome) => String::from_utf8_lossy(&outcome.sdp).replace("\r\n", "\n"),
        Err(failure) => format!("{:?}: {failure}\n", failure.cause),
    }
}

fn show_plan(plan: &MediaPlan) -> String {
    let mut out = String::new();
    for leg in &plan.legs {
        let ice =
            leg.ice.as_ref().map(|ice| format!(" ice={} candidates={}", ice.ufrag, ice.candidates.len()));
        let dtls = leg.dtls.as_ref().map(|dtls| format!(" dtls={:?}", dtls.role));
        let controlling = if leg.controlling { " controlling" } else { "" };
        out += &format!(
            "{:?} {:?}{}{}{controlling}\n",
            leg.id,
            leg.kind,
            ice.unwrap_or_default(),
            dtls.unwrap_or_default()
        );
    }
    for line in &plan.lines {
        out += &format!("{:?}\n", line.kind);
        for (end, flow) in line.ends.iter().zip(&line.flows) {
            let payloads: Vec<String> = flow.payloads.iter().map(show_payload).collect();
            let open = if flow.open { "open" } else { "closed" };
            out += &format!(
                "  from {}: {open} {} ext={:?}\n",
                show_end(end),
                payloads.join(" "),
                flow.extensions
            );
        }
    }
    if !plan.answered {
        out += "unanswered\n";
    }
    out
}

fn show_end(end: &LineEnd) -> String {
    let remote = end.remote.map(|remote| format!(" {} rtcp {}", remote.rtp, remote.rtcp.port()));
    let mid = end.mid.as_ref().map(|mid| format!(" mid={mid}"));
    let protection = match &end.protection {
        Protection::None => String::new(),
        Protection::Awaited => " awaited".to_owned(),
        Protection::Passed => " passed".to_owned(),
        Protection::Sdes { local, remote } => {
            format!(" out={} in={}", local.profile().sdes_name(), remote.profile().sdes_name())
        }
        Protection::Dtls(remote) => format!(" dtls={:?}", remote.role),
    };
    let ice = end.ice.as_ref().map(|ice| format!(" ice={}", ice.ufrag)).unwrap_or_default();
    let mux = if end.rtcp_mux && remote.is_some() { " mux" } else { "" };
    let (remote, mid) = (remote.unwrap_or_default(), mid.unwrap_or_default());
    format!("#{}{remote}{mux}{protection}{ice}{mid} {:?}", end.index, end.feedback)
}

fn show_payload(map: &PayloadMap) -> String {
    let rescale = if map.from_clock == map.to_clock {
        String::new()
    } else {
        format!("({}:{})", map.from_clock, map.to_clock)
    };
    let payload = match map.payload {
        Payload::Transcode { from, to, .. } => format!("{:?}To{:?}/{}ms", from.coding, to.coding, to.ptime),
        payload => format!("{payload:?}"),
    };
    format!("{}>{}{payload}{rescale}", map.from, map.to)
}

/// Ports and credentials that tell whose they are.
#[derive(Default)]
struct Ports {
    restarts: std::collections::HashMap<LegId, u32>,
}

impl Transports for Ports {
    fn leg(&mut self, leg: LegId, request: &LegRequest<'_>) -> Result<LocalLeg, Failure> {
        let restarts = self.restarts.entry(leg).or_default();
        *restarts += u32::from(request.restart_ice);
        let address = "203.0.113.1".parse().unwrap();
        let secure = (request.kind == LegKind::Browser).then(|| LocalSecure {
            ufrag: format!("leg{}x{restarts}", leg.0),
            pwd: format!("password-of-leg-{}-number-{restarts}", leg.0),
            lite: false,
            candidates: vec![Candidate {
                foundation: "1".to_owned(),
                component: 1,
                udp: true,
                priority: 2_130_706_431,
                address,
                port: 30000,
                kind: CandidateKind::Host,
            }],
            fingerprint: Fingerprint { algorithm: "sha-256".to_owned(), digest: vec![0xca; 32] },
        });
        Ok(LocalLeg {
            address,
            session_id: 1000 + u64::from(leg.0),
            cname: format!("cname{}", leg.0),
            secure,
        })
    }

    fn media(&mut self, leg: LegId, index: usize, _: MediaKind) -> Result<LocalMedia, Failure> {
        let (leg, index) = (leg.0 as u16, index as u16);
        let port = 30100 + leg * 100 + index * 2;
        let ssrc = u32::from(leg) * 1000 + u32::from(index);
        Ok(LocalMedia { port, rtcp_port: Some(port + 1), ssrc })
    }

    fn renew(&mut self, _: LegId, _: usize) -> Result<(), Failure> {
        Ok(())
    }

    fn line_ice(&mut self, leg: LegId, index: usize, _: bool, restart: bool) -> Result<LocalIce, Failure> {
        let restarts = self.restarts.entry(leg).or_default();
        *restarts += u32::from(restart);
        Ok(LocalIce {
            ufrag: format!("leg{}x{index}x{restarts}", leg.0),
            pwd: format!("password-of-line-{index}-number-{restarts}"),
            candidates: Vec::new(),
        })
    }

    fn line_candidates(&mut self, leg: LegId, index: usize) -> Result<Vec<Candidate>, Failure> {
        let LocalMedia { port, rtcp_port, .. } = self.media(leg, index, MediaKind::Audio)?;
        let ports = [(1, port)].into_iter().chain(rtcp_port.map(|port| (2, port)));
        let candidate = |(component, port)| Candidate {
            foundation: "1".to_owned(),
            component,
            udp: true,
            priority: 2_130_706_432 - u32::from(component),
            address: "203.0.113.1".parse().unwrap(),
            port,
            kind: CandidateKind::Host,
        };
        Ok(ports.map(candidate).collect())
    }

    fn fingerprint(&self, hash: &str) -> Fingerprint {
        Fingerprint { algorithm: hash.to_owned(), digest: vec![0xca; 32] }
    }

    fn instance(&self) -> &str {
        "0123456789ab"
    }

    fn software(&self) -> &str {
        "relay-1"
    }

    fn fresh_tag(&mut self) -> String {
        "fresh".to_owned()
    }

    fn fresh_key(&mut self, profile: Profile) -> MasterKey {
        MasterKey::new(profile, &vec![7; profile.key_len()], &vec![8; profile.salt_len()]).unwrap()
    }
}
