//! The SDP each side gets, line by line against the rules of WebRTC and of old phones.

use anyhow::{Context, Result, ensure};
use e2e::gateway::{DOMAIN, Gateway};
use e2e::phone::Dialog;
use e2e::scene::Ends;
use e2e::sip::Sdp;

/// The page offers, the phone answers, and then both put the call on hold.
#[tokio::test]
async fn from_the_page_to_the_phone() -> Result<()> {
    let mut ends = Ends::new().await?;
    ends.page.dial("carol", false).await?;
    let invite = ends.phone.receive("the call", |m| m.method() == Some("INVITE")).await?;
    let offer = Sdp::parse(&invite.body)?;
    legacy(&offer, &ends.gateway)?;
    ensure!(offer.direction(0) == "sendrecv");
    ends.phone.answer(&invite, 200, "OK", "c1", &ends.audio.sdp(1, "sendrecv")?).await?;
    ends.phone.receive("the ACK", |m| m.method() == Some("ACK")).await?;
    ends.page.call(&["connected"]).await?;
    let (answer, own) = ends.page_got("answer").await?;
    browser(&answer, Some(&own), &ends.gateway)?;
    ensure!(matches!(answer.attribute(0, "setup:"), Some("active" | "passive")), "an answer chooses a role");

    ends.page.click("hold").await?;
    let hold = ends.phone.receive("the hold", |m| m.method() == Some("INVITE")).await?;
    let held = Sdp::parse(&hold.body)?;
    legacy(&held, &ends.gateway)?;
    ensure!(held.direction(0) == "sendonly", "{held:?}");
    ensure!(held.m_line(0)[1] == offer.m_line(0)[1], "the same port for the whole call");
    origin_rises(&offer, &held)?;
    ends.phone.answer(&hold, 200, "OK", "c1", &ends.audio.sdp(2, "recvonly")?).await?;
    ends.phone.receive("the ACK", |m| m.method() == Some("ACK")).await?;
    ends.page.hold_is("local").await?;
    let (answer, own) = ends.page_got("answer").await?;
    browser(&answer, Some(&own), &ends.gateway)?;
    ensure!(answer.direction(0) == "recvonly", "{answer:?}");

    ends.page.click("hold").await?;
    let resume = ends.phone.receive("the resume", |m| m.method() == Some("INVITE")).await?;
    let resumed = Sdp::parse(&resume.body)?;
    legacy(&resumed, &ends.gateway)?;
    ensure!(resumed.direction(0) == "sendrecv", "{resumed:?}");
    ends.phone.answer(&resume, 200, "OK", "c1", &ends.audio.sdp(3, "sendrecv")?).await?;
    ends.phone.receive("the ACK", |m| m.method() == Some("ACK")).await?;
    ends.page.hold_is("none").await?;
    ends.both_hear(&resumed).await
}

/// The phone offers, the page answers; the phone holds in the three ways that phones have.
#[tokio::test]
async fn from_the_phone_to_the_page() -> Result<()> {
    let mut ends = Ends::new().await?;
    let invite = ends.phone.invite(&format!("sip:alice@{DOMAIN}"), &ends.audio.sdp(1, "sendrecv")?);
    let (ok, answered) = tokio::join!(ends.phone.transact(invite.clone()), ends.page.answer());
    answered?;
    let ok = ok?;
    ensure!(ok.status() == Some(200), "{ok}");
    let answer = Sdp::parse(&ok.body)?;
    legacy(&answer, &ends.gateway)?;
    let payloads: Vec<u8> = answer.codecs(0).iter().map(|(pt, _)| *pt).collect();
    ensure!(
        payloads.iter().all(|pt| [0, 8, 101].contains(pt)),
        "an answer has what was offered: {payloads:?}"
    );
    let mut dialog = Dialog::of_caller(&invite, &ok);
    let ack = dialog.request(&mut ends.phone, "ACK");
    ends.phone.send(&ack).await?;
    ends.page.call(&["connected"]).await?;
    let (offer, _) = ends.page_got("offer").await?;
    browser(&offer, None, &ends.gateway)?;
    ensure!(offer.attribute(0, "setup:") == Some("actpass"), "an offer leaves the role open: {offer:?}");

    let mut version = 1;
    let plain = ends.audio.sdp(1, "sendrecv")?;
    for (way, sdp) in [
        ("sendonly", ends.audio.sdp(2, "sendonly")?),
        ("inactive", ends.audio.sdp(3, "inactive")?),
        ("c=0.0.0.0", hold_of_rfc_2543(&plain, 4)),
    ] {
        let sdp = renumber(&sdp, &mut version);
        let seen = hold(&mut ends, &mut dialog, &sdp).await.with_context(|| way.to_owned())?;
        browser(&seen, None, &ends.gateway).with_context(|| way.to_owned())?;
        ensure!(matches!(seen.direction(0), "sendonly" | "inactive"), "{way}: {seen:?}");
        ends.page.hold_is("remote").await?;
        let back = renumber(&plain, &mut version);
        let seen = hold(&mut ends, &mut dialog, &back).await?;
        ensure!(seen.direction(0) == "sendrecv", "{way}: {seen:?}");
        ends.page.hold_is("none").await?;
    }
    ends.both_hear(&answer).await
}

/// A video offer to a phone without video: the phone sees an m-line that it can refuse, and the page sees it refused.
#[tokio::test]
async fn video_that_the_phone_refuses() -> Result<()> {
    let mut ends = Ends::new().await?;
    ends.page.dial("carol", true).await?;
    let invite = ends.phone.receive("the call", |m| m.method() == Some("INVITE")).await?;
    let offer = Sdp::parse(&invite.body)?;
    legacy(&offer, &ends.gateway)?;
    let mut answer = ends.audio.sdp(1, "sendrecv")?;
    for section in 1..offer.media.len() {
        let line = offer.m_line(section);
        answer.push_str(&format!("m={} 0 {} {}\r\n", line[0], line[2], line[3]));
    }
    ends.phone.answer(&invite, 200, "OK", "c1", &answer).await?;
    ends.phone.receive("the ACK", |m| m.method() == Some("ACK")).await?;
    ends.page.call(&["connected"]).await?;
    let (answer, own) = ends.page_got("answer").await?;
    ensure!(answer.media.len() == own.media.len(), "as many sections as were offered (RFC 3264 §6)");
    browser(&answer, Some(&own), &ends.gateway)?;
    ensure!(answer.m_line(1)[1] == "0", "{answer:?}");
    Ok(())
}

/// A phone that wants nothing of what is offered gets 488 from nobody but the far end, and the page says so.
#[tokio::test]
async fn no_common_codec() -> Result<()> {
    let mut ends = Ends::new().await?;
    ends.page.dial("carol", false).await?;
    let invite = ends.phone.receive("the call", |m| m.method() == Some("INVITE")).await?;
    ends.phone.answer(&invite, 488, "Not Acceptable Here", "c1", "").await?;
    ends.phone.receive("the ACK", |m| m.method() == Some("ACK")).await?;
    ends.page.call_over(Some("no-common-codec")).await
}

async fn hold(ends: &mut Ends, dialog: &mut Dialog, sdp: &str) -> Result<Sdp> {
    let invite = dialog.request_with_sdp(&mut ends.phone, "INVITE", sdp);
    let ok = ends.phone.transact(invite).await?;
    ensure!(ok.status() == Some(200), "{ok}");
    legacy(&Sdp::parse(&ok.body)?, &ends.gateway)?;
    let ack = dialog.request(&mut ends.phone, "ACK");
    ends.phone.send(&ack).await?;
    Ok(ends.page_got("offer").await?.0)
}

/// What an old phone may get: RTP/AVP on an even port with RTCP above it, our address, and nothing of WebRTC.
fn legacy(sdp: &Sdp, gateway: &Gateway) -> Result<()> {
    let ours = gateway.address.to_string();
    for line in sdp.lines("c=").chain(sdp.lines("o=")) {
        ensure!(line.split(' ').next_back() == Some(&ours), "another address than ours: {line}");
    }
    ensure!(sdp.lines("c=").count() > 0 && sdp.lines("s=").count() == 1 && sdp.lines("t=").count() == 1);
    for (n, section) in sdp.media.iter().enumerate() {
        let m = sdp.m_line(n);
        let port: u16 = m[1].parse()?;
        ensure!(m[2] == "RTP/AVP", "{m:?}");
        ensure!(port.is_multiple_of(2), "RTP on an odd port: {m:?}");
        if port != 0 {
            let rtcp = sdp.attribute(n, "rtcp:").map(|v| v.split(' ').next().unwrap_or_default().to_owned());
            ensure!(rtcp.is_none_or(|rtcp| rtcp == (port + 1).to_string()), "RTCP is above RTP: {section:?}");
        }
        let payloads: Vec<&str> = m[3..].to_vec();
        for line in section.iter().filter_map(|l| l.strip_prefix("a=")) {
            if let Some(rest) = line.strip_prefix("rtpmap:").or_else(|| line.strip_prefix("fmtp:")) {
                let pt = rest.split(' ').next().unwrap_or_default();
                ensure!(payloads.contains(&pt), "{line} is not in {m:?}");
            }
        }
        if m[0] == "audio" && port != 0 {
            let events: Vec<_> =
                sdp.codecs(n).into_iter().filter(|(_, c)| c.starts_with("telephone-event")).collect();
            ensure!(
                events.len() == 1 && events[0].1 == "telephone-event/8000",
                "one telephone-event at 8000: {events:?}"
            );
            let codecs = sdp.codecs(n);
            ensure!(
                codecs.iter().all(|(_, c)| !c.starts_with("red/") && !c.starts_with("CN/") || c == "CN/8000"),
                "{codecs:?}"
            );
        }
    }
    for unwanted in [
        "group:",
        "mid:",
        "msid",
        "ssrc",
        "rtcp-mux",
        "rtcp-rsize",
        "rtcp-fb:",
        "extmap",
        "candidate:",
        "ice-",
        "end-of-candidates",
        "fingerprint:",
        "setup:",
        "tls-id:",
        "crypto:",
    ] {
        let found = sdp.lines("a=").find(|line| line[2..].starts_with(unwanted));
        ensure!(found.is_none(), "an old phone got {found:?}");
    }
    Ok(())
}

/// What a browser must get: DTLS-SRTP with feedback, ICE, one port, mids and BUNDLE as it offered them.
fn browser(sdp: &Sdp, offered: Option<&Sdp>, gateway: &Gateway) -> Result<()> {
    let ours = gateway.address.to_string();
    let attribute = |n: usize, name: &str| {
        let session = sdp.session.iter().find_map(|l| l.strip_prefix("a=")?.strip_prefix(name));
        sdp.attribute(n, name).or(session).map(str::to_owned)
    };
    let mut mids = Vec::new();
    for (n, section) in sdp.media.iter().enumerate() {
        let m = sdp.m_line(n);
        let mid = sdp.attribute(n, "mid:").with_context(|| format!("no mid in {section:?}"))?;
        if let Some(offered) = offered {
            ensure!(offered.attribute(n, "mid:") == Some(mid), "mid {mid} is not the offered one");
            ensure!(
                offered.m_line(n)[0] == m[0] && offered.m_line(n)[2] == m[2],
                "{m:?} answers {:?}",
                offered.m_line(n)
            );
            let known: Vec<&str> = offered.m_line(n)[3..].to_vec();
            ensure!(
                m[1] == "0" || m[3..].iter().all(|pt| known.contains(pt)),
                "payload types of the browser: {m:?}, {known:?}"
            );
        }
        if m[1] == "0" {
            continue;
        }
        mids.push(mid.to_owned());
        ensure!(m[2] == "UDP/TLS/RTP/SAVPF", "{m:?}");
        let has = |line: &str| section.iter().any(|l| l == line);
        ensure!(has("a=rtcp-mux"), "no rtcp-mux: {section:?}");
        ensure!(
            attribute(n, "ice-ufrag:").is_some_and(|v| (4..=256).contains(&v.len())),
            "ufrag: {section:?}"
        );
        ensure!(attribute(n, "ice-pwd:").is_some_and(|v| (22..=256).contains(&v.len())), "pwd: {section:?}");
        let fingerprint = attribute(n, "fingerprint:").context("no fingerprint")?;
        ensure!(
            fingerprint.to_lowercase().starts_with("sha-256 ") && fingerprint.len() == 8 + 95,
            "{fingerprint}"
        );
        ensure!(attribute(n, "setup:").is_some(), "no setup: {section:?}");
        ensure!(sdp.attribute(n, "rtcp:").is_none(), "no a=rtcp beside rtcp-mux");
        candidates(section, &ours, m[1])?;
        codecs(sdp, n, section)?;
    }
    if let Some(group) = offered.and_then(|offered| offered.lines("a=group:BUNDLE").next()) {
        let group = group.to_owned();
        let echoed = sdp.lines("a=group:BUNDLE").next().with_context(|| format!("{group} is not echoed"))?;
        let bundled: Vec<&str> = echoed.split(' ').skip(1).collect();
        ensure!(bundled == mids, "the group has the accepted mids: {echoed}, {mids:?}");
    }
    for unwanted in ["crypto:", "mid:(null)"] {
        ensure!(!sdp.lines("a=").any(|line| line[2..].starts_with(unwanted)), "a browser got {unwanted}");
    }
    Ok(())
}

fn candidates(section: &[String], ours: &str, port: &str) -> Result<()> {
    let lines: Vec<Vec<&str>> = section
        .iter()
        .filter_map(|l| l.strip_prefix("a=candidate:"))
        .map(|l| l.split(' ').collect())
        .collect();
    ensure!(!lines.is_empty(), "no candidate");
    for line in &lines {
        ensure!(line.len() >= 8 && line[1] == "1", "only the first component: {line:?}");
        ensure!(line[2].eq_ignore_ascii_case("udp") && line[6] == "typ" && line[7] == "host", "{line:?}");
    }
    ensure!(
        lines.iter().any(|line| line[4] == ours && line[5] == port),
        "no candidate for {ours}:{port}: {lines:?}"
    );
    Ok(())
}

fn codecs(sdp: &Sdp, n: usize, section: &[String]) -> Result<()> {
    let m = sdp.m_line(n);
    let payloads: Vec<&str> = m[3..].to_vec();
    for line in section.iter().filter_map(|l| l.strip_prefix("a=")) {
        for name in ["rtpmap:", "fmtp:", "rtcp-fb:"] {
            if let Some(rest) = line.strip_prefix(name) {
                let pt = rest.split(' ').next().unwrap_or_default();
                ensure!(pt == "*" || payloads.contains(&pt), "{line} is not in {m:?}");
            }
        }
    }
    if m[0] == "audio" {
        let all = sdp.codecs(n);
        let clock = |codec: &str| codec.split('/').nth(1).unwrap_or_default().to_owned();
        let first = all.first().map(|(_, codec)| clock(codec)).unwrap_or_default();
        let events: Vec<_> = all.iter().filter(|(_, c)| c.starts_with("telephone-event")).collect();
        ensure!(
            events.iter().any(|(_, c)| clock(c) == first),
            "telephone-event has the clock of {first}: {all:?}"
        );
    }
    Ok(())
}

/// RFC 3264 §8: the session id stays, the version rises when the body changed.
fn origin_rises(before: &Sdp, after: &Sdp) -> Result<()> {
    let origin = |sdp: &Sdp| -> Result<(String, u64)> {
        let line = sdp.lines("o=").next().context("no o=")?.to_owned();
        let parts: Vec<&str> = line.split(' ').collect();
        Ok((format!("{} {}", parts[0], parts[1]), parts[2].parse()?))
    };
    let ((id, version), (later_id, later)) = (origin(before)?, origin(after)?);
    ensure!(id == later_id && later > version, "{id} {version}, then {later_id} {later}");
    Ok(())
}

fn hold_of_rfc_2543(sdp: &str, version: u32) -> String {
    let lines = sdp.lines().map(|line| match line {
        _ if line.starts_with("c=") => "c=IN IP4 0.0.0.0".to_owned(),
        _ => line.replace(" 1 IN", &format!(" {version} IN")),
    });
    lines.map(|line| line + "\r\n").collect()
}

/// Gives an SDP the next version.
fn renumber(sdp: &str, version: &mut u32) -> String {
    *version += 1;
    let lines = sdp.lines().map(|line| match line.strip_prefix("o=") {
        Some(origin) => {
            let mut parts: Vec<String> = origin.split(' ').map(str::to_owned).collect();
            parts[2] = version.to_string();
            format!("o={}", parts.join(" "))
        }
        None => line.to_owned(),
    });
    lines.map(|line| line + "\r\n").collect()
}
