//! Those commands of the line that each look after one table.

use std::net::IpAddr;

use causeway::commands::ask;
use causeway::commands::rows::{
    ADDRESS, ALIAS, Calls, DISPATCHER, DOMAIN, Destination, GROUP, Kind, SECFILTER, SPEED_DIAL, calls,
    dispatcher_key, dispatcher_row, secfilter_list, secfilter_row,
};
use causeway::config::Config;
use causeway::store::sql::Value;
use clap::{Args, Subcommand, ValueEnum};
use signaling_core::message::Uri;
use signaling_core::secfilter::{self, Rule, Side};

use super::say;
use crate::command_line::{File, Output};

/// A word for each table.
#[derive(Subcommand)]
pub(crate) enum TableCommand {
    /// Further SIP domains of this gateway.
    Domain {
        #[command(subcommand)]
        command: Domain,
        #[command(flatten)]
        at: At,
    },
    /// Other names of users.
    Alias {
        #[command(subcommand)]
        command: Alias,
        #[command(flatten)]
        at: At,
    },
    /// Short numbers of two digits, each user's own.
    SpeedDial {
        #[command(subcommand)]
        command: SpeedDial,
        #[command(flatten)]
        at: At,
    },
    /// Addresses whose requests need no password (group 1).
    Address {
        #[command(subcommand)]
        command: Address,
        #[command(flatten)]
        at: At,
    },
    /// Groups of users: who may call which telephone numbers (pstn.groups).
    Group {
        #[command(subcommand)]
        command: Group,
        #[command(flatten)]
        at: At,
    },
    /// Gateways in sets: for telephone numbers (pstn.setid) and for users behind them (dispatcher.routes).
    Dispatcher {
        #[command(subcommand)]
        command: Dispatcher,
        #[command(flatten)]
        at: At,
    },
    /// Who is not heard and what is not called: by User-Agent, country, domain, address, user and destination.
    Secfilter {
        #[command(subcommand)]
        command: Secfilter,
        #[command(flatten)]
        at: At,
    },
    /// What users have spent of the day at the telephone network (tolls).
    Tolls {
        #[command(subcommand)]
        command: Tolls,
        #[command(flatten)]
        at: At,
    },
    /// The records of calls.
    Calls {
        #[command(subcommand)]
        command: CallsCommand,
        #[command(flatten)]
        at: At,
    },
}

/// Where and how.
#[derive(Args)]
pub(crate) struct At {
    #[command(flatten)]
    pub(crate) file: File,
    #[command(flatten)]
    pub(crate) output: Output,
}

impl TableCommand {
    /// Where it is to be done, and how it is to be shown.
    pub(crate) const fn at(&self) -> &At {
        match self {
            Self::Domain { at, .. }
            | Self::Alias { at, .. }
            | Self::SpeedDial { at, .. }
            | Self::Address { at, .. }
            | Self::Group { at, .. }
            | Self::Dispatcher { at, .. }
            | Self::Secfilter { at, .. }
            | Self::Tolls { at, .. }
            | Self::Calls { at, .. } => at,
        }
    }
}

#[derive(Subcommand)]
pub(crate) enum Domain {
    /// Show all.
    List,
    /// Serve another domain.
    Add { domain: String },
    /// Serve it no longer.
    Remove { domain: String },
}

#[derive(Subcommand)]
pub(crate) enum Alias {
    /// Show all.
    List,
    /// ALIAS and USER are NAME, or NAME@DOMAIN for another domain than the gateway's own.
    Add { alias: String, user: String },
    /// Remove an alias.
    Remove { alias: String },
}

#[derive(Subcommand)]
pub(crate) enum SpeedDial {
    /// Show all.
    List,
    /// Have DIGITS, dialled by USER, mean URI.
    Add { user: String, digits: String, uri: String },
    /// Remove a short number.
    Remove { user: String, digits: String },
}

#[derive(Subcommand)]
pub(crate) enum Address {
    /// Show all.
    List,
    /// Trust an address, or with a mask (192.0.2.0/24) many.
    Add {
        address: String,
        #[arg(long, default_value_t = 1)]
        group: u32,
        /// The only port that counts; 0 for any.
        #[arg(long, default_value_t = 0)]
        port: u16,
        /// A note.
        #[arg(long)]
        tag: Option<String>,
    },
    /// Remove an address.
    Remove {
        address: String,
        #[arg(long, default_value_t = 1)]
        group: u32,
        #[arg(long, default_value_t = 0)]
        port: u16,
    },
}

#[derive(Subcommand)]
pub(crate) enum Group {
    /// Show all.
    List,
    /// Put a user into a group.
    Add { user: String, group: String },
    /// Take him out of it.
    Remove { user: String, group: String },
}

#[derive(Subcommand)]
pub(crate) enum Dispatcher {
    /// Show all, as the table has them; causeway rpc dispatcher.list says which are in use.
    List,
    /// Add a gateway to a set.
    Add {
        setid: u32,
        /// Its SIP URI.
        destination: String,
        /// The state it begins in: 0 for in use, 4 for out of use, 8 to be asked first.
        #[arg(default_value_t = 0)]
        flags: u32,
        /// The higher, the sooner in its set.
        #[arg(default_value_t = 0, allow_negative_numbers = true)]
        priority: i32,
        /// Such as "weight=60;maxload=30;duid=a".
        #[arg(default_value = "")]
        attrs: String,
        /// A note.
        #[arg(default_value = "")]
        description: String,
    },
    /// Remove one.
    Remove { setid: u32, destination: String },
}

#[derive(Subcommand)]
pub(crate) enum Secfilter {
    /// Show all, or those of a kind.
    List { kind: Option<SecfilterKind> },
    /// Have nobody of this kind heard who, or called that, begins with VALUE; of an address and a network (192.0.2.0/24) itself.
    Add {
        kind: SecfilterKind,
        value: String,
        /// Have them heard, whatever else the lists of their kind say; an address, whatever any list says.
        #[arg(long)]
        allow: bool,
    },
    /// Remove an entry.
    Remove {
        kind: SecfilterKind,
        value: String,
        #[arg(long)]
        allow: bool,
    },
}

/// What an entry is about, in the words of kamcmd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SecfilterKind {
    /// User-Agent.
    Ua,
    /// Country of the address, two letters (geoip2.path).
    Country,
    /// Domain of From, To or Contact.
    Domain,
    /// Address.
    Ip,
    /// User of From, To or Contact, or their display name.
    User,
    /// What is called (secfilter.dst_exact_match).
    Dst,
}

#[derive(Subcommand)]
pub(crate) enum Tolls {
    /// Show what was spent today, and what may be.
    List,
    /// Forget what a user (NAME@DOMAIN) or a gateway has spent today, or all have.
    Reset { value: String },
}

#[derive(Subcommand)]
pub(crate) enum CallsCommand {
    /// The last calls, the latest first.
    List {
        /// Those that there are now.
        #[arg(long, conflicts_with = "missed")]
        live: bool,
        /// Those that users of this gateway have missed.
        #[arg(long)]
        missed: bool,
        /// How many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Everything about one call.
    Show { call_id: String },
    /// End a call that there is now: both ends hear a BYE.
    End { call_id: String },
}

/// What is to be done with a table.
enum Task {
    List(&'static Kind),
    Add(&'static Kind, Vec<(&'static str, Value)>),
    Remove(&'static Kind, Vec<(&'static str, Value)>),
    Calls(Option<String>, bool, usize),
    Secfilter(Option<secfilter::Kind>),
    Tolls,
    ResetToll(String),
    LiveCalls,
    EndCall(String),
}

/// Does it.
pub(crate) async fn execute(command: TableCommand, config: &Config, own: &str) -> anyhow::Result<()> {
    let (storage, json) = (config.storage(), command.at().output.json);
    match task(command, own)? {
        Task::List(kind) => say(&kind.list(&storage, &[]).await?.show(json)),
        Task::Add(kind, values) => kind.add(&storage, &values).await,
        Task::Remove(kind, key) => kind.remove(&storage, &key).await,
        Task::Secfilter(kind) => say(&secfilter_list(&storage, kind).await?.show(json)),
        Task::Tolls => say(&ask::rows(config, "tolls.list", json)?),
        Task::ResetToll(value) => ask::call(config, "tolls.reset", &[&value]).map(drop),
        Task::LiveCalls => say(&ask::live_calls(config, json)?),
        Task::EndCall(call_id) => ask::call(config, "dlg.terminate_dlg", &[&call_id]).map(drop),
        Task::Calls(call_id, missed, limit) => {
            let which = match &call_id {
                Some(call_id) => Calls::One(call_id),
                None if missed => Calls::Missed(limit),
                None => Calls::Last(limit),
            };
            say(&calls(&storage, which).await?.show(json))
        }
    }
}

fn task(command: TableCommand, own: &str) -> anyhow::Result<Task> {
    Ok(match command {
        TableCommand::Domain { command, .. } => match command {
            Domain::List => Task::List(&DOMAIN),
            Domain::Add { domain } => Task::Add(&DOMAIN, vec![("domain", host(&domain)?.into())]),
            Domain::Remove { domain } => {
                Task::Remove(&DOMAIN, vec![("domain", domain.to_lowercase().into())])
            }
        },
        TableCommand::Alias { command, .. } => match command {
            Alias::List => Task::List(&ALIAS),
            Alias::Add { alias, user } => {
                let mut values = user_of(&alias, own, ["alias_username", "alias_domain"])?;
                values.extend(user_of(&user, own, ["username", "domain"])?);
                Task::Add(&ALIAS, values)
            }
            Alias::Remove { alias } => {
                Task::Remove(&ALIAS, user_of(&alias, own, ["alias_username", "alias_domain"])?)
            }
        },
        TableCommand::SpeedDial { command, .. } => match command {
            SpeedDial::List => Task::List(&SPEED_DIAL),
            SpeedDial::Add { user, digits, uri } => {
                anyhow::ensure!(
                    digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit()),
                    "a short number has two digits"
                );
                anyhow::ensure!(Uri::parse(&uri).is_ok_and(|uri| uri.is_sip()), "{uri:?} is no SIP URI");
                let mut values = user_of(&user, own, ["username", "domain"])?;
                values.extend([("sd_username", digits.into()), ("new_uri", uri.into())]);
                Task::Add(&SPEED_DIAL, values)
            }
            SpeedDial::Remove { user, digits } => {
                let mut key = user_of(&user, own, ["username", "domain"])?;
                key.push(("sd_username", digits.into()));
                Task::Remove(&SPEED_DIAL, key)
            }
        },
        TableCommand::Address { command, .. } => match command {
            Address::List => Task::List(&ADDRESS),
            Address::Add { address, group, port, tag } => {
                let mut values = source(&address, group, port)?;
                values.extend(tag.map(|tag| ("tag", tag.into())));
                Task::Add(&ADDRESS, values)
            }
            Address::Remove { address, group, port } => {
                Task::Remove(&ADDRESS, source(&address, group, port)?)
            }
        },
        TableCommand::Group { command, .. } => match command {
            Group::List => Task::List(&GROUP),
            Group::Add { user, group } => Task::Add(&GROUP, member(&user, group, own)?),
            Group::Remove { user, group } => Task::Remove(&GROUP, member(&user, group, own)?),
        },
        TableCommand::Dispatcher { command, .. } => match command {
            Dispatcher::List => Task::List(&DISPATCHER),
            Dispatcher::Add { setid, destination, flags, priority, attrs, description } => {
                let (set, priority) = (setid.into(), priority.into());
                let new =
                    Destination { set, uri: destination, flags: flags.into(), priority, attrs, description };
                Task::Add(&DISPATCHER, dispatcher_row(&new)?)
            }
            Dispatcher::Remove { setid, destination } => {
                Task::Remove(&DISPATCHER, dispatcher_key(setid.into(), &destination))
            }
        },
        TableCommand::Secfilter { command, .. } => match command {
            Secfilter::List { kind } => Task::Secfilter(kind.map(SecfilterKind::kind)),
            Secfilter::Add { kind, value, allow } => Task::Add(&SECFILTER, entry(kind, &value, allow)?),
            Secfilter::Remove { kind, value, allow } => Task::Remove(&SECFILTER, entry(kind, &value, allow)?),
        },
        TableCommand::Tolls { command, .. } => match command {
            Tolls::List => Task::Tolls,
            Tolls::Reset { value } => Task::ResetToll(value),
        },
        TableCommand::Calls { command, .. } => match command {
            CallsCommand::List { live: true, .. } => Task::LiveCalls,
            CallsCommand::List { missed, limit, .. } => Task::Calls(None, missed, limit),
            CallsCommand::End { call_id } => Task::EndCall(call_id),
            CallsCommand::Show { call_id } => Task::Calls(Some(call_id), false, 0),
        },
    })
}

impl SecfilterKind {
    const fn kind(self) -> secfilter::Kind {
        match self {
            Self::Ua => secfilter::Kind::UserAgent,
            Self::Country => secfilter::Kind::Country,
            Self::Domain => secfilter::Kind::Domain,
            Self::Ip => secfilter::Kind::Ip,
            Self::User => secfilter::Kind::User,
            Self::Dst => secfilter::Kind::Destination,
        }
    }
}

fn entry(kind: SecfilterKind, value: &str, allow: bool) -> anyhow::Result<Vec<(&'static str, Value)>> {
    let side = if allow { Side::White } else { Side::Black };
    let rule = Rule::new(side, kind.kind(), value).map_err(|error| anyhow::anyhow!("{value:?}: {error}"))?;
    secfilter_row(&rule)
}

/// `NAME` or `NAME@DOMAIN` as the two columns of these names.
fn user_of(text: &str, own: &str, names: [&'static str; 2]) -> anyhow::Result<Vec<(&'static str, Value)>> {
    let (user, domain) = text.rsplit_once('@').unwrap_or((text, own));
    anyhow::ensure!(Uri::parse(&format!("sip:{user}@{domain}")).is_ok(), "{text:?} is no user");
    Ok(vec![(names[0], user.into()), (names[1], domain.to_lowercase().into())])
}

fn member(user: &str, group: String, own: &str) -> anyhow::Result<Vec<(&'static str, Value)>> {
    let mut values = user_of(user, own, ["username", "domain"])?;
    values.push(("grp", group.into()));
    Ok(values)
}

fn host(text: &str) -> anyhow::Result<String> {
    anyhow::ensure!(
        Uri::parse(&format!("sip:{text}")).is_ok_and(|uri| uri.host() == text && uri.port().is_none()),
        "{text:?} is no domain"
    );
    Ok(text.to_lowercase())
}

fn source(text: &str, group: u32, port: u16) -> anyhow::Result<Vec<(&'static str, Value)>> {
    let (ip, mask) = text.split_once('/').map_or((text, None), |(ip, mask)| (ip, Some(mask)));
    let ip: IpAddr = ip.parse().map_err(|_| anyhow::anyhow!("{text:?} is no address"))?;
    let most = if ip.is_ipv4() { 32 } else { 128 };
    let mask = mask.map_or(Ok(most), str::parse::<i64>).ok().filter(|mask| (0..=most).contains(mask));
    let mask = mask.ok_or_else(|| anyhow::anyhow!("{text:?}: a mask is a number up to {most}"))?;
    Ok(vec![
        ("grp", i64::from(group).into()),
        ("ip_addr", ip.to_string().into()),
        ("mask", mask.into()),
        ("port", i64::from(port).into()),
    ])
}
