//! Listening sockets of streams, and the loop that accepts from them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use signaling_core::flow::Protocol;
use signaling_core::settings::Network;
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::admission::Permit;
use super::socket::{Connected, Movable};
use super::web::Web;
use super::{Transport, proxy_protocol, stream, web};
use crate::certs::{ACME_TLS, identity};
use crate::config::Listen;
use crate::worker::WorkerId;

const BACKLOG: i32 = 1024;

/// A listener that cannot start: which setting, which address, and what to do.
#[derive(Debug)]
pub struct BindError {
    /// The key of the configuration.
    pub setting: &'static str,
    /// What was to be bound.
    pub address: SocketAddr,
    /// What the operating system said.
    pub error: std::io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { setting, address, error } = self;
        let advice = match error.kind() {
            std::io::ErrorKind::AddrInUse => "another program uses this port: stop it, or set another port",
            std::io::ErrorKind::AddrNotAvailable => {
                "this host does not have that address: set one that it has"
            }
            std::io::ErrorKind::PermissionDenied => {
                "ports below 1024 need the right to bind them: set a higher one"
            }
            _ => "set another address or port, or \"off\"",
        };
        let (ip, port) = (address.ip(), address.port());
        write!(f, "{setting}: cannot listen on address {ip}, port {port} ({error}); {advice}")
    }
}

impl std::error::Error for BindError {}

/// An address that is listened on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// What is spoken there.
    pub protocol: Protocol,
    /// Where.
    pub address: SocketAddr,
}

/// Everything that a connection of a listener needs.
#[derive(Debug, Clone)]
pub struct Listener {
    pub(super) protocol: Protocol,
    pub(super) tls: Option<Arc<rustls::ServerConfig>>,
    pub(super) web: Option<Arc<Web>>,
    /// Who says by the PROXY protocol from whom connections come.
    proxies: Arc<[Network]>,
    /// The port of the page, where this one is for ACME servers alone.
    page_at: Option<u16>,
}

impl Listener {
    /// SIP over TCP, or over TLS with `tls`.
    #[must_use]
    pub fn sip(tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        Self {
            protocol: if tls.is_some() { Protocol::Tls } else { Protocol::Tcp },
            tls,
            web: None,
            proxies: Arc::default(),
            page_at: None,
        }
    }

    /// The page and SIP over WebSocket, with TLS when `tls` is there.
    #[must_use]
    pub fn web(tls: Option<Arc<rustls::ServerConfig>>, settings: &web::WebSettings) -> Self {
        let protocol = if tls.is_some() { Protocol::Wss } else { Protocol::Ws };
        Self {
            protocol,
            tls,
            web: Some(Arc::new(Web::new(settings))),
            proxies: Arc::default(),
            page_at: None,
        }
    }

    /// Plain HTTP for an ACME server that looks; everybody else is told that the page is on `port`.
    #[must_use]
    pub fn challenges(port: u16, settings: &web::WebSettings) -> Self {
        Self { page_at: Some(port), ..Self::web(None, settings) }
    }

    /// The same behind these reverse proxies, which begin each connection with a PROXY header.
    #[must_use]
    pub fn behind(self, proxies: Arc<[Network]>) -> Self {
        Self { proxies, ..self }
    }

    fn is_behind(&self, peer: SocketAddr) -> bool {
        self.proxies.iter().any(|network| network.contains(peer.ip()))
    }

    /// One that may have any number of connections: it forwards those of others.
    fn is_forwarder(&self, peer: SocketAddr) -> bool {
        self.web.as_ref().is_some_and(|web| web.is_forwarder(peer.ip()))
    }
}

/// One listening socket.
#[derive(Debug)]
pub struct StreamListener {
    socket: TcpListener,
    address: SocketAddr,
}

impl StreamListener {
    /// Binds what `listen` says: `*` is one socket for all addresses, of both families, unless `addresses` names some.
    /// Must be called within a runtime.
    ///
    /// # Errors
    /// The address is in use, not of this host, or not permitted.
    pub fn bind(setting: &'static str, listen: Listen, addresses: &[IpAddr]) -> Result<Vec<Self>, BindError> {
        if let (Listen::Every(port), []) = (listen, addresses) {
            let any = [SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), (Ipv4Addr::UNSPECIFIED, port).into()];
            return match Self::bind_one(setting, any[0], false) {
                // A host without IPv6.
                Err(error) if error.error.kind() != std::io::ErrorKind::AddrInUse => {
                    Self::bind_one(setting, any[1], true).map(|one| vec![one])
                }
                // The message should show the address that people know.
                other => other.map(|one| vec![one]).map_err(|error| BindError { address: any[1], ..error }),
            };
        }
        listen
            .addresses(addresses)
            .into_iter()
            .map(|address| Self::bind_one(setting, address, true))
            .collect()
    }

    fn bind_one(setting: &'static str, address: SocketAddr, only_v6: bool) -> Result<Self, BindError> {
        let bind = || {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
            if address.is_ipv6() {
                socket.set_only_v6(only_v6)?;
            }
            // Connections of the last run that linger in TIME_WAIT must not stop a restart.
            socket.set_reuse_address(true)?;
            socket.set_nonblocking(true)?;
            socket.bind(&address.into())?;
            socket.listen(BACKLOG)?;
            let socket = TcpListener::from_std(socket.into())?;
            Ok(Self { address: socket.local_addr()?, socket })
        };
        bind().map_err(|error| BindError { setting, address, error })
    }

    /// Where it listens; the address may be a wildcard.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts connections, for ever.
    pub async fn run(self, listener: Listener, transport: Arc<Transport>) {
        loop {
            match self.socket.accept().await {
                Ok((stream, remote)) => {
                    let (remote, listener) = (canonical(remote), listener.clone());
                    if listener.is_behind(remote) {
                        tokio::spawn(proxied(listener, Arc::clone(&transport), stream, remote));
                    } else if let Some(permit) = admit(&listener, &transport, remote) {
                        tokio::spawn(connection(listener, Arc::clone(&transport), stream, remote, permit));
                    }
                }
                Err(error) => {
                    // Out of file descriptors, most likely: accepting again at once would only spin.
                    tracing::warn!(address = %self.address, %error, "accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

/// A place for a connection from `remote`, if it may have one and there is one.
fn admit(listener: &Listener, transport: &Transport, remote: SocketAddr) -> Option<Permit> {
    if transport.acl.denies(remote.ip()) {
        transport.counters.refused_connections.add("connections refused: acl.deny_file");
        return None;
    }
    let permit = match listener.is_forwarder(remote) {
        true => transport.connections.admit_any(remote.ip()),
        false => transport.connections.admit(remote.ip()),
    };
    if permit.is_none() {
        transport.counters.refused_connections.add("connections refused: too many");
    }
    permit
}

/// A connection that a reverse proxy passes on: it is that of whom the proxy names.
async fn proxied(listener: Listener, transport: Arc<Transport>, mut stream: TcpStream, proxy: SocketAddr) {
    let Some(waiting) = transport.handshakes.admit(proxy.ip()) else {
        transport.counters.refused_handshakes.add("connections refused: too many handshakes");
        return;
    };
    let header = proxy_protocol::read(&mut stream);
    let remote = match tokio::time::timeout(transport.limits.handshake_timeout, header).await {
        Ok(Ok(source)) => source.map_or(proxy, canonical),
        Ok(Err(error)) => {
            transport.counters.bad_proxy_headers.add("connections closed: no good PROXY header");
            return tracing::debug!(%proxy, %error, "PROXY header");
        }
        Err(_) => {
            transport.counters.bad_proxy_headers.add("connections closed: no good PROXY header");
            return tracing::debug!(%proxy, "PROXY header timed out");
        }
    };
    drop(waiting);
    if let Some(permit) = admit(&listener, &transport, remote) {
        connection(listener, transport, stream, remote, permit).await;
    }
}

async fn connection(
    listener: Listener,
    transport: Arc<Transport>,
    stream: TcpStream,
    remote: SocketAddr,
    permit: Permit,
) {
    let Ok(local) = stream.local_addr().map(canonical) else { return };
    // A small message must not wait for the acknowledgement of the one before.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::trace!(%remote, %error, "set_nodelay");
    }
    let ends = Ends { protocol: listener.protocol, local, remote, host: transport.workers.next_host() };
    match &listener.tls {
        None => match (&listener.web, listener.page_at) {
            (Some(web), Some(port)) => web::redirect(web, &transport, stream, ends, Some(port)).await,
            _ => serve(&listener, transport, Connected(stream), ends, permit, Vec::new()).await,
        },
        Some(tls) => {
            let Some(handshake) = transport.handshakes.admit(remote.ip()) else {
                transport.counters.refused_handshakes.add("connections refused: too many handshakes");
                return;
            };
            let accepted = async {
                if let Some(web) = &listener.web
                    && speaks_http(&stream).await?
                {
                    return Ok(Err((web, stream)));
                }
                TlsAcceptor::from(Arc::clone(tls)).accept(Connected(stream)).await.map(Ok)
            };
            match tokio::time::timeout(transport.limits.handshake_timeout, accepted).await {
                Ok(Ok(Err((web, stream)))) => {
                    drop(handshake);
                    web::redirect(web, &transport, stream, ends, None).await;
                }
                // It has seen what it came for (RFC 8737 §3).
                Ok(Ok(Ok(stream))) if stream.get_ref().1.alpn_protocol() == Some(ACME_TLS) => {}
                Ok(Ok(Ok(stream))) => {
                    drop(handshake);
                    transport.counters.completed_handshakes.fetch_add(1, Ordering::Relaxed);
                    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
                    let proved = shown.map(identity::names).unwrap_or_default();
                    serve(&listener, transport, stream, ends, permit, proved).await;
                }
                Ok(Err(error)) => {
                    transport.counters.failed_handshakes.add("TLS handshakes failed");
                    tracing::debug!(%remote, %error, "TLS handshake");
                }
                Err(_) => {
                    transport.counters.failed_handshakes.add("TLS handshakes failed");
                    tracing::debug!(%remote, "TLS handshake timed out");
                }
            }
        }
    }
}

/// Whether a person typed the address of the page without `https://`: a request line begins with a letter, a TLS handshake with
/// the record type 22 (RFC 8446 §5.1).
async fn speaks_http(stream: &TcpStream) -> std::io::Result<bool> {
    let mut first = [0];
    let length = stream.peek(&mut first).await?;
    Ok(length == 1 && first[0].is_ascii_uppercase())
}

/// Both ends of a connection and what is spoken between them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    pub(super) protocol: Protocol,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    /// On whose thread it is served, once it carries SIP.
    pub(super) host: WorkerId,
}

async fn serve<S: Movable>(
    listener: &Listener,
    transport: Arc<Transport>,
    stream: S,
    ends: Ends,
    permit: Permit,
    proved: Vec<Box<str>>,
) {
    if let Some(web) = &listener.web {
        return web::serve(Arc::clone(web), transport, stream, ends, permit).await;
    }
    let own = Arc::clone(&transport);
    transport.settle(ends.host, stream, async move |stream| {
        let registration = own.flows.open(ends.protocol, ends.remote, own.limits.send_queue);
        stream::serve(own, registration, stream, ends, proved).await;
        drop(permit);
    });
}

/// An IPv4 peer on a socket of both families shows up as an IPv6 address, which neither SIP nor a person would recognize.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
