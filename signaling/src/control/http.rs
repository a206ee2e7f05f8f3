//! `POST /rpc`, `GET /metrics` and `GET /events` over HTTPS, for those of `rpc.allow` who have a token.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};

use super::jsonrpc::MAX_MESSAGE;
use super::token::Tokens;
use super::{Control, events, metrics};
use crate::metrics::CONTENT_TYPE;
use crate::transport::HttpPeer;

/// How long a body may take to come.
const BODY: Duration = Duration::from_secs(10);

/// The paths, if anybody may use them.
pub fn router(control: &Arc<Control>) -> Router {
    if control.config.rpc.allow.is_empty() {
        return Router::new();
    }
    let router = Router::new().route("/rpc", post(answer)).route("/metrics", get(counters));
    let router = router.route("/events", get(events::events));
    router.with_state(Arc::clone(control))
}

/// `/metrics` for whoever asks: what `metrics.listen` opens.
pub(crate) fn open_metrics(control: &Arc<Control>) -> Router {
    let open = async |State(control): State<Arc<Control>>| numbers(&control).await;
    Router::new().route("/metrics", get(open)).with_state(Arc::clone(control))
}

async fn counters(State(control): State<Arc<Control>>, request: Request) -> Response {
    match caller_of(&control, &request).await {
        Ok(_) => numbers(&control).await,
        Err(refusal) => refusal,
    }
}

async fn numbers(control: &Control) -> Response {
    match metrics::metrics(control).await {
        Ok(text) => {
            let fields = [(header::CACHE_CONTROL, "no-store"), (header::CONTENT_TYPE, CONTENT_TYPE)];
            (fields, text).into_response()
        }
        Err(fault) => {
            tracing::error!(%fault, "no metrics");
            refuse(StatusCode::SERVICE_UNAVAILABLE, "a signalling thread does not answer")
        }
    }
}

async fn answer(State(control): State<Arc<Control>>, request: Request) -> Response {
    let by = match caller_of(&control, &request).await {
        Ok(by) => by,
        Err(refusal) => return refusal,
    };
    let body = tokio::time::timeout(BODY, to_bytes(request.into_body(), MAX_MESSAGE)).await;
    let message = match body {
        Ok(Ok(message)) => message,
        Ok(Err(_)) => return refuse(StatusCode::PAYLOAD_TOO_LARGE, "the message is too long, or broken off"),
        Err(_) => return refuse(StatusCode::REQUEST_TIMEOUT, "the message takes too long"),
    };
    let fields = [(header::CACHE_CONTROL, "no-store"), (header::CONTENT_TYPE, "application/json")];
    match control.answer(&message, &by).await {
        Some(answer) => (fields, Body::from(answer)).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

/// Who asks, for the log; or what he hears who may not.
pub(super) fn caller_of<'a>(
    control: &'a Control,
    request: &Request,
) -> impl Future<Output = Result<String, Response>> + use<'a> {
    let peer = request.extensions().get().copied();
    let token = bearer(request.headers()).map(str::to_owned);
    caller(control, peer, token)
}

async fn caller(
    control: &Control,
    peer: Option<HttpPeer>,
    token: Option<String>,
) -> Result<String, Response> {
    let Some(HttpPeer { remote, secure }) = peer else {
        return Err(refuse(StatusCode::FORBIDDEN, "nobody knows from where this comes"));
    };
    if !secure {
        return Err(refuse(StatusCode::FORBIDDEN, "commands and tokens go over HTTPS only"));
    }
    let ip = remote.ip().to_canonical();
    if !control.config.rpc.allow.iter().any(|network| network.contains(ip)) {
        tracing::warn!(address = %ip, port = remote.port(), "control refused: not in rpc.allow");
        return Err(refuse(StatusCode::FORBIDDEN, "the setting rpc.allow lists those who may command"));
    }
    let owner = match token {
        Some(token) => {
            let tokens = Tokens::of(&control.config.data_directory);
            let owner = tokio::task::spawn_blocking(move || tokens.owner(&token)).await;
            owner.map_err(anyhow::Error::from).and_then(|owner| owner)
        }
        None => Ok(None),
    };
    match owner {
        Ok(Some(name)) => Ok(name),
        Ok(None) => {
            tracing::warn!(address = %ip, port = remote.port(), "control refused: no valid token");
            let mut response = refuse(StatusCode::UNAUTHORIZED, "a token is needed: causeway token add NAME");
            response.headers_mut().insert(
                header::WWW_AUTHENTICATE,
                header::HeaderValue::from_static("Bearer realm=\"causeway\""),
            );
            Err(response)
        }
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "tokens cannot be read");
            Err(refuse(StatusCode::INTERNAL_SERVER_ERROR, "tokens cannot be read"))
        }
    }
}

/// The token of RFC 6750 §2.1.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim())
}

pub(super) fn refuse(status: StatusCode, why: &'static str) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], format!("{why}\n")).into_response()
}
