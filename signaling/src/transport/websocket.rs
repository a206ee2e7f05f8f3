//! SIP over WebSocket (RFC 7118): one message a frame, kept alive by pings.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use signaling_core::flow::{Flow, Inbound};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::Transport;
use super::flows::{Queued, Registration};
use super::listen::Ends;
use super::stream::end;

/// The library allocates it whole for each connection, and SIP messages are a few kilobytes.
const READ_BUFFER: usize = 4096;

/// Serves an upgraded connection until either side ends it.
pub(super) async fn serve<S>(transport: Arc<Transport>, stream: S, ends: Ends)
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
    let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
    let mut registration = transport.flows.open(ends.protocol, ends.remote, transport.limits.send_queue);
    let flow = Flow {
        protocol: ends.protocol,
        local: ends.local,
        remote: ends.remote,
        connection: Some(registration.id()),
    };
    tracing::debug!(protocol = %ends.protocol, remote = %ends.remote, "WebSocket open");
    let why = converse(&transport, socket, flow, &mut registration).await;
    tracing::debug!(protocol = %ends.protocol, remote = %ends.remote, why, "WebSocket ended");
    end(&transport, registration);
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    transport: &Transport,
    socket: WebSocketStream<S>,
    flow: Flow,
    registration: &mut Registration,
) -> &'static str {
    let (mut sink, stream) = socket.split();
    let unanswered = AtomicU32::new(0);
    let close = Arc::clone(&registration.close);
    let why = tokio::select! {
        why = read(transport, flow, stream, &unanswered) => why,
        why = write(transport, &mut sink, &mut registration.queue, &unanswered) => return why,
        () = close.notified() => "closed by us",
    };
    // A peer that reads nothing must not hold the task: the close frame is a courtesy.
    let closing = tokio::time::timeout(std::time::Duration::from_millis(200), sink.close());
    if closing.await.is_err() {
        tracing::trace!(remote = %flow.remote, "close frame not taken");
    }
    why
}

async fn read<S: AsyncRead + AsyncWrite + Unpin>(
    transport: &Transport,
    flow: Flow,
    mut stream: SplitStream<WebSocketStream<S>>,
    unanswered: &AtomicU32,
) -> &'static str {
    while let Some(message) = stream.next().await {
        let bytes: Bytes = match message {
            // RFC 7118 §4.2 allows both. Copied out of the read buffer, which a kept slice would keep whole.
            Ok(Message::Text(text)) => Bytes::copy_from_slice(text.as_bytes()),
            Ok(Message::Binary(bytes)) => Bytes::copy_from_slice(&bytes),
            Ok(Message::Pong(_)) => {
                unanswered.store(0, Ordering::Relaxed);
                continue;
            }
            Ok(Message::Close(_)) => return "closed by peer",
            Ok(_) => continue,
            Err(error) => {
                tracing::debug!(remote = %flow.remote, %error, "WebSocket");
                return "broken";
            }
        };
        unanswered.store(0, Ordering::Relaxed);
        if !bytes.trim_ascii().is_empty() {
            transport.workers.deliver(Inbound { flow, bytes }).await;
        }
    }
    "closed by peer"
}

async fn write<S: AsyncRead + AsyncWrite + Unpin>(
    transport: &Transport,
    sink: &mut SplitSink<WebSocketStream<S>, Message>,
    queue: &mut mpsc::Receiver<Queued>,
    unanswered: &AtomicU32,
) -> &'static str {
    let interval = transport.ping.interval;
    let mut pings = tokio::time::interval_at(tokio::time::Instant::now() + interval, interval);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let (message, queued) = tokio::select! {
            _ = pings.tick() => {
                if unanswered.fetch_add(1, Ordering::Relaxed) >= transport.ping.missed {
                    return "pings not answered";
                }
                (Message::Ping(Bytes::new()), None)
            }
            Some(queued) = queue.recv() => (frame(&queued.bytes), Some(queued)),
            else => return "closed by us",
        };
        if sink.send(message).await.is_err() {
            if let Some(queued) = queued {
                transport.fail(&queued);
            }
            return "reset by peer";
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
