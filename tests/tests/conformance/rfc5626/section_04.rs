//! RFC 5626 §4: User agent procedures, as far as they need an answer.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::subject::Subject;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

/// §4.4.2: a STUN Binding request on the SIP port is answered with the address it came from. It names its software, for to whom
/// nothing is known of, nothing longer than what he sent is said.
#[tokio::test]
async fn stun_is_answered_on_the_sip_port() -> Result<()> {
    let subject = Subject::start().await?;
    let proxy = subject.proxy();
    let socket = UdpSocket::bind((proxy.ip(), 0)).await?;
    let mut request = vec![0, 1, 0, 16, 0x21, 0x12, 0xa4, 0x42];
    request.extend(b"twelve-bytes\x80\x22\0\x0cconformance.");
    let mut buffer = [0; 512];
    let answered = async {
        loop {
            socket.send_to(&request, proxy).await?;
            // Datagrams may get lost.
            let Ok(received) = timeout(Duration::from_secs(1), socket.recv_from(&mut buffer)).await else {
                continue;
            };
            return Ok::<_, std::io::Error>(received?.0);
        }
    };
    let length = timeout(PATIENCE, answered).await.context("no answer")??;
    let answer = &buffer[..length];
    ensure!(answer[..2] == [1, 1] && answer[4..20] == request[4..20], "no success: {answer:?}");
    let port = socket.local_addr()?.port() ^ 0x2112;
    let at = answer.windows(4).position(|four| four == [0, 0x20, 0, 8]).context("XOR-MAPPED-ADDRESS")?;
    assert_eq!(answer[at + 6..at + 8], port.to_be_bytes(), "{answer:?}");
    Ok(())
}

/// §4.4.1: a double CRLF on a stream is answered with a single one. (The Kamailio of these tests has no streams.)
#[tokio::test]
async fn a_double_crlf_is_answered_on_the_stream() -> Result<()> {
    let subject = Subject::start().await?;
    if subject.is_kamailio() {
        return Ok(());
    }
    let mut stream = TcpStream::connect(subject.proxy()).await?;
    for _ in 0..2 {
        stream.write_all(b"\r\n\r\n").await?;
        let mut pong = [0; 2];
        timeout(PATIENCE, stream.read_exact(&mut pong)).await.context("no pong")??;
        assert_eq!(pong, *b"\r\n");
    }
    Ok(())
}
