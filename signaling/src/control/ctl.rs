//! `ctl.*`: the doors by which this program is asked, and who has come in.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::Control;
use super::core::proto;
use super::jsonrpc::Answer;
use super::methods::Outcome;

/// Who is at the control socket.
#[derive(Debug, Default)]
pub(crate) struct Visitors(Mutex<Visits>);

#[derive(Debug, Default)]
struct Visits {
    last: u64,
    there: BTreeMap<u64, String>,
}

/// Somebody, for as long as this is kept.
#[derive(Debug)]
pub(crate) struct Visit<'a>(&'a Visitors, u64);

impl Visitors {
    /// Somebody comes in.
    pub(crate) fn enter(&self, who: &str) -> Visit<'_> {
        let mut visits = self.lock();
        visits.last += 1;
        let number = visits.last;
        visits.there.insert(number, who.to_owned());
        Visit(self, number)
    }

    /// Nothing that is done under the lock can panic half-way.
    fn lock(&self) -> MutexGuard<'_, Visits> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.0.lock().there.remove(&self.1);
    }
}

fn socket(control: &Control) -> Option<String> {
    control.config.rpc.socket.as_ref().map(|path| path.display().to_string())
}

/// For each door its language, its transport and its name, as Kamailio says them: one after the other.
pub(super) fn listen(control: &Control) -> Outcome {
    let mut words: Vec<Value> = Vec::new();
    if let Some(path) = socket(control) {
        words.extend([json!("jsonrpc"), json!("unix_stream"), json!(path)]);
    }
    if !control.config.rpc.allow.is_empty() {
        let secure =
            control.bound.iter().filter(|bound| bound.protocol == signaling_core::flow::Protocol::Wss);
        for bound in secure {
            let url = format!("https://{}/rpc", bound.address);
            words.extend([json!("jsonrpc"), json!(proto(bound.protocol)), json!(url)]);
        }
    }
    Ok(Answer::Value(Value::Array(words)))
}

pub(super) fn connections(control: &Control) -> Outcome {
    Ok(Answer::Value(json!(control.visitors.lock().there.len())))
}

/// For each connection its language, its transport, who has opened it, and at which door.
pub(super) fn who(control: &Control) -> Outcome {
    let path = socket(control).unwrap_or_default();
    let visits = control.visitors.lock();
    let words =
        visits.there.values().flat_map(|who| ["jsonrpc", "unix_stream", who, &path].map(|word| json!(word)));
    Ok(Answer::Value(Value::Array(words.collect())))
}
