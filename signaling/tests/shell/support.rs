//! A gateway on ports of the kernel's choice, and the plainest clients there are.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use causeway::config::Config;
use causeway::gateway::Gateway;
use rustls_pki_types::{CertificateDer, ServerName};
use signaling_core::flow::Protocol;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long a test waits for something that should come at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running gateway and its data directory.
pub(crate) struct Bench {
    pub(crate) gateway: Gateway,
    pub(crate) directory: Arc<TempDir>,
}

impl Bench {
    /// Starts one with `extra` settings.
    pub(crate) async fn start(extra: &str) -> Self {
        Self::start_in(Arc::new(tempfile::tempdir().unwrap()), extra).await
    }

    /// Starts one in a data directory that may have been used before.
    pub(crate) async fn start_in(directory: Arc<TempDir>, extra: &str) -> Self {
        let config = config(&directory, extra);
        Self { gateway: Gateway::start(config).await.unwrap(), directory }
    }

    pub(crate) fn address(&self, protocol: Protocol) -> SocketAddr {
        self.gateway.bound().iter().find(|bound| bound.protocol == protocol).unwrap().address
    }

    pub(crate) async fn tcp(&self, protocol: Protocol) -> TcpStream {
        TcpStream::connect(self.address(protocol)).await.unwrap()
    }

    /// A TLS connection that trusts the local CA and nothing else.
    pub(crate) async fn tls(&self, protocol: Protocol) -> TlsStream<TcpStream> {
        let ca = self.gateway.certificates().ca().unwrap().der.clone();
        self.tls_trusting(protocol, ca.into()).await
    }

    /// A TLS connection that trusts `root` and nothing else.
    pub(crate) async fn tls_trusting(
        &self,
        protocol: Protocol,
        root: CertificateDer<'static>,
    ) -> TlsStream<TcpStream> {
        self.tls_over(self.tcp(protocol).await, protocol, root).await
    }

    /// The same over a connection on which something was said before.
    pub(crate) async fn tls_over(
        &self,
        stream: TcpStream,
        protocol: Protocol,
        root: CertificateDer<'static>,
    ) -> TlsStream<TcpStream> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(root).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::IpAddress(self.address(protocol).ip().into());
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    }
}

/// Everything on loopback and ports of the kernel's choice; the relay is one that is not there.
pub(crate) fn config(directory: &TempDir, extra: &str) -> Config {
    let mut text = format!(
        "general.data_directory = {:?}\nnetwork.addresses = [\"127.0.0.1\"]\nsip.domain = \"sip.example\"\n\
         sip.workers = 2\nsip.udp = \"127.0.0.1:0\"\nsip.tcp = \"127.0.0.1:0\"\nsip.tls = \"127.0.0.1:0\"\n\
         https.listen = \"127.0.0.1:0\"\nhttps.websocket = \"127.0.0.1:0\"\nmedia.relay = \"udp:127.0.0.1:9\"\n",
        directory.path()
    );
    text.push_str(extra);
    Config::parse(&text, "test").unwrap()
}

/// Reads until the peer closes or `end` has come.
pub(crate) async fn read_until<S: AsyncRead + Unpin>(stream: &mut S, end: &str) -> String {
    let mut bytes = Vec::new();
    let reading = async {
        loop {
            let mut chunk = [0; 4096];
            match stream.read(&mut chunk).await {
                Ok(0) | Err(_) => break,
                Ok(length) => bytes.extend_from_slice(&chunk[..length]),
            }
            if !end.is_empty() && bytes.windows(end.len()).any(|window| window == end.as_bytes()) {
                break;
            }
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, reading).await;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(in_time.is_ok(), "neither {end:?} nor the end came, only: {text}");
    text
}

/// Waits until the peer has closed, whatever it says before.
pub(crate) async fn closed<S: AsyncRead + Unpin>(stream: &mut S) -> String {
    read_until(stream, "").await
}

/// One HTTP exchange on a connection that ends with it.
pub(crate) async fn http<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, request: &str) -> String {
    // The answer may come, and the connection end, before all is written.
    let _ = stream.write_all(request.as_bytes()).await;
    closed(&mut stream).await
}

pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
}

/// A WebSocket request; `fields` are added to it.
pub(crate) fn upgrade(fields: &str) -> String {
    format!(
        "GET /any/path HTTP/1.1\r\nHost: gw.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}\r\n"
    )
}
