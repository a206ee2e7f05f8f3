//! The ng protocol over TCP: messages follow each other without anything between them, and the dictionary tells where each
//! ends. A reply may overtake an earlier one; its cookie says whose it is.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use media_core::command::{Cause, Failure, Reply};
use media_core::ng::{self, Framer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::mpsc;

use super::Control;

/// Commands of one connection under way; no more is read until one is answered.
pub(super) const MAX_IN_FLIGHT: usize = 64;
/// How long the rest of a message may take, and how long a peer may leave a reply unread.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// Read at once.
const READ: usize = 16 * 1024;

/// Serves one connection until its peer closes it.
pub(super) async fn serve(control: &Arc<Control>, stream: TcpStream, source: SocketAddr) {
    let (mut reader, writer) = stream.into_split();
    let (sender, replies) = mpsc::channel(MAX_IN_FLIGHT);
    let writing = tokio::spawn(write(writer, replies));
    let mut framer = Framer::default();
    let mut buffer = vec![0; READ];
    'stream: loop {
        let read = reader.read(&mut buffer);
        let length = if framer.is_inside() {
            tokio::time::timeout(PATIENCE, read).await.unwrap_or_else(|_| {
                control.drop_one(source, "the rest of a message did not come");
                Ok(0)
            })
        } else {
            read.await
        };
        let Ok(length @ 1..) = length else { break };
        framer.push(&buffer[..length]);
        loop {
            let message = match framer.message() {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(unframed) => {
                    control.drop_one(source, unframed.reason);
                    if let Some(cookie) = unframed.cookie {
                        let failure = Failure { cause: Cause::Malformed, reason: unframed.reason.to_owned() };
                        let reply = ng::encode(&cookie, &Reply::Error(failure), unframed.encoding);
                        // Who does not read hears nothing.
                        let _ = sender.send(reply.into()).await;
                    }
                    break 'stream;
                }
            };
            let Ok(place) = sender.clone().reserve_owned().await else { break 'stream };
            let whom = SocketAddr::new(source.ip(), 0);
            let answer = Box::new(move |reply: Arc<[u8]>| drop(place.send(reply)));
            // What was dropped is counted, and has no answer.
            let _ = control.message(source, whom, &message, answer);
        }
    }
    drop(sender);
    // The last replies are still on their way.
    if writing.await.is_err() {
        tracing::error!("a writer of ng replies panicked");
    }
}

/// Writes replies until nobody makes any more, or the peer does not take them.
async fn write(mut writer: OwnedWriteHalf, mut replies: mpsc::Receiver<Arc<[u8]>>) {
    while let Some(reply) = replies.recv().await {
        match tokio::time::timeout(PATIENCE, writer.write_all(&reply)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return tracing::debug!(%error, "an ng reply could not be sent"),
            Err(_) => return tracing::debug!("an ng client does not read"),
        }
    }
}
