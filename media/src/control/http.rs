//! HTTP: ng as `POST /ng` and `/ng-plain`, `/ping`, `/cli/COMMAND`, `/metrics` for Prometheus, and on any path the upgrade to
//! WebSocket.
//!
//! Pages of other origins are kept out: a browser on the same host reaches a port of the loopback, and must not end calls
//! because its user looks at a page.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use media_core::ng::{Encoding, MAX_COOKIE, MAX_MESSAGE};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::websocket::{self, Protocol};
use super::{Control, cli, stream};

/// The content type of a message with its cookie, and of bencode without one.
const NG: &str = "application/x-rtpengine-ng";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// The largest head of a request.
const MAX_HEAD: usize = 16 * 1024;
/// How long a head may take, also the next one of a connection.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// No connection is older, so that those who hold one for nothing make room.
const LIFETIME: Duration = Duration::from_secs(3600);

type Answered = Response<Full<Bytes>>;

/// Serves one connection, and the WebSocket it may become.
pub(super) async fn serve<S>(control: &Arc<Control>, stream: S, source: SocketAddr)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    // A WebSocket outlives the HTTP that began it, and keeps this connection's place.
    let (upgraded, mut upgrades) = tokio::sync::mpsc::channel(1);
    let service = hyper::service::service_fn(|request: Request<Incoming>| {
        let (control, upgraded) = (Arc::clone(control), upgraded.clone());
        async move { Ok::<_, Infallible>(answer(&control, source, request, upgraded).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    match timeout(LIFETIME, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => control.drop_one(source, &error.to_string()),
        Err(_) => tracing::debug!(%source, "HTTP connection too old"),
    }
    drop(upgraded);
    if let Some((upgrade, protocol)) = upgrades.recv().await {
        let upgrade: hyper::upgrade::OnUpgrade = upgrade;
        match upgrade.await {
            Ok(stream) => websocket::serve(control, TokioIo::new(stream), source, protocol).await,
            Err(error) => tracing::debug!(%source, %error, "WebSocket upgrade"),
        }
    }
}

type Upgrades = tokio::sync::mpsc::Sender<(hyper::upgrade::OnUpgrade, Protocol)>;

async fn answer(
    control: &Arc<Control>,
    source: SocketAddr,
    mut request: Request<Incoming>,
    upgraded: Upgrades,
) -> Answered {
    if is_foreign(request.headers()) {
        control.drop_one(source, "a page of another origin");
        return text(StatusCode::FORBIDDEN, "pages of other origins may not command the relay\n");
    }
    if has_token(request.headers(), &header::UPGRADE, "websocket") {
        return match websocket_of(&request) {
            Ok((key, name, protocol)) => {
                let upgrade = hyper::upgrade::on(&mut request);
                match upgraded.try_send((upgrade, protocol)) {
                    Ok(()) => switching_protocols(&key, name),
                    Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, "one WebSocket a connection\n"),
                }
            }
            Err((status, why)) => text(status, why),
        };
    }
    let path = request.uri().path().to_owned();
    let (get, post) = (request.method() == Method::GET, request.method() == Method::POST);
    match path.as_str() {
        "/ping" if get || post => text(StatusCode::OK, "pong\n"),
        "/metrics" if get => match control.statistics().await {
            Some(statistics) => {
                respond(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", statistics.metrics())
            }
            None => text(StatusCode::SERVICE_UNAVAILABLE, "the relay has stopped\n"),
        },
        "/ng" | "/ng-plain" if post => message(control, source, request, path == "/ng").await,
        "/ping" | "/metrics" | "/ng" | "/ng-plain" => {
            text(StatusCode::METHOD_NOT_ALLOWED, "not by this method\n")
        }
        path => match path.strip_prefix("/cli/").filter(|_| get) {
            Some(command) if command.len() <= cli::MAX_LINE => {
                respond(StatusCode::OK, TEXT, cli::run(control, &decoded(command)).await)
            }
            Some(_) => text(StatusCode::URI_TOO_LONG, "the command is too long\n"),
            None => text(StatusCode::NOT_FOUND, "not found\n"),
        },
    }
}

/// A command in the body. Its content type is none that a page could send without being asked for leave (the Fetch
/// standard's safelist).
async fn message(
    control: &Arc<Control>,
    source: SocketAddr,
    request: Request<Incoming>,
    with_cookie: bool,
) -> Answered {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if ![NG, JSON].iter().any(|known| essence.eq_ignore_ascii_case(known)) {
        control.drop_one(source, "another content type");
        return text(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the content type is application/x-rtpengine-ng, or application/json\n",
        );
    }
    let limited = Limited::new(request.into_body(), MAX_COOKIE + 1 + MAX_MESSAGE);
    let body = match timeout(stream::PATIENCE, limited.collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) => {
            control.drop_one(source, &error.to_string());
            return text(StatusCode::PAYLOAD_TOO_LARGE, "the message is too long, or was broken off\n");
        }
        Err(_) => {
            control.drop_one(source, "the body did not come");
            return text(StatusCode::REQUEST_TIMEOUT, "the body did not come\n");
        }
    };
    let (sender, reply) = oneshot::channel();
    // Whoever has gone meanwhile hears nothing of it.
    if with_cookie {
        let answer = Box::new(move |octets: Arc<[u8]>| _ = sender.send((octets.to_vec(), Encoding::Bencode)));
        if control.message(source, SocketAddr::new(source.ip(), 0), &body, answer).is_err() {
            return text(StatusCode::BAD_REQUEST, "the message has no cookie\n");
        }
    } else {
        control.plain(source, &body, Box::new(move |octets, encoding| _ = sender.send((octets, encoding))));
    }
    match reply.await {
        Ok((octets, Encoding::Json)) => respond(StatusCode::OK, JSON, octets),
        Ok((octets, Encoding::Bencode)) => respond(StatusCode::OK, NG, octets),
        Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, "the command is being executed\n"),
    }
}

/// Whether a page sends the request that is not ours. Programs that are no browser send neither header.
fn is_foreign(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").and_then(|site| site.to_str().ok());
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let origin = headers.get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or_default());
    let other = origin.is_some_and(|origin| origin.split_once("://").map(|(_, host)| host) != host);
    other || site.is_some_and(|site| !matches!(site, "same-origin" | "none"))
}

/// The server's half of RFC 6455 §4.2.1: the accept key, and the sub-protocol as the client spells it.
fn websocket_of<B>(
    request: &Request<B>,
) -> Result<(String, HeaderValue, Protocol), (StatusCode, &'static str)> {
    let headers = request.headers();
    if request.method() != Method::GET || !has_token(headers, &header::CONNECTION, "upgrade") {
        return Err((StatusCode::BAD_REQUEST, "this is no upgrade to WebSocket\n"));
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err((StatusCode::UPGRADE_REQUIRED, "only version 13 of WebSocket is spoken\n"));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
    if !base64::engine::general_purpose::STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16) {
        return Err((StatusCode::BAD_REQUEST, "Sec-WebSocket-Key is missing or not 16 bytes in base64\n"));
    }
    let known = |token: &str| Some((HeaderValue::from_str(token).ok()?, Protocol::parse(token)?));
    let found = tokens(headers, &header::SEC_WEBSOCKET_PROTOCOL).find_map(known);
    let Some((name, protocol)) = found else {
        return Err((
            StatusCode::BAD_REQUEST,
            "the WebSocket sub-protocols are ng.rtpengine.com, ng-plain.rtpengine.com and cli.rtpengine.com\n",
        ));
    };
    Ok((derive_accept_key(key), name, protocol))
}

fn tokens<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

fn has_token(headers: &HeaderMap, name: &header::HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|other| other.eq_ignore_ascii_case(token))
}

fn switching_protocols(key: &str, protocol: HeaderValue) -> Answered {
    let mut response = Response::new(Full::default());
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

fn text(status: StatusCode, why: &'static str) -> Answered {
    respond(status, TEXT, why)
}

fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answered {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if status == StatusCode::UPGRADE_REQUIRED {
        headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    }
    response
}

/// Percent-encoding undone (RFC 3986 §2.1); what is none stays.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let digits = bytes.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        let octet = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| byte == b'%');
        out.push(octet.unwrap_or(byte));
        at += if octet.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_other_origins_are_known() {
        for (headers, foreign) in [
            (&[][..], false),
            (&[("host", "relay:2225")][..], false),
            (&[("host", "relay:2225"), ("origin", "http://relay:2225")], false),
            (&[("host", "relay:2225"), ("origin", "http://evil.example")], true),
            (&[("host", "relay:2225"), ("origin", "null")], true),
            (&[("host", "relay:2225"), ("sec-fetch-site", "cross-site")], true),
            (&[("host", "relay:2225"), ("sec-fetch-site", "none")], false),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.insert(*name, HeaderValue::from_static(value));
            }
            assert_eq!(is_foreign(&map), foreign, "{headers:?}");
        }
    }

    #[test]
    fn percents_are_decoded() {
        for (text, expected) in [
            ("list%20totals", "list totals"),
            ("a%2", "a%2"),
            ("%zz%41", "%zzA"),
            ("%", "%"),
            ("%ff", "\u{fffd}"),
        ] {
            assert_eq!(decoded(text), expected);
        }
    }
}
