//! `GET /events`: what happens, as server-sent events, for those who may use `/rpc`.
//!
//! `?kinds=call_started,call_ended` asks for some kinds. Whoever comes back says `Last-Event-ID`, as browsers do by themselves,
//! and gets what was told meanwhile, as far as it is kept; else an event `missed` says so. A comment every 15 s keeps the connection
//! alive. Who does not read fast enough hears `too_slow`, and is let go.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Query, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use serde::Deserialize;
use serde_json::json;

use super::Control;
use super::http::{self, refuse};
use crate::events::hub::Hub;
use crate::events::kind::Kinds;
use crate::events::stream::{Missed, Reader, Since};
use crate::events::told::Told;

/// Between two signs of life, when nothing happens.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How a stream begins: a reader that loses it waits two seconds.
const BEGIN: &str = "retry: 2000\n: causeway\n\n";

/// What is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Words of kinds, with commas between them; all when there are none.
    #[serde(default)]
    kinds: String,
}

/// One who reads along.
struct Reading {
    hub: Hub,
    reader: Reader,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Beginning,
    Going,
    Over,
}

pub(super) async fn events(
    State(control): State<Arc<Control>>,
    wanted: Result<Query<Wanted>, axum::extract::rejection::QueryRejection>,
    request: Request,
) -> Response {
    if let Err(refusal) = http::caller_of(&control, &request).await {
        return refusal;
    }
    let Ok(Query(wanted)) = wanted else {
        return refuse(StatusCode::BAD_REQUEST, "kinds=WORD,WORD is all that can be asked for");
    };
    let words: Vec<&str> = wanted.kinds.split(',').filter(|word| !word.is_empty()).collect();
    let kinds = match Kinds::named(words.iter().copied()) {
        Ok(_) if words.is_empty() => Kinds::ALL,
        Ok(kinds) => kinds,
        Err(_) => {
            return refuse(StatusCode::BAD_REQUEST, "no such kind of event: see the setting events.webhooks");
        }
    };
    let last = request.headers().get("last-event-id").and_then(|id| id.to_str().ok());
    let hub = control.events.clone();
    let since = last.map_or(Since::Now, |id| hub.since(id));
    let Some(reader) = hub.subscribe(kinds, since) else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "too many read along already, or the gateway ends");
    };
    let reading = Reading { hub, reader, phase: Phase::Beginning };
    let parts = stream::unfold(reading, async |mut reading| {
        let part = reading.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(part)), reading))
    });
    let fields = [(header::CACHE_CONTROL, "no-store"), (header::CONTENT_TYPE, "text/event-stream")];
    (fields, Body::from_stream(parts)).into_response()
}

impl Reading {
    /// The next part of the stream; `None` at its end.
    async fn next(&mut self) -> Option<String> {
        match self.phase {
            Phase::Beginning => {
                self.phase = Phase::Going;
                let missed = self.reader.missed.map(missed).unwrap_or_default();
                Some(format!("{BEGIN}{missed}"))
            }
            Phase::Going => match tokio::time::timeout(HEARTBEAT, self.reader.next()).await {
                Err(_) => Some(": \n\n".to_owned()),
                Ok(Some(told)) => Some(written(&self.hub.id(told.seq), &told)),
                Ok(None) if self.reader.was_too_slow() => {
                    self.phase = Phase::Over;
                    Some("event: too_slow\ndata: {}\n\n".to_owned())
                }
                Ok(None) => None,
            },
            Phase::Over => None,
        }
    }
}

fn written(id: &str, told: &Told) -> String {
    format!("id: {id}\nevent: {}\ndata: {}\n\n", told.kind.as_str(), told.body)
}

fn missed(missed: Missed) -> String {
    let data = match missed {
        Missed::Some(events) => json!({ "events": events }),
        Missed::Restarted => json!({ "restarted": true }),
    };
    format!("event: missed\ndata: {data}\n\n")
}
