//! `cfg.*`: the keys of the configuration, whose sections are the groups. Those that `causeway reload` takes up can be changed while the
//! gateway runs; the change counts until then, or until the end of the process.

use serde_json::{Map, Value, json};
use tokio::sync::Mutex;

use super::Control;
use super::jsonrpc::{Answer, Fault, INVALID_PARAMS};
use super::methods::{Args, Outcome};
use crate::config::Config;
use crate::config::keys::{self, Key};
use crate::store::Database;

/// Keys with other values, as TOML.
type Changes = Vec<(&'static Key, String)>;

/// The configuration that counts.
#[derive(Debug)]
pub struct Live(Mutex<State>);

#[derive(Debug)]
struct State {
    /// As its file was read last.
    file: Config,
    /// What commands have changed of it.
    changed: Changes,
    /// The two together, which is what counts.
    counts: Config,
    /// What `cfg.commit` would change.
    prepared: Changes,
}

/// What a command takes for a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// What the key takes.
    Any,
    /// A whole number.
    Number,
    /// Text.
    Text,
}

impl Live {
    /// That of the start.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let (file, counts) = (config.clone(), config.clone());
        Self(Mutex::new(State { file, changed: Changes::new(), counts, prepared: Changes::new() }))
    }

    /// The file was read again: it counts, and what commands have changed of it does not any more. `also` does what else belongs to
    /// it, before anybody changes something again. What counted before.
    ///
    /// # Errors
    /// The database does not answer. What counted before goes on counting.
    pub async fn take_up(
        &self,
        config: &Config,
        database: &Database,
        also: impl FnOnce(),
    ) -> anyhow::Result<Config> {
        let mut state = self.0.lock().await;
        database.reload(config.policy()).await?;
        also();
        state.file = config.clone();
        state.changed.clear();
        Ok(std::mem::replace(&mut state.counts, config.clone()))
    }

    /// Reads the tables of routing again; the configuration stays as it counts.
    ///
    /// # Errors
    /// The same.
    pub async fn reread(&self, database: &Database) -> anyhow::Result<()> {
        // What a command changes meanwhile waits, so that it does not count for that moment alone.
        let state = self.0.lock().await;
        database.reload(state.counts.policy()).await
    }
}

impl State {
    /// The value of a key as it counts: one that cannot be changed is as it was at the start.
    fn value(&self, control: &Control, key: &Key) -> Value {
        if key.is_reloaded() { self.counts.value(key) } else { control.config.value(key) }
    }

    async fn apply(&mut self, control: &Control, changed: Changes) -> Result<(), Fault> {
        let counts = self.file.with(&changed).map_err(|what| failed(&what))?;
        let reloaded = control.database.reload(counts.policy()).await;
        reloaded.map_err(|error| Fault::new(500, format!("{error:#}")))?;
        (self.counts, self.changed) = (counts, changed);
        Ok(())
    }
}

/// `changes` with one more, in the place of what it says of the same key.
fn put(changes: &mut Changes, change: (&'static Key, String)) {
    changes.retain(|(key, _)| key.name != change.0.name);
    changes.push(change);
}

fn failed(what: &str) -> Fault {
    Fault::new(400, format!("Failed to set the variable: {what}"))
}

fn named(args: &Args) -> Result<Option<&'static Key>, Fault> {
    let name = format!("{}.{}", args.text(0)?, args.text(1)?);
    Ok(keys::all().find(|key| key.name == name))
}

fn known(args: &Args) -> Result<&'static Key, Fault> {
    named(args)?.ok_or_else(|| Fault::new(400, "Failed to get the variable"))
}

/// The key that is to be changed, and its value as TOML.
fn change(args: &Args, kind: Kind) -> Result<(&'static Key, String), Fault> {
    let key = named(args)?.ok_or_else(|| failed("there is none of this name"))?;
    if key.is_secret() {
        return Err(failed("it is secret, and is said in the file alone"));
    }
    if !key.is_live() {
        return Err(failed("it counts from the next start on, and is said in the file"));
    }
    let wrong = |what| Fault::new(INVALID_PARAMS, format!("Invalid params: value is not {what}"));
    let quoted = |text: &str| Value::from(text).to_string();
    let text = |kind| args.text(2).map_err(|_| wrong(kind));
    let is_text = key.default.starts_with('"');
    let toml = match kind {
        Kind::Number => {
            text("a whole number")?.parse::<i64>().map_err(|_| wrong("a whole number"))?.to_string()
        }
        Kind::Text => quoted(&text("text")?),
        Kind::Any => match args.value(2) {
            Some(Value::Array(items)) => Value::Array(items.clone()).to_string(),
            Some(Value::String(list)) if key.default.starts_with('[') && list.starts_with('[') => {
                list.clone()
            }
            Some(Value::String(item)) if key.default.starts_with('[') => format!("[{}]", quoted(item)),
            _ if is_text => quoted(&text("text")?),
            _ => text("a word")?,
        },
    };
    Ok((key, toml))
}

pub(super) fn list(args: &Args) -> Outcome {
    let group = args.optional(0)?;
    let wanted = |key: &&Key| group.as_deref().is_none_or(|group| key.section() == group);
    Ok(Answer::Value(
        keys::all().filter(wanted).map(|key| format!("{}: {}", key.section(), key.leaf())).collect(),
    ))
}

pub(super) async fn get(control: &Control, args: Args) -> Outcome {
    let state = control.live.0.lock().await;
    if args.optional(1)?.is_some() {
        let key = known(&args)?;
        if key.is_secret() {
            return Err(Fault::new(400, "Variable exists, but it is not readable via RPC interface"));
        }
        return Ok(Answer::Value(state.value(control, key)));
    }
    let group = args.text(0)?;
    let shown = keys::all().filter(|key| key.section() == group && !key.is_secret());
    let shown: Map<String, Value> =
        shown.map(|key| (key.leaf().to_owned(), state.value(control, key))).collect();
    if shown.is_empty() {
        return Err(Fault::new(400, "Failed to get the variable"));
    }
    Ok(Answer::Value(Value::Object(shown)))
}

pub(super) fn help(args: &Args) -> Outcome {
    let key = known(args)?;
    Ok(Answer::Value(json!(format!("{} Allowed: {}. Default: {}.", key.about, key.allowed, key.default))))
}

/// Changes a key at once.
pub(super) async fn set(control: &Control, args: Args, kind: Kind) -> Outcome {
    let change = change(&args, kind)?;
    let mut state = control.live.0.lock().await;
    let mut changed = state.changed.clone();
    put(&mut changed, change);
    state.apply(control, changed).await?;
    Ok(Answer::Value(json!({})))
}

/// Has a key be changed by `cfg.commit`.
pub(super) async fn prepare(control: &Control, args: Args, kind: Kind) -> Outcome {
    let change = change(&args, kind)?;
    let mut state = control.live.0.lock().await;
    let mut prepared = state.prepared.clone();
    put(&mut prepared, change);
    state.counts.with(&prepared).map_err(|what| failed(&what))?;
    state.prepared = prepared;
    Ok(Answer::Value(json!({})))
}

/// All that was prepared, or nothing.
pub(super) async fn commit(control: &Control) -> Outcome {
    let mut state = control.live.0.lock().await;
    let mut changed = state.changed.clone();
    state.prepared.iter().cloned().for_each(|change| put(&mut changed, change));
    state.apply(control, changed).await?;
    state.prepared.clear();
    Ok(Answer::Value(json!({})))
}

pub(super) async fn rollback(control: &Control) -> Outcome {
    control.live.0.lock().await.prepared.clear();
    Ok(Answer::Value(json!({})))
}

pub(super) async fn diff(control: &Control) -> Outcome {
    let state = control.live.0.lock().await;
    let next = state.counts.with(&state.prepared).map_err(|what| failed(&what))?;
    let row = |(key, _): &(&'static Key, String)| {
        json!({
            "group name": key.section(),
            "variable name": key.leaf(),
            "old value": state.counts.value(key),
            "new value": next.value(key),
        })
    };
    Ok(Answer::Value(state.prepared.iter().map(row).collect()))
}

/// What the file says counts again.
pub(super) async fn reset(control: &Control, args: Args) -> Outcome {
    let key = known(&args)?;
    let mut state = control.live.0.lock().await;
    let mut changed = state.changed.clone();
    changed.retain(|(other, _)| other.name != key.name);
    state.apply(control, changed).await?;
    Ok(Answer::Value(json!({})))
}
