//! What the gateway says of itself to whoever watches over it: whether it lives, and whether it is to be given calls.
//!
//! `/healthz`, `/readyz`, `causeway health` and systemd's watchdog all tell the same: what the last look has found. To be asked
//! costs nothing, so that anybody may ask.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tokio::sync::watch;

use crate::media_link::MediaLink;
use crate::store::{Database, DbMode};
use crate::worker::Workers;

/// Between two looks.
const PERIOD: Duration = Duration::from_secs(2);
/// How long the relay may take to answer one; a signalling thread has as long ([`Workers::ask`]).
const PATIENCE: Duration = Duration::from_secs(10);
/// A look that is older says nothing any more.
const STALE: Duration = Duration::from_secs(60);

/// That no new calls are taken, until those that there are have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// It goes on until then even when no call is left: whoever chooses between gateways has to see it first.
    pub not_before: Instant,
    /// Calls that are still there then are ended; `None`: they are waited for.
    pub until: Option<Instant>,
}

/// What was found last, each as a sentence without a stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    at: Instant,
    /// Why the process should be started again.
    pub faults: Vec<String>,
    /// Why calls should go elsewhere.
    pub unready: Vec<String>,
    /// What does not work as it should, though calls go on.
    pub notes: Vec<String>,
}

/// The state of the process, shared by all who ask and those who change it.
#[derive(Debug)]
pub struct Health {
    found: Mutex<Found>,
    drain: watch::Sender<Option<Drain>>,
}

impl Default for Health {
    /// Whatever has started is well until a look finds something else.
    fn default() -> Self {
        let found = Found { at: Instant::now(), faults: Vec::new(), unready: Vec::new(), notes: Vec::new() };
        Self { found: Mutex::new(found), drain: watch::Sender::new(None) }
    }
}

impl Health {
    /// What is so now: the last look, and whether the gateway drains.
    #[must_use]
    pub fn found(&self) -> Found {
        let mut found = self.lock().clone();
        if found.at.elapsed() > STALE {
            found.faults.push("nobody has looked after the threads for a minute".into());
        }
        if self.is_draining() {
            found.unready.push("draining: no new calls are taken".into());
        }
        found
    }

    /// Takes no new calls from now on.
    pub fn drain(&self, drain: Drain) {
        self.drain.send_replace(Some(drain));
    }

    /// Takes them again.
    pub fn resume(&self) {
        self.drain.send_replace(None);
    }

    /// Whether no new calls are taken.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.drain.borrow().is_some()
    }

    /// Tells when draining begins, changes or ends.
    #[must_use]
    pub fn drains(&self) -> watch::Receiver<Option<Drain>> {
        self.drain.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Found {
    /// Whether the process works.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.faults.is_empty()
    }

    /// Whether it is to be given calls.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.faults.is_empty() && self.unready.is_empty()
    }

    /// The answer of `/healthz`: `ok`, or what is wrong, a line each.
    #[must_use]
    pub fn liveness(&self) -> String {
        Self::lines(self.is_live(), [("fault", &self.faults)])
    }

    /// The answer of `/readyz`: `ok`, or why calls should go elsewhere, and what else there is to know.
    #[must_use]
    pub fn readiness(&self) -> String {
        let parts = [("fault", &self.faults), ("not ready", &self.unready), ("note", &self.notes)];
        Self::lines(self.is_ready(), parts)
    }

    fn lines<const N: usize>(well: bool, parts: [(&str, &Vec<String>); N]) -> String {
        let mut text = if well { "ok\n".to_owned() } else { String::new() };
        for (kind, sentences) in parts {
            text.extend(sentences.iter().map(|sentence| format!("{kind}: {sentence}\n")));
        }
        text
    }
}

/// Looks again and again, and tells systemd's watchdog while all is well.
pub(crate) async fn watch(health: Arc<Health>, workers: Arc<Workers>, media: MediaLink, database: Database) {
    let watchdog = sd_notify::watchdog_enabled();
    // Twice within the time that systemd allows, and once more for good measure.
    let period = watchdog.map_or(PERIOD, |limit| PERIOD.min(limit / 3));
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let found = look(&workers, &media, &database).await;
        if watchdog.is_some() && found.is_live() {
            notify(&[NotifyState::Watchdog]);
        }
        let before = std::mem::replace(&mut *health.lock(), found.clone());
        for (known, now) in [(&before.faults, &found.faults), (&before.unready, &found.unready)] {
            let fresh = now.iter().filter(|sentence| !known.contains(sentence));
            fresh.for_each(|what| tracing::error!(what, "not well"));
        }
    }
}

async fn look(workers: &Workers, media: &MediaLink, database: &Database) -> Found {
    let (signalling, relays, stored) = tokio::join!(
        workers.ask(|_, _| ()),
        tokio::time::timeout(PATIENCE, media.answers()),
        database.answers(),
    );
    let mut found = Health::default().found();
    if signalling.is_none() {
        found.faults.push("a signalling thread does not answer".into());
    }
    match relays {
        Ok(true) => {}
        Ok(false) => found.unready.push("no relay answers".into()),
        Err(_) => found.faults.push("a thread of the relay does not answer".into()),
    }
    if !stored {
        let silent = "the database does not answer".to_owned();
        // Every call asks it then.
        let needed = database.mode() == DbMode::DatabaseOnly;
        if needed { &mut found.unready } else { &mut found.notes }.push(silent);
    }
    found
}

/// Has every signalling thread take new calls or not, as it is now; the calls that they have. `None` when one does not answer.
pub(crate) async fn drain(health: &Arc<Health>, workers: &Workers) -> Option<usize> {
    let health = Arc::clone(health);
    let calls = workers.ask(move |proxy, _| {
        proxy.set_draining(health.is_draining());
        proxy.unfinished_calls()
    });
    Some(calls.await?.into_iter().sum())
}

/// Tells systemd that the configuration is read again (`Type=notify-reload`).
pub(crate) fn notify_reloading() {
    let mut states = vec![NotifyState::Reloading];
    states.extend(NotifyState::monotonic_usec_now());
    notify(&states);
}

/// Tells it that the gateway serves.
pub fn notify_ready() {
    notify(&[NotifyState::Ready]);
}

/// Tells systemd (`Type=notify`); without it nobody is told.
pub fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "systemd was not told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_is_told_line_by_line() {
        let health = Health::default();
        assert_eq!((&*health.found().liveness(), &*health.found().readiness()), ("ok\n", "ok\n"));
        health.lock().notes.push("the database does not answer".into());
        let noted = "ok\nnote: the database does not answer\n";
        assert_eq!((&*health.found().liveness(), &*health.found().readiness()), ("ok\n", noted));
        health.drain(Drain { not_before: Instant::now(), until: None });
        let found = health.found();
        assert!(found.is_live() && !found.is_ready());
        let expected = "not ready: draining: no new calls are taken\nnote: the database does not answer\n";
        assert_eq!((&*found.liveness(), &*found.readiness()), ("ok\n", expected));
        health.resume();
        assert!(health.found().is_ready());
        health.lock().faults.push("a signalling thread does not answer".into());
        let found = health.found();
        assert!(!found.is_live() && !found.is_ready());
        assert_eq!(found.liveness(), "fault: a signalling thread does not answer\n");
    }
}
