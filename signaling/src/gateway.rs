//! The one place where concrete things meet: configuration, sockets, store, relay, and the workers that use them.

mod listeners;
mod settings;
mod shared;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use signaling_core::acl::Acl;
use signaling_core::guesses::Guesses;
use signaling_core::location::Location;
use signaling_core::outside::StoredBinding;
use signaling_core::secfilter::Kind;
use signaling_core::sources::Sources;
use signaling_core::topology::Topoh;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use self::listeners::{
    MetricsDoor, bind_streams, bind_udp, bound_addresses, certificate_names, log_listeners, start_streams,
    watch,
};
use self::shared::Shared;
use crate::accounting::Accounting;
use crate::certs::Certificates;
use crate::config::{Config, Listen};
use crate::control::{self, Control};
use crate::countries::Countries;
use crate::events::hub::Hub;
use crate::health::{self, Drain, Health};
use crate::hep::Hep;
use crate::media_link::{Codes, MediaLink};
use crate::resolver::{Dns, Reach};
use crate::sounds::Sounds;
use crate::store::dialogs::Dialogs;
use crate::store::{Database, unix_now};
use crate::toll_file::TollFile;
use crate::transport::{Bound, Ping, Transport, TransportStats, UdpListener};
use crate::worker::{WorkerId, Workers};
use crate::{doctor, host, page};

pub(crate) use self::listeners::read_certificate;

/// How long calls get to end when the gateway stops. With what follows it stays below five seconds.
const SHUTDOWN: Duration = Duration::from_secs(4);
/// How long records of calls get to reach their destinations then.
const RECORDS: Duration = Duration::from_millis(200);
/// How long events get after that.
const EVENTS: Duration = Duration::from_millis(100);
/// The file in the data directory with what was spent of the day.
const TOLLS: &str = "tolls.jsonl";
/// How often it is looked whether a command has changed a table.
const TABLES: Duration = Duration::from_secs(1);
/// How often it is looked whether all calls have ended, while no new ones are taken.
const DRAINED: Duration = Duration::from_millis(200);

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    domain: String,
    bound: Vec<Bound>,
    certificates: Arc<Certificates>,
    shared: Shared,
    control: Arc<Control>,
    transport: Arc<Transport>,
    workers: Arc<Workers>,
    threads: Vec<JoinHandle<()>>,
    tasks: JoinSet<()>,
    /// What was spent of the day.
    tolls: TollFile,
    /// The tasks that tell others what happens.
    telling: Vec<tokio::task::JoinHandle<()>>,
}

impl Gateway {
    /// Starts everything, or nothing: a listener that cannot be bound ends the start.
    ///
    /// # Errors
    /// What cannot be opened, with the setting or file it comes from.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        make_data_directory(&config.data_directory)?;
        let Ground { host_addresses, domain, database, change, countries, certificates } =
            Ground::lay(&config).await?;
        let count = threads(config.workers);
        let udp = bind_udp(config.udp, &host_addresses, count)?;
        let streams = bind_streams(&config)?;
        let bound = bound_addresses(&udp, &streams, &host_addresses);

        let sounds = Sounds::open(&config).context("sounds")?;
        let (workers, inboxes) =
            Workers::new(count, config.limits.worker_queue, config.limits.worker_queue_bytes);
        let media = start_media(&config, &sounds, &workers)?;
        let acl = open_acl(&config)?;
        let transport = start_transport(&config, udp, &workers, &certificates, &acl)?;

        let secret = settings::secret(&config.data_directory.join("auth.secret"))?;
        let masks = settings::masks(&config, &secret);
        let mask = masked_call_ids(&config, &masks, &workers);
        let settings = settings::whole(&config, secret, &domain, &bound, &host_addresses, sounds);
        let location = users(&database, &domain, &bound).await?;

        let socket = config.rpc.socket.as_deref().map(control::socket::Socket::open).transpose()?;
        let (sql, journal) = (database.sql(), config.data_directory.join("calls.journal"));
        let accounting = Accounting::start(&config.acc, &journal, count, sql).await?;
        let dialogs = Dialogs::start(config.dialog_mode, config.db_update_period, sql, &workers).await?;
        let (events, telling) = tell(&config, &domain, mask, &workers, &accounting, &media)?;
        let reach = Reach::of(bound.iter().map(|bound| (bound.protocol, bound.address)));
        let shared = Shared {
            health: Arc::default(),
            accounting,
            dialogs,
            settings: Arc::new(settings),
            location,
            blocklist: Arc::default(),
            acl,
            sources: Arc::new(Sources::by_prefix(config.limits.ipv6_prefix)),
            guesses: Arc::new(Guesses::by_prefix(config.limits.ipv6_prefix)),
            profiles: Arc::default(),
            tolls: Arc::default(),
            events,
            dns: Dns::new(&config.dns, reach).with_countries(countries.clone()),
            countries,
            topos: settings::topos(&config, &masks, &database).await?,
            seals: settings::seals(&config, &masks),
            database,
            media,
        };
        let tolls = TollFile::open(&config.data_directory.join(TOLLS), &shared.tolls)
            .context("what was spent of the day")?;
        let metrics = MetricsDoor::open(config.rpc.metrics).await?;
        let address = metrics.as_ref().map(MetricsDoor::address).transpose()?;
        let control = Arc::new(shared.control(&config, &bound, &certificates, &transport, address)?);
        let threads = inboxes
            .into_iter()
            .map(|inbox| shared.start(inbox, Arc::clone(&transport)))
            .collect::<anyhow::Result<_>>()?;

        let mut tasks = JoinSet::new();
        start_streams(&mut tasks, streams, &config, pages(&domain, &control), &certificates, &transport)?;
        open_doors(&mut tasks, socket, metrics, &control);
        tasks.spawn(tolls.clone().follow());
        look_after(&mut tasks, &shared, &control, change);
        tasks.spawn(doctor::at_start(config.clone()));
        tasks.spawn(watch(config, domain.clone(), host_addresses, Arc::clone(&certificates)));
        log_listeners(&bound);
        Ok(Self {
            domain,
            bound,
            certificates,
            shared,
            control,
            transport,
            workers,
            threads,
            tasks,
            tolls,
            telling,
        })
    }

    /// Takes up what has changed in the tables of routing and in those keys of the configuration that belong to them, and in the files
    /// of addresses that are heard or not.
    ///
    /// # Errors
    /// The database does not answer, or a file cannot be read. What counted before goes on counting.
    pub async fn reload(&self, config: &Config) -> anyhow::Result<()> {
        self.control.take_up(config).await.map(drop)
    }

    /// The SIP domain in use.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Every address on which it listens.
    #[must_use]
    pub fn bound(&self) -> &[Bound] {
        &self.bound
    }

    /// The accounts and registrations.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.shared.database
    }

    /// What an operator asks of it and has it do.
    #[must_use]
    pub fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// The certificate in use.
    #[must_use]
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// Where `/metrics` is served without TLS and token, if it is.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.control.metrics
    }

    /// What its transports have carried, refused and lost.
    #[must_use]
    pub fn transport_stats(&self) -> TransportStats {
        self.transport.stats()
    }

    /// Whether it lives, and whether it is to be given calls.
    #[must_use]
    pub fn health(&self) -> &Arc<Health> {
        &self.shared.health
    }

    /// Waits until it drains ([`Health::drain`]) and no call is left, or those that are have had their time.
    pub async fn drained(&self) {
        let mut drains = self.shared.health.drains();
        loop {
            let Some(Drain { not_before, until }) = *drains.borrow_and_update() else {
                if drains.changed().await.is_err() {
                    return;
                }
                continue;
            };
            let (calls, now) = (health::drain(&self.shared.health, &self.workers).await, Instant::now());
            match calls {
                Some(0) if now >= not_before => return tracing::info!("drained: no call is left"),
                _ if until.is_some_and(|until| now >= until) => {
                    return tracing::warn!(calls, "draining has taken its time: these calls are ended");
                }
                // A thread that does not answer may have calls.
                _ => {}
            }
            // The sender is ours.
            _ = tokio::time::timeout(DRAINED, drains.changed()).await;
        }
    }

    /// Ends all calls and stops, within five seconds.
    ///
    /// # Errors
    /// A worker did not end its calls in time; the gateway stops all the same.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + SHUTDOWN;
        self.tasks.abort_all();
        self.workers.shut_down();
        let mut late = 0;
        for (number, thread) in self.threads.iter().enumerate() {
            let ended = || self.workers.is_idle(WorkerId(number)) || thread.is_finished();
            while !ended() && Instant::now() < deadline {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            late += usize::from(!ended());
        }
        // What the workers said last must leave before the connections do.
        tokio::time::sleep(Duration::from_millis(50)).await;
        self.transport.close();
        let closed = async {
            while self.transport.connection_count() > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_millis(300), closed).await.is_ok();
        tracing::debug!(in_time, "connections closed");
        self.workers.stop();
        // One that was late may still be busy.
        for thread in self.threads.drain(..).filter(|_| late == 0) {
            if thread.join().is_err() {
                tracing::error!("a signalling thread had panicked");
            }
        }
        let Shared { media, events, accounting, dialogs, database, .. } = self.shared;
        media.shut_down();
        tokio::join!(accounting.finish(RECORDS), dialogs.finish(RECORDS), self.tolls.finish());
        // The last calls are among the records.
        events.close();
        self.workers.hep().into_iter().for_each(Hep::close);
        let mut told = futures_util::future::join_all(self.telling);
        // What nobody takes in time is gone: it is in the log.
        if tokio::time::timeout(EVENTS, &mut told).await.is_err() {
            tracing::warn!(counts = ?events.counts(), "events are left untold");
        }
        let flushed = tokio::time::timeout(Duration::from_millis(400), database.close()).await;
        anyhow::ensure!(flushed.is_ok(), "the database is still busy");
        anyhow::ensure!(late == 0, "{late} signalling threads did not end their calls in time");
        Ok(())
    }
}

/// What others are told of what happens, and the tasks that tell it.
fn tell(
    config: &Config,
    domain: &str,
    masks: Option<Topoh>,
    workers: &Workers,
    accounting: &Accounting,
    media: &MediaLink,
) -> anyhow::Result<(Hub, Vec<tokio::task::JoinHandle<()>>)> {
    let (events, mut telling) = Hub::start(&config.told(), domain)?;
    accounting.tell(&events);
    media.tell(&events);
    if let Some((hep, sending)) = Hep::start(&config.siptrace, masks) {
        telling.push(sending);
        accounting.report(&hep);
        workers.trace(hep);
    }
    Ok((events, telling))
}

/// The database with everything that is read from it before anybody is served, and the number of its last change.
async fn open_database(config: &Config, domain: &str) -> anyhow::Result<(Database, u64)> {
    if !config.auth.required {
        tracing::warn!("auth.required is false: everybody who reaches this gateway is whom he says");
    }
    let database = Database::connect(&config.storage()).await?;
    warn_of_other_domains(&database, domain).await?;
    database.load_accounts().await?;
    let change = database.change();
    database.reload(config.policy()).await?;
    Ok((database, change))
}

/// What stands before anything listens.
struct Ground {
    host_addresses: Vec<IpAddr>,
    domain: String,
    database: Database,
    /// The number of the last change of its tables.
    change: u64,
    countries: Option<Countries>,
    certificates: Arc<Certificates>,
}

impl Ground {
    async fn lay(config: &Config) -> anyhow::Result<Self> {
        let host_addresses = host_addresses(config)?;
        let domain = domain(config, &host_addresses);
        let (database, change) = open_database(config, &domain).await?;
        let countries = open_countries(config, &database)?;
        let (names, addresses) = certificate_names(config, &domain, &host_addresses);
        let certificates = Certificates::open(config, &names, &addresses)?;
        Ok(Self { host_addresses, domain, database, change, countries, certificates })
    }
}

/// Who is registered; and from now on, who has ever been here.
async fn users(database: &Database, domain: &str, bound: &[Bound]) -> anyhow::Result<Arc<Location>> {
    let location = Location::new();
    location.load(registrations(database, domain, bound).await?, unix_now());
    database.keep_known_users().await.context("table causeway_users")?;
    Ok(Arc::new(location))
}

/// Addresses that are heard or not.
fn open_acl(config: &Config) -> anyhow::Result<Arc<Acl>> {
    let acl = Acl::default();
    acl.set(config.acl.read()?);
    Ok(Arc::new(acl))
}

/// What takes the masks off Call-IDs, where those are masked; the workers then know a call by its plain one.
fn masked_call_ids(config: &Config, masks: &Topoh, workers: &Workers) -> Option<Topoh> {
    let masked = masks.mask_callid && (config.topoh.enabled || config.topos.enabled);
    let masks = masked.then(|| masks.clone())?;
    workers.unmask(masks.clone());
    Some(masks)
}

/// Where an operator and Prometheus come in.
fn open_doors(
    tasks: &mut JoinSet<()>,
    socket: Option<control::socket::Socket>,
    metrics: Option<MetricsDoor>,
    control: &Arc<Control>,
) {
    if let Some(socket) = socket {
        tasks.spawn(socket.run(Arc::clone(control)));
    }
    if let Some(metrics) = metrics {
        tasks.spawn(metrics.serve(Arc::clone(control)));
    }
}

/// Those that are configured, else all of this host.
pub(crate) fn host_addresses(config: &Config) -> anyhow::Result<Vec<IpAddr>> {
    match config.addresses.as_slice() {
        [] => host::addresses().context("addresses of this host"),
        listed => Ok(listed.to_vec()),
    }
}

/// The file that tells the country of an address, where there is one.
fn open_countries(config: &Config, database: &Database) -> anyhow::Result<Option<Countries>> {
    let countries = config.countries.as_deref().map(Countries::open).transpose()?;
    if countries.is_none() && database.routing().secfilter.knows(Kind::Country) {
        tracing::warn!("the table secfilter has countries: without geoip2.path nobody is of any");
    }
    Ok(countries)
}

/// What carries messages, on the UDP sockets that are there.
fn start_transport(
    config: &Config,
    udp: Vec<UdpListener>,
    workers: &Arc<Workers>,
    certificates: &Arc<Certificates>,
    acl: &Arc<Acl>,
) -> anyhow::Result<Arc<Transport>> {
    let (limits, client) = (config.limits.clone(), certificates.client_config()?);
    let ping = Ping { interval: config.ping_interval, missed: config.missed_pongs };
    Ok(Transport::new(limits, ping, udp, Arc::clone(workers), client, Arc::clone(acl), Handle::current()))
}

/// The page, and what is asked over HTTP.
fn pages(domain: &str, control: &Arc<Control>) -> axum::Router {
    let (certificates, health) = (Arc::clone(&control.certificates), Arc::clone(&control.health));
    page::router(domain, certificates, control.database.clone(), health).merge(control::http::router(control))
}

/// Begins to look after what changes by itself.
fn look_after(tasks: &mut JoinSet<()>, shared: &Shared, control: &Arc<Control>, change: u64) {
    let (health, media, database) =
        (Arc::clone(&shared.health), shared.media.clone(), shared.database.clone());
    tasks.spawn(health::watch(health, Arc::clone(&control.workers), media, database));
    tasks.spawn(follow_tables(Arc::clone(control), change));
    if let Some(acme) = control.acme.clone() {
        tasks.spawn(acme.run());
    }
    if let Some(countries) = shared.countries.clone() {
        tasks.spawn(countries.follow());
    }
}

/// The relay, whose events the workers hear.
fn start_media(config: &Config, sounds: &Sounds, workers: &Arc<Workers>) -> anyhow::Result<MediaLink> {
    let media = MediaLink::start(config)?;
    let codes = Codes {
        record: config.record_code.clone(),
        notice: sounds.recording_notice.clone(),
        told: config.dtmf.tells(),
    };
    media.watch(Arc::clone(workers), codes);
    Ok(media)
}

/// Makes the data directory, for its owner only, unless it is there.
///
/// # Errors
/// It cannot be made.
pub fn make_data_directory(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("general.data_directory {}", path.display()))
}

/// The configured domain, else the address by which others reach this host: the advertised one, the one of a listener that has
/// its own, the primary one.
#[must_use]
pub fn domain(config: &Config, addresses: &[IpAddr]) -> String {
    if let Some(domain) = &config.domain {
        return domain.clone();
    }
    let bound = [config.udp, config.tcp, config.https].into_iter().find_map(|listen| match listen {
        Listen::One(address) if !address.ip().is_unspecified() => Some(address.ip()),
        _ => None,
    });
    let address = config.advertised.or(bound).or_else(|| addresses.first().copied());
    address.map_or_else(|| "localhost".to_owned(), |address| address.to_string())
}

/// The registrations that were kept. A socket that is gone is forgotten: any other is as good.
async fn registrations(
    database: &Database,
    domain: &str,
    bound: &[Bound],
) -> anyhow::Result<Vec<(String, StoredBinding)>> {
    let mut rows = database.registrations(unix_now(), domain).await?;
    if !rows.is_empty() {
        database.adopt_registrations(domain).await?;
    }
    for (_, row) in &mut rows {
        let protocol = row.protocol();
        let is_there = |local| bound.iter().any(|bound| bound.protocol == protocol && bound.address == local);
        if !row.local().is_some_and(is_there) {
            row.forget_local();
        }
    }
    Ok(rows)
}

async fn warn_of_other_domains(database: &Database, domain: &str) -> anyhow::Result<()> {
    let mut others: Vec<String> = database.accounts().await?.into_iter().map(|(_, domain)| domain).collect();
    others.retain(|other| other != domain);
    others.dedup();
    for other in others {
        tracing::warn!(
            domain = other,
            in_use = domain,
            "accounts of another domain cannot sign in; see sip.domain"
        );
    }
    Ok(())
}

fn threads(configured: usize) -> usize {
    match configured {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(64),
        count => count,
    }
}

/// Takes up the tables of routing when a command has changed them.
async fn follow_tables(control: Arc<Control>, mut known: u64) {
    let mut ticks = tokio::time::interval(TABLES);
    loop {
        ticks.tick().await;
        let change = control.database.change();
        if change == known {
            continue;
        }
        match control.live.reread(&control.database).await {
            Ok(()) => known = change,
            Err(error) => {
                tracing::error!(
                    error = format!("{error:#}"),
                    "tables of routing not read: the old ones count"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_domain_follows_from_what_is_configured() {
        let host = [IpAddr::from([192, 0, 2, 1]), IpAddr::from([127, 0, 0, 1])];
        for (text, expected) in [
            ("", "192.0.2.1"),
            ("sip.udp = \"198.51.100.1:5060\"", "198.51.100.1"),
            ("sip.udp = \"0.0.0.0:5060\"", "192.0.2.1"),
            ("network.advertised = \"203.0.113.9\"\nsip.udp = \"198.51.100.1:5060\"", "203.0.113.9"),
            ("network.advertised = \"203.0.113.9\"\nsip.domain = \"Example.com\"", "example.com"),
        ] {
            assert_eq!(domain(&Config::parse(text, "test").unwrap(), &host), expected, "{text}");
        }
        assert_eq!(domain(&Config::defaults().unwrap(), &[]), "localhost");
    }
}
