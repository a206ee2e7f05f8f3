//! RFC 7118 §5: SIP WebSocket transport.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use e2e::gateway::Gateway;
use e2e::phone::{Phone, set};
use e2e::sip::Message;
use e2e::wire::{WebSocket, Wire, opcode};

async fn scene() -> Result<(Gateway, Phone, WebSocket)> {
    scene_with("").await
}

async fn scene_with(more: &str) -> Result<(Gateway, Phone, WebSocket)> {
    let gateway = Gateway::start_with(more).await?;
    let phone = Phone::new(gateway.account("alice", "in-the-web-1")?, gateway.proxy()).await?;
    let socket = open(&gateway).await?;
    Ok((gateway, phone, socket))
}

async fn open(gateway: &Gateway) -> Result<WebSocket> {
    let wire = Wire::connect(SocketAddr::new(gateway.address, gateway.websocket)).await?;
    WebSocket::upgrade(wire, "Sec-WebSocket-Protocol: sip\r\n").await
}

/// An OPTIONS as JsSIP would send it.
fn options(phone: &mut Phone) -> Message {
    let mut request = phone.request("OPTIONS", "sip:causeway.test", "sip:causeway.test");
    let branch = phone.unique();
    set(&mut request, "Via", format!("SIP/2.0/WS df7jal23ls0d.invalid;branch=z9hG4bK{branch}"));
    request
}

/// §4.2, §5: text and binary messages both carry SIP, one message each. What comes back is text when it can be, and has the
/// address seen in `received`, for the host of sent-by says nothing.
#[tokio::test]
async fn text_and_binary_messages_carry_sip() -> Result<()> {
    let (_gateway, mut phone, mut socket) = scene().await?;
    for kind in [opcode::TEXT, opcode::BINARY] {
        let request = options(&mut phone);
        socket.send(true, kind, request.to_string().as_bytes()).await?;
        let (frame, response) = socket.message().await?;
        assert_eq!((frame, response.status()), (opcode::TEXT, Some(200)));
        assert_eq!(response.header("Call-ID"), request.header("Call-ID"));
        assert!(response.header("Via").starts_with("SIP/2.0/WS df7jal23ls0d.invalid;"), "{response}");
        let ip = socket.0.local.ip().to_string();
        assert_eq!(response.parameter("Via", "received"), Some(ip.as_str()));
    }
    Ok(())
}

/// RFC 6455 §5.4: a message may come in parts, with control frames between them.
#[tokio::test]
async fn a_message_may_come_in_parts() -> Result<()> {
    let (_gateway, mut phone, mut socket) = scene().await?;
    let text = options(&mut phone).to_string();
    let (first, rest) = text.as_bytes().split_at(20);
    let (second, third) = rest.split_at(100);
    socket.send(false, opcode::TEXT, first).await?;
    socket.send(true, opcode::PING, b"still here").await?;
    socket.send(false, opcode::CONTINUATION, second).await?;
    socket.send(false, opcode::CONTINUATION, b"").await?;
    socket.send(true, opcode::CONTINUATION, third).await?;
    let pong = socket.receive().await?;
    assert_eq!((pong.opcode, pong.payload.as_slice()), (opcode::PONG, &b"still here"[..]));
    assert_eq!(socket.message().await?.1.status(), Some(200));
    Ok(())
}

/// §5: the frame bounds the message. Content-Length is not needed; one that is too short cuts the body, one that is too long
/// is a fault of the message and of nothing else, and a second message in a frame is none.
#[tokio::test]
async fn the_frame_bounds_the_message() -> Result<()> {
    let (_gateway, mut phone, mut socket) = scene().await?;
    for (length, status) in [("", 200), ("Content-Length: 1\r\n", 200), ("Content-Length: 500\r\n", 400)] {
        let mut request = options(&mut phone);
        request.body = "hello".into();
        let text = request.to_string().replace("Content-Length: 5\r\n", length);
        socket.send(true, opcode::TEXT, text.as_bytes()).await?;
        assert_eq!(socket.message().await?.1.status(), Some(status), "{length}");
    }
    let (first, second) = (options(&mut phone), options(&mut phone));
    socket.send(true, opcode::TEXT, format!("{first}{second}").as_bytes()).await?;
    assert_eq!(socket.message().await?.1.header("Call-ID"), first.header("Call-ID"));
    let third = options(&mut phone);
    socket.send(true, opcode::TEXT, third.to_string().as_bytes()).await?;
    assert_eq!(socket.message().await?.1.header("Call-ID"), third.header("Call-ID"), "not the second one");
    Ok(())
}

/// RFC 6455 §7.4: who breaks the rules hears which, and who says goodbye hears it too.
#[tokio::test]
async fn a_connection_ends_with_its_reason() -> Result<()> {
    let (gateway, _, _) = scene().await?;
    let long = vec![b'a'; 60_000];
    type Frames<'a> = &'a [(bool, u8, &'a [u8])];
    let table: [(&str, Frames<'_>, u16); 6] = [
        ("a goodbye", &[(true, opcode::CLOSE, &[0x03, 0xe8])], 1000),
        ("text that is none", &[(true, opcode::TEXT, b"\xff\xfe")], 1007),
        ("a part of nothing", &[(true, opcode::CONTINUATION, b"x")], 1002),
        ("an opcode that is not defined", &[(true, 3, b"x")], 1002),
        ("a control frame in parts", &[(false, opcode::PING, b"x")], 1002),
        ("too long", &[(false, opcode::TEXT, &long), (true, opcode::CONTINUATION, &long)], 1009),
    ];
    for (what, frames, code) in table {
        let mut socket = open(&gateway).await?;
        for (last, opcode, payload) in frames {
            socket.send(*last, *opcode, payload).await?;
        }
        let frame = socket.receive().await?;
        assert_eq!(frame.close_code(), Some(code), "{what}: {frame:?}");
        socket.0.closed().await?;
    }
    // RFC 6455 §5.1: a client masks what it sends.
    let mut socket = open(&gateway).await?;
    socket.0.send([0x81, 1, b'x']).await?;
    assert_eq!(socket.receive().await?.close_code(), Some(1002));
    Ok(())
}

/// RFC 6455 §7.4.1: a server that goes away says so.
#[tokio::test]
async fn a_server_that_stops_says_so() -> Result<()> {
    let (mut gateway, mut phone, mut socket) = scene().await?;
    let request = options(&mut phone);
    socket.send(true, opcode::TEXT, request.to_string().as_bytes()).await?;
    socket.message().await?;
    let (stopped, frame) = tokio::join!(gateway.stop(), socket.receive());
    stopped?;
    assert_eq!(frame?.close_code(), Some(1001));
    Ok(())
}

/// A request for a browser goes over its WebSocket, with our end and its transport in Via and Record-Route (§5.2, §5.3); before
/// our end stands the token of the flow (RFC 5626 §5.2).
#[tokio::test]
async fn a_browser_is_reached_over_its_websocket() -> Result<()> {
    let (gateway, mut alice, mut socket) = scene().await?;
    let mut bob = Phone::registered(gateway.account("bob", "not-in-the-web-2")?, gateway.proxy()).await?;
    let mut register = alice.request("REGISTER", "sip:causeway.test", &alice.aor());
    let contact = "<sip:alice@df7jal23ls0d.invalid;transport=ws>;expires=300";
    register.headers.push(("Contact".into(), contact.into()));
    let via = |phone: &mut Phone| format!("SIP/2.0/WS df7jal23ls0d.invalid;branch=z9hG4bK{}", phone.unique());
    set(&mut register, "Via", via(&mut alice));
    socket.send(true, opcode::TEXT, register.to_string().as_bytes()).await?;
    let (_, challenge) = socket.message().await?;
    alice.authorize(&mut register, challenge.header("WWW-Authenticate"), "Authorization");
    set(&mut register, "Via", via(&mut alice));
    socket.send(true, opcode::TEXT, register.to_string().as_bytes()).await?;
    ensure!(socket.message().await?.1.status() == Some(200));
    let subscribe = bob.request("SUBSCRIBE", &alice.aor(), &alice.aor());
    let (answer, request) = tokio::join!(bob.transact(subscribe), async {
        let (_, request) = socket.message().await?;
        let response = alice.response(&request, 200, "OK", "ws1");
        socket.send(true, opcode::TEXT, response.to_string().as_bytes()).await?;
        anyhow::Ok(request)
    });
    let (answer, request) = (answer?, request?);
    assert_eq!(answer.status(), Some(200));
    let here = SocketAddr::new(gateway.address, gateway.websocket);
    assert!(request.header("Via").starts_with(&format!("SIP/2.0/WS {here};")), "{request}");
    let routes: Vec<&str> = request.all("Record-Route").collect();
    assert!(routes[0].contains(&format!("@{here};transport=ws")) && routes[0].contains("r2=on"), "{request}");
    assert!(routes[1].contains(&gateway.proxy().to_string()), "{request}");
    Ok(())
}
