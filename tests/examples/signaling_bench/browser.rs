//! Browsers: WebSockets over TLS.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use media::Anyone;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use rustls_pki_types::ServerName;

use crate::load::{PATIENCE, request, user};

/// A browser's connection.
pub(crate) type Browser = StreamOwned<ClientConnection, TcpStream>;

/// `count` WebSockets over TLS, one after the other.
pub(crate) fn connect(server: SocketAddr, count: u32) -> Result<Vec<Browser>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone::new(provider)))
        .with_no_client_auth();
    let config = Arc::new(config);
    (0..count).map(|_| connect_one(server, &config)).collect()
}

fn connect_one(server: SocketAddr, config: &Arc<ClientConfig>) -> Result<Browser> {
    let stream = TcpStream::connect(server)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let connection = ClientConnection::new(Arc::clone(config), ServerName::try_from("bench.test")?)?;
    let mut browser = StreamOwned::new(connection, stream);
    write!(
        browser,
        "GET /ws HTTP/1.1\r\nHost: {server}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: sip\r\n\r\n"
    )?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        browser.read_exact(&mut byte).context("WebSocket handshake")?;
        head.push(byte[0]);
    }
    ensure!(head.starts_with(b"HTTP/1.1 101"), "no WebSocket: {}", String::from_utf8_lossy(&head));
    Ok(browser)
}

/// Registers one user on each connection.
pub(crate) fn register_browsers(browsers: &mut [Browser]) -> Result<()> {
    for (number, browser) in (0..).zip(browsers) {
        let name = user(5000 + number);
        let more = format!("Contact: <sip:{name}@x{number}.invalid;transport=ws>\r\nExpires: 600\r\n");
        let (via, call_id) = (format!("WSS x{number}.invalid"), format!("w{number}"));
        let to = format!("<sip:{name}@bench.test>");
        let text = request("REGISTER", "sip:bench.test", &via, &call_id, &name, &to, 1, &more, "");
        browser.write_all(&frame(&text)?)?;
        let mut head = [0; 4];
        browser.read_exact(&mut head)?;
        ensure!(head[0] & 15 <= 2 && head[1] == 126, "an answer of the usual length in one frame");
        let mut answer = vec![0; usize::from(u16::from_be_bytes([head[2], head[3]]))];
        browser.read_exact(&mut answer)?;
        ensure!(answer.starts_with(b"SIP/2.0 200"), "REGISTER refused: {}", String::from_utf8_lossy(&answer));
    }
    Ok(())
}

/// One text frame with a mask of zeros (RFC 6455 §5.2).
fn frame(text: &str) -> Result<Vec<u8>> {
    let mut frame = vec![0x81, 0x80 | 126];
    frame.extend(u16::try_from(text.len())?.to_be_bytes());
    frame.extend([0; 4]);
    frame.extend(text.as_bytes());
    Ok(frame)
}

/// A browser that talks while others do.
pub(crate) struct Talking {
    browser: Browser,
    unread: Vec<u8>,
}

impl Talking {
    pub(crate) fn new(browser: Browser) -> Self {
        Self { browser, unread: Vec::new() }
    }

    pub(crate) fn send(&mut self, text: &str) -> Result<()> {
        self.browser.sock.set_nonblocking(false)?;
        Ok(self.browser.write_all(&frame(text)?)?)
    }

    /// The next message, if it is there.
    pub(crate) fn receive(&mut self) -> Result<Option<String>> {
        if let Some(message) = self.next() {
            return Ok(Some(message));
        }
        self.browser.sock.set_nonblocking(true)?;
        let mut buffer = [0; 16_384];
        loop {
            match self.browser.read(&mut buffer) {
                Ok(0) => anyhow::bail!("a browser's connection is closed"),
                Ok(length) => self.unread.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(self.next()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes whole frames; all but messages are passed over.
    fn next(&mut self) -> Option<String> {
        loop {
            let (&first, &second) = (self.unread.first()?, self.unread.get(1)?);
            let (length, start) = match second {
                126 => (usize::from(u16::from_be_bytes([*self.unread.get(2)?, *self.unread.get(3)?])), 4),
                length => (usize::from(length), 2),
            };
            if self.unread.len() < start + length {
                return None;
            }
            let message = String::from_utf8_lossy(&self.unread[start..start + length]).into_owned();
            self.unread.drain(..start + length);
            if matches!(first & 15, 1 | 2) {
                return Some(message);
            }
        }
    }
}
