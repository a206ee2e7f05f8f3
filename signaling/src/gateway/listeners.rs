//! The addresses of this host that the gateway listens on, and the certificate for them.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use signaling_core::flow::Protocol;
use tokio::task::JoinSet;

use super::host_addresses;
use crate::certs::{ACME_TLS, Certificates};
use crate::config::{Config, Listen};
use crate::control::{self, Control};
use crate::host;
use crate::transport::{Bound, Listener, Origins, StreamListener, Transport, UdpListener, WebSettings};

/// How often the host's addresses and the certificate are looked at.
const WATCH: Duration = Duration::from_secs(60);

pub(super) fn certificate_names(
    config: &Config,
    domain: &str,
    addresses: &[IpAddr],
) -> (BTreeSet<String>, BTreeSet<IpAddr>) {
    let mut names = BTreeSet::from(["localhost".to_owned()]);
    let mut ips: BTreeSet<IpAddr> = addresses.iter().copied().chain(config.advertised).collect();
    ips.extend([IpAddr::from([127, 0, 0, 1]), std::net::Ipv6Addr::LOCALHOST.into()]);
    let listed = config.certificate_names.iter().chain(&config.aliases).cloned();
    for name in listed.chain([domain.to_owned()]).chain(host::name()) {
        match name.parse() {
            Ok(ip) => _ = ips.insert(ip),
            Err(_) => _ = names.insert(name),
        }
    }
    (names, ips)
}

pub(super) fn bind_udp(
    listen: Listen,
    addresses: &[IpAddr],
    workers: usize,
) -> anyhow::Result<Vec<UdpListener>> {
    Ok(listen
        .addresses(addresses)
        .into_iter()
        .map(|a| UdpListener::bind("sip.udp", a, workers))
        .collect::<Result<_, _>>()?)
}

/// The bound listeners of one kind.
pub(super) struct Streams {
    protocol: Protocol,
    /// Whether they are for ACME servers alone, and no SIP.
    challenges: bool,
    sockets: Vec<StreamListener>,
}

pub(super) fn bind_streams(config: &Config) -> anyhow::Result<Vec<Streams>> {
    let kinds = [
        (Protocol::Tcp, "sip.tcp", config.tcp),
        (Protocol::Tls, "sip.tls", config.tls),
        (Protocol::Wss, "https.listen", config.https),
        (Protocol::Ws, "https.websocket", config.websocket),
    ];
    let mut streams = Vec::new();
    for (protocol, setting, listen) in kinds {
        let sockets = StreamListener::bind(setting, listen, &config.addresses)?;
        streams.push(Streams { protocol, challenges: false, sockets });
    }
    if !config.acme.domains.is_empty() {
        let sockets = StreamListener::bind("acme.http", config.acme.http, &config.addresses)?;
        streams.push(Streams { protocol: Protocol::Ws, challenges: true, sockets });
    }
    Ok(streams)
}

/// Concrete addresses only: a wildcard socket counts once for each address of the host.
pub(super) fn bound_addresses(
    udp: &[UdpListener],
    streams: &[Streams],
    host_addresses: &[IpAddr],
) -> Vec<Bound> {
    let mut bound: Vec<Bound> =
        udp.iter().map(|socket| Bound { protocol: Protocol::Udp, address: socket.local() }).collect();
    for kind in streams.iter().filter(|kind| !kind.challenges) {
        for address in kind.sockets.iter().map(StreamListener::address) {
            let concrete = if address.ip().is_unspecified() {
                let reached = |ip: &&IpAddr| address.is_ipv6() || ip.is_ipv4();
                host_addresses.iter().filter(reached).map(|ip| (*ip, address.port()).into()).collect()
            } else {
                vec![address]
            };
            bound.extend(concrete.into_iter().map(|address| Bound { protocol: kind.protocol, address }));
        }
    }
    bound
}

/// The socket of `metrics.listen`.
pub(super) struct MetricsDoor(tokio::net::TcpListener);

impl MetricsDoor {
    pub(super) async fn open(address: Option<SocketAddr>) -> anyhow::Result<Option<Self>> {
        let Some(address) = address else { return Ok(None) };
        let opened = tokio::net::TcpListener::bind(address).await;
        let socket = opened.with_context(|| format!("metrics.listen {address}"))?;
        tracing::info!(address = %socket.local_addr()?, "metrics without a token");
        Ok(Some(Self(socket)))
    }

    pub(super) fn address(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.0.local_addr()?)
    }

    /// Answers until the gateway ends.
    pub(super) async fn serve(self, control: Arc<Control>) {
        if let Err(error) = axum::serve(self.0, control::http::open_metrics(&control)).await {
            tracing::error!(%error, "metrics.listen");
        }
    }
}

pub(super) fn log_listeners(bound: &[Bound]) {
    for same in bound.chunk_by(|a, b| a.protocol == b.protocol) {
        let addresses: Vec<String> = same.iter().map(|bound| bound.address.to_string()).collect();
        tracing::info!(protocol = %same[0].protocol, addresses = addresses.join(" "), "listening");
    }
}

pub(super) fn start_streams(
    tasks: &mut JoinSet<()>,
    streams: Vec<Streams>,
    config: &Config,
    pages: axum::Router,
    certificates: &Arc<Certificates>,
    transport: &Arc<Transport>,
) -> anyhow::Result<()> {
    let asks = !config.acme.domains.is_empty();
    let hsts = (certificates.ca().is_none() || asks).then_some(config.hsts);
    let alpn: &[&[u8]] = if asks { &[b"http/1.1", ACME_TLS] } else { &[b"http/1.1"] };
    let page = streams.iter().filter(|kind| kind.protocol == Protocol::Wss).flat_map(|kind| &kind.sockets);
    let page = page.map(|socket| socket.address().port()).next().unwrap_or(443);
    let forwarders = config.forwarded_from.clone().into();
    let web = WebSettings { pages, origins: Origins::new(&config.origins), hsts, forwarders };
    let proxies: Arc<[_]> = config.proxy_protocol_from.clone().into();
    for Streams { protocol, challenges, sockets } in streams {
        let listener = match protocol {
            Protocol::Ws if challenges => Listener::challenges(page, &web),
            Protocol::Tls => Listener::sip(Some(certificates.sip_server_config(&config.tls_settings)?)),
            Protocol::Wss => Listener::web(Some(certificates.server_config(alpn)?), &web),
            // Strict transport security said over plain HTTP means nothing (RFC 6797 §7.2).
            Protocol::Ws => Listener::web(None, &WebSettings { hsts: None, ..web.clone() }),
            Protocol::Tcp | Protocol::Udp => Listener::sip(None),
        };
        for socket in sockets {
            tasks.spawn(socket.run(listener.clone().behind(Arc::clone(&proxies)), Arc::clone(transport)));
        }
    }
    Ok(())
}

/// Looks at the certificate again, for the addresses that the host has now.
///
/// # Errors
/// It cannot be read or made.
pub(crate) fn read_certificate(config: &Config, domain: &str) -> anyhow::Result<Arc<Certificates>> {
    let (names, addresses) = certificate_names(config, domain, &host_addresses(config)?);
    Certificates::open(config, &names, &addresses)
}

/// Keeps the certificate good, and tells when the host has got another address.
pub(super) async fn watch(
    config: Config,
    domain: String,
    started_with: Vec<IpAddr>,
    certificates: Arc<Certificates>,
) {
    let mut known = started_with;
    let mut ticks = tokio::time::interval(WATCH);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let now = match (config.addresses.is_empty(), host::addresses()) {
            (true, Ok(now)) => now,
            _ => known.clone(),
        };
        let gained: Vec<_> = now.iter().filter(|ip| !known.contains(ip)).collect();
        if !gained.is_empty() {
            tracing::warn!(?gained, "this host has another address: restart to take calls on it");
        }
        let (names, addresses) = certificate_names(&config, &domain, &now);
        // Signing and files: short, but not for a thread that carries connections.
        let (shared, config) = (Arc::clone(&certificates), config.clone());
        let refresh = tokio::task::spawn_blocking(move || shared.refresh(&config, &names, &addresses));
        if let Ok(Err(error)) = refresh.await {
            tracing::error!(error = format!("{error:#}"), "certificate not renewed");
        }
        known = now;
    }
}
