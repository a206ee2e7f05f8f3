//! Scripted peers on streams: they say exactly the bytes that a test has them say, cut where it likes.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::baresip::Account;
use crate::digest::Client;
use crate::sip::Message;
use crate::wait::PATIENCE;

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Io for S {}

/// A peer at the other end of a TCP or TLS connection.
pub struct Wire {
    stream: Box<dyn Io>,
    socket: socket2::Socket,
    unread: Vec<u8>,
    /// This end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire")
            .field("local", &self.local)
            .field("remote", &self.remote)
            .finish_non_exhaustive()
    }
}

impl Wire {
    /// Connects to `remote`.
    pub async fn connect(remote: SocketAddr) -> Result<Self> {
        Self::of(TcpStream::connect(remote).await?)
    }

    /// The peer of a connection that is there.
    pub fn of(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        let (local, remote) = (stream.local_addr()?, stream.peer_addr()?);
        let socket = socket2::SockRef::from(&stream).try_clone()?;
        Ok(Self { stream: Box::new(stream), socket, unread: Vec::new(), local, remote })
    }

    /// The peer of a TLS session.
    pub fn of_tls(stream: tokio_rustls::client::TlsStream<TcpStream>) -> Result<Self> {
        let (local, remote) = (stream.get_ref().0.local_addr()?, stream.get_ref().0.peer_addr()?);
        let socket = socket2::SockRef::from(stream.get_ref().0).try_clone()?;
        Ok(Self { stream: Box::new(stream), socket, unread: Vec::new(), local, remote })
    }

    /// Waits for the next connection to `listener`.
    pub async fn accept(listener: &TcpListener) -> Result<Self> {
        let (stream, _) = timeout(PATIENCE, listener.accept()).await.context("nobody connects")??;
        Self::of(stream)
    }

    /// Writes bytes.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        self.stream.write_all(bytes.as_ref()).await?;
        Ok(self.stream.flush().await?)
    }

    /// The next message; line ends before it are passed over.
    pub async fn receive(&mut self) -> Result<Message> {
        loop {
            let start =
                self.unread.iter().position(|b| !matches!(b, b'\r' | b'\n')).unwrap_or(self.unread.len());
            self.unread.drain(..start);
            if let Some(length) = message_length(&self.unread)? {
                return Message::parse(&self.unread.drain(..length).collect::<Vec<_>>());
            }
            ensure!(
                self.read().await? > 0,
                "closed, having said {:?}",
                String::from_utf8_lossy(&self.unread)
            );
        }
    }

    /// The next message for which `wanted` holds; others are dropped.
    pub async fn receive_where(&mut self, wanted: impl Fn(&Message) -> bool) -> Result<Message> {
        loop {
            let message = self.receive().await?;
            if wanted(&message) {
                return Ok(message);
            }
        }
    }

    /// So many bytes as they come.
    pub async fn bytes(&mut self, count: usize) -> Result<Vec<u8>> {
        while self.unread.len() < count {
            ensure!(self.read().await? > 0, "closed after {} bytes", self.unread.len());
        }
        Ok(self.unread.drain(..count).collect())
    }

    /// Waits until the other end has closed; what it said before.
    pub async fn closed(&mut self) -> Result<String> {
        while self.read().await.unwrap_or(0) > 0 {}
        Ok(String::from_utf8_lossy(&std::mem::take(&mut self.unread)).into_owned())
    }

    /// Whether anything comes within a moment.
    pub async fn is_silent(&mut self, moment: Duration) -> bool {
        self.unread.is_empty() && timeout(moment, self.read()).await.is_err()
    }

    /// Breaks the connection off: what the other end writes from now on fails there, for the kernels have settled it when
    /// this returns.
    pub fn reset(self) -> Result<()> {
        Ok(self.socket.set_linger(Some(Duration::ZERO))?)
    }

    async fn read(&mut self) -> Result<usize> {
        match timeout(PATIENCE, self.stream.read_buf(&mut self.unread)).await {
            Ok(read) => Ok(read?),
            Err(_) => bail!("nothing more comes after {:?}", String::from_utf8_lossy(&self.unread)),
        }
    }
}

/// The length of the message at the start of `bytes`, once it is there whole.
fn message_length(bytes: &[u8]) -> Result<Option<usize>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = Message::parse(&bytes[..end + 4])?;
    let length = match head.header("Content-Length") {
        "" => 0,
        length => length.parse()?,
    };
    Ok((bytes.len() >= end + 4 + length).then_some(end + 4 + length))
}

/// A WebSocket client frame by frame (RFC 6455 §5).
#[derive(Debug)]
pub struct WebSocket(pub Wire);

/// Opcodes of frames (RFC 6455 §5.2).
pub mod opcode {
    /// More of the message before.
    pub const CONTINUATION: u8 = 0;
    /// A text message begins.
    pub const TEXT: u8 = 1;
    /// A binary message begins.
    pub const BINARY: u8 = 2;
    /// The connection ends.
    pub const CLOSE: u8 = 8;
    /// Are you there?
    pub const PING: u8 = 9;
    /// I am.
    pub const PONG: u8 = 10;
}

/// A frame received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// See [`opcode`].
    pub opcode: u8,
    /// What is in it.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The status code of a close frame.
    #[must_use]
    pub fn close_code(&self) -> Option<u16> {
        let code = self.payload.get(..2)?.try_into().ok()?;
        (self.opcode == opcode::CLOSE).then_some(u16::from_be_bytes(code))
    }
}

impl WebSocket {
    /// Upgrades a connection; `fields` are whole header lines added to the request. The answer is in the error when it is not
    /// 101.
    pub async fn upgrade(mut wire: Wire, fields: &str) -> Result<Self> {
        let request = format!(
            "GET / HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}\r\n",
            wire.remote
        );
        wire.send(request).await?;
        let head = loop {
            if let Some(end) = wire.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                break wire.unread.drain(..end + 4).collect::<Vec<_>>();
            }
            ensure!(wire.read().await? > 0, "closed during the upgrade");
        };
        let head = String::from_utf8_lossy(&head).into_owned();
        ensure!(head.starts_with("HTTP/1.1 101 "), "{head}");
        ensure!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "wrong accept key: {head}");
        ensure!(
            head.to_ascii_lowercase().contains("sec-websocket-protocol: sip\r\n"),
            "no sub-protocol: {head}"
        );
        Ok(Self(wire))
    }

    /// Sends one frame, masked as a client must; `last` is its FIN bit.
    pub async fn send(&mut self, last: bool, opcode: u8, payload: &[u8]) -> Result<()> {
        const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
        let mut frame = vec![u8::from(last) << 7 | opcode];
        match payload.len() {
            length @ ..126 => frame.push(0x80 | length as u8),
            length => {
                frame.push(0x80 | 126);
                frame.extend(u16::try_from(length)?.to_be_bytes());
            }
        }
        frame.extend(MASK);
        frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.0.send(frame).await
    }

    /// The next frame. Frames of a server are not masked.
    pub async fn receive(&mut self) -> Result<Frame> {
        let head = self.0.bytes(2).await?;
        ensure!(head[0] & 0x80 != 0 && head[1] & 0x80 == 0, "a part, or masked: {head:?}");
        let length = match head[1] {
            126 => u64::from(u16::from_be_bytes(self.0.bytes(2).await?.try_into().unwrap_or_default())),
            127 => u64::from_be_bytes(self.0.bytes(8).await?.try_into().unwrap_or_default()),
            length => u64::from(length),
        };
        let payload = self.0.bytes(usize::try_from(length)?).await?;
        Ok(Frame { opcode: head[0] & 0xf, payload })
    }

    /// Registers as a browser does, with the password that it is asked for; the last answer. `cseq` grows from one to the next.
    pub async fn register(&mut self, account: &Account, cseq: u32) -> Result<Message> {
        let Account { user, domain, password } = account;
        let (call_id, uri) = (format!("{user}-{}", self.0.local), format!("sip:{domain}"));
        let mut credentials = String::new();
        for cseq in [cseq, cseq + 1] {
            let request = format!(
                "REGISTER {uri} SIP/2.0\r\nVia: SIP/2.0/WSS df7jal23ls0d.invalid;branch=z9hG4bK{cseq};rport\r\n\
                 Max-Forwards: 70\r\nFrom: <sip:{user}@{domain}>;tag=w\r\nTo: <sip:{user}@{domain}>\r\n\
                 Call-ID: {call_id}\r\nCSeq: {cseq} REGISTER\r\n\
                 Contact: <sip:{user}@df7jal23ls0d.invalid;transport=ws>;expires=300\r\n{credentials}\
                 Content-Length: 0\r\n\r\n"
            );
            self.send(true, opcode::TEXT, request.as_bytes()).await?;
            let (_, answer) = self.message().await?;
            if answer.status() != Some(401) || !credentials.is_empty() {
                return Ok(answer);
            }
            let client = Client { user, password, method: "REGISTER", uri: &uri, nc: 1 };
            credentials = format!("Authorization: {}\r\n", client.answer(answer.header("WWW-Authenticate"))?);
        }
        bail!("asked for a password twice")
    }

    /// The next SIP message; pings are answered.
    pub async fn message(&mut self) -> Result<(u8, Message)> {
        loop {
            let frame = self.receive().await?;
            match frame.opcode {
                opcode::PING => self.send(true, opcode::PONG, &frame.payload).await?,
                opcode::TEXT | opcode::BINARY => return Ok((frame.opcode, Message::parse(&frame.payload)?)),
                _ => bail!("no message but {frame:?}"),
            }
        }
    }
}
