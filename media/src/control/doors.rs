//! The doors over TCP: one thread accepts for all of them, and serves those who come in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_rustls::TlsAcceptor;

use super::{Control, http, line, stream};
use crate::{RelayConfig, StartError};

/// Connections at once, over all doors. More are closed as they come.
const MAX_CONNECTIONS: usize = 1024;
/// Of these, from one address: the others are not kept out by one.
const MAX_PER_SOURCE: usize = 512;
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A connection whose peer has vanished is found after about so long.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// What is spoken at a door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The ng protocol.
    Ng,
    /// HTTP, with ng and the command line in it.
    Http,
    /// The same over TLS.
    Https,
    /// The command line of `rtpengine-ctl`.
    Cli,
}

/// The open doors.
#[derive(Debug)]
pub(crate) struct Doors {
    addresses: Vec<(Kind, SocketAddr)>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Doors {
    /// Opens those that `config` asks for; `None` when it asks for none.
    pub(crate) fn open(config: &RelayConfig, control: &Arc<Control>) -> Result<Option<Self>, StartError> {
        let kinds = [
            (Kind::Ng, &config.listen_tcp_ng),
            (Kind::Http, &config.listen_http),
            (Kind::Https, &config.listen_https),
            (Kind::Cli, &config.listen_cli),
        ];
        let wanted = || kinds.iter().flat_map(|(kind, all)| all.iter().map(|address| (*kind, *address)));
        if wanted().next().is_none() {
            return Ok(None);
        }
        let tls = if config.listen_https.is_empty() { None } else { Some(tls(config)?) };
        let failed = |error: std::io::Error| StartError::Sockets(format!("the thread of the doors: {error}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (mut listeners, mut addresses) = (Vec::new(), Vec::new());
        for (kind, address) in wanted() {
            let failed = |error| StartError::Sockets(format!("{kind:?} port {address}: {error}"));
            let _inside = runtime.enter();
            let listener = bind(address).and_then(TcpListener::from_std).map_err(failed)?;
            addresses.push((kind, listener.local_addr().map_err(failed)?));
            listeners.push((kind, listener));
        }
        let (stop, stopped) = oneshot::channel();
        let control = Arc::clone(control);
        let thread = std::thread::Builder::new()
            .name("media-doors".to_owned())
            .spawn(move || {
                runtime.block_on(serve(listeners, &control, tls, stopped));
                runtime.shutdown_background();
            })
            .map_err(failed)?;
        Ok(Some(Self { addresses, stop, thread }))
    }

    /// Where the doors of one kind are.
    pub(crate) fn addresses(&self, kind: Kind) -> Vec<SocketAddr> {
        self.addresses.iter().filter(|(other, _)| *other == kind).map(|(_, address)| *address).collect()
    }

    /// Closes all connections and frees the ports.
    pub(crate) fn close(self) {
        // The thread is gone already if nobody listens.
        let _ = self.stop.send(());
        if self.thread.join().is_err() {
            tracing::error!("the thread of the doors panicked");
        }
    }
}

fn bind(address: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let listen = |address: SocketAddr| {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    // All addresses of a host without IPv6 are those of IPv4.
    listen(address).or_else(|error: std::io::Error| match address.ip() {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => listen((Ipv4Addr::UNSPECIFIED, address.port()).into()),
        _ => Err(error),
    })
}

/// The certificate of HTTPS. Its file may have the key too.
fn tls(config: &RelayConfig) -> Result<TlsAcceptor, StartError> {
    let Some(file) = &config.https_cert else {
        return Err(StartError::Config("listen-https wants https-cert".to_owned()));
    };
    let key = config.https_key.as_ref().unwrap_or(file);
    let unreadable = |file: &Path, error: &dyn std::fmt::Display| {
        StartError::Config(format!("{}: {error}", file.display()))
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| unreadable(file, &error))?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, &error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unreadable(file, &error))?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|error| unreadable(file, &error))?;
    Ok(TlsAcceptor::from(Arc::new(tls)))
}

async fn serve(
    listeners: Vec<(Kind, TcpListener)>,
    control: &Arc<Control>,
    tls: Option<TlsAcceptor>,
    stopped: oneshot::Receiver<()>,
) {
    let room = Arc::new(Room::default());
    for (kind, listener) in listeners {
        tokio::spawn(accept(kind, listener, Arc::clone(control), tls.clone(), Arc::clone(&room)));
    }
    // An error is the end of whoever could have stopped it.
    let _ = stopped.await;
}

async fn accept(
    kind: Kind,
    listener: TcpListener,
    control: Arc<Control>,
    tls: Option<TlsAcceptor>,
    room: Arc<Room>,
) {
    loop {
        match listener.accept().await {
            Ok((stream, source)) => match room.enter(source.ip()) {
                Some(place) => {
                    let (control, tls) = (Arc::clone(&control), tls.clone());
                    tokio::spawn(async move {
                        let _place = place;
                        welcome(kind, stream, source, &control, tls).await;
                    });
                }
                None => control.drop_one(source, "too many connections"),
            },
            Err(error) => {
                // Out of descriptors, perhaps: some will be closed.
                tracing::warn!(?kind, %error, "accepting a control connection failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn welcome(
    kind: Kind,
    stream: TcpStream,
    source: SocketAddr,
    control: &Arc<Control>,
    tls: Option<TlsAcceptor>,
) {
    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 4);
    if let Err(error) = socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive) {
        tracing::debug!(%source, %error, "no keep-alive");
    }
    match (kind, tls) {
        (Kind::Ng, _) => stream::serve(control, stream, source).await,
        (Kind::Cli, _) => line::serve(control, stream, source).await,
        (Kind::Https, Some(tls)) => match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
            Ok(Ok(stream)) => http::serve(control, stream, source).await,
            Ok(Err(error)) => control.drop_one(source, &error.to_string()),
            Err(_) => control.drop_one(source, "the TLS handshake took too long"),
        },
        (Kind::Http | Kind::Https, _) => http::serve(control, stream, source).await,
    }
}

/// How many connections there are.
#[derive(Debug)]
struct Room {
    all: Arc<Semaphore>,
    by_source: std::sync::Mutex<std::collections::HashMap<IpAddr, usize>>,
}

impl Default for Room {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(MAX_CONNECTIONS)), by_source: std::sync::Mutex::default() }
    }
}

impl Room {
    /// A place for one more connection from `source`, until it is dropped.
    fn enter(self: &Arc<Self>, source: IpAddr) -> Option<Place> {
        let permit = Arc::clone(&self.all).try_acquire_owned().ok()?;
        let mut by_source = crate::lock(&self.by_source);
        let count = by_source.entry(source).or_default();
        if *count >= MAX_PER_SOURCE {
            return None;
        }
        *count += 1;
        drop(by_source);
        Some(Place { room: Arc::clone(self), source, _permit: permit })
    }
}

/// One connection.
struct Place {
    room: Arc<Room>,
    source: IpAddr,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_source = crate::lock(&self.room.by_source);
        if let Some(count) = by_source.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                by_source.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_leaves_room_for_others() {
        let room = Arc::new(Room::default());
        let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let mut places: Vec<Place> = std::iter::from_fn(|| room.enter(one)).collect();
        assert_eq!(places.len(), MAX_PER_SOURCE);
        assert!(room.enter(other).is_some());
        places.pop();
        assert!(room.enter(one).is_some());
        drop(places);
        assert!(room.by_source.lock().unwrap().is_empty());
        assert_eq!(room.all.available_permits(), MAX_CONNECTIONS);
    }
}
