//! HTTP: the page and its few paths, and on any path the upgrade to SIP over WebSocket (RFC 7118).

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, Request, Response, StatusCode, Version};
use base64::Engine as _;
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use signaling_core::flow::Protocol;
use signaling_core::settings::Network;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tower::{ServiceExt as _, service_fn};

use super::admission::Permit;
use super::listen::Ends;
use super::socket::Movable;
use super::{Transport, websocket};

/// The largest header of a request. Cookies of other services on the host are the bulk of it.
const MAX_HEADER: usize = 16 * 1024;

/// What the HTTP side is made from.
#[derive(Debug, Clone)]
pub struct WebSettings {
    /// Answers everything that is no WebSocket.
    pub pages: Router,
    /// Which pages may open a WebSocket.
    pub origins: Origins,
    /// Strict-Transport-Security; `None` sends none.
    pub hsts: Option<Duration>,
    /// Reverse proxies whose X-Forwarded-For is believed.
    pub forwarders: Arc<[Network]>,
}

/// From whom a request came, as an extension of it.
#[derive(Debug, Clone, Copy)]
pub struct HttpPeer {
    /// Its address.
    pub remote: SocketAddr,
    /// Whether it came under TLS.
    pub secure: bool,
}

/// Which pages may open a WebSocket (RFC 6455 §10.2).
#[derive(Debug, Clone)]
pub struct Origins {
    any: bool,
    own: bool,
    listed: Vec<String>,
}

impl Origins {
    /// The policy of `list`: `self`, `*`, and origins.
    #[must_use]
    pub fn new(list: &[String]) -> Self {
        let has = |word: &str| list.iter().any(|entry| entry == word);
        Self {
            any: has("*"),
            own: has("self"),
            listed: list.iter().map(|entry| entry.to_ascii_lowercase()).collect(),
        }
    }

    /// A client without Origin is no page: it could write any Origin it likes.
    fn allows(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else { return true };
        let Ok(origin) = origin.to_str().map(str::to_ascii_lowercase) else { return self.any };
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).map(str::to_ascii_lowercase);
        let same = origin.split_once("://").map(|(_, rest)| rest) == host.as_deref();
        self.any || (self.own && same) || self.listed.contains(&origin)
    }
}

/// One HTTP listener's behaviour.
#[derive(Debug)]
pub(super) struct Web {
    pages: Router,
    origins: Origins,
    headers: Vec<(HeaderName, HeaderValue)>,
    forwarders: Arc<[Network]>,
}

impl Web {
    pub(super) fn new(settings: &WebSettings) -> Self {
        let fixed = |name, value| (name, HeaderValue::from_static(value));
        let mut headers = vec![
            fixed(header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            fixed(header::REFERRER_POLICY, "no-referrer"),
            fixed(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
            fixed(HeaderName::from_static("permissions-policy"), "microphone=(self), camera=(self)"),
        ];
        if let Some(value) = settings.hsts.filter(|time| !time.is_zero())
            && let Ok(value) = HeaderValue::from_str(&format!("max-age={}", value.as_secs()))
        {
            headers.push((header::STRICT_TRANSPORT_SECURITY, value));
        }
        let forwarders = Arc::clone(&settings.forwarders);
        Self { pages: settings.pages.clone(), origins: settings.origins.clone(), headers, forwarders }
    }

    /// Whether `ip` is a reverse proxy whose X-Forwarded-For is believed.
    pub(super) fn is_forwarder(&self, ip: IpAddr) -> bool {
        self.forwarders.iter().any(|network| network.contains(ip.to_canonical()))
    }

    /// From whom a request comes that `peer` has passed on: the last of X-Forwarded-For that is no such proxy itself. What stands
    /// before it anybody may have written. The port stays that of the connection, which tells it from others.
    fn source(&self, peer: SocketAddr, headers: &HeaderMap) -> SocketAddr {
        let (mut source, name) = (peer.ip(), HeaderName::from_static("x-forwarded-for"));
        let named: Vec<&str> = tokens(headers, &name).collect();
        for word in named.into_iter().rev() {
            if !self.is_forwarder(source) {
                break;
            }
            let bare = word.trim_start_matches('[').trim_end_matches(']');
            let ip = bare.parse().ok().or_else(|| word.parse().ok().map(|address: SocketAddr| address.ip()));
            let Some(ip) = ip else { break };
            source = ip.to_canonical();
        }
        SocketAddr::new(source, peer.port())
    }
}

/// Only what the page itself is made of. `wss:` for Safari below 15.4, whose 'self' does not cover WebSockets.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; connect-src 'self' wss: ws:; img-src 'self' data: blob:; \
    media-src 'self' blob: data: mediastream:; object-src 'none'; base-uri 'none'; \
    form-action 'self'; frame-ancestors 'none'";

/// Serves one connection. Its permit lives on with the WebSocket it may become.
pub(super) async fn serve<S: Movable>(
    web: Arc<Web>,
    transport: Arc<Transport>,
    stream: S,
    ends: Ends,
    permit: Permit,
) {
    let limits = &transport.limits;
    let (header_timeout, lifetime) = (limits.header_timeout, limits.idle_timeout);
    let permit = Arc::new(permit);
    let service = service_fn(move |request: Request<Incoming>| {
        let (web, transport, permit) = (Arc::clone(&web), Arc::clone(&transport), Arc::clone(&permit));
        async move { Ok::<_, Infallible>(answer::<S>(&web, &transport, &permit, ends, request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(MAX_HEADER)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .with_upgrades();
    match tokio::time::timeout(lifetime, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(remote = %ends.remote, %error, "HTTP"),
        Err(_) => tracing::debug!(remote = %ends.remote, "HTTP connection too old"),
    }
}

/// Where an ACME server looks (RFC 8555 §8.3): by HTTP only, so that it can be before there is a certificate.
const CHALLENGES: &str = "/.well-known/acme-challenge/";

/// Tells one plain HTTP request where the page is: on this port, or on `port`. An ACME server finds here what it looks for.
pub(super) async fn redirect<S>(web: &Web, transport: &Transport, stream: S, ends: Ends, port: Option<u16>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(|request: Request<Incoming>| async move {
        if request.uri().path().starts_with(CHALLENGES) {
            return web.pages.clone().oneshot(request.map(Body::new)).await;
        }
        let host =
            request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let mut response = refuse(StatusCode::TEMPORARY_REDIRECT, "the page is under HTTPS");
        if let Ok(location) = HeaderValue::from_str(&format!("https://{}{path}", at_port(host, port))) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        Ok::<_, Infallible>(response)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(transport.limits.header_timeout)
        .max_buf_size(MAX_HEADER)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    match tokio::time::timeout(transport.limits.header_timeout, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(remote = %ends.remote, %error, "HTTP"),
        Err(_) => tracing::debug!(remote = %ends.remote, "HTTP timed out"),
    }
}

/// `host` as it was asked for, or on another port.
fn at_port(host: &str, port: Option<u16>) -> String {
    let Some(port) = port else { return host.to_owned() };
    let end = host.rfind(']').unwrap_or(0);
    let name = host[end..].find(':').map_or(host, |colon| &host[..end + colon]);
    if port == 443 { name.to_owned() } else { format!("{name}:{port}") }
}

async fn answer<S: Movable>(
    web: &Web,
    transport: &Arc<Transport>,
    permit: &Arc<Permit>,
    ends: Ends,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let forwarded = web.is_forwarder(ends.remote.ip());
    let ends = Ends { remote: web.source(ends.remote, request.headers()), ..ends };
    if forwarded && transport.acl.denies(ends.remote.ip()) {
        transport.counters.refused_connections.add("connections refused: acl.deny_file");
        return refuse(StatusCode::FORBIDDEN, "not from there");
    }
    if is_upgrade(request.headers()) {
        return match check_upgrade(&request, &web.origins) {
            Ok((key, protocol)) => {
                let upgrade = hyper::upgrade::on(&mut request);
                let (transport, mut permit) = (Arc::clone(transport), Arc::clone(permit));
                if forwarded {
                    let Some(own) = transport.connections.admit(ends.remote.ip()) else {
                        transport.counters.refused_connections.add("connections refused: too many");
                        return refuse(StatusCode::SERVICE_UNAVAILABLE, "too many connections");
                    };
                    permit = Arc::new(own);
                }
                tokio::spawn(async move {
                    match upgrade.await {
                        Ok(upgraded) => begin_websocket::<S>(transport, upgraded, ends, permit),
                        Err(error) => tracing::debug!(remote = %ends.remote, %error, "WebSocket upgrade"),
                    }
                });
                switching_protocols(&key, protocol)
            }
            Err((status, why)) => {
                tracing::info!(source = %ends.remote, %status, why, "WebSocket refused");
                refuse(status, why)
            }
        };
    }
    let pages = web.pages.clone();
    request.extensions_mut().insert(HttpPeer { remote: ends.remote, secure: ends.protocol == Protocol::Wss });
    let Ok(mut response) = pages.oneshot(request.map(Body::new)).await;
    for (name, value) in &web.headers {
        response.headers_mut().entry(name).or_insert_with(|| value.clone());
    }
    response
}

/// Takes the stream back from HTTP, with what was read of it too early.
fn begin_websocket<S: Movable>(
    transport: Arc<Transport>,
    upgraded: Upgraded,
    ends: Ends,
    permit: Arc<Permit>,
) {
    match upgraded.downcast::<TokioIo<S>>() {
        Ok(parts) => {
            // A copy: the buffer is large, most often empty, and would be kept as long as the connection.
            let (stream, read) = (parts.io.into_inner(), parts.read_buf.to_vec());
            let own = Arc::clone(&transport);
            transport.settle(ends.host, stream, async move |stream| {
                websocket::serve(own, stream, read, ends).await;
                drop(permit);
            });
        }
        Err(_) => tracing::error!(remote = %ends.remote, "the stream of a WebSocket is of another kind"),
    }
}

fn is_upgrade(headers: &HeaderMap) -> bool {
    has_token(headers, &header::UPGRADE, "websocket")
}

type Refusal = (StatusCode, &'static str);

/// The server's half of RFC 6455 §4.2.1 and RFC 7118 §4: the accept key and the sub-protocol as the client spells it.
fn check_upgrade<B>(request: &Request<B>, origins: &Origins) -> Result<(String, HeaderValue), Refusal> {
    const BAD: StatusCode = StatusCode::BAD_REQUEST;
    let headers = request.headers();
    if request.method() != Method::GET || request.version() < Version::HTTP_11 {
        return Err((BAD, "a WebSocket begins with GET over HTTP/1.1"));
    }
    if !has_token(headers, &header::CONNECTION, "upgrade") {
        return Err((
            BAD,
            "the Connection header lacks the word upgrade: a proxy in front may have removed it",
        ));
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err((
            StatusCode::UPGRADE_REQUIRED,
            "only version 13 of the WebSocket protocol is spoken here",
        ));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
    if !base64::engine::general_purpose::STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16) {
        return Err((BAD, "Sec-WebSocket-Key is missing or not 16 bytes in base64"));
    }
    if !origins.allows(headers) {
        return Err((
            StatusCode::FORBIDDEN,
            "pages of this origin may not connect here: the setting https.origins lists those that may",
        ));
    }
    let protocol =
        tokens(headers, &header::SEC_WEBSOCKET_PROTOCOL).find(|token| token.eq_ignore_ascii_case("sip"));
    let protocol = protocol.and_then(|token| HeaderValue::from_str(token).ok());
    let Some(protocol) = protocol else {
        return Err((BAD, "SIP is spoken here: offer the WebSocket sub-protocol sip (RFC 7118 section 4)"));
    };
    Ok((derive_accept_key(key), protocol))
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|other| other.eq_ignore_ascii_case(token))
}

fn switching_protocols(key: &str, protocol: HeaderValue) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    if let Ok(key) = HeaderValue::from_str(key) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, key);
    }
    response
}

fn refuse(status: StatusCode, why: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("{why}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if status == StatusCode::UPGRADE_REQUIRED {
        headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_trusted_proxy_has_written_is_believed() {
        let settings = WebSettings {
            pages: Router::new(),
            origins: Origins::new(&[]),
            hsts: None,
            forwarders: ["10.0.0.0/8", "::1"].map(|text| text.parse().unwrap()).into(),
        };
        let web = Web::new(&settings);
        for (peer, lines, expected) in [
            ("10.0.0.1:4000", &["203.0.113.9"][..], "203.0.113.9:4000"),
            ("10.0.0.1:4000", &["198.51.100.1, 203.0.113.9"], "203.0.113.9:4000"),
            ("10.0.0.1:4000", &["198.51.100.1", "203.0.113.9, 10.0.0.2"], "203.0.113.9:4000"),
            ("10.0.0.1:4000", &["[2001:db8::9]"], "[2001:db8::9]:4000"),
            ("10.0.0.1:4000", &["203.0.113.9:1234"], "203.0.113.9:4000"),
            ("[::1]:4000", &["203.0.113.9"], "203.0.113.9:4000"),
            ("10.0.0.1:4000", &["203.0.113.9, nobody"], "10.0.0.1:4000"),
            ("10.0.0.1:4000", &[], "10.0.0.1:4000"),
            ("192.0.2.7:4000", &["203.0.113.9"], "192.0.2.7:4000"),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("x-forwarded-for", line.parse().unwrap());
            }
            assert_eq!(web.source(peer.parse().unwrap(), &headers), expected.parse().unwrap(), "{lines:?}");
        }
    }

    #[test]
    fn whoever_comes_by_plain_http_is_sent_to_the_port_of_the_page() {
        for (host, port, expected) in [
            ("gw.example", None, "gw.example"),
            ("gw.example:8443", None, "gw.example:8443"),
            ("gw.example", Some(443), "gw.example"),
            ("gw.example:80", Some(8443), "gw.example:8443"),
            ("[2001:db8::1]", Some(8443), "[2001:db8::1]:8443"),
            ("[2001:db8::1]:80", Some(443), "[2001:db8::1]"),
        ] {
            assert_eq!(at_port(host, port), expected, "{host} {port:?}");
        }
    }

    fn upgrade(changes: &[(&'static str, Option<&'static str>)]) -> Request<()> {
        let mut request = Request::new(());
        let headers = request.headers_mut();
        for (name, value) in [
            ("host", "gw.example:8443"),
            ("upgrade", "websocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", "xmpp, sip"),
            ("origin", "https://gw.example:8443"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        for (name, value) in changes {
            match value {
                Some(value) => _ = headers.insert(*name, HeaderValue::from_static(value)),
                None => _ = headers.remove(*name),
            }
        }
        request
    }

    #[test]
    fn upgrade_rules() {
        let origins = Origins::new(&["self".into(), "https://phone.example".into()]);
        let status = |changes: &[_]| {
            check_upgrade(&upgrade(changes), &origins).err().map(|(status, _)| status.as_u16())
        };
        let table: [(&[_], _); 12] = [
            (&[], None),
            (&[("origin", None)], None),
            (&[("origin", Some("https://PHONE.example"))], None),
            (&[("origin", Some("https://evil.example"))], Some(403)),
            (&[("origin", Some("null"))], Some(403)),
            (&[("sec-websocket-protocol", None)], Some(400)),
            (&[("sec-websocket-protocol", Some("xmpp"))], Some(400)),
            (&[("sec-websocket-protocol", Some("SIP"))], None),
            (&[("sec-websocket-version", Some("8"))], Some(426)),
            (&[("sec-websocket-key", None)], Some(400)),
            (&[("sec-websocket-key", Some("short"))], Some(400)),
            (&[("connection", Some("close"))], Some(400)),
        ];
        for (changes, expected) in table {
            assert_eq!(status(changes), expected, "{changes:?}");
        }
        // The example of RFC 6455 §1.3.
        assert_eq!(check_upgrade(&upgrade(&[]), &origins).unwrap().0, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn any_origin_when_asked() {
        let request = upgrade(&[("origin", Some("https://evil.example"))]);
        assert!(check_upgrade(&request, &Origins::new(&["*".into()])).is_ok());
        assert!(check_upgrade(&request, &Origins::new(&[])).is_err());
    }
}
