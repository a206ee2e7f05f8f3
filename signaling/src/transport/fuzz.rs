//! The server's side of HTTP and of a WebSocket under bytes that nobody meant, for the fuzz targets `http` and `websocket`.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use rustls::crypto::aws_lc_rs;
use signaling_core::flow::Protocol;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::runtime::Handle;

use super::admission::Admission;
use super::listen::Ends;
use super::socket::Movable;
use super::web::Web;
use super::{Origins, Ping, Transport, WebSettings, web, websocket};
use crate::config::{Config, Limits};
use crate::worker::{WorkerId, Workers};

/// The largest message that is taken here.
pub(super) const LIMIT: usize = 4096;
/// Bytes that may be on their way.
const ON_THE_WAY: usize = 1024;

static LIMITS: LazyLock<Limits> = LazyLock::new(|| {
    let config = Config::defaults().expect("the defaults are good");
    Limits { message_size: LIMIT, ..config.limits }
});

static CLIENT: LazyLock<Arc<rustls::ClientConfig>> = LazyLock::new(|| {
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions of TLS");
    Arc::new(config.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth())
});

/// What became of the bytes of one connection.
#[derive(Debug)]
pub(super) struct Outcome {
    /// What was delivered to the worker.
    pub(super) messages: Vec<Bytes>,
    /// What the peer was told.
    pub(super) told: Vec<u8>,
}

/// Serves one connection on which `bytes` come. The peer ends it then, or with `stays` waits for the other end to do so.
pub(super) async fn serve(bytes: &[u8], stays: bool) -> Outcome {
    let (workers, mut inboxes) = Workers::new(1, 1 << 16, 1 << 24);
    let ping = Ping { interval: Duration::from_secs(25), missed: 2 };
    let client = Arc::clone(&CLIENT);
    let transport =
        Transport::new(LIMITS.clone(), ping, Vec::new(), workers, client, Arc::default(), Handle::current());
    let ends = Ends {
        protocol: Protocol::Ws,
        local: ([127, 0, 0, 1], 80).into(),
        remote: ([127, 0, 0, 1], 9).into(),
        host: WorkerId(0),
    };
    let (ours, theirs) = tokio::io::duplex(ON_THE_WAY);
    let (mut reader, mut writer) = tokio::io::split(theirs);
    let say = async {
        // It may be closed before all is said.
        if writer.write_all(bytes).await.is_ok() && !stays {
            let _ = writer.shutdown().await;
        }
    };
    let mut told = Vec::new();
    let hear = async {
        let _ = reader.read_to_end(&mut told).await;
    };
    tokio::join!(websocket::serve(Arc::clone(&transport), ours, Vec::new(), ends), say, hear);
    assert_eq!(transport.connection_count(), 0, "a connection is left");
    let mut messages = Vec::new();
    while let Some(inbound) = inboxes[0].try_next() {
        messages.push(inbound.bytes);
    }
    Outcome { messages, told }
}

/// Gives the server's side of a WebSocket any bytes.
///
/// # Panics
/// When it delivers a message above the limit, or delivers or says more than came.
pub fn websocket(bytes: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let Outcome { messages, told } = runtime.block_on(serve(bytes, false));
    assert!(messages.iter().all(|message| message.len() <= LIMIT), "a message above the limit");
    assert!(messages.iter().map(Bytes::len).sum::<usize>() <= bytes.len(), "more is delivered than came");
    // A pong is shorter than its ping, and a close frame has at most 125 bytes.
    assert!(told.len() <= bytes.len() + 127, "{} bytes are said to {}", told.len(), bytes.len());
}

/// A page behind HTTP, for the upgrade to be one of two things that can be asked for.
static WEB: LazyLock<Arc<Web>> = LazyLock::new(|| {
    let pages = axum::Router::new().route("/", axum::routing::get(|| async { "page" }));
    let origins = Origins::new(&["self".to_owned()]);
    Arc::new(Web::new(&WebSettings { pages, origins, hsts: None, forwarders: Arc::default() }))
});

impl Movable for DuplexStream {
    fn settle(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Gives the server's side of HTTP any bytes.
///
/// # Panics
/// When it answers something that is no HTTP, opens a WebSocket for what asked for none, or keeps the connection.
pub fn http(bytes: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let told = runtime.block_on(serve_http(bytes));
    if told.is_empty() {
        return;
    }
    let answer = String::from_utf8_lossy(&told);
    let status = answer.strip_prefix("HTTP/1.1 ").or_else(|| answer.strip_prefix("HTTP/1.0 "));
    let status = status.and_then(|rest| rest.get(..3)).expect("HTTP");
    if status == "101" {
        let asked = String::from_utf8_lossy(bytes).to_ascii_lowercase();
        assert!(asked.contains("sec-websocket-key") && asked.contains("upgrade"), "{answer}");
    }
    // One of the shortest requests has about sixteen bytes, its answer some hundreds.
    assert!(told.len() <= 100 * bytes.len() + 4096, "{} bytes are said to {}", told.len(), bytes.len());
}

async fn serve_http(bytes: &[u8]) -> Vec<u8> {
    let (workers, _inboxes) = Workers::new(1, 1 << 16, 1 << 24);
    let ping = Ping { interval: Duration::from_secs(25), missed: 2 };
    let transport = Transport::new(
        LIMITS.clone(),
        ping,
        Vec::new(),
        workers,
        Arc::clone(&CLIENT),
        Arc::default(),
        Handle::current(),
    );
    let remote = ([127, 0, 0, 1], 9).into();
    let ends = Ends { protocol: Protocol::Ws, local: ([127, 0, 0, 1], 80).into(), remote, host: WorkerId(0) };
    let permit = Admission::new(1, 1, 64).admit(remote.ip()).expect("the first");
    let (ours, theirs) = tokio::io::duplex(ON_THE_WAY);
    let (mut reader, mut writer) = tokio::io::split(theirs);
    let say = async {
        // It may be closed before all is said.
        if writer.write_all(bytes).await.is_ok() {
            let _ = writer.shutdown().await;
        }
    };
    let mut told = Vec::new();
    let hear = async {
        let _ = reader.read_to_end(&mut told).await;
    };
    let web = Arc::clone(&WEB);
    tokio::join!(web::serve(web, Arc::clone(&transport), ours, ends, permit), say, hear);
    told
}

/// Gives the reader of PROXY headers any bytes.
///
/// # Panics
/// When it reads more of them than a header may have.
pub fn proxy_protocol(bytes: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut stream = bytes;
    let read = runtime.block_on(super::proxy_protocol::read(&mut stream));
    let taken = bytes.len() - stream.len();
    assert!(taken <= 16 + super::proxy_protocol::REST, "{taken} bytes of a header");
    assert!(read.is_err() || taken >= 15, "no header is so short");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of a client, masked with zeros.
    fn frame(last: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![u8::from(last) << 7 | opcode, 0x80 | 126];
        frame.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        frame.extend([0; 4]);
        frame.extend(payload);
        frame
    }

    const TOO_BIG: [u8; 2] = 1009u16.to_be_bytes();

    #[tokio::test]
    async fn no_message_takes_more_room_than_the_limit() {
        // A frame that claims to be longer is refused at its head: nothing more of it comes here.
        let head = [&[0x82, 0xFF][..], &(1u64 << 62).to_be_bytes(), &[0; 4]].concat();
        // A message in parts without end is refused with the part that is too much.
        let part = frame(false, 0, &[b'x'; 512]);
        let parts = [frame(false, 2, &[b'x'; 512]), part.repeat(LIMIT / 512)].concat();
        for bytes in [head, parts] {
            let Outcome { messages, told } = serve(&bytes, true).await;
            assert!(messages.is_empty());
            assert_eq!((told[0], &told[2..4]), (0x88, &TOO_BIG[..]), "{told:?}");
        }
        let all = frame(true, 2, &[b'x'; LIMIT]);
        assert_eq!(serve(&all, false).await.messages, [Bytes::from_static(&[b'x'; LIMIT])]);
    }

    #[tokio::test]
    async fn a_frame_without_mask_is_an_error_of_protocol() {
        let Outcome { messages, told } = serve(b"\x81\x05hello", true).await;
        assert_eq!((messages.len(), told[0], &told[2..4]), (0, 0x88, &1002u16.to_be_bytes()[..]));
    }
}
