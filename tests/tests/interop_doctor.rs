//! `causeway doctor` beside a real gateway: it makes its calls, and names what is broken.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result};
use e2e::gateway::Gateway;
use serde_json::Value;
use tokio::net::UdpSocket;

/// What it says of a check, level and sentence.
fn of(report: &Value, check: &str) -> Vec<(String, String)> {
    let findings = report["findings"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    findings.filter(|f| f["check"] == check).map(|f| (text(&f["level"]), text(&f["what"]))).collect()
}

/// A relay that answers everything, and whose ports are all closed.
async fn deaf_relay() -> Result<SocketAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = socket.local_addr()?;
    // A port that nobody has as long as this socket is here: it is another one's, and listens to nobody.
    let closed = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let port = closed.local_addr()?.port();
    tokio::spawn(async move {
        let (mut buffer, _closed) = (vec![0; 65_536], closed);
        while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
            let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
            let Some((cookie, command)) = text.split_once(' ') else { continue };
            let answer = if command.contains("7:command4:ping") {
                "d6:result4:ponge".to_owned()
            } else if command.contains("3:sdp") {
                let secure = command.contains("18:transport-protocol17:UDP/TLS/RTP/SAVPF");
                let sdp = description(port, secure);
                format!("d6:result2:ok3:sdp{}:{sdp}e", sdp.len())
            } else {
                "d6:result2:oke".to_owned()
            };
            let _ = socket.send_to(format!("{cookie} {answer}").as_bytes(), from).await;
        }
    });
    Ok(address)
}

fn description(port: u16, secure: bool) -> String {
    let ip = Ipv4Addr::LOCALHOST;
    let head = format!("v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n");
    if !secure {
        return format!("{head}m=audio {port} RTP/AVP 0\r\na=sendrecv\r\n");
    }
    let print = ["00"; 32].join(":");
    format!(
        "{head}m=audio {port} UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=rtcp-mux\r\na=ice-ufrag:abcdefgh\r\n\
         a=ice-pwd:abcdefghijklmnopqrstuvwxyz\r\na=fingerprint:sha-256 {print}\r\na=setup:passive\r\n\
         a=candidate:1 1 udp 2122260223 {ip} {port} typ host\r\na=sendrecv\r\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn it_makes_calls_and_leaves_nothing_behind() -> Result<()> {
    let mut gateway = Gateway::start().await?;
    let text = gateway.command(&["doctor", "--json"], "")?;
    let report: Value = serde_json::from_str(&text)?;
    let calls = of(&report, "call");
    assert_eq!(calls.len(), 2, "{report:#}");
    for (level, what) in &calls {
        assert!(level == "ok" && what.contains("each hears the other's tone"), "{report:#}");
    }
    for check in ["config", "gateway", "ports", "database", "relay"] {
        assert!(of(&report, check).iter().all(|(level, _)| level == "ok"), "{report:#}");
    }
    assert!(!text.contains("causeway-doctor-"), "neither who called nor with which password: {text}");
    assert_eq!(gateway.command(&["user", "list"], "")?, "", "the accounts are gone");
    let registered: Value =
        serde_json::from_str(&gateway.command(&["registrations", "list", "--json"], "")?)?;
    assert_eq!(registered.as_array().map(Vec::len), Some(0), "{registered}");
    // Without a gateway it looks at what there is, and says what it has not looked at.
    gateway.stop().await?;
    let report: Value = serde_json::from_str(&gateway.command(&["doctor", "--json"], "")?)?;
    assert_eq!(of(&report, "gateway")[0].0, "skipped", "{report:#}");
    assert!(of(&report, "ports")[0].1.starts_with("are free"), "{report:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_what_no_media_comes_through() -> Result<()> {
    let gateway = Gateway::start_with_relay(deaf_relay().await?).await?;
    let error =
        gateway.command(&["doctor"], "").err().context("nobody hears anybody, and that is a fault")?;
    let text = format!("{error:#}");
    assert!(text.contains("the browser hears nothing: 127.0.0.1:"), "{text}");
    assert!(text.contains("answers none of its ICE checks"), "{text}");
    assert!(text.contains("the phone hears nothing: no packet has come from 127.0.0.1:"), "{text}");
    assert_eq!(gateway.command(&["user", "list"], "")?, "", "the accounts are gone all the same");
    Ok(())
}

/// The router of a test lets nobody back in: there is none.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_nobody_reaches_is_in_the_log_and_does_not_stop_its_calls() -> Result<()> {
    let mut gateway = Gateway::start_with("[network]\nadvertised = \"10.255.255.9\"\n").await?;
    gateway.logs(&["10.255.255.9, which nobody outside can reach", "check=\"address\""]).await?;
    let report: Value = serde_json::from_str(&gateway.command(&["doctor", "--json"], "")?)?;
    assert_eq!(of(&report, "address")[0].0, "warning", "{report:#}");
    let calls = of(&report, "call");
    assert!(calls.len() == 2 && calls.iter().all(|(level, _)| level == "ok"), "{report:#}");
    Ok(())
}
