//! What Prometheus reads at `/metrics` over HTTPS, for those who may use `/rpc`: every number of [`defined`], gathered.

use std::collections::BTreeMap;
use std::time::Instant;

use media::stats::{EndedQuality, Numbers};
use signaling_core::flow::Protocol;
use signaling_core::proxy::control::State;
use signaling_core::{stats, transaction};

use super::{Control, Fault, dlg, tm};
use crate::events::kind::Kind;
use crate::hep::Hep;
use crate::metrics::process::Process;
use crate::metrics::{Exposition, defined};

/// The transports, each with its label.
const TRANSPORTS: [(Protocol, &str); 5] = [
    (Protocol::Udp, "udp"),
    (Protocol::Tcp, "tcp"),
    (Protocol::Tls, "tls"),
    (Protocol::Ws, "ws"),
    (Protocol::Wss, "wss"),
];

/// All of them, as they are now.
pub(super) async fn metrics(control: &Control) -> Result<String, Fault> {
    let (transactions, stats) = tm::sum(control).await?;
    let mut all = Exposition::default();
    process(&mut all, control)?;
    messages(&mut all, &stats);
    refused(&mut all, &stats);
    of_transactions(&mut all, &transactions);
    users(&mut all, control, &stats);
    calls(&mut all, control, &stats).await?;
    transports(&mut all, control);
    workers(&mut all, control);
    store(&mut all, control);
    relays(&mut all, control, &stats).await;
    if let Some(numbers) = control.media.numbers().await {
        media(&mut all, &numbers);
        quality(&mut all, &numbers.stats.ended);
    }
    events(&mut all, control);
    Ok(all.text())
}

fn process(all: &mut Exposition, control: &Control) -> Result<(), Fault> {
    let process = Process::read().map_err(|error| Fault::new(500, format!("/proc: {error}")))?;
    all.count(&defined::BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1);
    all.add(&defined::PROCESS_CPU, &[], process.cpu);
    all.count(&defined::PROCESS_RESIDENT, &[], process.resident);
    all.count(&defined::PROCESS_VIRTUAL, &[], process.virtual_size);
    all.count(&defined::PROCESS_OPEN_FDS, &[], process.open_fds);
    let max_fds = process.max_fds.map_or(f64::INFINITY, |max| max as f64);
    all.add(&defined::PROCESS_MAX_FDS, &[], max_fds);
    all.add(&defined::PROCESS_START, &[], process.started);
    // Several gateways in one process, as tests have them, have threads of the same name.
    let mut threads = BTreeMap::new();
    for (name, cpu) in &process.threads {
        if ["signaling-", "media-"].iter().any(|kind| name.starts_with(kind)) {
            *threads.entry(name).or_insert(0.0) += cpu;
        }
    }
    threads.into_iter().for_each(|(name, cpu)| all.add(&defined::THREAD_CPU, &[name], cpu));
    let found = control.health.found();
    all.count(&defined::LIVE, &[], u64::from(found.is_live()));
    all.count(&defined::READY, &[], u64::from(found.is_ready()));
    all.count(&defined::DRAINING, &[], u64::from(control.health.is_draining()));
    Ok(())
}

fn messages(all: &mut Exposition, stats: &stats::Stats) {
    all.count(&defined::SIP_RECEIVED, &[], stats.received);
    for (method, count) in stats.rcv_requests.each() {
        all.count(&defined::SIP_REQUESTS, &[method], count);
    }
    for (class, count) in stats.rcv_replies.each().filter(|(name, _)| name.ends_with("xx")) {
        all.count(&defined::SIP_RESPONSES, &[class], count);
    }
    all.count(&defined::SIP_FORWARDED, &["request"], stats.fwd_requests);
    all.count(&defined::SIP_FORWARDED, &["response"], stats.fwd_replies);
    for (code, count) in stats.answered.each() {
        all.count(&defined::SIP_ANSWERED, &[code], count);
    }
    all.count(&defined::SIP_MALFORMED, &["request"], stats.err_requests);
    all.count(&defined::SIP_MALFORMED, &["other"], stats.malformed - stats.err_requests);
    all.count(&defined::SIP_KEEPALIVES, &[], stats.keepalives);
    all.count(&defined::SIP_TOO_LONG, &["tcp"], stats.tcp_for_size);
    all.count(&defined::SIP_TOO_LONG, &["fragments"], stats.fragmented);
    all.count(&defined::SIP_NATPINGS, &["asked"], stats.natpings);
    all.count(&defined::SIP_NATPINGS, &["answered"], stats.natpings_answered);
}

fn refused(all: &mut Exposition, stats: &stats::Stats) {
    let listed = stats.listed.sum(|name| name.starts_with("bl_"));
    for (reason, count) in [
        ("denied", stats.denied),
        ("flood", stats.flooded),
        ("too_long", stats.oversized),
        ("scanner", stats.scanners),
        ("sql_injection", stats.injections),
        ("listed", listed),
        ("stray", stats.strays),
        ("too_long_for_stranger", stats.unamplified),
    ] {
        all.count(&defined::SIP_DROPPED, &[reason], count);
    }
    for (reason, count) in
        [("step", stats.refused), ("overload", stats.overload), ("draining", stats.drained)]
    {
        all.count(&defined::SIP_REFUSED, &[reason], count);
    }
    for (name, count) in stats.listed.each() {
        if let Some((list, what)) = name.split_once('_') {
            let list = if list == "bl" { "black" } else { "white" };
            all.count(&defined::SECFILTER_MATCHES, &[list, what], count);
        }
    }
    for (reason, count) in
        [("limit", stats.limited_calls), ("barred", stats.barred), ("toll", stats.toll_refused)]
    {
        all.count(&defined::CALLS_REFUSED, &[reason], count);
    }
    all.count(&defined::CALLS_TOLL_ENDED, &[], stats.toll_ended);
}

fn of_transactions(all: &mut Exposition, transactions: &transaction::Stats) {
    let active = transactions.current - transactions.waiting;
    all.count(&defined::TRANSACTIONS, &["active"], active);
    all.count(&defined::TRANSACTIONS, &["waiting"], transactions.waiting);
    let received = transactions.total - transactions.total_local;
    all.count(&defined::TRANSACTIONS_CREATED, &["server"], received);
    all.count(&defined::TRANSACTIONS_CREATED, &["client"], transactions.total_local);
    for (class, count) in ["2xx", "3xx", "4xx", "5xx", "6xx"].into_iter().zip(transactions.answered) {
        all.count(&defined::TRANSACTIONS_ANSWERED, &[class], count);
    }
    all.count(&defined::TRANSACTIONS_REFUSED, &[], transactions.refused);
    all.count(&defined::RETRANSMISSIONS, &[], transactions.retransmissions);
    all.count(&defined::RESPONSES_SENT, &[], transactions.rpl_sent);
}

fn users(all: &mut Exposition, control: &Control, stats: &stats::Stats) {
    let contacts = control.location.count_by(|binding| binding.stored.protocol());
    for (transport, label) in TRANSPORTS {
        let count = contacts.get(&transport).copied().unwrap_or_default();
        all.count(&defined::REGISTRATIONS, &[label], count as u64);
    }
    all.count(&defined::REGISTERED_USERS, &[], control.location.count().0 as u64);
    all.count(&defined::REGISTER_REQUESTS, &["accepted"], stats.accepted_regs);
    all.count(&defined::REGISTER_REQUESTS, &["rejected"], stats.rejected_regs);
    all.count(&defined::REGISTRATIONS_EXPIRED, &[], stats.expired_contacts);
    all.count(&defined::AUTH_FAILURES, &["wrong"], stats.auth_failures - stats.auth_blocked);
    all.count(&defined::AUTH_FAILURES, &["blocked"], stats.auth_blocked);
    let now = Instant::now();
    let blocked = control.guesses.list(now).iter().filter(|guess| guess.blocked.is_some()).count();
    all.count(&defined::AUTH_BLOCKED, &[], blocked as u64);
    let banned = control.sources.list(now).iter().filter(|source| source.banned.is_some()).count();
    all.count(&defined::BANNED_SOURCES, &[], banned as u64);
}

async fn calls(all: &mut Exposition, control: &Control, stats: &stats::Stats) -> Result<(), Fault> {
    let calls = dlg::calls(control, |_| true).await?;
    let is_early = |state: State| matches!(state, State::Unconfirmed | State::Early);
    let early = calls.iter().filter(|(_, call)| is_early(call.state)).count();
    all.count(&defined::CALLS, &["early"], early as u64);
    all.count(&defined::CALLS, &["confirmed"], (calls.len() - early) as u64);
    all.count(&defined::CALLS_STARTED, &[], stats.calls);
    all.count(&defined::CALLS_FAILED, &[], stats.failed_calls);
    all.count(&defined::CALLS_EXPIRED, &[], stats.expired_calls);
    all.count(&defined::CALLS_ANNOUNCED, &[], stats.announcements);
    Ok(())
}

fn transports(all: &mut Exposition, control: &Control) {
    let (open, stats) = (control.transport.connections(), control.transport.stats());
    for (transport, label) in TRANSPORTS {
        let traffic = stats.traffic(transport);
        all.count(&defined::TRANSPORT_MESSAGES, &[label, "received"], traffic.received);
        all.count(&defined::TRANSPORT_MESSAGES, &[label, "sent"], traffic.sent);
        all.count(&defined::TRANSPORT_BYTES, &[label, "received"], traffic.received_bytes);
        all.count(&defined::TRANSPORT_BYTES, &[label, "sent"], traffic.sent_bytes);
        if transport != Protocol::Udp {
            let count = open.iter().filter(|open| open.protocol == transport).count();
            all.count(&defined::CONNECTIONS, &[label], count as u64);
            all.count(&defined::CONNECTIONS_OPENED, &[label], traffic.connections);
        }
    }
    all.count(&defined::CONNECTIONS_REFUSED, &["connections"], stats.refused_connections);
    all.count(&defined::CONNECTIONS_REFUSED, &["handshakes"], stats.refused_handshakes);
    all.count(&defined::CONNECTIONS_CLOSED, &["slow_reader"], stats.slow_readers);
    all.count(&defined::CONNECTIONS_CLOSED, &["idle"], stats.idle_connections);
    all.count(&defined::TLS_HANDSHAKES, &["completed"], stats.completed_handshakes);
    all.count(&defined::TLS_HANDSHAKES, &["failed"], stats.failed_handshakes);
    let queued = open.iter().map(|open| open.queued_bytes as u64).sum();
    all.count(&defined::SEND_QUEUE, &[], queued);
    all.count(&defined::DATAGRAMS_LOST, &["received"], stats.dropped_datagrams);
    all.count(&defined::DATAGRAMS_LOST, &["sent"], stats.unsent_datagrams);
}

fn workers(all: &mut Exposition, control: &Control) {
    all.count(&defined::WORKERS, &[], control.workers.count() as u64);
    for (worker, (messages, bytes)) in control.workers.waiting().enumerate() {
        let worker = worker.to_string();
        all.count(&defined::WORKER_QUEUE, &[&worker], messages as u64);
        all.count(&defined::WORKER_QUEUE_BYTES, &[&worker], bytes as u64);
    }
}

fn store(all: &mut Exposition, control: &Control) {
    let database = control.database.counts();
    all.count(&defined::DATABASE_UP, &[], u64::from(database.is_up));
    all.count(&defined::DATABASE_QUEUE, &[], database.waiting as u64);
    all.add(&defined::DATABASE_LAG, &[], database.behind.as_secs_f64());
    all.count(&defined::DATABASE_FAILURES, &[], database.failures);
    all.count(&defined::DATABASE_LOST, &[], database.lost);
    let (waiting, aside) = control.accounting.counts();
    all.count(&defined::RECORDS_QUEUE, &[], waiting as u64);
    all.count(&defined::RECORDS_ASIDE, &[], aside);
}

async fn relays(all: &mut Exposition, control: &Control, stats: &stats::Stats) {
    // One may stand in several sets.
    let mut relays = BTreeMap::new();
    for relay in control.media.relays().await {
        let up = relay.disabled.is_none() && !relay.put_aside;
        relays.insert(relay.url, (up, relay.calls));
    }
    for (relay, (up, calls)) in &relays {
        all.count(&defined::RELAY_UP, &[relay], u64::from(*up));
        all.count(&defined::RELAY_CALLS, &[relay], *calls);
    }
    all.count(&defined::MEDIA_COMMANDS, &["offer"], stats.media_offers);
    all.count(&defined::MEDIA_COMMANDS, &["refused"], stats.media_refusals);
    all.count(&defined::MEDIA_COMMANDS, &["delete"], stats.media_deletes);
}

fn media(all: &mut Exposition, numbers: &Numbers) {
    let stats = &numbers.stats;
    all.count(&defined::MEDIA_STREAMS, &[], numbers.media_streams);
    all.count(&defined::MEDIA_TRANSCODED, &[], numbers.transcoded_media);
    all.count(&defined::MEDIA_PORTS, &["free"], numbers.ports_free);
    all.count(&defined::MEDIA_PORTS, &["used"], numbers.ports_total.saturating_sub(numbers.ports_free));
    for (reason, count) in [
        ("regular", stats.regular),
        ("forced", stats.forced),
        ("timeout", stats.timed_out),
        ("silent_timeout", stats.silent_timed_out),
        ("offer_timeout", stats.offer_timed_out),
        ("final_timeout", stats.final_timed_out),
    ] {
        all.count(&defined::MEDIA_CALLS_ENDED, &[reason], count);
    }
    all.count(&defined::MEDIA_SILENT, &["one"], stats.one_way);
    all.count(&defined::MEDIA_SILENT, &["none"], stats.zero_way_halves / 2);
    for (what, count) in [
        ("received", stats.received),
        ("forwarded", stats.forwarded),
        ("transcoded", stats.transcoded),
        ("played", stats.played),
        ("concealed", stats.concealed),
        ("unsendable", stats.unsendable),
    ] {
        all.count(&defined::MEDIA_PACKETS, &[what], count);
    }
    all.count(&defined::MEDIA_BYTES, &[], stats.forwarded_octets);
    all.count(&defined::MEDIA_RTCP, &["received"], stats.rtcp_received);
    all.count(&defined::MEDIA_RTCP, &["sent"], stats.rtcp_sent);
    let faults = &stats.faults;
    for (reason, count) in [
        ("malformed", faults.malformed),
        ("stranger", faults.strangers),
        ("forged", faults.forged),
        ("replayed", faults.replayed),
        ("excessive", faults.excessive),
    ] {
        all.count(&defined::MEDIA_DROPPED, &[reason], count);
    }
    all.count(&defined::MEDIA_DTLS, &["completed"], stats.dtls_connected);
    all.count(&defined::MEDIA_DTLS, &["failed"], stats.dtls_failed);
    all.count(&defined::MEDIA_RECORDINGS, &[], stats.recordings);
}

fn quality(all: &mut Exposition, ended: &EndedQuality) {
    for (metric, bounds, measured) in [
        (&defined::CALL_MOS, &EndedQuality::MOS, &ended.mos),
        (&defined::CALL_JITTER, &EndedQuality::JITTER, &ended.jitter),
        (&defined::CALL_LOSS, &EndedQuality::LOSS, &ended.loss),
    ] {
        all.histogram(metric, bounds, measured.cumulative(), (measured.count(), measured.sum()));
    }
}

fn events(all: &mut Exposition, control: &Control) {
    let (sent, lost) = control.workers.hep().map(Hep::counts).unwrap_or_default();
    all.count(&defined::HEP_SENT, &[], sent);
    all.count(&defined::HEP_LOST, &[], lost);
    let counts = control.events.counts();
    for (kind, count) in Kind::ALARMS.into_iter().zip(counts.raised) {
        all.count(&defined::ALARMS, &[kind.as_str()], count);
    }
    all.count(&defined::EVENTS_SENT, &["webhook"], counts.posted);
    all.count(&defined::EVENTS_SENT, &["stream"], counts.given);
    all.count(&defined::EVENTS_LOST, &["webhook"], counts.unposted);
    all.count(&defined::EVENTS_LOST, &["stream"], counts.ungiven);
    all.count(&defined::EVENTS_LOST, &["queue"], counts.lost);
}
