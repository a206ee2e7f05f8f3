//! What all workers share, from which each of them and the control of the gateway are made.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use rand::RngExt as _;
use signaling_core::acl::Acl;
use signaling_core::blocklist::Blocklist;
use signaling_core::guesses::Guesses;
use signaling_core::location::Location;
use signaling_core::outside::Outside;
use signaling_core::profiles::Profiles;
use signaling_core::proxy::Proxy;
use signaling_core::secret::Secret;
use signaling_core::settings::Settings;
use signaling_core::sources::Sources;
use signaling_core::tolls::Tolls;
use signaling_core::topology::topos::Topos;
use tokio::sync::Semaphore;

use crate::accounting::Accounting;
use crate::acme::Acme;
use crate::certs::Certificates;
use crate::config::Config;
use crate::control::{self, Control};
use crate::countries::Countries;
use crate::events::hub::Hub;
use crate::health::Health;
use crate::media_link::MediaLink;
use crate::resolver::Dns;
use crate::store::dialogs::Dialogs;
use crate::store::{Database, unix_now};
use crate::transport::{Bound, Transport};
use crate::worker::{self, Inbox};

/// What every worker is made from.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) health: Arc<Health>,
    pub(super) accounting: Accounting,
    pub(super) dialogs: Dialogs,
    pub(super) settings: Arc<Settings>,
    pub(super) location: Arc<Location>,
    pub(super) blocklist: Arc<Blocklist>,
    pub(super) acl: Arc<Acl>,
    pub(super) sources: Arc<Sources>,
    pub(super) guesses: Arc<Guesses>,
    pub(super) profiles: Arc<Profiles>,
    pub(super) tolls: Arc<Tolls>,
    pub(super) events: Hub,
    pub(super) countries: Option<Countries>,
    pub(super) topos: Option<Arc<Topos>>,
    pub(super) seals: Secret,
    pub(super) database: Database,
    pub(super) media: MediaLink,
    pub(super) dns: Dns,
}

impl Shared {
    /// What an operator asks and has done, of the same.
    ///
    /// # Errors
    /// What is kept of an ACME server cannot be used.
    pub(super) fn control(
        &self,
        config: &Config,
        bound: &[Bound],
        certificates: &Arc<Certificates>,
        transport: &Arc<Transport>,
        metrics: Option<SocketAddr>,
    ) -> anyhow::Result<Control> {
        Ok(Control {
            health: Arc::clone(&self.health),
            started: (Instant::now(), unix_now()),
            metrics,
            config: config.clone(),
            settings: Arc::clone(&self.settings),
            bound: bound.to_vec(),
            certificates: Arc::clone(certificates),
            acl: Arc::clone(&self.acl),
            acme: Acme::open(config, certificates)?,
            database: self.database.clone(),
            accounting: self.accounting.clone(),
            location: Arc::clone(&self.location),
            sources: Arc::clone(&self.sources),
            guesses: Arc::clone(&self.guesses),
            profiles: Arc::clone(&self.profiles),
            tolls: Arc::clone(&self.tolls),
            events: self.events.clone(),
            countries: self.countries.clone(),
            blocklist: Arc::clone(&self.blocklist),
            transport: Arc::clone(transport),
            workers: transport.workers(),
            media: self.media.clone(),
            dns: self.dns.clone(),
            live: control::cfg::Live::new(config),
            visitors: Default::default(),
            zero: Mutex::default(),
            turns: Semaphore::new(control::AT_ONCE),
        })
    }

    /// Starts the worker of an inbox.
    pub(super) fn start(&self, inbox: Inbox, transport: Arc<Transport>) -> anyhow::Result<JoinHandle<()>> {
        let (settings, location) = (Arc::clone(&self.settings), Arc::clone(&self.location));
        let (blocklist, sources) = (Arc::clone(&self.blocklist), Arc::clone(&self.sources));
        let (profiles, guesses) = (Arc::clone(&self.profiles), Arc::clone(&self.guesses));
        let acl = Arc::clone(&self.acl);
        let (topos, seals, tolls) = (self.topos.clone(), self.seals.clone(), Arc::clone(&self.tolls));
        let (database, media, dns) = (self.database.clone(), self.media.clone(), self.dns.clone());
        let accounting = self.accounting.clone();
        let (records, dialogs, events) = (self.accounting.clone(), self.dialogs.clone(), self.events.clone());
        worker::start(inbox, transport, records, dialogs, events, move |now| {
            let outside = Outside {
                store: Box::new(database.clone()),
                media: media.control(&accounting),
                resolver: Box::new(dns.clone()),
            };
            let seed: [u8; 32] = rand::rng().random();
            let proxy =
                Proxy::new(Arc::clone(&settings), Arc::clone(&location), outside, seed, now, unix_now());
            let proxy = proxy.with_blocklist(Arc::clone(&blocklist)).with_sources(Arc::clone(&sources));
            let proxy = proxy.with_profiles(Arc::clone(&profiles)).with_guesses(Arc::clone(&guesses));
            let proxy = proxy.with_topos(topos.clone()).with_seals(&seals).with_acl(Arc::clone(&acl));
            Ok(proxy.with_tolls(Arc::clone(&tolls)))
        })
    }
}
