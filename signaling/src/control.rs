//! Control of a running gateway: JSON-RPC 2.0 with the method names of Kamailio's `kamcmd`, over a Unix socket of the data
//! directory and over HTTPS.
//!
//! | module | one line |
//! |---|---|
//! | [`jsonrpc`] | bytes to calls, answers to bytes: nothing of this program |
//! | [`methods`] | the table of methods: name, parameters, help, what it does |
//! | [`socket`], [`http`] | the two doors |
//! | [`token`] | who may come in by the second one |
//! | [`mod@cfg`] | the configuration, and what of it can be changed |
//! | `events` | what happens, to read along |
//! | `metrics` | what Prometheus reads, gathered |
//! | `acme`, `core`, `health`, `corex`, `ctl`, `tm`, `ul`, `dlg`, `dns`, `dispatcher`, `statistics`, `lists`, `secfilter`, `tolls`, `tls`, `rtpengine` | the methods by their first words |
//! | [`reload`] | what is read again while the gateway runs |
//!
//! An answer says only what is so. A method of Kamailio's that would have nothing true to say is not there. What the workers
//! know is asked of each of them between two messages, so that the way of a message has no lock for it.

mod acme;
pub mod cfg;
mod core;
mod corex;
mod ctl;
mod dispatcher;
mod dlg;
mod dns;
mod events;
mod health;
pub mod http;
pub mod jsonrpc;
mod lists;
pub mod methods;
mod metrics;
pub mod reload;
mod rtpengine;
mod secfilter;
pub mod socket;
mod statistics;
mod tls;
mod tm;
pub mod token;
mod tolls;
mod ul;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use signaling_core::acl::Acl;
use signaling_core::blocklist::Blocklist;
use signaling_core::guesses::Guesses;
use signaling_core::location::Location;
use signaling_core::profiles::Profiles;
use signaling_core::proxy::Proxy;
use signaling_core::settings::{Network, Settings};
use signaling_core::sources::Sources;
use signaling_core::tolls::Tolls;
use tokio::sync::Semaphore;

pub use self::jsonrpc::Fault;
use crate::accounting::Accounting;
use crate::acme::Acme;
use crate::certs::Certificates;
use crate::config::Config;
use crate::countries::Countries;
use crate::events::hub::Hub;
use crate::health::Health;
use crate::media_link::MediaLink;
use crate::resolver::Dns;
use crate::store::Database;
use crate::transport::{Bound, Transport};
use crate::worker::Workers;

/// Messages that are answered at a time; others wait.
pub(crate) const AT_ONCE: usize = 8;

/// Sections `[rpc]` and `[metrics]` of the configuration.
#[derive(Debug, Clone, Default)]
pub struct Doors {
    /// The Unix socket; `None` for none.
    pub socket: Option<PathBuf>,
    /// Who may post to `/rpc` over HTTPS, with a token.
    pub allow: Vec<Network>,
    /// Where `/metrics` is served without TLS and token; `None` for nowhere.
    pub metrics: Option<SocketAddr>,
}

/// What the methods look at and change.
#[derive(Debug)]
pub struct Control {
    pub(crate) health: Arc<Health>,
    /// When the gateway has started, by both clocks.
    pub(crate) started: (Instant, u64),
    /// Where `/metrics` is served without TLS and token.
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) config: Config,
    pub(crate) settings: Arc<Settings>,
    pub(crate) bound: Vec<Bound>,
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) acl: Arc<Acl>,
    pub(crate) acme: Option<Arc<Acme>>,
    pub(crate) database: Database,
    pub(crate) accounting: Accounting,
    pub(crate) location: Arc<Location>,
    pub(crate) sources: Arc<Sources>,
    pub(crate) guesses: Arc<Guesses>,
    pub(crate) profiles: Arc<Profiles>,
    pub(crate) tolls: Arc<Tolls>,
    pub(crate) events: Hub,
    pub(crate) countries: Option<Countries>,
    pub(crate) blocklist: Arc<Blocklist>,
    pub(crate) transport: Arc<Transport>,
    pub(crate) workers: Arc<Workers>,
    pub(crate) media: MediaLink,
    pub(crate) dns: Dns,
    pub(crate) live: cfg::Live,
    pub(crate) visitors: ctl::Visitors,
    /// Where `stats.reset_statistics` has set counters to zero.
    pub(crate) zero: Mutex<HashMap<String, u64>>,
    pub(crate) turns: Semaphore,
}

impl Control {
    /// Reads the operator's certificate again, or makes that of the local CA anew if it must be. It is not shown yet.
    ///
    /// # Errors
    /// It cannot be read or made.
    pub(crate) async fn read_certificate(&self) -> anyhow::Result<Arc<Certificates>> {
        let (config, domain) =
            (self.config.clone(), self.settings.domains.first().cloned().unwrap_or_default());
        // Signing and files: short, but not for a thread that carries connections.
        tokio::task::spawn_blocking(move || crate::gateway::read_certificate(&config, &domain)).await?
    }

    /// Answers a JSON-RPC message; `None` when there is nothing to answer. `by` says for the log who asks.
    pub async fn answer(&self, message: &[u8], by: &str) -> Option<Vec<u8>> {
        // Never closed.
        let _turn = self.turns.acquire().await.ok()?;
        let message = match jsonrpc::parse(message) {
            Ok(message) => message,
            Err(fault) => return Some(jsonrpc::refusal(&fault)),
        };
        let mut answers = jsonrpc::Answers::new(message.is_batch);
        for call in message.calls {
            match call {
                Ok(call) => {
                    let outcome = methods::execute(self, &call, by).await;
                    answers.add(call.id.as_ref(), outcome);
                }
                Err((id, fault)) => answers.add(Some(&id), Err(fault)),
            }
        }
        answers.finish()
    }

    /// What every worker says to a question.
    ///
    /// # Errors
    /// One does not answer in time.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl Fn(&mut Proxy, Instant) -> T + Clone + Send + 'static,
    ) -> Result<Vec<T>, Fault> {
        self.workers.ask(question).await.ok_or_else(busy)
    }

    /// What the worker with this number says.
    ///
    /// # Errors
    /// It does not answer in time.
    pub(crate) async fn ask_one<T: Send + 'static>(
        &self,
        worker: usize,
        question: impl FnOnce(&mut Proxy, Instant) -> T + Send + 'static,
    ) -> Result<T, Fault> {
        self.workers.ask_one(worker, question).await.ok_or_else(busy)
    }
}

fn busy() -> Fault {
    Fault::new(500, "a signalling thread does not answer")
}
