//! Intruders at a gateway where people talk: the call of a page and a phone keeps its sound, and others call each other as before.
//! They are on this host, and so at the very address of the users, as somebody in their office would be; what they do is bounded in
//! number and time.

use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::bystanders::{Bystanders, Measured};
use e2e::gateway::{DOMAIN, Gateway};
use e2e::wait::PATIENCE;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long a tool that does not end by itself may go on.
const LIMIT: Duration = Duration::from_secs(4);

/// What a tool says until its end, or as long as it may go on.
async fn tool(name: &str, arguments: &str) -> Result<String> {
    let mut child = Command::new(name)
        .args(arguments.split_whitespace())
        .current_dir(std::env::temp_dir())
        .env("HOME", std::env::temp_dir())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("{name}: tests/setup.sh installs it"))?;
    let (mut out, mut err) = (child.stdout.take().context("out")?, child.stderr.take().context("err")?);
    let (mut said, mut complained) = (Vec::new(), Vec::new());
    let reading = async { tokio::join!(out.read_to_end(&mut said), err.read_to_end(&mut complained)) };
    if timeout(LIMIT, reading).await.is_err() {
        child.kill().await?;
    }
    Ok(format!("{}{}", String::from_utf8_lossy(&said), String::from_utf8_lossy(&complained)))
}

/// A port that nobody has just now: these tools take the next one when somebody does.
fn free_port() -> Result<u16> {
    Ok(std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?.local_addr()?.port())
}

/// The figures, for whoever runs it to see them (`--nocapture`).
#[allow(clippy::print_stdout, reason = "that is what they are for")]
fn report(figures: &str) {
    println!("{figures}");
}

/// Nothing has broken, and others have called each other.
fn no_harm(all: &Bystanders, measured: Measured) -> Result<()> {
    let log = all.ends.gateway.log();
    ensure!(!log.iter().any(|line| line.contains("panicked")), "{measured:?}");
    ensure!(measured.calls > 0, "{measured:?}");
    Ok(())
}

/// svmap finds no SIP server here; sipsak floods, and sends mangled requests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scanners() -> Result<()> {
    let mut all = Bystanders::begin(Gateway::start().await?).await?;
    let (address, port) = (all.ends.gateway.address, all.ends.gateway.sip);
    let attack = async {
        let map = format!("-P {} -p {port} {address}", free_port()?);
        let flood = format!("-F -e 300 -s sip:nobody@{address}:{port}");
        let random = format!("-R -t 200 -s sip:nobody@{address}:{port}");
        let (found, flooded, mangled) =
            tokio::join!(tool("svmap", &map), tool("sipsak", &flood), tool("sipsak", &random));
        Ok((found?, flooded?, mangled?))
    };
    let ((found, flooded, mangled), measured) = all.goes_on_during(attack).await?;
    report(&format!("svmap, sipsak: {measured:?}"));
    ensure!(!found.contains(&format!("{address}:{port}")), "svmap has found us: {found}");
    ensure!(!flooded.contains("usage") && !mangled.contains("usage"), "sipsak: {flooded}\n{mangled}");
    no_harm(&all, measured)
}

/// svwar learns of no user, svcrack no password, though that of the user is one of the first hundred that it tries.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guessers() -> Result<()> {
    let gateway = Gateway::start().await?;
    gateway.account("1001", "1077")?;
    let mut all = Bystanders::begin(gateway).await?;
    let (address, port) = (all.ends.gateway.address, all.ends.gateway.sip);
    let attack = async {
        let domain = format!("--domain={DOMAIN} -p {port}");
        let war = format!("--force -P {} -e 1000-1100 -m REGISTER {domain} {address}", free_port()?);
        let crack = format!("-P {} -u 1001 -r 1000-1100 {domain} {address}", free_port()?);
        let (users, password) = tokio::join!(tool("svwar", &war), tool("svcrack", &crack));
        Ok((users?, password?))
    };
    let ((users, password), measured) = all.goes_on_during(attack).await?;
    report(&format!("svwar, svcrack: {measured:?}"));
    ensure!(!users.contains("reqauth") && !users.contains("noauth"), "svwar knows users: {users}");
    ensure!(!password.contains("1077"), "svcrack knows a password: {password}");
    no_harm(&all, measured)
}

/// Says `text` and then one letter without end, a byte now and then, until the other end has enough of it; how long that took.
async fn dribble(mut stream: impl AsyncRead + AsyncWrite + Unpin, text: &[u8]) -> Result<Duration> {
    let begun = Instant::now();
    let mut bytes = text.iter().copied().chain(std::iter::repeat(b'a'));
    let mut answer = [0; 512];
    while begun.elapsed() < PATIENCE {
        let byte = bytes.next().unwrap_or(b'a');
        if stream.write_all(&[byte]).await.is_err() || stream.flush().await.is_err() {
            return Ok(begun.elapsed());
        }
        if let Ok(Ok(0) | Err(_)) = timeout(Duration::from_millis(150), stream.read(&mut answer)).await {
            return Ok(begun.elapsed());
        }
    }
    bail!("still heard after {:?}", begun.elapsed())
}

/// Connections on which a byte comes now and then, in the middle of a SIP message, of a TLS handshake, of a WebSocket's upgrade: each is
/// closed in time, however many bytes come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_loris() -> Result<()> {
    const SIP: &[u8] = b"OPTIONS sip:x SIP/2.0\r\nX-Y: ";
    const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nUpgrade: ";
    // The beginning of a ClientHello.
    const HELLO: &[u8] = &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    let limits = "[limits]\nhandshake_timeout = 2000\nheader_timeout = 2000\n";
    let mut all = Bystanders::begin(Gateway::start_with(limits).await?).await?;
    let gateway = &all.ends.gateway;
    let address = gateway.address;
    let doors =
        [(gateway.sip, SIP), (gateway.tls, HELLO), (gateway.https, HELLO), (gateway.websocket, UPGRADE)];
    let mut inside = Vec::new();
    for (port, text) in [(gateway.tls, SIP), (gateway.https, UPGRADE)] {
        for _ in 0..10 {
            inside.push((gateway.tls_connect(port).await?, text));
        }
    }
    let attack = async {
        let mut slow = JoinSet::new();
        for (stream, text) in inside {
            slow.spawn(dribble(stream, text));
        }
        for _ in 0..50 {
            for (port, text) in doors {
                slow.spawn(dribble(TcpStream::connect((address, port)).await?, text));
            }
        }
        let mut longest = Duration::ZERO;
        while let Some(ended) = slow.join_next().await {
            longest = longest.max(ended??);
        }
        Ok(longest)
    };
    let (longest, measured) = all.goes_on_during(attack).await?;
    report(&format!("slow loris, the longest {longest:?}: {measured:?}"));
    no_harm(&all, measured)
}
