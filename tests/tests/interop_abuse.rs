//! Bad input over every door of the running gateway: it is refused or dropped, bounded in memory, and calls go on.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use e2e::baresip::Account;
use e2e::gateway::{DOMAIN, Gateway};
use e2e::phone::Phone;
use futures_util::{SinkExt, StreamExt};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message as Frame;

/// A gateway with two phones, to see that it still serves.
struct Bystanders {
    gateway: Gateway,
    alice: Phone,
    bob: Phone,
}

impl Bystanders {
    async fn new() -> Result<Self> {
        let gateway = Gateway::start().await?;
        let alice = Phone::registered(gateway.account("alice", "stands-by-1")?, gateway.proxy()).await?;
        let bob = Phone::registered(gateway.account("bob", "stands-by-2")?, gateway.proxy()).await?;
        Ok(Self { gateway, alice, bob })
    }

    /// A message from one to the other passes, the page is served, and no thread of the gateway panicked.
    async fn are_served(&mut self) -> Result<()> {
        let message = self.alice.request("MESSAGE", &self.bob.aor(), &self.bob.aor());
        let (answer, received) = tokio::join!(self.alice.transact(message), async {
            let received = self.bob.receive("the message", |m| m.method() == Some("MESSAGE")).await?;
            self.bob.answer(&received, 200, "OK", "b1", "").await
        });
        received?;
        assert_eq!(answer?.status(), Some(200));
        assert!(self.gateway.get("/healthz").await?.starts_with("HTTP/1.1 200"));
        let log = self.gateway.log();
        let panics: Vec<_> = log.iter().filter(|line| line.contains("panicked")).collect();
        assert!(panics.is_empty(), "{panics:?}");
        Ok(())
    }

    /// Resident memory of the gateway, in MiB.
    fn memory(&mut self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.gateway.process().id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
        Ok(line.split_whitespace().nth(1).context("no number")?.parse::<u64>()? / 1024)
    }
}

/// Truncated, mangled and random messages over UDP.
#[tokio::test]
async fn mangled_datagrams() -> Result<()> {
    let mut all = Bystanders::new().await?;
    let proxy = all.gateway.proxy();
    let socket = UdpSocket::bind((proxy.ip(), 0)).await?;
    let invite = all.alice.invite(&all.bob.aor(), "v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\nt=0 0\r\n").to_string();
    let mut rng = StdRng::seed_from_u64(1);
    for length in 0..invite.len() {
        socket.send_to(&invite.as_bytes()[..length], proxy).await?;
    }
    for _ in 0..3000 {
        let mut bytes = invite.clone().into_bytes();
        for _ in 0..rng.random_range(1..20) {
            let at = rng.random_range(0..bytes.len());
            bytes[at] = rng.random();
        }
        socket.send_to(&bytes, proxy).await?;
        let mut noise = vec![0; rng.random_range(0..1400)];
        rng.fill_bytes(&mut noise);
        socket.send_to(&noise, proxy).await?;
    }
    // The largest datagram there is, a field of 60 kB, ten thousand fields and Vias.
    let huge = |middle: String| {
        format!("OPTIONS sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n{middle}\r\n\r\n")
    };
    for middle in
        ["X: ".to_owned() + &"a".repeat(60_000), "X: y\r\n".repeat(10_000), "v: a\r\n".repeat(10_000)]
    {
        socket.send_to(huge(middle).as_bytes(), proxy).await?;
    }
    all.are_served().await
}

/// A megabyte of header, a URI of a million characters, a Content-Length that lies, and garbage, over TCP and TLS.
#[tokio::test]
async fn endless_streams() -> Result<()> {
    let mut all = Bystanders::new().await?;
    let before = all.memory()?;
    let million = "a".repeat(1_000_000);
    let inputs = [
        format!("OPTIONS sip:{DOMAIN} SIP/2.0\r\nX-Long: {million}\r\n\r\n"),
        format!("OPTIONS sip:{million} SIP/2.0\r\nContent-Length: 0\r\n\r\n"),
        format!("OPTIONS sip:{DOMAIN} SIP/2.0\r\nContent-Length: 4000000000\r\n\r\n{million}"),
        format!("OPTIONS sip:{DOMAIN} SIP/2.0\r\nContent-Length: -1\r\n\r\n"),
        "\r\n".repeat(500_000),
        million.clone(),
    ];
    for input in &inputs {
        for _ in 0..3 {
            push(TcpStream::connect((all.gateway.address, all.gateway.sip)).await?, input.as_bytes()).await;
            push(all.gateway.tls_connect(all.gateway.tls).await?, input.as_bytes()).await;
        }
    }
    all.are_served().await?;
    let grown = all.memory()?.saturating_sub(before);
    assert!(grown < 64, "memory grew by {grown} MiB");
    Ok(())
}

/// Requests that are no HTTP, headers without end, paths of a megabyte and upgrades to nowhere, on the page's port.
#[tokio::test]
async fn broken_http() -> Result<()> {
    let mut all = Bystanders::new().await?;
    let million = "a".repeat(1_000_000);
    let inputs = [
        "GET / HTTP/1.1\r\nHost: h\r\nX: ".to_owned() + &million,
        format!("GET /{million} HTTP/1.1\r\nHost: h\r\n\r\n"),
        "GET /../../../etc/passwd HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".into(),
        "POST /api/page HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\n".into(),
        "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n".into(),
        "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: short\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
            .into(),
        "\x00\x01\x02\x03".repeat(1000),
        "X: y\r\n".repeat(100_000),
    ];
    for input in &inputs {
        let said = push(all.gateway.tls_connect(all.gateway.https).await?, input.as_bytes()).await;
        assert!(!said.starts_with("HTTP/1.1 2") && !said.contains("root:"), "{said}");
        // The same without TLS, where a TLS record is expected.
        push(TcpStream::connect((all.gateway.address, all.gateway.https)).await?, input.as_bytes()).await;
    }
    all.are_served().await
}

/// WebSocket frames that are no SIP, too long, or not UTF-8; the connection may go, the gateway stays.
#[tokio::test]
async fn broken_websockets() -> Result<()> {
    let mut all = Bystanders::new().await?;
    let url = format!("wss://{}:{}/", all.gateway.address, all.gateway.https);
    let mut rng = StdRng::seed_from_u64(2);
    for round in 0..12 {
        use tokio_tungstenite::tungstenite::client::IntoClientRequest;
        let mut request = url.as_str().into_client_request()?;
        request.headers_mut().insert("Sec-WebSocket-Protocol", "sip".parse()?);
        let origin = format!("https://{}:{}", all.gateway.address, all.gateway.https);
        request.headers_mut().insert("Origin", origin.parse()?);
        let stream = all.gateway.tls_connect(all.gateway.https).await?;
        let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await?;
        let mut noise = vec![0; rng.random_range(1..2000)];
        rng.fill_bytes(&mut noise);
        let frame = match round % 4 {
            0 => Frame::text("INVITE sip:x SIP/2.0\r\n\r\n"),
            1 => Frame::binary(noise),
            2 => Frame::text("a".repeat(1_000_000)),
            _ => Frame::text(format!(
                "REGISTER sip:{DOMAIN} SIP/2.0\r\nContact: *\r\nContent-Length: 5\r\n\r\n"
            )),
        };
        // Either side may have closed already.
        let _ = socket.send(frame).await;
        let _ = timeout(Duration::from_millis(200), socket.next()).await;
    }
    all.are_served().await
}

/// Ten thousand TLS connections that never finish their handshake: bounded and refused, while others are served.
#[tokio::test]
async fn half_open_tls() -> Result<()> {
    let mut all = Bystanders::new().await?;
    let before = all.memory()?;
    let mut held = Vec::new();
    for n in 0..10_000u32 {
        let port = if n % 2 == 0 { all.gateway.https } else { all.gateway.tls };
        let Ok(Ok(mut stream)) =
            timeout(Duration::from_secs(2), TcpStream::connect((all.gateway.address, port))).await
        else {
            // Refused is as good as bounded.
            break;
        };
        // The first bytes of a ClientHello that promises more.
        let _ = stream.write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]).await;
        held.push(stream);
    }
    let message = all.alice.request("OPTIONS", &format!("sip:{DOMAIN}"), &format!("sip:{DOMAIN}"));
    assert_eq!(all.alice.transact(message).await?.status(), Some(200), "UDP is served meanwhile");
    let grown = all.memory()?.saturating_sub(before);
    assert!(grown < 256, "memory grew by {grown} MiB with {} connections", held.len());
    drop(held);
    e2e::wait::until("TLS to be served again", e2e::wait::PATIENCE, || async {
        Ok(all
            .gateway
            .get("/healthz")
            .await
            .ok()
            .filter(|answer| answer.starts_with("HTTP/1.1 200"))
            .map(drop))
    })
    .await?;
    all.are_served().await
}

/// What Debian's fail2ban finds in the log of a gateway at which somebody guesses, scans and sends nonsense: his address, each time.
#[tokio::test]
async fn fail2ban_reads_the_log() -> Result<()> {
    let mut gateway = Gateway::start().await?;
    let mut account = gateway.account("carol", "right")?;
    account.password = "wrong".into();
    for user in ["carol", "nobody"] {
        account.user = user.into();
        let mut guesser = Phone::new(account.clone(), gateway.proxy()).await?;
        assert_eq!(guesser.register(60).await?.status(), Some(401), "{user}");
    }
    let socket = UdpSocket::bind((gateway.proxy().ip(), 0)).await?;
    let options = |call_id: &str, changed: &str, agent: &str| {
        format!(
            "OPTIONS sip:{changed}{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK{call_id};rport\r\n\
             From: <sip:e@evil.example>;tag=1\r\nTo: <sip:{DOMAIN}>\r\nCall-ID: {call_id}\r\nCSeq: 1 OPTIONS\r\n\
             User-Agent: {agent}\r\nContent-Length: 0\r\n\r\n"
        )
    };
    gateway.command(&["rpc", "secfilter.add_bl", "ua", "BadPhone"], "")?;
    let forged = "x WARN causeway::events: pike blocking address=198.51.100.1 port=1";
    for message in [
        options("1", "", "friendly-scanner"),
        options("2", "a'%20or%201=1--@", "phone"),
        options("3", "", "phone").replace("CSeq: 1 OPTIONS", "CSeq: x OPTIONS"),
        options("4", "", &format!("sipvicious {forged}")),
        options("5", "", &format!("BadPhone {forged}")),
    ] {
        socket.send_to(message.as_bytes(), gateway.proxy()).await?;
    }
    // No order: each has a thread of its own.
    for parts in [
        &["reason=\"wrong password\""][..],
        &["reason=\"no such user\""],
        &["scanner dropped", "friendly-scanner"],
        &["SQL injection dropped"],
        &["malformed SIP request"],
        &["scanner dropped", "sipvicious"],
        &["secfilter dropped", "BadPhone"],
    ] {
        gateway.logs(parts).await?;
    }
    // One who has shown his password, and calls what costs much: for a filter of its own.
    let carol = Account { user: "carol".into(), password: "right".into(), ..account };
    let mut carol = Phone::registered(carol, gateway.proxy()).await?;
    let uri = format!("sip:+97912345@{}", std::net::Ipv4Addr::new(192, 0, 2, 55));
    let message = carol.request("MESSAGE", &uri, &uri);
    assert_eq!(carol.transact(message).await?.status(), Some(403));
    gateway.logs(&["destination barred", "+97912345"]).await?;
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("log");
    fs::write(&log, gateway.log().join("\n") + "\n")?;
    let source = gateway.proxy().ip().to_string();
    for (filter, found) in [("causeway", 7), ("causeway-tolls", 1)] {
        let path = format!("{}/../deploy/fail2ban/filter.d/{filter}.conf", env!("CARGO_MANIFEST_DIR"));
        let output = std::process::Command::new("fail2ban-regex")
            .args(["--out", "ip"])
            .arg(&log)
            .arg(path)
            .output()?;
        let (told, trouble) = (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr));
        let told: Vec<&str> = told.lines().collect();
        assert_eq!(told, vec![source.as_str(); found], "{filter}: {trouble}\n{:?}", gateway.log());
    }
    Ok(())
}

/// The firewall of `deploy` is one that the kernel's tool understands.
#[test]
fn the_firewall_is_well_formed() -> Result<()> {
    let rules = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/nftables/causeway.nft");
    let text = fs::read_to_string(&rules)?;
    for port in ["8443", "5061", "5060", "30000-40000"] {
        assert!(text.contains(port), "{port} is listened on by default");
    }
    // Only a superuser may ask the kernel; the syntax is checked for anybody who may.
    let checked = std::process::Command::new("/usr/sbin/nft").arg("-c").arg("-f").arg(&rules).output()?;
    let trouble = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success() || trouble.contains("Operation not permitted"), "{trouble}");
    Ok(())
}

/// Everything that is no command, on the ng port.
#[tokio::test]
async fn broken_ng() -> Result<()> {
    let mut all = Bystanders::new().await?;
    let ng = (std::net::Ipv4Addr::LOCALHOST, all.gateway.ng);
    let socket = UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
    let mut rng = StdRng::seed_from_u64(3);
    for text in [
        "",
        " ",
        "cookie",
        "c d",
        "c d7:command4:ping",
        "c d7:command99999999999:ping",
        "c {\"command\":",
        "c i99999999999999999999e",
        &("c ".to_owned() + &"l".repeat(20_000)),
        &("c ".to_owned() + &"[".repeat(20_000)),
    ] {
        socket.send_to(text.as_bytes(), ng).await?;
    }
    for _ in 0..2000 {
        let mut noise = vec![0; rng.random_range(0..600)];
        rng.fill_bytes(&mut noise);
        socket.send_to(&noise, ng).await?;
    }
    assert_eq!(ask_ng(ng, b"well d7:command4:pinge").await?, b"well d6:result4:ponge");
    assert_eq!(ask_ng(ng, br#"json {"command":"ping"}"#).await?, br#"json {"result":"pong"}"#);
    all.are_served().await
}

/// The answer to an ng command, which is repeated as controllers do: the datagrams before it may have filled the buffer.
async fn ask_ng(ng: (std::net::Ipv4Addr, u16), command: &[u8]) -> Result<Vec<u8>> {
    let socket = UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
    let mut answer = [0; 1500];
    for _ in 0..40 {
        socket.send_to(command, ng).await?;
        if let Ok(received) = timeout(Duration::from_millis(250), socket.recv_from(&mut answer)).await {
            return Ok(answer[..received?.0].to_vec());
        }
    }
    anyhow::bail!("no answer on the ng port")
}

/// Writes everything, or as much as is taken, and returns what was said to it within a moment.
async fn push(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8]) -> String {
    let _ = timeout(Duration::from_secs(3), stream.write_all(bytes)).await;
    let _ = timeout(Duration::from_secs(1), stream.flush()).await;
    let mut said = vec![0; 4096];
    let length = timeout(Duration::from_millis(400), stream.read(&mut said)).await;
    String::from_utf8_lossy(&said[..length.ok().and_then(Result::ok).unwrap_or(0)]).into_owned()
}

/// An address on the list of those that are not heard: nothing comes back over UDP, and connections are closed. What the list says
/// after a reload counts.
#[tokio::test]
async fn a_denied_address_is_not_heard_until_the_list_says_otherwise() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let list = folder.path().join("deny");
    fs::write(&list, "# nobody\n")?;
    let more = format!("[acl]\ndeny_file = \"{}\"\n", list.display());
    let mut gateway = Gateway::start_with(&more).await?;
    let account = gateway.account("alice", "stands-by-1")?;
    let phone = Phone::registered(account, gateway.proxy()).await?;
    fs::write(&list, format!("{}\n", gateway.address))?;
    gateway.process().signal("HUP")?;
    // The door is shut as soon as the list is read.
    let shut = async {
        loop {
            let mut stream = TcpStream::connect(gateway.proxy()).await?;
            let mut byte = [0];
            if let Ok(read) = timeout(Duration::from_millis(200), stream.read(&mut byte)).await {
                return Ok::<_, anyhow::Error>(read.unwrap_or_default());
            }
        }
    };
    assert_eq!(timeout(e2e::wait::PATIENCE, shut).await??, 0);
    let mut other = Phone::new(phone.account.clone(), gateway.proxy()).await?;
    let options =
        |phone: &mut Phone| phone.request("OPTIONS", &format!("sip:{DOMAIN}"), &format!("sip:{DOMAIN}"));
    let request = options(&mut other);
    other.send(&request).await?;
    let dropped = || {
        let told = gateway.command(&["rpc", "stats.get_statistics", "core:drop_requests"], "").ok()?;
        told.contains("core:drop_requests = 1").then_some(())
    };
    e2e::wait::until_now("the drop", e2e::wait::PATIENCE, dropped).await?;
    fs::write(&list, "")?;
    gateway.process().signal("HUP")?;
    let heard = async {
        loop {
            let request = options(&mut other);
            other.send(&request).await?;
            // Not so often that it is a flood.
            tokio::time::sleep(Duration::from_millis(300)).await;
            if let Some(answer) = other.drain().await?.into_iter().next() {
                return Ok::<_, anyhow::Error>(answer);
            }
        }
    };
    let answer = timeout(e2e::wait::PATIENCE, heard).await??;
    assert_eq!(answer.status(), Some(200), "{answer}");
    assert_ne!(answer.header("Call-ID"), request.header("Call-ID"), "what was said meanwhile was not heard");
    Ok(())
}
