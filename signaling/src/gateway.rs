//! The one place where concrete things meet: configuration, sockets, store, relay, and the workers that use them.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rand::RngExt as _;
use signaling_core::acl::Acl;
use signaling_core::blocklist::Blocklist;
use signaling_core::flow::Protocol;
use signaling_core::guesses::Guesses;
use signaling_core::location::Location;
use signaling_core::outside::{Outside, StoredBinding};
use signaling_core::profiles::Profiles;
use signaling_core::proxy::Proxy;
use signaling_core::secfilter::Kind;
use signaling_core::secret::Secret;
use signaling_core::settings::{self, Settings, Voicemail};
use signaling_core::sources::Sources;
use signaling_core::tolls::Tolls;
use signaling_core::topology::Topoh;
use signaling_core::topology::topos::Topos;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::accounting::Accounting;
use crate::alarms::Alarms;
use crate::certs::Certificates;
use crate::config::{Config, Listen};
use crate::control::{self, Control};
use crate::countries::Countries;
use crate::health::{self, Drain, Health};
use crate::media_link::{Codes, MediaLink};
use crate::resolver::{Dns, Reach};
use crate::sounds::Sounds;
use crate::store::dialogs::Dialogs;
use crate::store::{Database, unix_now};
use crate::toll_file::{self, TollFile};
use crate::transport::{
    Bound, Listener, Origins, Ping, StreamListener, Transport, TransportStats, UdpListener, WebSettings,
};
use crate::worker::{self, Inbox, WorkerId, Workers};
use crate::{host, page};

/// How long calls get to end when the gateway stops. With what follows it stays below five seconds.
const SHUTDOWN: Duration = Duration::from_secs(4);
/// How long records of calls get to reach their destinations then.
const RECORDS: Duration = Duration::from_millis(200);
/// The file in the data directory with what was spent of the day.
const TOLLS: &str = "tolls.jsonl";
/// How often it is looked whether a command has changed a table.
const TABLES: Duration = Duration::from_secs(1);
/// How often it is looked whether all calls have ended, while no new ones are taken.
const DRAINED: Duration = Duration::from_millis(200);
/// How often the host's addresses and the certificate are looked at.
const WATCH: Duration = Duration::from_secs(60);

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    domain: String,
    acl: Arc<Acl>,
    bound: Vec<Bound>,
    certificates: Arc<Certificates>,
    database: Database,
    accounting: Accounting,
    dialogs: Dialogs,
    control: Arc<Control>,
    health: Arc<Health>,
    transport: Arc<Transport>,
    workers: Arc<Workers>,
    threads: Vec<JoinHandle<()>>,
    tasks: JoinSet<()>,
    media: MediaLink,
    /// What was spent of the day, and the file for it.
    tolls: (PathBuf, Arc<Tolls>),
    /// And the task that posts them.
    alarms: (Alarms, Option<tokio::task::JoinHandle<()>>),
}

impl Gateway {
    /// Starts everything, or nothing: a listener that cannot be bound ends the start.
    ///
    /// # Errors
    /// What cannot be opened, with the setting or file it comes from.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        make_data_directory(&config.data_directory)?;
        let host_addresses = match config.addresses.as_slice() {
            [] => host::addresses().context("addresses of this host")?,
            listed => listed.to_vec(),
        };
        let domain = domain(&config, &host_addresses);
        let countries = config.countries.as_deref().map(Countries::open).transpose()?;
        let (database, change) = open_database(&config, &domain).await?;
        let (names, addresses) = certificate_names(&config, &domain, &host_addresses);
        let certificates = Certificates::open(&config, &names, &addresses)?;

        let count = threads(config.workers);
        let udp = bind_udp(config.udp, &host_addresses, count)?;
        let streams = bind_streams(&config)?;
        let bound = bound_addresses(&udp, &streams, &host_addresses);

        let sounds = Sounds::open(&config).context("sounds")?;
        let (workers, inboxes) =
            Workers::new(count, config.limits.worker_queue, config.limits.worker_queue_bytes);
        let media = start_media(&config, &sounds, &workers)?;
        let acl = Arc::new(Acl::default());
        acl.set(config.acl.read()?);
        let ping = Ping { interval: config.ping_interval, missed: config.missed_pongs };
        let client = certificates.client_config()?;
        let transport = Transport::new(
            config.limits.clone(),
            ping,
            udp,
            Arc::clone(&workers),
            client,
            Arc::clone(&acl),
            Handle::current(),
        );
        let masks = masks(&config, &secret(&config.data_directory.join("auth.secret"))?);
        if masks.mask_callid && (config.topoh.enabled || config.topos.enabled) {
            workers.unmask(masks.clone());
        }
        let settings = Arc::new(whole_settings(&config, &domain, &bound, &host_addresses, sounds)?);
        let location = Arc::new(Location::new());
        location.load(registrations(&database, &domain, &bound).await?, unix_now());

        let reach = Reach::of(bound.iter().map(|bound| (bound.protocol, bound.address)));
        let socket = config.rpc.socket.as_deref().map(control::socket::Socket::open).transpose()?;
        let journal = config.data_directory.join("calls.journal");
        let accounting = Accounting::start(&config.acc, &journal, count, database.sql()).await?;
        let (mode, period) = (config.dialog_mode, config.db_update_period);
        let dialogs = Dialogs::start(mode, period, database.sql(), &workers).await?;
        if countries.is_none() && database.routing().secfilter.knows(Kind::Country) {
            tracing::warn!("the table secfilter has countries: without geoip2.path nobody is of any");
        }
        let tolls = Arc::new(Tolls::default());
        let toll_path = config.data_directory.join(TOLLS);
        let toll_file = TollFile::open(&toll_path, &tolls).context("what was spent of the day")?;
        let (alarms, posting) = Alarms::start(&config.alarm, &domain)?;
        let health = Arc::<Health>::default();
        let maker = WorkerMaker {
            health: Arc::clone(&health),
            accounting: accounting.clone(),
            dialogs: dialogs.clone(),
            settings,
            location,
            blocklist: Arc::default(),
            acl: Arc::clone(&acl),
            sources: Arc::new(Sources::by_prefix(config.limits.ipv6_prefix)),
            guesses: Arc::new(Guesses::by_prefix(config.limits.ipv6_prefix)),
            profiles: Arc::default(),
            tolls: Arc::clone(&tolls),
            alarms: alarms.clone(),
            countries: countries.clone(),
            topos: topos(&config, &masks, &database).await?,
            seals: seals(&config, &masks),
            database: database.clone(),
            media: media.clone(),
            dns: Dns::new(&config.dns, reach).with_countries(countries.clone()),
        };
        let control = Arc::new(maker.control(&config, &bound, &certificates, &transport));
        let threads = inboxes
            .into_iter()
            .map(|inbox| maker.start(inbox, Arc::clone(&transport)))
            .collect::<anyhow::Result<_>>()?;

        let mut tasks = JoinSet::new();
        let pages = page::router(&domain, Arc::clone(&certificates), database.clone(), Arc::clone(&health));
        let pages = pages.merge(control::http::router(&control));
        start_streams(&mut tasks, streams, &config, pages, &certificates, &transport)?;
        if let Some(socket) = socket {
            tasks.spawn(socket.run(Arc::clone(&control)));
        }
        tasks.spawn(health::watch(
            Arc::clone(&health),
            Arc::clone(&workers),
            media.clone(),
            database.clone(),
        ));
        tasks.spawn(follow_tables(database.clone(), change));
        tasks.spawn(toll_file.follow());
        if let Some(countries) = countries {
            tasks.spawn(countries.follow());
        }
        tasks.spawn(watch(config, domain.clone(), host_addresses, Arc::clone(&certificates)));
        log_listeners(&bound);
        Ok(Self {
            domain,
            acl,
            bound,
            certificates,
            database,
            accounting,
            dialogs,
            control,
            health,
            transport,
            workers,
            threads,
            tasks,
            media,
            tolls: (toll_path, tolls),
            alarms: (alarms, posting),
        })
    }

    /// Takes up what has changed in the tables of routing and in those keys of the configuration that belong to them, and in the files
    /// of addresses that are heard or not.
    ///
    /// # Errors
    /// The database does not answer, or a file cannot be read. What counted before goes on counting.
    pub async fn reload(&self, config: &Config) -> anyhow::Result<()> {
        let lists = config.acl.read()?;
        self.control.live.take_up(config, &self.database).await?;
        self.acl.set(lists);
        Ok(())
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
        &self.database
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

    /// What its transports have carried, refused and lost.
    #[must_use]
    pub fn transport_stats(&self) -> TransportStats {
        self.transport.stats()
    }

    /// Whether it lives, and whether it is to be given calls.
    #[must_use]
    pub fn health(&self) -> &Arc<Health> {
        &self.health
    }

    /// Waits until it drains ([`Health::drain`]) and no call is left, or those that are have had their time.
    pub async fn drained(&self) {
        let mut drains = self.health.drains();
        loop {
            let Some(Drain { not_before, until }) = *drains.borrow_and_update() else {
                if drains.changed().await.is_err() {
                    return;
                }
                continue;
            };
            let (calls, now) = (health::drain(&self.health, &self.workers).await, Instant::now());
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
        self.media.shut_down();
        let (path, tolls) = &self.tolls;
        if !tolls.all().is_empty()
            && let Err(error) = toll_file::write_all(path, tolls)
        {
            tracing::error!(%error, "{} not written", path.display());
        }
        let (alarms, posting) = self.alarms;
        alarms.close();
        let posted = async {
            let Some(mut posting) = posting else { return };
            // Those that nobody takes in time are gone: they are in the log.
            if tokio::time::timeout(RECORDS, &mut posting).await.is_err() {
                posting.abort();
            }
        };
        tokio::join!(self.accounting.finish(RECORDS), self.dialogs.finish(RECORDS), posted);
        let flushed = tokio::time::timeout(Duration::from_millis(400), self.database.close()).await;
        anyhow::ensure!(flushed.is_ok(), "the database is still busy");
        anyhow::ensure!(late == 0, "{late} signalling threads did not end their calls in time");
        Ok(())
    }
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

/// What every worker is made from.
struct WorkerMaker {
    health: Arc<Health>,
    accounting: Accounting,
    dialogs: Dialogs,
    settings: Arc<Settings>,
    location: Arc<Location>,
    blocklist: Arc<Blocklist>,
    acl: Arc<Acl>,
    sources: Arc<Sources>,
    guesses: Arc<Guesses>,
    profiles: Arc<Profiles>,
    tolls: Arc<Tolls>,
    alarms: Alarms,
    countries: Option<Countries>,
    topos: Option<Arc<Topos>>,
    seals: Secret,
    database: Database,
    media: MediaLink,
    dns: Dns,
}

impl WorkerMaker {
    fn control(
        &self,
        config: &Config,
        bound: &[Bound],
        certificates: &Arc<Certificates>,
        transport: &Arc<Transport>,
    ) -> Control {
        Control {
            health: Arc::clone(&self.health),
            started: (Instant::now(), unix_now()),
            config: config.clone(),
            settings: Arc::clone(&self.settings),
            bound: bound.to_vec(),
            certificates: Arc::clone(certificates),
            database: self.database.clone(),
            accounting: self.accounting.clone(),
            location: Arc::clone(&self.location),
            sources: Arc::clone(&self.sources),
            guesses: Arc::clone(&self.guesses),
            profiles: Arc::clone(&self.profiles),
            tolls: Arc::clone(&self.tolls),
            alarms: self.alarms.clone(),
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
        }
    }

    fn start(&self, inbox: Inbox, transport: Arc<Transport>) -> anyhow::Result<JoinHandle<()>> {
        let (settings, location) = (Arc::clone(&self.settings), Arc::clone(&self.location));
        let (blocklist, sources) = (Arc::clone(&self.blocklist), Arc::clone(&self.sources));
        let (profiles, guesses) = (Arc::clone(&self.profiles), Arc::clone(&self.guesses));
        let acl = Arc::clone(&self.acl);
        let (topos, seals, tolls) = (self.topos.clone(), self.seals.clone(), Arc::clone(&self.tolls));
        let (database, media, dns) = (self.database.clone(), self.media.clone(), self.dns.clone());
        let accounting = self.accounting.clone();
        let (records, dialogs, alarms) = (self.accounting.clone(), self.dialogs.clone(), self.alarms.clone());
        worker::start(inbox, transport, records, dialogs, alarms, move |now| {
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

fn certificate_names(
    config: &Config,
    domain: &str,
    addresses: &[IpAddr],
) -> (BTreeSet<String>, BTreeSet<IpAddr>) {
    let mut names = BTreeSet::from(["localhost".to_owned()]);
    let mut ips: BTreeSet<IpAddr> = addresses.iter().copied().chain(config.advertised).collect();
    ips.extend([IpAddr::from([127, 0, 0, 1]), std::net::Ipv6Addr::LOCALHOST.into()]);
    let listed = config.certificate_names.iter().chain(&config.aliases).cloned();
    for name in listed.chain([domain.to_owned()]).chain(host::name()) {
        match name.parse() {
            Ok(ip) => _ = ips.insert(ip),
            Err(_) => _ = names.insert(name),
        }
    }
    (names, ips)
}

fn bind_udp(listen: Listen, addresses: &[IpAddr], workers: usize) -> anyhow::Result<Vec<UdpListener>> {
    Ok(listen
        .addresses(addresses)
        .into_iter()
        .map(|a| UdpListener::bind("sip.udp", a, workers))
        .collect::<Result<_, _>>()?)
}

/// The bound listeners of one kind.
struct Streams {
    protocol: Protocol,
    sockets: Vec<StreamListener>,
}

fn bind_streams(config: &Config) -> anyhow::Result<Vec<Streams>> {
    let kinds = [
        (Protocol::Tcp, "sip.tcp", config.tcp),
        (Protocol::Tls, "sip.tls", config.tls),
        (Protocol::Wss, "https.listen", config.https),
        (Protocol::Ws, "https.websocket", config.websocket),
    ];
    let mut streams = Vec::new();
    for (protocol, setting, listen) in kinds {
        streams
            .push(Streams { protocol, sockets: StreamListener::bind(setting, listen, &config.addresses)? });
    }
    Ok(streams)
}

/// Concrete addresses only: a wildcard socket counts once for each address of the host.
fn bound_addresses(udp: &[UdpListener], streams: &[Streams], host_addresses: &[IpAddr]) -> Vec<Bound> {
    let mut bound: Vec<Bound> =
        udp.iter().map(|socket| Bound { protocol: Protocol::Udp, address: socket.local() }).collect();
    for kind in streams {
        for address in kind.sockets.iter().map(StreamListener::address) {
            let concrete = if address.ip().is_unspecified() {
                let reached = |ip: &&IpAddr| address.is_ipv6() || ip.is_ipv4();
                host_addresses.iter().filter(reached).map(|ip| (*ip, address.port()).into()).collect()
            } else {
                vec![address]
            };
            bound.extend(concrete.into_iter().map(|address| Bound { protocol: kind.protocol, address }));
        }
    }
    bound
}

fn log_listeners(bound: &[Bound]) {
    for same in bound.chunk_by(|a, b| a.protocol == b.protocol) {
        let addresses: Vec<String> = same.iter().map(|bound| bound.address.to_string()).collect();
        tracing::info!(protocol = %same[0].protocol, addresses = addresses.join(" "), "listening");
    }
}

/// The key of the nonces, made at the first start: a phone that comes back after a restart with the nonce of before is told
/// that it is stale, and does not bother its user.
fn secret(path: &Path) -> anyhow::Result<Secret> {
    let of = |text: &str| -> anyhow::Result<Secret> {
        let mut key = [0; 32];
        hex::decode_to_slice(text.trim(), &mut key).context("64 hexadecimal digits are expected")?;
        Ok(Secret(key))
    };
    let kept = match std::fs::read_to_string(path) {
        Ok(text) => of(&text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let text = hex::encode(rand::rng().random::<[u8; 32]>());
            let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            file.and_then(|mut file| file.write_all(text.as_bytes()))
                .map_err(Into::into)
                .and_then(|()| of(&text))
        }
        Err(error) => Err(error.into()),
    };
    kept.with_context(|| format!("secret of nonces and GRUUs, {}", path.display()))
}

/// Masks of this installation are good for it alone, unless a key is set.
fn masks(config: &Config, secret: &Secret) -> Topoh {
    let topoh = &config.topoh;
    let key = topoh.mask_key.clone().unwrap_or_else(|| secret.derive("topoh"));
    Topoh { key, ..topoh.names.clone() }
}

/// The key of what others carry for us. Of this run, for what is sealed names what is in memory; where the ends of a dialog are
/// hidden, it leads them to each other without that, and is understood by whoever understands the masks.
fn seals(config: &Config, masks: &Topoh) -> Secret {
    let hidden = config.topoh.enabled || config.topos.enabled;
    if hidden { masks.key.derive("seals") } else { Secret(rand::rng().random()) }
}

/// What is hidden, with what was kept of it.
async fn topos(config: &Config, masks: &Topoh, database: &Database) -> anyhow::Result<Option<Arc<Topos>>> {
    if !config.topos.enabled {
        return Ok(None);
    }
    let topos = Topos::new(config.topos.params, masks.clone());
    if config.topos.kept {
        let kept = database.keep_hidden(config.topos.params.dialog_expire, unix_now()).await;
        topos.load(kept.context("table topos_d")?, unix_now());
    }
    Ok(Some(Arc::new(topos)))
}

fn threads(configured: usize) -> usize {
    match configured {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(64),
        count => count,
    }
}

/// The settings with what is kept in files.
fn whole_settings(
    config: &Config,
    domain: &str,
    bound: &[Bound],
    host_addresses: &[IpAddr],
    sounds: Sounds,
) -> anyhow::Result<Settings> {
    let secret = secret(&config.data_directory.join("auth.secret"))?;
    let mut settings = settings(config, domain, bound, host_addresses);
    settings.secret = secret.derive("registrar");
    settings.topoh = config.topoh.enabled.then(|| masks(config, &secret));
    settings.sounds.music_on_hold = sounds.music_on_hold;
    settings.sounds.recording_notice = sounds.recording_notice;
    settings.sounds.announcements = sounds.announcements;
    settings.auth.secret = Some(secret);
    Ok(settings)
}

fn settings(config: &Config, domain: &str, bound: &[Bound], host_addresses: &[IpAddr]) -> Settings {
    let mut aliases: Vec<String> = config.aliases.clone();
    aliases.extend(host_addresses.iter().chain(&config.advertised).map(ToString::to_string));
    aliases.push("localhost".to_owned());
    aliases.extend(host::name());
    aliases.retain(|alias| alias != domain);
    let advertised = |bound: &Bound| {
        let ip = config
            .advertised
            .filter(|ip| ip.is_ipv4() == bound.address.is_ipv4() && !bound.address.ip().is_loopback())?;
        Some((ip.to_string(), bound.address.port()))
    };
    let listeners = bound.iter().map(|bound| settings::Listener {
        protocol: bound.protocol,
        addr: bound.address,
        advertised: advertised(bound),
    });
    let defaults = Settings::default();
    Settings {
        domains: vec![domain.to_owned()],
        aliases,
        listeners: listeners.collect(),
        timers: config.timers,
        tm: config.tm.clone(),
        registrar: config.registrar.clone(),
        usrloc: config.usrloc,
        dispatcher: config.dispatcher.clone(),
        dialog: config.dialog,
        nathelper: config.nathelper.clone(),
        blst: config.blst,
        edge: config.edge.clone(),
        pike: config.pike.clone(),
        secfilter: config.secfilter.clone(),
        sanity: config.sanity.clone(),
        voicemail: config.voicemail_host.clone().map(|host| Voicemail { host, port: config.voicemail_port }),
        sounds: settings::Sounds {
            record_users: config.record_users.clone(),
            answered: config.announcements_answered.clone(),
            ..defaults.sounds
        },
        dtmf: config.dtmf.clone(),
        server_header: config.server_header.clone(),
        min_se: config.min_se,
        refer: config.refer,
        tls_alias: config.certificate.is_some(),
        udp: config.udp_settings.clone(),
        limits: settings::Limits {
            max_message_size: config.limits.message_size,
            stranger_percent: config.limits.stranger_percent,
            max_forwards: config.limits.max_forwards,
            max_branches: config.limits.max_branches,
            max_breadth: config.limits.max_breadth,
            max_pending: config.limits.max_pending,
            max_delay: config.limits.max_delay,
            retry_after: config.limits.retry_after,
        },
        auth: config.auth.clone(),
        ..defaults
    }
}

fn start_streams(
    tasks: &mut JoinSet<()>,
    streams: Vec<Streams>,
    config: &Config,
    pages: axum::Router,
    certificates: &Arc<Certificates>,
    transport: &Arc<Transport>,
) -> anyhow::Result<()> {
    let hsts = (certificates.ca().is_none()).then_some(config.hsts);
    let web = WebSettings { pages, origins: Origins::new(&config.origins), hsts };
    for Streams { protocol, sockets } in streams {
        let listener = match protocol {
            Protocol::Tls => Listener::sip(Some(certificates.sip_server_config(&config.tls_settings)?)),
            Protocol::Wss => Listener::web(Some(certificates.server_config(&[b"http/1.1"])?), &web),
            // Strict transport security said over plain HTTP means nothing (RFC 6797 §7.2).
            Protocol::Ws => Listener::web(None, &WebSettings { hsts: None, ..web.clone() }),
            Protocol::Tcp | Protocol::Udp => Listener::sip(None),
        };
        for socket in sockets {
            tasks.spawn(socket.run(listener.clone(), Arc::clone(transport)));
        }
    }
    Ok(())
}

/// Looks at the certificate again, for the addresses that the host has now.
///
/// # Errors
/// It cannot be read or made; the one in use stays.
pub(crate) fn refresh_certificate(
    certificates: &Certificates,
    config: &Config,
    domain: &str,
) -> anyhow::Result<()> {
    let addresses = match config.addresses.as_slice() {
        [] => host::addresses().context("addresses of this host")?,
        listed => listed.to_vec(),
    };
    let (names, addresses) = certificate_names(config, domain, &addresses);
    certificates.refresh(config, &names, &addresses)
}

/// Takes up the tables of routing when a command has changed them.
async fn follow_tables(database: Database, mut known: u64) {
    let mut ticks = tokio::time::interval(TABLES);
    loop {
        ticks.tick().await;
        let change = database.change();
        if change == known {
            continue;
        }
        // The keys of the configuration stay as they are.
        let policy = database.routing().policy.clone();
        match database.reload(policy).await {
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

/// Keeps the certificate good, and tells when the host has got another address.
async fn watch(config: Config, domain: String, started_with: Vec<IpAddr>, certificates: Arc<Certificates>) {
    let mut known = started_with;
    let mut ticks = tokio::time::interval(WATCH);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let now = match (config.addresses.is_empty(), host::addresses()) {
            (true, Ok(now)) => now,
            _ => known.clone(),
        };
        let gained: Vec<_> = now.iter().filter(|ip| !known.contains(ip)).collect();
        if !gained.is_empty() {
            tracing::warn!(?gained, "this host has another address: restart to take calls on it");
        }
        let (names, addresses) = certificate_names(&config, &domain, &now);
        // Signing and files: short, but not for a thread that carries connections.
        let (shared, config) = (Arc::clone(&certificates), config.clone());
        let refresh = tokio::task::spawn_blocking(move || shared.refresh(&config, &names, &addresses));
        if let Ok(Err(error)) = refresh.await {
            tracing::error!(error = format!("{error:#}"), "certificate not renewed");
        }
        known = now;
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

    #[test]
    fn the_secret_of_the_nonces_is_kept_and_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("auth.secret");
        let made = secret(&path).unwrap();
        assert!(secret(&path).unwrap() == made, "the same after a restart");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, "short").unwrap();
        let error = format!("{:#}", secret(&path).unwrap_err());
        assert!(error.contains("auth.secret") && error.contains("64 hexadecimal digits"), "{error}");
    }

    #[test]
    fn forking_is_as_configured_and_the_defaults_are_those_of_the_core() {
        let of = |text: &str| settings(&Config::parse(text, "test").unwrap(), "example.com", &[], &[]);
        let (defaults, core) = (of(""), Settings::default());
        assert_eq!((&defaults.tm, defaults.timers, defaults.blst), (&core.tm, core.timers, core.blst));
        assert_eq!(defaults.voicemail, None);
        let changed = of("[tm]\nserial_forking = false\ncancel_b_method = 2\nfailure_reply_mode = 2\n\
                          blst_503 = true\nblst_methods_lookup = -1\n[timers]\nfr_inv_timer_next = 9000\n\
                          [voicemail]\nsrv_ip = \"192.0.2.9\"\nsrv_port = 5070\n");
        assert!(!changed.tm.serial_forking && changed.blst.blst_503);
        assert_eq!(changed.tm.cancel_b_method, settings::CancelBMethod::AtOnce);
        assert_eq!(changed.tm.failure_reply_mode, settings::FailureReplyMode::DropLast);
        assert_eq!(changed.blst.methods_lookup, u32::MAX);
        assert_eq!(changed.timers.fr_inv_timer_next, Duration::from_secs(9));
        assert_eq!(changed.voicemail, Some(Voicemail { host: "192.0.2.9".into(), port: 5070 }));
    }

    /// Nodes with one key understand each other; without one, an installation understands itself after a restart.
    #[test]
    fn masks_are_made_with_the_key_that_is_set() {
        let of = |text: &str, secret: u8| masks(&Config::parse(text, "test").unwrap(), &Secret([secret; 32]));
        let on = "[topoh]\nenabled = true\n";
        assert!(of(on, 1) == of(on, 1) && of(on, 1) != of(on, 2));
        let seals = |text: &str, secret: u8| seals(&Config::parse(text, "test").unwrap(), &of(text, secret));
        assert!(seals(on, 1) == seals(on, 1) && seals(on, 1) != seals(on, 2) && seals("", 1) != seals("", 1));
        let keyed = format!("{on}mask_key = \"s3cret\"\nmask_ip = \"10.0.0.1\"\n");
        let (one, other) = (of(&keyed, 1), of(&keyed, 2));
        assert!(one == other && one.key != Secret::default() && seals(&keyed, 1) == seals(&keyed, 2));
        assert_eq!(
            (&*one.mask_ip, &*one.uparam_name, &*one.vparam_prefix),
            ("10.0.0.1", "line", "z9hG4bKsr-")
        );
        assert!(
            !format!("{:?}", Config::parse(&keyed, "test").unwrap()).contains("s3cret"),
            "no log shows it"
        );
    }

    #[test]
    fn every_name_of_the_host_is_ours() {
        let config =
            Config::parse("network.advertised = \"203.0.113.9\"\nsip.aliases = [\"gw.lan\"]", "test")
                .unwrap();
        let host = [IpAddr::from([192, 0, 2, 1]), IpAddr::from([127, 0, 0, 1])];
        let bound = ["192.0.2.1:5060", "127.0.0.1:5060"]
            .map(|address| Bound { protocol: Protocol::Udp, address: address.parse().unwrap() });
        let settings = settings(&config, "example.com", &bound, &host);
        for name in ["example.com", "gw.lan", "localhost", "192.0.2.1", "127.0.0.1", "203.0.113.9"] {
            assert_eq!(settings.local_domain(name), Some("example.com"), "{name}");
        }
        assert_eq!(settings.local_domain("example.org"), None);
        let advertised: Vec<_> =
            settings.listeners.iter().map(|listener| listener.advertised.clone()).collect();
        assert_eq!(advertised, [Some(("203.0.113.9".to_owned(), 5060)), None], "loopback stays itself");
    }
}
