//! Configuration: one TOML file, every key of which stands once, in [`keys::all`].
//!
//! The sample file, the check and the reference are made from that table, so none of them can say something else.

mod acme;
mod environment;
pub mod keys;
mod listen;
mod said;
mod sample;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use acme::{Acme, Challenge, HmacKey};
use anyhow::Context as _;
use aws_lc_rs::hmac;
pub use listen::Listen;
use regex::Regex;
pub use sample::sample;
use signaling_core::acl;
use signaling_core::dispatcher;
use signaling_core::profiles;
use signaling_core::secfilter::Premium;
use signaling_core::secret::Secret;
use signaling_core::settings::{
    Auth, Blst, Dialog, Dtmf, Edge, Nathelper, Network, Pike, Referral, Registrar, Sanity, Secfilter, Timers,
    Tm, Udp, Usrloc,
};
use signaling_core::tables::{self, Policy, Through};
use signaling_core::token::ephemeral::Ephemeral;
use signaling_core::token::{self, NamedKey};
use signaling_core::tolls;
use signaling_core::topology::Topoh;
use signaling_core::topology::topos::Params;
use toml::de::{DeTable, DeValue};

use self::keys::Key;
use self::said::Said;
use self::value::Value;
use crate::accounting;
use crate::control::Doors;
use crate::events::kind::Kinds;
use crate::events::{hub, webhook};
use crate::hep;
use crate::post::Url;
use crate::store::dialogs::DialogMode;
use crate::store::sql::Place;
use crate::store::{DbMode, Storage};

/// Everything a person can set. The meaning of each field is the sentence of its key in [`keys::all`].
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "each field is described once, by its key")]
pub struct Config {
    /// The file that it was read from.
    pub file: Option<PathBuf>,
    pub data_directory: PathBuf,
    pub drain_timeout: Duration,
    pub addresses: Vec<IpAddr>,
    pub advertised: Option<IpAddr>,
    pub proxy_protocol_from: Vec<Network>,
    pub domain: Option<String>,
    pub aliases: Vec<String>,
    pub udp: Listen,
    pub udp_settings: Udp,
    pub tcp: Listen,
    pub tls: Listen,
    pub tls_settings: Tls,
    pub server_header: Option<String>,
    pub user_agent_header: Option<String>,
    pub min_se: u32,
    pub refer: Referral,
    pub workers: usize,
    pub https: Listen,
    pub websocket: Listen,
    pub origins: Vec<String>,
    pub forwarded_from: Vec<Network>,
    pub hsts: Duration,
    pub ping_interval: Duration,
    pub missed_pongs: u32,
    pub certificate: Option<PathBuf>,
    pub private_key: Option<PathBuf>,
    pub certificate_names: Vec<String>,
    pub acme: Acme,
    pub registrar: Registrar,
    pub usrloc: Usrloc,
    pub db_url: Option<Place>,
    pub db_mode: DbMode,
    pub acc: accounting::Settings,
    pub block_3xx: bool,
    pub pstn: Pstn,
    pub dispatcher: dispatcher::Settings,
    pub dispatched: Vec<(i64, Regex)>,
    pub dispatch_algorithm: dispatcher::Algorithm,
    pub hash_pvar: dispatcher::Variables,
    pub dialog: Dialog,
    pub dialog_mode: DialogMode,
    pub db_update_period: Duration,
    pub call_limits: profiles::Limits,
    pub nathelper: Nathelper,
    pub auth: Auth,
    pub timers: Timers,
    pub tm: Tm,
    pub blst: Blst,
    pub edge: Vec<Edge>,
    pub pike: Pike,
    pub acl: AclFiles,
    pub secfilter: Secfilter,
    pub dst_exact_match: bool,
    pub premium: Vec<Box<str>>,
    pub premium_group: String,
    pub countries: Option<PathBuf>,
    pub tolls: tolls::Limits,
    pub alarm: Alarm,
    pub webhooks: Vec<webhook::Settings>,
    pub webhook_key: Option<hmac::Key>,
    pub siptrace: hep::Settings,
    pub sanity: Sanity,
    pub topoh: Hiding,
    pub topos: Stripping,
    pub tokens: Tokens,
    pub voicemail_host: Option<String>,
    pub voicemail_port: u16,
    pub limits: Limits,
    pub dns: Dns,
    pub media: Media,
    pub music_on_hold: Sound,
    pub announcements: BTreeMap<u16, Sound>,
    pub announcements_answered: Vec<String>,
    pub dtmf: Dtmf,
    pub record_users: Vec<String>,
    pub record_code: String,
    pub recording_notice: Sound,
    pub recording: Recording,
    pub rpc: Doors,
    pub log: Log,
    /// What a person should know about the file, though it is good.
    pub warnings: Vec<String>,
    /// The same key by key, as it was said.
    said: Said,
}

/// Section `[tls]`.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "each field is described once, by its key")]
pub struct Tls {
    pub ca_list: Option<PathBuf>,
    pub require_certificate: bool,
}

/// Section `[acl]`.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "each field is described once, by its key")]
pub struct AclFiles {
    pub allow: Option<PathBuf>,
    pub deny: Option<PathBuf>,
}

impl AclFiles {
    /// What stands in them.
    ///
    /// # Errors
    /// One cannot be read, or has a line that is no network.
    pub fn read(&self) -> anyhow::Result<acl::Lists> {
        let list = |path: &Option<PathBuf>| match path {
            None => Ok(Vec::new()),
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(anyhow::Error::from);
                text.and_then(|text| Ok(acl::read(&text)?)).with_context(|| path.display().to_string())
            }
        };
        Ok(acl::Lists { allow: list(&self.allow)?, deny: list(&self.deny)? })
    }
}

/// Section `[alarm]`.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "each field is described once, by its key")]
pub struct Alarm {
    pub url: Option<Url>,
    pub key: Option<hmac::Key>,
    pub interval: Duration,
    pub kinds: Kinds,
}

impl Config {
    /// Who is told of events, alarms among them.
    #[must_use]
    pub fn told(&self) -> hub::Settings {
        let signed =
            |hook: &webhook::Settings| webhook::Settings { key: self.webhook_key.clone(), ..hook.clone() };
        let Alarm { url, key, interval, kinds } = self.alarm.clone();
        let name = "alarm.webhook_url";
        let alarms = url.map(|url| webhook::Settings { name, url, key, kinds });
        let webhooks = self.webhooks.iter().map(signed).chain(alarms).collect();
        hub::Settings { webhooks, interval }
    }
}

/// Section `[topoh]`.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "each field is described once, by its key")]
pub struct Hiding {
    pub enabled: bool,
    pub mask_key: Option<Secret>,
    /// Without the key.
    pub names: Topoh,
}

/// Section `[topos]`.
#[derive(Debug, Clone, Copy, Default)]
#[allow(missing_docs, reason = "each field is described once, by its key")]
pub struct Stripping {
    pub enabled: bool,
    /// Whether what is hidden is found again after a restart.
    pub kept: bool,
    pub params: Params,
}

/// Section `[pstn]`.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "each field is described once, by its key")]
pub struct Pstn {
    pub host: Option<String>,
    pub port: u16,
    pub set: i64,
    pub pattern: Option<Regex>,
    pub groups: Vec<(String, Regex)>,
}

/// Sections `[jwt]` and `[auth_ephemeral]`.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "each field is described once, by its key")]
pub struct Tokens {
    pub jwks: Vec<NamedKey>,
    pub public_key: Option<token::Key>,
    pub secret: Option<token::Key>,
    pub issuer: Option<String>,
    pub audience: Vec<String>,
    pub user_claim: String,
    pub leeway: u64,
    pub authz_server: Option<String>,
    pub ephemeral: Ephemeral,
}

/// Section `[limits]`.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "each field is described once, by its key")]
pub struct Limits {
    pub connections: usize,
    pub connections_per_source: usize,
    pub handshakes: usize,
    pub handshakes_per_source: usize,
    pub handshake_timeout: Duration,
    pub tcp_connect_timeout: Duration,
    pub header_timeout: Duration,
    pub idle_timeout: Duration,
    pub message_size: usize,
    pub stranger_percent: usize,
    pub ipv6_prefix: u8,
    pub send_queue: usize,
    pub worker_queue: usize,
    pub worker_queue_bytes: usize,
    pub max_forwards: u8,
    pub max_branches: usize,
    pub max_breadth: u32,
    pub max_pending: usize,
    pub max_delay: Duration,
    pub retry_after: u32,
}

/// Section `[dns]`: with its prefix each key but `servers` is Kamailio's name.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "each field is described once, by its key")]
pub struct Dns {
    pub servers: Vec<SocketAddr>,
    pub try_naptr: bool,
    pub try_ipv6: bool,
    pub retr_time: Duration,
    pub retr_no: u32,
    pub cache_size: u64,
    pub cache_max_ttl: Duration,
    pub cache_negative_ttl: Duration,
}

/// Section `[media]`.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "each field is described once, by its key")]
pub struct Media {
    pub relay: Relay,
    pub relays: RelaySettings,
    pub first_port: u16,
    pub last_port: u16,
    pub workers: usize,
    pub ng: Option<SocketAddr>,
    pub cli: Option<SocketAddr>,
    pub http: Option<SocketAddr>,
    pub dtls_12_only: bool,
    pub ice_lite: bool,
    pub timeout: Duration,
    pub silent_timeout: Duration,
    pub max_sessions: Option<usize>,
    pub max_packet_rate: u32,
}

/// A sound that the gateway has played.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Sound {
    /// None.
    #[default]
    Off,
    /// The gateway's own.
    Own,
    /// A WAV file at the relay.
    File(String),
}

/// Section `[recording]`, as far as it is about what is written.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "each field is described once, by its key")]
pub struct Recording {
    pub directory: Option<PathBuf>,
    pub format: RecordingFormat,
    pub max_octets: u64,
    pub max_age: Duration,
}

/// What recordings are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RecordingFormat {
    /// WAV, the caller left and the callee right.
    #[default]
    Stereo,
    /// WAV, both in one channel.
    Mixed,
    /// A WAV file of each.
    Separate,
    /// A capture of the packets.
    Pcap,
}

/// Which relay carries the media.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Relay {
    /// The one of this process.
    #[default]
    InProcess,
    /// Those of [`Media::relays`].
    Several,
    /// None: offers and answers pass as they are.
    Off,
}

/// Several relays, or one elsewhere; the names are those of Kamailio's rtpengine module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is described once, by its key")]
pub struct RelaySettings {
    pub nodes: Vec<RelayNode>,
    pub setid_default: u32,
    pub rtpengine_disable_tout: Duration,
    pub rtpengine_tout: Duration,
    pub rtpengine_retr: u32,
    pub queried_nodes_limit: usize,
    pub rtpengine_allow_op: bool,
    pub ping_interval: Duration,
    pub sounds: RelaySounds,
}

/// How a relay elsewhere gets the sounds that it plays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RelaySounds {
    /// By name where it runs on this host, else with the command.
    #[default]
    Auto,
    /// By name.
    File,
    /// With the command.
    Blob,
}

/// One of several relays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayNode {
    /// The set that it belongs to.
    pub set: u32,
    /// Where it is.
    pub place: RelayPlace,
    /// Its share of the calls of its set.
    pub weight: u32,
}

/// Where a relay is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayPlace {
    /// In this process.
    InProcess,
    /// At this address, where it speaks ng over UDP.
    Ng(SocketAddr),
}

/// Section `[log]`.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "each field is described once, by its key")]
pub struct Log {
    pub json: bool,
    pub filter: String,
}

/// What is wrong with a configuration, and where. `Display` is one line for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file as it was named.
    pub file: String,
    /// Line and column, both from 1; `None` when no place in the file is to blame.
    pub place: Option<(usize, usize)>,
    /// What is wrong and what is allowed.
    pub what: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some((line, column)) => write!(f, "{}, line {line}, column {column}: {}", self.file, self.what),
            None => write!(f, "{}: {}", self.file, self.what),
        }
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// The configuration of an empty file.
    ///
    /// # Errors
    /// None in practice: a test sets every default.
    pub fn defaults() -> Result<Self, ConfigError> {
        Self::parse("", "defaults")
    }

    /// What is in force for this process: the file at `path`, or none, and what the environment says otherwise.
    ///
    /// # Errors
    /// The file cannot be read, is not TOML, or it or the environment has a value that is not allowed or an unknown key.
    pub fn read(path: Option<&Path>) -> Result<Self, ConfigError> {
        let file = path.map_or_else(|| "defaults".to_owned(), |path| path.display().to_string());
        let text = path.map(std::fs::read_to_string).transpose().map_err(|error| ConfigError {
            file: file.clone(),
            place: None,
            what: format!("cannot be read: {error}"),
        })?;
        let config = Self::parse_with(&text.unwrap_or_default(), &file, environment::of_process())?;
        Ok(Self { file: path.map(Path::to_owned), ..config })
    }

    /// Reads `text`, which errors call `file`.
    ///
    /// # Errors
    /// As [`Config::read`], without the reading.
    pub fn parse(text: &str, file: &str) -> Result<Self, ConfigError> {
        Self::parse_with(text, file, std::iter::empty())
    }

    fn parse_with(
        text: &str,
        file: &str,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let error = |offset: Option<usize>, what: String| ConfigError {
            file: file.to_owned(),
            place: offset.map(|offset| line_and_column(text, offset)),
            what,
        };
        let mut config = Self::default();
        for key in keys::all() {
            key.set_default(&mut config).map_err(|what| error(None, format!("{}: {what}", key.name)))?;
        }
        let table = DeTable::parse(text)
            .map_err(|e| error(e.span().map(|span| span.start), e.message().replace('\n', ", ")))?;
        for (section, body) in table.get_ref() {
            let DeValue::Table(body) = body.get_ref() else {
                let what = format!("unknown key {}; keys stand under {}", section.get_ref(), sections());
                return Err(error(Some(section.span().start), what));
            };
            for (name, value) in body {
                let full = format!("{}.{}", section.get_ref(), name.get_ref());
                if let Some((_, why)) = keys::OBSOLETE.iter().find(|(name, _)| *name == full) {
                    config.warnings.push(format!("{full} does nothing here: {why}"));
                    continue;
                }
                let Some(key) = keys::all().find(|key| key.name == full) else {
                    return Err(error(Some(name.span().start), unknown(section.get_ref(), &full)));
                };
                Value::of(value.get_ref())
                    .and_then(|value| config.say(key, value))
                    .map_err(|what| error(Some(value.span().start), refused(key, &what)))?;
            }
        }
        environment::apply(&mut config, environment)?;
        config.settle();
        config.check().map_err(|what| error(None, what))?;
        Ok(config)
    }

    /// What follows from several keys.
    fn settle(&mut self) {
        // Next to the data that it is about, unless it is said where.
        if self.rpc.socket.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
            self.rpc.socket = Some(self.data_directory.join("rpc.sock"));
        }
    }

    /// What no key can say alone.
    fn check(&self) -> Result<(), String> {
        if self.certificate.is_some() != self.private_key.is_some() {
            return Err("certificate.chain and certificate.private_key go together: set both or none".into());
        }
        self.acme.check(self)?;
        if self.tls_settings.require_certificate && self.tls_settings.ca_list.is_none() {
            return Err("tls.require_certificate needs tls.ca_list: whose certificates are good".into());
        }
        if self.media.last_port.saturating_sub(self.media.first_port) < 15 {
            return Err(
                "media.last_port must be at least 15 above media.first_port: a call takes up to four \
                        ports"
                    .into(),
            );
        }
        let own = |edge: &&Edge| Some(&edge.domain) == self.domain.as_ref();
        if let Some(edge) = self.edge.iter().find(own) {
            return Err(format!("edge.domains: {} is the domain served here", edge.domain));
        }
        if self.registrar.min_expires > self.registrar.max_expires {
            return Err("registrar.min_expires must not be above registrar.max_expires".into());
        }
        if self.topoh.enabled && self.topos.enabled {
            return Err(
                "topoh.enabled and topos.enabled are two ways of the same: one of them is enough".into()
            );
        }
        let names = &self.topoh.names;
        if names.vparam_name == "branch" && !names.vparam_prefix.starts_with("z9hG4bK") {
            return Err("topoh.vparam_prefix must begin with z9hG4bK where it is that of a branch".into());
        }
        if self.blst.blst_503_min_timeout > self.blst.blst_503_max_timeout {
            return Err("tm.blst_503_min_timeout must not be above tm.blst_503_max_timeout".into());
        }
        let expires = self.registrar.min_expires..=self.registrar.max_expires;
        if !expires.contains(&self.registrar.default_expires) {
            return Err("registrar.default_expires must lie between min_expires and max_expires".into());
        }
        Ok(())
    }

    /// What is said of routing and tokens: the part that can be changed while the gateway runs.
    #[must_use]
    pub fn policy(&self) -> Policy {
        let port = Some(self.pstn.port).filter(|port| *port != 0);
        let gateway = self.pstn.host.clone().map(|host| Through::Gateway { host, port });
        let through = if self.pstn.set == 0 { gateway } else { Some(Through::Set(self.pstn.set)) };
        let parts = through.zip(self.pstn.pattern.clone());
        let groups = || self.pstn.groups.clone();
        Policy {
            pstn: parts.map(|(through, pattern)| tables::Pstn { through, pattern, groups: groups() }),
            dispatched: self.dispatched.clone(),
            algorithm: self.dispatch_algorithm,
            hash_pvar: self.hash_pvar.clone(),
            block_3xx: self.block_3xx,
            limits: self.call_limits.clone(),
            tolls: self.tolls.clone(),
            premium: Premium::new(self.premium.clone(), self.premium_group.clone()),
            dst_exact_match: self.dst_exact_match,
            tokens: self.tokens(),
            ephemeral: self.tokens.ephemeral.clone(),
        }
    }

    /// `None` without a key.
    fn tokens(&self) -> Option<token::Tokens> {
        let tokens = self.tokens.clone();
        let unnamed = |key| NamedKey { id: None, key };
        let mut keys = tokens.jwks;
        keys.extend(tokens.public_key.into_iter().chain(tokens.secret).map(unnamed));
        let audience_optional = tokens.audience.is_empty();
        let audience =
            if audience_optional { self.domain.clone().into_iter().collect() } else { tokens.audience };
        (!keys.is_empty()).then_some(token::Tokens {
            keys,
            issuer: tokens.issuer,
            audience,
            audience_optional,
            user_claim: tokens.user_claim,
            leeway: tokens.leeway,
            authz_server: tokens.authz_server,
        })
    }

    /// Where accounts and registrations are kept: the embedded file unless a URL names another place.
    #[must_use]
    pub fn storage(&self) -> Storage {
        let file = self.data_directory.join("causeway.sqlite");
        let embedded = Storage::file(&file, self.db_mode);
        match &self.db_url {
            Some(place) => Storage { place: place.clone(), own: false, ..embedded },
            None => embedded,
        }
    }
}

fn refused(key: &Key, what: &str) -> String {
    format!("{}: {what}; allowed: {}", key.name, key.allowed)
}

fn sections() -> String {
    let mut names: Vec<String> = Vec::new();
    for key in keys::all() {
        let section = format!("[{}]", key.section());
        if !names.contains(&section) {
            names.push(section);
        }
    }
    names.join(", ")
}

fn unknown(section: &str, full: &str) -> String {
    let nearest = keys::all().map(|key| (distance(key.name, full), key.name)).min();
    if let Some((distance, name)) = nearest
        && distance <= 3
    {
        return format!("unknown key {full}; did you mean {name}?");
    }
    let known: Vec<_> = keys::all().filter(|key| key.section() == section).map(|key| key.leaf()).collect();
    if known.is_empty() {
        return format!("unknown section [{section}]; allowed: {}", sections());
    }
    format!("unknown key {full}; [{section}] has: {}", known.join(", "))
}

/// Levenshtein's distance, for "did you mean". The right-hand word is cut so that a long key costs nothing.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in right.iter().enumerate() {
            let change = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}

fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_place_fault_and_what_is_allowed() {
        let table = [
            ("[sip]\nudb = \"off\"\n", Some((2, 1)), "unknown key sip.udb; did you mean sip.udp?"),
            ("[sip]\nfrobnicate = 1\n", Some((2, 1)), "unknown key sip.frobnicate; [sip] has: domain"),
            ("[spi]\nx = 1\n", Some((2, 1)), "unknown section [spi]; allowed: [general]"),
            ("port = 5\n", Some((1, 1)), "unknown key port; keys stand under [general]"),
            (
                "[sip]\n  udp = \"5060x\"\n",
                Some((2, 9)),
                "sip.udp: \"5060x\" is no listener; allowed: \"off\"",
            ),
            ("[sip]\nudp = true\n", Some((2, 7)), "sip.udp: true is not text or a port"),
            ("[sip]\nworkers = 1000\n", Some((2, 11)), "sip.workers: 1000 is out of range; allowed: 0 to 64"),
            ("[sip]\nworkers = \"2\"\n", Some((2, 11)), "sip.workers: \"2\" is not a whole number"),
            ("[network]\nadvertised = \"nowhere\"\n", Some((2, 14)), "\"nowhere\" is not an IP address"),
            (
                "[log]\nformat = \"xml\"\n",
                Some((2, 10)),
                "log.format: \"xml\" is unknown; allowed: \"text\" or",
            ),
            ("[sip]\nudp = \n", Some((2, 7)), ""),
            ("[sip\n", Some((1, 5)), ""),
            ("[sip]\nudp = \"off\"\nudp = \"off\"\n", Some((3, 1)), "duplicate key"),
            ("[certificate]\nchain = \"a.pem\"\n", None, "go together"),
            ("[acme]\ndomains = [\"192.0.2.1\"]\n", Some((2, 11)), "\"192.0.2.1\" is an address; allowed"),
            ("[acme]\ndomains = [\"*.example\"]\n", Some((2, 11)), "is not a host name"),
            ("[acme]\ndirectory = \"http://ca/\"\n", Some((2, 13)), "is no https URL"),
            ("[acme]\neab_hmac_key = \"?\"\n", Some((2, 16)), "no URL-safe base64"),
            ("[acme]\neab_kid = \"a\"\n", None, "go together"),
            ("[acme]\ndomains = [\"a.example\"]\n[https]\nlisten = \"off\"\n", None, "needs https.listen"),
            (
                "[acme]\ndomains = [\"a.example\"]\n[certificate]\nchain = \"a\"\nprivate_key = \"b\"\n",
                None,
                "two ways to a certificate",
            ),
            ("[media]\nfirst_port = 40000\n", None, "media.last_port must be at least 15 above"),
            ("[topoh]\nvparam_prefix = \"x\"\n", None, "must begin with z9hG4bK"),
            ("[topoh]\nenabled = true\n[topos]\nenabled = true\n", None, "one of them is enough"),
            ("[registrar]\nmin_expires = 3600\nmax_expires = 60\n", None, "must not be above"),
            ("[media]\nrelay = \"tcp:1.2.3.4:5\"\n", Some((2, 9)), "\"tcp:1.2.3.4:5\" is no relay"),
        ];
        for (text, place, what) in table {
            let error = Config::parse(text, "x.toml").expect_err(text);
            assert_eq!(error.place, place, "{text}: {error}");
            assert!(error.what.contains(what), "{text}: {error}");
            assert!(!error.to_string().contains('\n'), "one line: {error}");
        }
    }

    #[test]
    fn every_default_is_allowed_and_every_name_stands_once() {
        Config::defaults().expect("defaults");
        for (i, key) in keys::all().enumerate() {
            assert!(keys::all().take(i).all(|other| other.name != key.name), "{}", key.name);
            assert!(!key.about.is_empty() && key.about.ends_with('.'), "{}", key.name);
        }
    }

    #[test]
    fn values_reach_their_fields() {
        let text = "[sip]\ndomain = \"example.com\"\nudp = 5070\n[timers]\nfr_timer = 1000\n\
                    [media]\nrelay = \"udp:127.0.0.1:2224\"\nng = \"off\"\n[log]\nformat = \"json\"\n";
        let config = Config::parse(text, "x.toml").unwrap();
        assert_eq!(config.domain.as_deref(), Some("example.com"));
        assert_eq!(config.udp, Listen::Every(5070));
        assert_eq!(config.timers.fr_timer, Duration::from_secs(1));
        assert_eq!(config.media.relay, Relay::Several);
        let node = RelayNode { set: 0, place: RelayPlace::Ng("127.0.0.1:2224".parse().unwrap()), weight: 1 };
        assert_eq!(config.media.relays.nodes, [node]);
        assert_eq!(config.media.ng, None);
        assert!(config.log.json);
    }

    #[test]
    fn flags_are_words_or_kamailios_numbers() {
        for (text, expected) in [("true", true), ("1", true), ("false", false), ("0", false)] {
            let config = Config::parse(&format!("[tm]\nnoisy_ctimer = {text}\n"), "x.toml").unwrap();
            assert_eq!(config.tm.noisy_ctimer, expected);
        }
        let error = Config::parse("[tm]\nnoisy_ctimer = 2\n", "x.toml").expect_err("no flag");
        assert!(error.what.contains("neither true nor false; allowed: true or false"), "{error}");
    }

    #[test]
    fn obsolete_names_of_kamailio_are_accepted_with_a_warning() {
        let config = Config::parse("[timers]\ndelete_timer = 200\nfr_timer = 5000\n", "x.toml").unwrap();
        assert_eq!(config.timers.fr_timer, Duration::from_secs(5));
        assert_eq!(config.warnings.len(), 1);
        assert!(config.warnings[0].starts_with("timers.delete_timer does nothing here"));
    }
}
