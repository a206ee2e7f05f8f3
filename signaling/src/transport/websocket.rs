//! SIP over WebSocket (RFC 7118): one message a frame, kept alive by pings.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use signaling_core::flow::{Flow, Inbound, SendToken};
use signaling_core::message::framing::PONG;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::MissedTickBehavior;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};

use super::Transport;
use super::flows::{Queued, Registration};
use super::listen::Ends;
use super::stream::end;
use crate::worker::WorkerId;

/// How long a peer may take to hear why its connection ends.
const FAREWELL: Duration = Duration::from_millis(200);

/// The library allocates it whole for each connection, and SIP messages are a few kilobytes.
const READ_BUFFER: usize = 4096;

/// Serves an upgraded connection until either side ends it. `read` has come on it before.
pub(super) async fn serve<S>(transport: Arc<Transport>, stream: S, read: Vec<u8>, ends: Ends)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let max = transport.limits.message_size;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(4 * max)
        .max_message_size(Some(max))
        .max_frame_size(Some(max));
    let socket = WebSocketStream::from_partially_read(stream, read, Role::Server, Some(config)).await;
    let mut registration = transport.flows.open(ends.protocol, ends.remote, transport.limits.send_queue);
    let flow = Flow {
        protocol: ends.protocol,
        local: ends.local,
        remote: ends.remote,
        connection: Some(registration.id()),
    };
    transport.counters.of(ends.protocol).connected();
    tracing::debug!(protocol = %ends.protocol, remote = %ends.remote, "WebSocket open");
    let mut writing = None;
    let why = converse(&transport, socket, (flow, ends.host), &mut registration, &mut writing).await;
    tracing::debug!(protocol = %ends.protocol, remote = %ends.remote, why, "WebSocket ended");
    end(&transport, registration, writing);
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    transport: &Transport,
    socket: WebSocketStream<S>,
    (flow, host): (Flow, WorkerId),
    registration: &mut Registration,
    writing: &mut Option<Queued>,
) -> &'static str {
    let (mut sink, mut stream) = socket.split();
    let unanswered = AtomicU32::new(0);
    let close = Arc::clone(&registration.close);
    let (code, why) = tokio::select! {
        ended = read(transport, (flow, host), &mut stream, &unanswered) => ended,
        why = write(transport, &flow, &mut sink, registration, writing, &unanswered) => return why,
        () = close.notified() => (Some(CloseCode::Away), "closed by us"),
    };
    // A peer that reads nothing must not hold the task: the close frame is a courtesy.
    let farewell = async {
        if let Some(code) = code {
            let frame = CloseFrame { code, reason: Utf8Bytes::default() };
            sink.send(Message::Close(Some(frame))).await?;
        } else {
            sink.close().await?;
        }
        if let Ok(mut socket) = sink.reunite(stream) {
            drain(socket.get_mut()).await?;
        }
        Ok::<_, tungstenite::Error>(())
    };
    if !matches!(tokio::time::timeout(FAREWELL, farewell).await, Ok(Ok(()))) {
        tracing::trace!(remote = %flow.remote, "close frame not taken");
    }
    why
}

/// Ends our side and reads what the peer has yet to say: closing with that unread would reset the connection, and the close
/// frame would be lost with it.
async fn drain<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut S) -> std::io::Result<()> {
    socket.shutdown().await?;
    let mut rest = [0; 1024];
    while socket.read(&mut rest).await? > 0 {}
    Ok(())
}

/// The code that tells a peer what was wrong with what it sent (RFC 6455 §7.4.1); `None` when the connection itself is broken.
fn close_code(error: &tungstenite::Error) -> Option<CloseCode> {
    use tungstenite::Error;
    match error {
        Error::Capacity(_) => Some(CloseCode::Size),
        Error::Utf8(_) => Some(CloseCode::Invalid),
        Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => None,
        Error::Protocol(_) => Some(CloseCode::Protocol),
        _ => None,
    }
}

async fn read<S: AsyncRead + AsyncWrite + Unpin>(
    transport: &Transport,
    (flow, host): (Flow, WorkerId),
    stream: &mut SplitStream<WebSocketStream<S>>,
    unanswered: &AtomicU32,
) -> (Option<CloseCode>, &'static str) {
    while let Some(message) = stream.next().await {
        let bytes: Bytes = match message {
            // RFC 7118 §4.2 allows both. Copied out of the read buffer, which a kept slice would keep whole.
            Ok(Message::Text(text)) => Bytes::copy_from_slice(text.as_bytes()),
            Ok(Message::Binary(bytes)) => Bytes::copy_from_slice(&bytes),
            Ok(Message::Pong(_)) => {
                unanswered.store(0, Ordering::Relaxed);
                continue;
            }
            Ok(Message::Close(_)) => return (None, "closed by peer"),
            Ok(_) => continue,
            Err(error) => {
                tracing::debug!(remote = %flow.remote, %error, "WebSocket");
                return (close_code(&error), "broken");
            }
        };
        unanswered.store(0, Ordering::Relaxed);
        if !bytes.trim_ascii().is_empty() {
            transport.counters.of(flow.protocol).received(1, bytes.len());
            transport.workers.deliver(host, Inbound { flow, bytes }).await;
        } else if &*bytes == b"\r\n\r\n" {
            pong(transport, &flow);
        }
    }
    (None, "closed by peer")
}

/// Some libraries keep a WebSocket open as they do a stream (RFC 5626 §4.4.1). One that sends more of these than it reads
/// answers is a slow reader like any other.
fn pong(transport: &Transport, flow: &Flow) {
    let bytes = Bytes::from_static(PONG);
    let queued = Queued { bytes, token: SendToken::default(), worker: WorkerId(0), fallback: None };
    let sent = flow.connection.map(|connection| transport.flows.send(connection, queued));
    if matches!(sent, Some(Err(_))) {
        tracing::trace!(remote = %flow.remote, "pong not sent");
    }
}

/// Writes what is queued, and pings, for ever; `writing` holds the message of which not all is written.
async fn write<S: AsyncRead + AsyncWrite + Unpin>(
    transport: &Transport,
    flow: &Flow,
    sink: &mut SplitSink<WebSocketStream<S>, Message>,
    registration: &mut Registration,
    writing: &mut Option<Queued>,
    unanswered: &AtomicU32,
) -> &'static str {
    let interval = transport.ping.interval;
    let mut pings = tokio::time::interval_at(tokio::time::Instant::now() + interval, interval);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            _ = pings.tick() => {
                if unanswered.fetch_add(1, Ordering::Relaxed) >= transport.ping.missed {
                    transport.counters.idle_connections.add("connections closed: nothing came for too long");
                    return "pings not answered";
                }
                Message::Ping(Bytes::new())
            }
            Some(queued) = registration.next() => frame(&writing.insert(queued).bytes),
            else => return "closed by us",
        };
        if sink.send(message).await.is_err() {
            return "reset by peer";
        }
        if let Some(sent) = writing.take() {
            transport.written(flow, &sent.bytes);
        }
    }
}

/// A text frame, as browsers' libraries expect it, unless the message is no UTF-8 (RFC 7118 §4.2).
fn frame(bytes: &Bytes) -> Message {
    match std::str::from_utf8(bytes) {
        Ok(text) => Message::text(text),
        Err(_) => Message::Binary(bytes.clone()),
    }
}
