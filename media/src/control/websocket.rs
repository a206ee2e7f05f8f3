//! Control over WebSocket: one message a frame, whole; answers are binary, as rtpengine's are.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use media_core::ng::{MAX_COOKIE, MAX_MESSAGE};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::stream::{MAX_IN_FLIGHT, PATIENCE};
use super::{Control, cli};

/// Between two pings. Who leaves two unanswered is gone.
const PING: Duration = Duration::from_secs(30);
/// The library allocates it whole for each connection, and most messages are a few kilobytes.
const READ_BUFFER: usize = 4096;

/// The sub-protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Commands with their cookies.
    Ng,
    /// Commands without.
    NgPlain,
    /// The command line.
    Cli,
    /// What comes goes back.
    Echo,
}

impl Protocol {
    /// By its name.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let known = [
            ("ng.rtpengine.com", Self::Ng),
            ("ng-plain.rtpengine.com", Self::NgPlain),
            ("cli.rtpengine.com", Self::Cli),
            ("echo.rtpengine.com", Self::Echo),
        ];
        known.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, protocol)| *protocol)
    }
}

/// Serves an upgraded connection until either side ends it.
pub(super) async fn serve<S>(control: &Arc<Control>, stream: S, source: SocketAddr, protocol: Protocol)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let max = MAX_COOKIE + 1 + MAX_MESSAGE;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_message_size(Some(max))
        .max_frame_size(Some(max));
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
    let (sender, mut replies) = mpsc::channel::<Bytes>(MAX_IN_FLIGHT);
    let mut pings = tokio::time::interval_at(tokio::time::Instant::now() + PING, PING);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut unanswered = 0;
    loop {
        let out = tokio::select! {
            // Nothing more is read while too much is under way.
            message = socket.next(), if sender.capacity() > 0 => {
                unanswered = 0;
                match message {
                    Some(Ok(message)) => {
                        if let Message::Text(_) | Message::Binary(_) = message {
                            take(control, source, protocol, message.into_data(), &sender).await;
                        }
                        continue;
                    }
                    Some(Err(error)) => {
                        control.drop_one(source, &error.to_string());
                        break;
                    }
                    None => break,
                }
            }
            Some(reply) = replies.recv() => Message::Binary(reply),
            _ = pings.tick() => {
                unanswered += 1;
                if unanswered > 2 {
                    control.drop_one(source, "pings not answered");
                    break;
                }
                Message::Ping(Bytes::new())
            }
        };
        if !matches!(timeout(PATIENCE, socket.send(out)).await, Ok(Ok(()))) {
            break;
        }
    }
    // The peer may be gone: then nobody hears the farewell.
    let _ = timeout(Duration::from_millis(200), socket.close(None)).await;
}

async fn take(
    control: &Arc<Control>,
    source: SocketAddr,
    protocol: Protocol,
    message: Bytes,
    sender: &mpsc::Sender<Bytes>,
) {
    let Ok(place) = sender.clone().try_reserve_owned() else { return };
    match protocol {
        Protocol::Ng => {
            let answer = Box::new(move |reply: Arc<[u8]>| drop(place.send(Bytes::copy_from_slice(&reply))));
            // What was dropped is counted, and has no answer.
            let _ = control.message(source, SocketAddr::new(source.ip(), 0), &message, answer);
        }
        Protocol::NgPlain => {
            control.plain(source, &message, Box::new(move |reply, _| drop(place.send(reply.into()))));
        }
        Protocol::Cli if message.len() > cli::MAX_LINE => {
            control.drop_one(source, "the command is too long");
            drop(place.send(Bytes::from_static(b"the command is too long\n")));
        }
        Protocol::Cli => {
            let answer = cli::run(control, &String::from_utf8_lossy(&message)).await;
            drop(place.send(answer.into()));
        }
        Protocol::Echo => drop(place.send(message)),
    }
}
