//! `core.reload`, `causeway reload` and SIGHUP: what can be changed while the gateway runs is read again, all of it or nothing.

use serde_json::json;

use super::Control;
use super::jsonrpc::{Answer, Fault};
use super::methods::Outcome;
use crate::config::Config;
use crate::config::keys::{self, Key};
use crate::health;
use crate::logging;

/// What has become of the keys whose values have changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Those that count now.
    pub taken_up: Vec<&'static str>,
    /// Those that count from the next start on.
    pub need_restart: Vec<&'static str>,
}

impl Control {
    /// Reads the configuration again from where it came, and takes up what can be: these keys, the tables of routing, the lists of
    /// addresses, and the certificate. The log and systemd are told.
    ///
    /// # Errors
    /// Something cannot be read. What counted before goes on counting.
    pub async fn reload(&self) -> anyhow::Result<Reloaded> {
        health::notify_reloading();
        let reloaded = match Config::read(self.config.file.as_deref()) {
            Ok(config) => self.take_up(&config).await,
            Err(error) => Err(error.into()),
        };
        match &reloaded {
            Ok(Reloaded { taken_up, need_restart }) => {
                tracing::info!(taken_up = taken_up.join(" "), "tables and configuration reloaded");
                if !need_restart.is_empty() {
                    tracing::warn!(keys = need_restart.join(" "), "these count from the next start on");
                }
            }
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "not reloaded: what was before counts");
            }
        }
        health::notify_ready();
        reloaded
    }

    /// Takes up `config`, as far as it can be.
    ///
    /// # Errors
    /// The database does not answer, or a file cannot be read. What counted before goes on counting.
    pub async fn take_up(&self, config: &Config) -> anyhow::Result<Reloaded> {
        let lists = config.acl.read()?;
        let filter = logging::filter(&config.log)?;
        let certificate = self.read_certificate().await?;
        let now = || {
            self.acl.set(lists);
            self.certificates.adopt(&certificate);
            logging::set(filter);
        };
        let before = self.live.take_up(config, &self.database, now).await?;
        let changed = |of: &Config, key: &Key| of.value(key) != config.value(key);
        let names = |wanted: &dyn Fn(&Key) -> bool| {
            keys::all().filter(|key| wanted(key)).map(|key| key.name).collect()
        };
        Ok(Reloaded {
            taken_up: names(&|key| key.is_reloaded() && changed(&before, key)),
            need_restart: names(&|key| !key.is_reloaded() && changed(&self.config, key)),
        })
    }
}

pub(super) async fn reload(control: &Control) -> Outcome {
    let reloaded =
        control.reload().await.map_err(|error| Fault::new(500, format!("not reloaded: {error:#}")))?;
    Ok(Answer::Value(json!({ "taken_up": reloaded.taken_up, "need_restart": reloaded.need_restart })))
}
