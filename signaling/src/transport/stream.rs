//! SIP over TCP and TLS: messages framed by Content-Length (RFC 3261 §18.3), CRLF keep-alive (RFC 5626 §3.5.1).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::RngExt as _;
use rustls_pki_types::ServerName;
use signaling_core::flow::{Flow, Inbound, Protocol};
use signaling_core::message::framing::{Frame, Framer, FramingError, PONG};
use signaling_core::message::{Limits, Message};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;

use super::Transport;
use super::flows::{Queued, Registration};
use super::listen::Ends;
use crate::worker::WorkerId;

const READ_SIZE: usize = 4096;

/// Opens a connection for what is queued in `registration`, and serves it. Over TLS the peer must prove to be `name`, or to
/// have its address.
pub(super) async fn dial(
    transport: Arc<Transport>,
    host: WorkerId,
    registration: Registration,
    protocol: Protocol,
    remote: SocketAddr,
    name: Option<Box<str>>,
) {
    let connecting = async {
        let stream = TcpStream::connect(remote).await?;
        stream.set_nodelay(true)?;
        let ends = Ends { protocol, local: stream.local_addr()?, remote, host };
        let tls = match protocol {
            Protocol::Tls => {
                let name = match &name {
                    Some(name) => ServerName::try_from(name.to_string()).map_err(std::io::Error::other)?,
                    // A certificate for a phone's address is what RFC 5922 §7.2 leaves.
                    None => ServerName::IpAddress(remote.ip().into()),
                };
                Ok(TlsConnector::from(Arc::clone(&transport.client)).connect(name, stream).await?)
            }
            _ => Err(stream),
        };
        Ok::<_, std::io::Error>((ends, tls))
    };
    match tokio::time::timeout(transport.limits.tcp_connect_timeout, connecting).await {
        Ok(Ok((ends, Ok(stream)))) => serve(transport, registration, stream, ends, Vec::new()).await,
        Ok(Ok((ends, Err(stream)))) => serve(transport, registration, stream, ends, Vec::new()).await,
        Ok(Err(error)) => {
            tracing::info!(%protocol, %remote, %error, "peer not reached");
            end(&transport, registration, None);
        }
        Err(_) => {
            tracing::info!(%protocol, %remote, "peer not reached in time");
            end(&transport, registration, None);
        }
    }
}

/// Reads and writes until either side ends it. `proved` are the names of a client that has shown a certificate.
pub(super) async fn serve<S>(
    transport: Arc<Transport>,
    mut registration: Registration,
    stream: S,
    ends: Ends,
    proved: Vec<Box<str>>,
) where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    transport.counters.of(ends.protocol).connected();
    let flow = Flow {
        protocol: ends.protocol,
        local: ends.local,
        remote: ends.remote,
        connection: Some(registration.id()),
    };
    let (reader, writer) = tokio::io::split(stream);
    let (pongs, pong_queue) = mpsc::channel(4);
    let close = Arc::clone(&registration.close);
    let mut writing = None;
    let why = tokio::select! {
        why = read(&transport, (flow, ends.host), reader, &pongs, &proved) => why,
        why = write(&transport, &flow, writer, &mut registration, &mut writing, pong_queue) => why,
        () = close.notified() => "closed by us",
    };
    tracing::debug!(protocol = %ends.protocol, remote = %ends.remote, why, "connection ended");
    end(&transport, registration, writing);
}

/// Tells the workers that the connection is gone. The messages that were not written whole, the first of which is `writing`,
/// go another way or back.
pub(super) fn end(transport: &Arc<Transport>, registration: Registration, writing: Option<Queued>) {
    let id = registration.id();
    let left = registration.end();
    for queued in writing.into_iter().chain(left) {
        transport.undelivered(queued);
    }
    transport.workers.closed(id);
}

async fn read<R: AsyncRead + Unpin>(
    transport: &Transport,
    (flow, host): (Flow, WorkerId),
    mut reader: R,
    said: &mpsc::Sender<Bytes>,
    proved: &[Box<str>],
) -> &'static str {
    let mut framer = Framer::new(Limits { message: transport.limits.message_size, ..Limits::default() });
    let mut begun = None;
    loop {
        framer.buffer_mut().reserve(READ_SIZE);
        // A message that was begun must be finished soon, however often a byte of it comes; between messages silence is allowed.
        let now = tokio::time::Instant::now();
        let deadline = if framer.is_mid_message() {
            *begun.get_or_insert(now) + transport.limits.header_timeout
        } else {
            now + transport.limits.idle_timeout
        };
        match tokio::time::timeout_at(deadline, reader.read_buf(framer.buffer_mut())).await {
            Err(_) => {
                transport.counters.idle_connections.add("connections closed: nothing came for too long");
                return "idle";
            }
            Ok(Err(_)) => return "reset by peer",
            Ok(Ok(0)) => return "closed by peer",
            Ok(Ok(_)) => {}
        }
        if !speaks_sip(framer.buffer_mut()) {
            tracing::info!(protocol = %flow.protocol, source = %flow.remote, "peer does not speak SIP");
            return "no SIP";
        }
        loop {
            match framer.poll_frame() {
                Ok(Some(Frame::Message(bytes))) => {
                    begun = None;
                    transport.counters.of(flow.protocol).received(1, bytes.len());
                    if !proved.is_empty() {
                        reuse(transport, &flow, &bytes, proved);
                    }
                    transport.workers.deliver(host, Inbound { flow, bytes }).await;
                }
                // A peer that pings faster than it reads pongs gets fewer of them.
                Ok(Some(Frame::Ping)) => drop(said.try_send(Bytes::from_static(PONG))),
                Ok(None) => break,
                Err(error) => {
                    tracing::info!(protocol = %flow.protocol, source = %flow.remote, %error, "stream refused");
                    refuse(said, &error).await;
                    return "stream refused";
                }
            }
        }
    }
}

/// A client that asks for it by `alias` in its Via gets what is for the place where it listens over this connection: the
/// address that it came from, and the port that it says (RFC 5923 §8.2).
fn reuse(transport: &Transport, flow: &Flow, request: &Bytes, proved: &[Box<str>]) {
    let Ok(Message::Request(request)) = Message::parse(request.clone()) else { return };
    let Ok(via) = request.top_via() else { return };
    if via.params().contains("alias")
        && let Some(connection) = flow.connection
    {
        let listening = SocketAddr::new(flow.remote.ip(), via.port().unwrap_or(5061));
        transport.flows.alias(connection, listening, proved);
    }
}

/// The refusal of a request that cannot be followed, as far as it was understood, in the place of a pong: the writer sends it
/// while the connection drains.
async fn refuse(said: &mpsc::Sender<Bytes>, error: &FramingError) {
    let tag = format!("{:016x}", rand::rng().random::<u64>());
    let Some(response) = error.response(&tag) else { return };
    if said.send(response.to_bytes()).await.is_ok() {
        // The writer takes it at once; a moment later the connection is closed whether or not the peer reads.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Whether the first line, once it is there, is that of a SIP message. HTTP and TLS on the wrong port are common mistakes.
fn speaks_sip(buffer: &[u8]) -> bool {
    let start = buffer.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(buffer.len());
    let line = &buffer[start..];
    match line.iter().position(|byte| *byte == b'\n') {
        Some(end) => line[..end].windows(4).any(|four| four.eq_ignore_ascii_case(b"SIP/")),
        None => line.first().is_none_or(u8::is_ascii_graphic),
    }
}

/// Writes what is queued, for ever; `writing` holds the message of which not all is written.
async fn write<W: AsyncWrite + Unpin>(
    transport: &Transport,
    flow: &Flow,
    mut writer: W,
    registration: &mut Registration,
    writing: &mut Option<Queued>,
    mut pongs: mpsc::Receiver<Bytes>,
) -> &'static str {
    loop {
        let bytes = tokio::select! {
            Some(queued) = registration.next() => writing.insert(queued).bytes.clone(),
            Some(pong) = pongs.recv() => pong,
            else => return "closed by us",
        };
        let written = async {
            writer.write_all(&bytes).await?;
            writer.flush().await
        };
        if written.await.is_err() {
            return "reset by peer";
        }
        if writing.take().is_some() {
            transport.written(flow, &bytes);
        }
    }
}
