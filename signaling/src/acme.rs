//! Certificates from an ACME server (RFC 8555), by `http-01` or `tls-alpn-01` (RFC 8737): got, kept in the data directory, and
//! renewed while the gateway runs. A failure is logged, told by `acme.list`, and tried again; nothing else waits for it.

mod client;
mod files;
mod order;
mod schedule;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use self::client::Client;
use self::files::Files;
use self::schedule::Schedule;
use crate::certs::{Certificates, Issued};
use crate::config::{self, Config};
use crate::store::unix_now;

/// The longest sleep: clocks are set, and machines sleep.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// What looks after the certificate.
pub(crate) struct Acme {
    settings: config::Acme,
    files: Files,
    client: Client,
    certificates: Arc<Certificates>,
    state: ArcSwap<State>,
    again: Notify,
}

/// How it stands.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    /// When the server is asked next, in seconds since 1970.
    pub(crate) next: i64,
    /// Why it has failed the last time.
    pub(crate) error: Option<String>,
}

impl std::fmt::Debug for Acme {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acme").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Acme {
    /// Takes up the certificate that was kept; `None` where no server is to be asked.
    ///
    /// # Errors
    /// The files in the data directory or `acme.ca_list` cannot be used.
    pub(crate) fn open(
        config: &Config,
        certificates: &Arc<Certificates>,
    ) -> anyhow::Result<Option<Arc<Self>>> {
        if config.acme.domains.is_empty() {
            return Ok(None);
        }
        let (settings, files) = (config.acme.clone(), Files::open(&config.data_directory)?);
        match files.certificate()? {
            Some(kept) if kept.not_after > now() => certificates.show(kept),
            _ => {
                let domains = settings.domains.join(" ");
                tracing::warn!(
                    domains,
                    server = settings.directory,
                    "no certificate from the ACME server yet: that of the local CA is shown until it has issued one"
                );
            }
        }
        let client = Client::new(settings.ca_list.as_deref())?;
        let (certificates, state, again) = (Arc::clone(certificates), ArcSwap::default(), Notify::new());
        Ok(Some(Arc::new(Self { settings, files, client, certificates, state, again })))
    }

    /// Names, and the directory of the server.
    pub(crate) fn settings(&self) -> &config::Acme {
        &self.settings
    }

    /// How it stands.
    pub(crate) fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    /// Has the server asked now.
    pub(crate) fn renew(&self) {
        self.again.notify_one();
    }

    /// Looks after the certificate, for ever.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut schedule = Schedule::new(self.settings.retry);
        let mut due = self.due(self.certificates.issued().as_deref());
        self.state.store(Arc::new(State { next: due, error: None }));
        loop {
            while !self.sleeps_until(due).await {}
            let error = match self.obtain().await {
                Ok(issued) => {
                    schedule.succeeded();
                    due = self.due(Some(&issued));
                    None
                }
                Err(error) => {
                    let now = now();
                    due = schedule.failed(now, self.client.take_retry_at());
                    let (error, seconds) = (format!("{error:#}"), due - now);
                    tracing::error!(error, again_in_seconds = seconds, "no certificate from the ACME server");
                    Some(error)
                }
            };
            self.state.store(Arc::new(State { next: due, error }));
        }
    }

    /// Whether it is time, after at most an hour of sleep.
    async fn sleeps_until(&self, due: i64) -> bool {
        let left = Duration::from_secs(u64::try_from(due - now()).unwrap_or(0));
        tokio::select! {
            () = tokio::time::sleep(left.min(LONGEST_SLEEP)) => now() >= due,
            () = self.again.notified() => true,
        }
    }

    async fn obtain(&self) -> anyhow::Result<Arc<Issued>> {
        // What it has said before this try is over.
        self.client.take_retry_at();
        let challenges = self.certificates.challenges();
        let issued = order::obtain(&self.settings, &self.files, &self.client, challenges).await?;
        let (names, seconds) = (self.settings.domains.join(" "), issued.not_after - now());
        tracing::info!(
            names,
            issuer = issued.issuer,
            days = seconds / 86_400,
            "certificate from the ACME server"
        );
        self.certificates.show(issued);
        self.certificates.issued().ok_or_else(|| anyhow::anyhow!("it is gone again"))
    }

    /// When the server is to be asked: at once without a certificate that has all names.
    fn due(&self, issued: Option<&Issued>) -> i64 {
        let whole = issued.filter(|issued| self.settings.domains.iter().all(|name| issued.is_for(name)));
        whole.map_or_else(now, |issued| Schedule::renewal(issued.not_before, issued.not_after))
    }
}

fn now() -> i64 {
    i64::try_from(unix_now()).unwrap_or(i64::MAX)
}
