//! Two address families through one gateway: phones and a browser on IPv6 call a phone on IPv4, and it calls them.

use std::net::{Ipv6Addr, SocketAddr};

use anyhow::{Result, ensure};
use e2e::gateway::Gateway;
use e2e::phone::{Dialog, Phone, set};
use e2e::sip::{Message, Sdp};
use e2e::wire::{WebSocket, Wire, opcode};

const IPV6: Ipv6Addr = Ipv6Addr::LOCALHOST;

fn sdp(phone: &Phone) -> String {
    let family = if phone.local().is_ipv4() { "IP4" } else { "IP6" };
    let ip = phone.local().ip();
    format!(
        "v=0\r\no=- 1 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\na=sendrecv\r\n"
    )
}

async fn scene() -> Result<(Gateway, Phone, Phone)> {
    let gateway = Gateway::start().await?;
    let on_ipv6 = SocketAddr::from((IPV6, gateway.sip));
    let six = Phone::registered(gateway.account("six", "colons-6")?, on_ipv6).await?;
    let four = Phone::registered(gateway.account("four", "dots-4")?, gateway.proxy()).await?;
    ensure!(six.local().is_ipv6() && four.local().is_ipv4());
    Ok((gateway, six, four))
}

/// A whole call: each end sees its own family in Via, Record-Route and SDP, and the requests in the dialog find their way.
async fn call(caller: &mut Phone, callee: &mut Phone) -> Result<()> {
    let family = |phone: &Phone| if phone.local().is_ipv4() { "c=IN IP4 " } else { "c=IN IP6 " };
    let mut invite = caller.invite(&callee.aor(), &sdp(caller));
    let challenge = {
        caller.send(&invite).await?;
        caller.receive("a challenge", |m| m.status() == Some(407)).await?
    };
    caller.authorize(&mut invite, challenge.header("Proxy-Authenticate"), "Proxy-Authorization");
    caller.send(&invite).await?;
    let offered = callee.receive("the INVITE", |m| m.method() == Some("INVITE")).await?;
    let (there, here) = (callee.proxy.to_string(), caller.proxy.to_string());
    assert!(offered.header("Via").starts_with(&format!("SIP/2.0/UDP {there};")), "{offered}");
    let routes: Vec<&str> = offered.all("Record-Route").collect();
    assert!(
        routes[0].contains(&format!("sip:{there}")) && routes[1].contains(&format!("sip:{here}")),
        "{offered}"
    );
    assert!(Sdp::parse(&offered.body)?.lines(family(callee)).next().is_some(), "{offered}");
    callee.answer(&offered, 200, "OK", "far", &sdp(callee)).await?;
    let answered = caller.receive("the 200", |m| m.status() == Some(200) && m.cseq().1 == "INVITE").await?;
    assert!(Sdp::parse(&answered.body)?.lines(family(caller)).next().is_some(), "{answered}");
    let mut dialog = Dialog::of_caller(&invite, &answered);
    let ack = dialog.request(caller, "ACK");
    caller.send(&ack).await?;
    callee.receive("the ACK", |m| m.method() == Some("ACK")).await?;
    let mut dialog = Dialog::of_callee(&offered, "far");
    let bye = dialog.request(callee, "BYE");
    let (ended, heard) = tokio::join!(callee.transact(bye), async {
        let bye = caller.receive("the BYE", |m| m.method() == Some("BYE")).await?;
        caller.answer(&bye, 200, "OK", "", "").await
    });
    heard?;
    ensure!(ended?.status() == Some(200));
    Ok(())
}

#[tokio::test]
async fn phones_of_both_families_call_each_other() -> Result<()> {
    let (_gateway, mut six, mut four) = scene().await?;
    call(&mut six, &mut four).await?;
    call(&mut four, &mut six).await
}

/// An offer as a browser makes it.
const BROWSER: &str = "v=0\r\no=- 1 1 IN IP6 ::1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111 0\r\n\
    c=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\n\
    a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n\
    a=setup:actpass\r\na=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=rtpmap:0 PCMU/8000\r\n\
    a=candidate:1 1 udp 2122260223 ::1 50000 typ host\r\na=end-of-candidates\r\n";

/// Sends a request over a WebSocket and answers the challenge; what the gateway says to the second one.
async fn ask(socket: &mut WebSocket, phone: &mut Phone, mut request: Message) -> Result<(Message, Message)> {
    for _ in 0..2 {
        let branch = phone.unique();
        set(&mut request, "Via", format!("SIP/2.0/WS df7jal23ls0d.invalid;branch=z9hG4bK{branch}"));
        socket.send(true, opcode::TEXT, request.to_string().as_bytes()).await?;
        let response = loop {
            let (_, message) = socket.message().await?;
            if message.status() != Some(100) {
                break message;
            }
        };
        let (challenge, answer) = match response.status() {
            Some(401) => ("WWW-Authenticate", "Authorization"),
            Some(407) => ("Proxy-Authenticate", "Proxy-Authorization"),
            _ => return Ok((request, response)),
        };
        phone.authorize(&mut request, response.header(challenge), answer);
    }
    anyhow::bail!("challenged twice")
}

/// A browser whose WebSocket comes over IPv6 and a phone on IPv4.
#[tokio::test]
async fn a_browser_on_ipv6_calls_a_phone_on_ipv4_and_is_called() -> Result<()> {
    let (gateway, mut six, mut four) = scene().await?;
    let here = SocketAddr::from((IPV6, gateway.websocket));
    let mut socket =
        WebSocket::upgrade(Wire::connect(here).await?, "Sec-WebSocket-Protocol: sip\r\n").await?;
    // Its phone of the test above steps aside.
    ensure!(six.register(0).await?.status() == Some(200));
    let contact = "<sip:six@df7jal23ls0d.invalid;transport=ws>";
    let mut register = six.request("REGISTER", "sip:causeway.test", &six.aor());
    register.headers.push(("Contact".into(), format!("{contact};expires=300")));
    ensure!(ask(&mut socket, &mut six, register).await?.1.status() == Some(200));

    let mut invite = six.invite(&four.aor(), BROWSER);
    set(&mut invite, "Contact", contact.into());
    let (asked, offered) = tokio::join!(ask(&mut socket, &mut six, invite), async {
        let offered = four.receive("the INVITE", |m| m.method() == Some("INVITE")).await?;
        four.answer(&offered, 200, "OK", "far", &sdp(&four)).await?;
        anyhow::Ok(offered)
    });
    let ((_, answered), offered) = (asked?, offered?);
    let routes: Vec<&str> = offered.all("Record-Route").collect();
    assert!(routes[1].contains(&format!("sip:[::1]:{};transport=ws", gateway.websocket)), "{offered}");
    assert!(Sdp::parse(&offered.body)?.lines("c=IN IP4 ").next().is_some(), "{offered}");
    ensure!(answered.status() == Some(200), "{answered}");
    assert!(answered.body.contains("::1"), "the relay is reached over IPv6: {answered}");

    let message = four.request("MESSAGE", &six.aor(), &six.aor());
    let (answer, heard) = tokio::join!(four.transact(message), async {
        let message = loop {
            let (_, message) = socket.message().await?;
            if message.method() == Some("MESSAGE") {
                break message;
            }
        };
        let via = message.header("Via").to_owned();
        let response = six.response(&message, 200, "OK", "ws");
        socket.send(true, opcode::TEXT, response.to_string().as_bytes()).await?;
        anyhow::Ok(via)
    });
    ensure!(answer?.status() == Some(200));
    assert!(heard?.starts_with(&format!("SIP/2.0/WS [::1]:{};", gateway.websocket)));
    Ok(())
}
