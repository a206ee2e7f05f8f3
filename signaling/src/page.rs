//! What the HTTP side answers: the page, the CA certificate, and two small facts for programs.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Json, Response};
use axum::routing::get;
use rust_embed::RustEmbed;
use serde::Serialize;

use crate::certs::Certificates;
use crate::health::Health;
use crate::store::Database;

/// The built page. The folder is absent in a build without Node; then [`NOT_BUILT`] says how to make it.
#[derive(RustEmbed)]
#[folder = "../web-demo/dist"]
#[allow_missing = true]
struct Assets;

const NOT_BUILT: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Causeway</title>\
    <h1>The page is not built</h1><p>The gateway runs, but was built without its softphone page. Build both with \
    <code>make run</code>, or the page alone with <code>make page</code> and then the gateway again.</p></html>";

/// What the page asks the gateway about itself. Everybody may ask: which version this is is for those who are let in.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PageInfo {
    name: &'static str,
    domain: String,
    websocket_path: &'static str,
    ca_certificate: Option<&'static str>,
    ice_servers: [&'static str; 0],
    /// The claim of a token that names its user; `None` where no tokens are taken.
    token_claim: Option<String>,
}

struct Site {
    domain: String,
    database: Database,
    certificates: Arc<Certificates>,
    health: Arc<Health>,
}

/// All paths of the site of `domain`.
pub fn router(
    domain: &str,
    certificates: Arc<Certificates>,
    database: Database,
    health: Arc<Health>,
) -> Router {
    Router::new()
        .route("/", get(|headers: HeaderMap| async move { asset("index.html", &headers) }))
        .route(
            "/{*path}",
            get(|Path(path): Path<String>, headers: HeaderMap| async move { asset(&path, &headers) }),
        )
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/.well-known/acme-challenge/{token}", get(challenge))
        .route("/api/page", get(page_info))
        .route("/ca.crt", get(ca_crt))
        .route("/ca.pem", get(ca_pem))
        .with_state(Arc::new(Site { domain: domain.to_owned(), database, certificates, health }))
}

/// Whether the process works; if not, it should be started again.
async fn healthz(State(site): State<Arc<Site>>) -> Response {
    let found = site.health.found();
    state(found.is_live(), found.liveness())
}

/// Whether it is to be given calls.
async fn readyz(State(site): State<Arc<Site>>) -> Response {
    let found = site.health.found();
    state(found.is_ready(), found.readiness())
}

fn state(well: bool, text: String) -> Response {
    let status = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CACHE_CONTROL, "no-store")], text).into_response()
}

async fn page_info(State(site): State<Arc<Site>>) -> Response {
    let info = PageInfo {
        name: "Causeway",
        domain: site.domain.clone(),
        websocket_path: "/ws",
        ca_certificate: (!site.certificates.is_trusted()).then_some("/ca.crt"),
        ice_servers: [],
        token_claim: site.database.routing().policy.tokens.as_ref().map(|tokens| tokens.user_claim.clone()),
    };
    ([(header::CACHE_CONTROL, "no-store")], Json(info)).into_response()
}

/// The proof for an ACME server that looks whether a name is ours (RFC 8555 §8.3).
async fn challenge(State(site): State<Arc<Site>>, Path(token): Path<String>) -> Response {
    match site.certificates.challenges().http(&token) {
        Some(proof) => ([(header::CONTENT_TYPE, "application/octet-stream")], proof).into_response(),
        None => (StatusCode::NOT_FOUND, "not found\n").into_response(),
    }
}

async fn ca_crt(State(site): State<Arc<Site>>) -> Response {
    match site.certificates.ca() {
        Some(ca) => download("application/x-x509-ca-cert", "causeway-ca.crt", ca.der.clone()),
        None => no_ca(),
    }
}

async fn ca_pem(State(site): State<Arc<Site>>) -> Response {
    match site.certificates.ca() {
        Some(ca) => download("application/x-pem-file", "causeway-ca.pem", ca.pem.clone().into_bytes()),
        None => no_ca(),
    }
}

fn no_ca() -> Response {
    (StatusCode::NOT_FOUND, "this gateway has a certificate of its operator and no CA of its own\n")
        .into_response()
}

fn download(content_type: &'static str, name: &str, bytes: Vec<u8>) -> Response {
    let disposition = format!("attachment; filename=\"{name}\"");
    let content_type = content_type.to_owned();
    ([(header::CONTENT_TYPE, content_type), (header::CONTENT_DISPOSITION, disposition)], bytes)
        .into_response()
}

/// A file of the page. What has a hash in its name never changes; the rest is asked for again each time, which costs a 304.
fn asset(path: &str, headers: &HeaderMap) -> Response {
    let Some(file) = Assets::get(path) else {
        if path == "index.html" {
            return Html(NOT_BUILT).into_response();
        }
        return (StatusCode::NOT_FOUND, "not found\n").into_response();
    };
    let tag = format!("\"{}\"", hex::encode(&file.metadata.sha256_hash()[..16]));
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == tag.as_bytes());
    let fields = [
        (header::CONTENT_TYPE, with_charset(file.metadata.mimetype())),
        (header::CACHE_CONTROL, caching(path).to_owned()),
        (header::ETAG, tag),
    ];
    if known {
        return (StatusCode::NOT_MODIFIED, fields).into_response();
    }
    (fields, Body::from(file.data.into_owned())).into_response()
}

/// The bundler names scripts and styles `NAME-HASH.EXTENSION`, with eight characters of hash.
fn caching(path: &str) -> &'static str {
    let hashed = path.rsplit_once('.').and_then(|(stem, extension)| {
        let (_, hash) = stem.rsplit_once('-')?;
        let valid =
            hash.len() == 8 && hash.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
        (valid && matches!(extension, "js" | "css")).then_some(())
    });
    if hashed.is_some() { "public, max-age=31536000, immutable" } else { "no-cache" }
}

fn with_charset(mime: &str) -> String {
    if mime.starts_with("text/") { format!("{mime}; charset=utf-8") } else { mime.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hashed_names_are_cached_for_ever() {
        for (path, immutable) in [
            ("app-TODS4ZJS.js", true),
            ("style-AYMMYVDC.css", true),
            ("index.html", false),
            ("app-short.js", false),
            ("favicon-TODS4ZJS.svg", false),
            ("app.js", false),
        ] {
            assert_eq!(caching(path).contains("immutable"), immutable, "{path}");
        }
    }
}
