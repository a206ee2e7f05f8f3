//! SIP over TCP and TLS: messages framed by Content-Length (RFC 3261 §18.3), CRLF keep-alive (RFC 5626 §3.5.1).

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rustls_pki_types::ServerName;
use signaling_core::flow::{Flow, Inbound, Protocol};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::Transport;
use super::flows::{Queued, Registration};
use super::listen::Ends;
use crate::framing::{Framed, Framer};

const READ_SIZE: usize = 4096;

/// Opens a connection for what is queued in `registration`, and serves it.
pub(super) async fn dial(transport: Arc<Transport>, registration: Registration, protocol: Protocol, remote: SocketAddr) {
    let connecting = async {
        let stream = TcpStream::connect(remote).await?;
        stream.set_nodelay(true)?;
        let ends = Ends { protocol, local: stream.local_addr()?, remote };
        let tls = match protocol {
            Protocol::Tls => {
                // The proxy hands over addresses; a certificate for a phone's address is what RFC 5922 §7.2 leaves.
                let name = ServerName::IpAddress(remote.ip().into());
                Ok(transport.dialler.connect(name, stream).await?)
            }
            _ => Err(stream),
        };
        Ok::<_, std::io::Error>((ends, tls))
    };
    match tokio::time::timeout(transport.limits.handshake_timeout, connecting).await {
        Ok(Ok((ends, Ok(stream)))) => serve(transport, registration, stream, ends).await,
        Ok(Ok((ends, Err(stream)))) => serve(transport, registration, stream, ends).await,
        Ok(Err(error)) => {
            tracing::info!(%protocol, %remote, %error, "peer not reached");
            end(&transport, registration);
        }
        Err(_) => {
            tracing::info!(%protocol, %remote, "peer not reached in time");
            end(&transport, registration);
        }
    }
}

/// Reads and writes until either side ends it.
pub(super) async fn serve<S>(transport: Arc<Transport>, mut registration: Registration, stream: S, ends: Ends)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let flow = Flow {
        protocol: ends.protocol,
        local: ends.local,
        remote: ends.remote,
        connection: Some(registration.id()),
    };
    let (reader, writer) = tokio::io::split(stream);
    let (pongs, pong_queue) = mpsc::channel(4);
    let close = Arc::clone(&registration.close);
    let why = tokio::select! {
        why = read(&transport, flow, reader, &pongs) => why,
        why = write(&transport, writer, &mut registration.queue, pong_queue) => why,
        () = close.notified() => "closed by us",
    };
    tracing::debug!(protocol = %ends.protocol, remote = %ends.remote, why, "connection ended");
    end(&transport, registration);
}

/// Tells the workers that the connection is gone, and those whose messages were not written.
pub(super) fn end(transport: &Transport, registration: Registration) {
    let id = registration.id();
    for queued in registration.end() {
        transport.fail(&queued);
    }
    transport.workers.closed(id);
}

async fn read<R: AsyncRead + Unpin>(
    transport: &Transport,
    flow: Flow,
    mut reader: R,
    pongs: &mpsc::Sender<Bytes>,
) -> &'static str {
    let mut framer = Framer::new(transport.limits.message_size);
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(READ_SIZE);
        match tokio::time::timeout(transport.limits.idle_timeout, reader.read_buf(&mut buffer)).await {
            Err(_) => return "idle",
            Ok(Err(_)) => return "reset by peer",
            Ok(Ok(0)) => return "closed by peer",
            Ok(Ok(_)) => {}
        }
        loop {
            match framer.next(&mut buffer) {
                Ok(Some(Framed::Message(bytes))) => transport.workers.deliver(Inbound { flow, bytes }).await,
                // A peer that pings faster than it reads pongs gets fewer of them.
                Ok(Some(Framed::Ping)) => drop(pongs.try_send(Bytes::from_static(b"\r\n"))),
                Ok(None) => break,
                Err(why) => {
                    tracing::info!(protocol = %flow.protocol, source = %flow.remote, why, "peer does not speak SIP");
                    return why;
                }
            }
        }
    }
}

async fn write<W: AsyncWrite + Unpin>(
    transport: &Transport,
    mut writer: W,
    queue: &mut mpsc::Receiver<Queued>,
    mut pongs: mpsc::Receiver<Bytes>,
) -> &'static str {
    loop {
        let (bytes, queued) = tokio::select! {
            Some(queued) = queue.recv() => (queued.bytes.clone(), Some(queued)),
            Some(pong) = pongs.recv() => (pong, None),
            else => return "closed by us",
        };
        let written = async {
            writer.write_all(&bytes).await?;
            writer.flush().await
        };
        if written.await.is_err() {
            if let Some(queued) = queued {
                transport.fail(&queued);
            }
            return "reset by peer";
        }
    }
}
