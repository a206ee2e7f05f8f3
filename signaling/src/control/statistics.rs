//! `stats.*` and `cnt.*`: all counters under Kamailio's names, and under `causeway` those that it has not.

use std::collections::HashMap;
use std::sync::PoisonError;

use serde_json::{Map, Value, json};
use signaling_core::flow::Protocol;
use signaling_core::proxy::control::State;

use super::jsonrpc::{Answer, Fault, INVALID_PARAMS};
use super::methods::{Args, Outcome};
use super::{Control, core, dlg, tm};
use crate::store::unix_now;

/// One counter.
pub(super) struct Counter {
    pub(super) group: &'static str,
    pub(super) name: String,
    pub(super) value: u64,
    /// Whether it says how much there is now: then it cannot be set to zero.
    pub(super) is_gauge: bool,
}

impl Counter {
    /// Its name with that of its group.
    pub(super) fn full(&self) -> String {
        format!("{}:{}", self.group, self.name)
    }
}

/// The counters in the making.
#[derive(Default)]
struct List(Vec<Counter>);

impl List {
    fn count(&mut self, group: &'static str, name: impl Into<String>, value: u64) {
        self.0.push(Counter { group, name: name.into(), value, is_gauge: false });
    }

    fn gauge(&mut self, group: &'static str, name: impl Into<String>, value: u64) {
        self.0.push(Counter { group, name: name.into(), value, is_gauge: true });
    }
}

/// All of them as they are, in order.
pub(super) async fn raw(control: &Control) -> Result<Vec<Counter>, Fault> {
    let (transactions, stats) = tm::sum(control).await?;
    let calls = dlg::calls(control, |_| true).await?;
    let mut list = List::default();
    core_counters(&mut list, &stats);
    transaction_counters(&mut list, &transactions, &stats);
    registration_counters(&mut list, control, &stats);
    let early = |state: State| matches!(state, State::Unconfirmed | State::Early);
    let ringing = calls.iter().filter(|(_, call)| early(call.state)).count() as u64;
    list.gauge("dialog", "active_dialogs", calls.len() as u64 - ringing);
    list.gauge("dialog", "early_dialogs", ringing);
    list.count("dialog", "processed_dialogs", stats.calls);
    list.count("dialog", "expired_dialogs", stats.expired_calls);
    list.count("dialog", "failed_dialogs", stats.failed_calls);
    transport_counters(&mut list, control)?;
    own_counters(&mut list, control, &transactions, &stats);
    let mut all = list.0;
    all.sort_by_cached_key(Counter::full);
    Ok(all)
}

fn core_counters(list: &mut List, stats: &signaling_core::stats::Stats) {
    for (name, count) in stats.rcv_requests.each() {
        match name {
            "unsupported" => list.count("core", "unsupported_methods", count),
            name => list.count("core", format!("rcv_requests_{name}"), count),
        }
    }
    for (name, count) in stats.rcv_replies.each() {
        list.count("core", format!("rcv_replies_{name}"), count);
    }
    let listed = stats.listed.sum(|name| name.starts_with("bl_"));
    for (name, count) in [
        ("rcv_requests", stats.rcv_requests.sum(|_| true)),
        ("rcv_replies", stats.rcv_replies.sum(|name| name.ends_with("xx"))),
        ("fwd_requests", stats.fwd_requests),
        ("fwd_replies", stats.fwd_replies),
        (
            "drop_requests",
            stats.denied + stats.flooded + stats.oversized + stats.scanners + stats.injections + listed,
        ),
        ("drop_replies", stats.strays),
        ("err_requests", stats.err_requests),
        ("err_replies", stats.malformed - stats.err_requests),
        ("bad_URIs_rcvd", stats.bad_uris),
        ("bad_msg_hdr", stats.malformed),
    ] {
        list.count("core", name, count);
    }
}

/// Who is not listened to, and what Kamailio has no name for.
fn own_counters(
    list: &mut List,
    control: &Control,
    transactions: &signaling_core::transaction::Stats,
    stats: &signaling_core::stats::Stats,
) {
    let banned = control.sources.list(std::time::Instant::now());
    list.gauge("pike", "blocked_ips", banned.iter().filter(|source| source.banned.is_some()).count() as u64);
    let guessed = control.guesses.list(std::time::Instant::now());
    let blocked = guessed.iter().filter(|guess| guess.blocked.is_some()).count();
    list.gauge("causeway", "auth_block_list", blocked as u64);
    for (name, count) in stats.listed.each() {
        list.count("secfilter", name, count);
    }
    list.count("secfilter", "bl_dst", stats.barred);
    list.count("secfilter", "sqli", stats.injections);
    for (name, count) in [
        ("announcements", stats.announcements),
        ("auth_failures", stats.auth_failures),
        ("auth_blocked", stats.auth_blocked),
        ("drained", stats.drained),
        ("fragmented", stats.fragmented),
        ("injections", stats.injections),
        ("keepalives", stats.keepalives),
        ("limited_calls", stats.limited_calls),
        ("media_deletes", stats.media_deletes),
        ("media_offers", stats.media_offers),
        ("media_refusals", stats.media_refusals),
        ("natpings", stats.natpings),
        ("natpings_answered", stats.natpings_answered),
        ("overload", stats.overload),
        ("received", stats.received),
        ("refused", stats.refused),
        ("scanners", stats.scanners),
        ("retransmissions", transactions.retransmissions),
        ("tcp_for_size", stats.tcp_for_size),
        ("toll_ended", stats.toll_ended),
        ("toll_refused", stats.toll_refused),
        ("unamplified", stats.unamplified),
    ] {
        list.count("causeway", name, count);
    }
}

fn transaction_counters(
    list: &mut List,
    transactions: &signaling_core::transaction::Stats,
    stats: &signaling_core::stats::Stats,
) {
    for (class, count) in (2..).zip(transactions.answered) {
        list.count("tmx", format!("{class}xx_transactions"), count);
    }
    let local = stats.answered.sum(|_| true);
    list.count("tmx", "UAS_transactions", transactions.total - transactions.total_local);
    list.count("tmx", "UAC_transactions", transactions.total_local);
    list.gauge("tmx", "inuse_transactions", transactions.current);
    list.gauge("tmx", "active_transactions", transactions.current - transactions.waiting);
    list.count("tmx", "rpl_received", transactions.rpl_received);
    list.count("tmx", "rpl_relayed", stats.fwd_replies);
    list.count("tmx", "rpl_generated", transactions.rpl_generated + local);
    list.count("tmx", "rpl_sent", transactions.rpl_sent);
    for (name, count) in stats.answered.each() {
        list.count("sl", format!("{name}_replies"), count);
    }
    list.count("sl", "sent_replies", local);
    list.count("sl", "sent_err_replies", stats.answered.sum(|name| name.starts_with(['4', '5', '6'])));
}

fn registration_counters(list: &mut List, control: &Control, stats: &signaling_core::stats::Stats) {
    let (users, contacts) = control.location.count();
    list.gauge("usrloc", "location-users", users as u64);
    list.gauge("usrloc", "registered_users", users as u64);
    list.gauge("usrloc", "location-contacts", contacts as u64);
    list.count("usrloc", "location-expires", stats.expired_contacts);
    let registrar = &control.settings.registrar;
    list.count("registrar", "accepted_regs", stats.accepted_regs);
    list.count("registrar", "rejected_regs", stats.rejected_regs);
    list.gauge("registrar", "default_expire", registrar.default_expires.into());
    list.gauge("registrar", "default_expires_range", registrar.default_expires_range.into());
    list.gauge("registrar", "max_contacts", registrar.max_contacts as u64);
    list.gauge("registrar", "max_expires", registrar.max_expires.into());
}

fn transport_counters(list: &mut List, control: &Control) -> Result<(), Fault> {
    let open = control.transport.connections();
    let transport = control.transport.stats();
    let of = |wanted: fn(Protocol) -> bool| open.iter().filter(|open| wanted(open.protocol)).count() as u64;
    list.gauge("tcp", "current_opened_connections", open.len() as u64);
    list.gauge("tcp", "current_write_queue_size", open.iter().map(|open| open.queued_bytes as u64).sum());
    let streams = [Protocol::Tcp, Protocol::Tls, Protocol::Ws, Protocol::Wss];
    list.count("tcp", "established", streams.iter().map(|p| transport.traffic(*p).connections).sum());
    list.count("tcp", "local_reject", transport.refused_connections);
    list.count("tcp", "sendq_full", transport.slow_readers);
    list.gauge("websocket", "ws_current_connections", of(|protocol| protocol == Protocol::Ws));
    list.gauge("websocket", "wss_current_connections", of(|protocol| protocol == Protocol::Wss));
    let received = |protocols: [Protocol; 2]| -> u64 {
        protocols.iter().map(|protocol| transport.traffic(*protocol).received).sum()
    };
    list.count("websocket", "ws_received_frames", received([Protocol::Ws, Protocol::Wss]));
    list.count("causeway", "dropped_datagrams", transport.dropped_datagrams);
    list.count("causeway", "failed_handshakes", transport.failed_handshakes);
    list.count("causeway", "idle_connections", transport.idle_connections);
    list.count("causeway", "unsent_datagrams", transport.unsent_datagrams);
    let memory = core::memory()?;
    list.gauge("shmem", "total_size", memory.total);
    list.gauge("shmem", "free_size", memory.free);
    list.gauge("shmem", "used_size", memory.used);
    list.gauge("shmem", "real_used_size", memory.real_used);
    list.gauge("shmem", "max_used_size", memory.max_used);
    let database = control.database.counts();
    list.gauge("causeway", "database_waiting", database.waiting as u64);
    list.count("causeway", "database_failures", database.failures);
    list.count("causeway", "database_lost", database.lost);
    let (waiting, aside) = control.accounting.counts();
    list.gauge("causeway", "records_waiting", waiting as u64);
    list.count("causeway", "records_set_aside", aside);
    list.gauge("causeway", "uptime", unix_now().saturating_sub(control.started.1));
    Ok(())
}

/// All of them since they were set to zero.
async fn counters(control: &Control) -> Result<Vec<Counter>, Fault> {
    let mut all = raw(control).await?;
    let zero = control.zero.lock().unwrap_or_else(PoisonError::into_inner);
    for counter in &mut all {
        counter.value -= zero.get(&counter.full()).copied().unwrap_or(0).min(counter.value);
    }
    Ok(all)
}

/// Which counters words mean: `all`, `GROUP:` or `GROUP.` for a group, or a name with or without its group.
fn wanted(names: &[String], counter: &Counter) -> bool {
    names.iter().any(|name| match name.strip_suffix([':', '.']) {
        Some(group) => counter.group == group,
        None => name == "all" || *name == counter.name || *name == counter.full(),
    })
}

async fn selected(control: &Control, args: &Args) -> Result<Vec<Counter>, Fault> {
    let names = args.texts()?;
    if names.is_empty() {
        return Err(Fault::new(INVALID_PARAMS, "Please provide which stats to retrieve"));
    }
    let mut all = counters(control).await?;
    all.retain(|counter| wanted(&names, counter));
    Ok(all)
}

fn lines(counters: &[Counter]) -> Value {
    counters.iter().map(|counter| format!("{} = {}", counter.full(), counter.value)).collect()
}

pub(super) async fn get_statistics(control: &Control, args: Args) -> Outcome {
    Ok(Answer::Value(lines(&selected(control, &args).await?)))
}

pub(super) async fn fetch(control: &Control, args: Args, numbers: bool) -> Outcome {
    let counters = selected(control, &args).await?;
    let entry = |counter: Counter| {
        let value = if numbers { json!(counter.value) } else { json!(counter.value.to_string()) };
        (format!("{}.{}", counter.group, counter.name), value)
    };
    Ok(Answer::Value(Value::Object(counters.into_iter().map(entry).collect())))
}

pub(super) async fn reset(control: &Control, args: Args) -> Outcome {
    set_to_zero(control, &args).await?;
    Ok(Answer::Value(json!({})))
}

pub(super) async fn clear(control: &Control, args: Args) -> Outcome {
    Ok(Answer::Value(lines(&set_to_zero(control, &args).await?)))
}

/// Sets those that `args` means to zero; what they were.
async fn set_to_zero(control: &Control, args: &Args) -> Result<Vec<Counter>, Fault> {
    let before = selected(control, args).await?;
    set_all_to_zero(control, &before);
    Ok(before)
}

fn set_all_to_zero(control: &Control, counters: &[Counter]) {
    let names: HashMap<String, u64> =
        counters.iter().filter(|counter| !counter.is_gauge).map(|c| (c.full(), c.value)).collect();
    let mut zero = control.zero.lock().unwrap_or_else(PoisonError::into_inner);
    for (name, value) in names {
        *zero.entry(name).or_default() += value;
    }
}

/// The one of these that the first two parameters name.
fn one(all: Vec<Counter>, args: &Args) -> Result<Counter, Fault> {
    let (group, name) = (args.text(0)?, args.text(1)?);
    let found = all.into_iter().find(|counter| counter.group == group && counter.name == name);
    found.ok_or_else(|| Fault::new(400, format!("non-existent counter {group}.{name}")))
}

pub(super) async fn get(control: &Control, args: Args) -> Outcome {
    Ok(Answer::Value(json!(one(counters(control).await?, &args)?.value)))
}

/// Its value whenever it was set to zero.
pub(super) async fn get_raw(control: &Control, args: Args) -> Outcome {
    Ok(Answer::Value(json!(one(raw(control).await?, &args)?.value)))
}

pub(super) async fn help(control: &Control, args: Args) -> Outcome {
    let counter = one(counters(control).await?, &args)?;
    let what = if counter.is_gauge {
        "how much there is now"
    } else {
        "counted since the start, or since it was reset"
    };
    Ok(Answer::Value(json!(what)))
}

pub(super) async fn reset_one(control: &Control, args: Args) -> Outcome {
    let counter = one(raw(control).await?, &args)?;
    if !counter.is_gauge {
        let mut zero = control.zero.lock().unwrap_or_else(PoisonError::into_inner);
        zero.insert(counter.full(), counter.value);
    }
    Ok(Answer::Value(json!({})))
}

/// Those of a group, by name.
pub(super) async fn of(control: &Control, group: &str) -> Result<Map<String, Value>, Fault> {
    let mut all = counters(control).await?;
    all.retain(|counter| counter.group == group);
    Ok(all.into_iter().map(|counter| (counter.name, json!(counter.value))).collect())
}

/// Sets those of a group to zero.
pub(super) async fn zero(control: &Control, group: &str) -> Result<(), Fault> {
    let mut all = counters(control).await?;
    all.retain(|counter| counter.group == group);
    set_all_to_zero(control, &all);
    Ok(())
}

async fn of_group(control: &Control, args: &Args) -> Result<Vec<Counter>, Fault> {
    let group = args.text(0)?;
    let mut all = counters(control).await?;
    all.retain(|counter| counter.group == group);
    if all.is_empty() { Err(Fault::new(400, format!("there is no group {group}"))) } else { Ok(all) }
}

pub(super) async fn group(control: &Control, args: Args) -> Outcome {
    let counters = of_group(control, &args).await?;
    let entries: Map<String, Value> = counters.into_iter().map(|c| (c.name, json!(c.value))).collect();
    Ok(Answer::Value(Value::Object(entries)))
}

pub(super) async fn names(control: &Control, args: Args) -> Outcome {
    let counters = of_group(control, &args).await?;
    Ok(Answer::Value(counters.into_iter().map(|counter| counter.name).collect()))
}

pub(super) async fn groups(control: &Control) -> Outcome {
    let mut groups: Vec<&str> = counters(control).await?.iter().map(|counter| counter.group).collect();
    groups.dedup();
    Ok(Answer::Value(json!(groups)))
}
