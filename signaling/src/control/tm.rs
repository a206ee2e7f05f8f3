//! `tm.*` and `sl.stats`: transactions, and what was answered without relaying.

use serde_json::{Map, Value, json};
use signaling_core::proxy::control::Transaction;
use signaling_core::transaction;

use super::Control;
use super::jsonrpc::{Answer, Fault};
use super::methods::{Args, Outcome};

/// Kamailio's flags of a transaction that mean something here.
const IS_INVITE: u32 = 1;
const IS_LOCAL: u32 = 2;
const CANCELED: u32 = 8;
const AUTO_INV_100: u32 = 64;

/// The counters of all workers, as Kamailio counts.
pub(super) async fn sum(
    control: &Control,
) -> Result<(transaction::Stats, signaling_core::stats::Stats), Fault> {
    let mut sum = (transaction::Stats::default(), signaling_core::stats::Stats::default());
    for (transactions, stats) in control.ask(|proxy, _| (proxy.transaction_stats(), proxy.stats())).await? {
        sum.0 += transactions.without_branches();
        sum.1 += stats;
    }
    Ok(sum)
}

pub(super) async fn stats(control: &Control) -> Outcome {
    let (stats, proxy) = sum(control).await?;
    let [two, three, four, five, six] = stats.answered;
    Ok(Answer::Value(json!({
        "current": stats.current,
        "waiting": stats.waiting,
        "total": stats.total,
        "total_local": stats.total_local,
        "rpl_received": stats.rpl_received,
        "rpl_generated": stats.rpl_generated + proxy.answered.sum(|_| true),
        "rpl_sent": stats.rpl_sent,
        "6xx": six,
        "5xx": five,
        "4xx": four,
        "3xx": three,
        "2xx": two,
        "created": stats.created,
        "freed": stats.freed,
        "delayed_free": 0,
    })))
}

pub(super) async fn list(control: &Control) -> Outcome {
    let auto_100 = control.settings.tm.auto_inv_100;
    let workers = control.ask(|proxy, now| proxy.transactions(now)).await?;
    let mut rows = Vec::new();
    for (worker, transactions) in workers.into_iter().enumerate() {
        rows.extend(transactions.iter().map(|transaction| row(worker, transaction, auto_100)));
    }
    Ok(Answer::Value(Value::Array(rows)))
}

/// The name of a cell is the number of its worker and its own; the values of headers are whole lines, as Kamailio's are.
fn row(worker: usize, transaction: &Transaction, auto_100: bool) -> Value {
    let Transaction { slot, serial, method, from, to, call_id, cseq, outgoings, left, .. } = transaction;
    let flags = [
        (transaction.is_invite(), IS_INVITE),
        (!transaction.is_server, IS_LOCAL),
        (transaction.cancelled, CANCELED),
        (transaction.is_invite() && transaction.is_server && auto_100, AUTO_INV_100),
    ];
    json!({
        "cell": format!("0x{worker:x}{serial:08x}"),
        "tindex": slot,
        "tlabel": serial,
        "method": method,
        "from": format!("From: {from}\r\n"),
        "to": format!("To: {to}\r\n"),
        "callid": format!("Call-ID: {call_id}\r\n"),
        "cseq": format!("CSeq: {cseq}"),
        "uas_request": if transaction.is_server { "yes" } else { "no" },
        "tflags": flags.into_iter().filter(|(set, _)| *set).map(|(_, flag)| flag).sum::<u32>(),
        "outgoings": outgoings,
        "ref_count": 1,
        "lifetime": u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
    })
}

pub(super) async fn cancel(control: &Control, args: Args) -> Outcome {
    let (call_id, cseq) = (args.text(0)?, args.number(1)?);
    let worker = control.workers.worker_of_call(&call_id);
    let cancelled =
        control.ask_one(worker, move |proxy, now| proxy.cancel_invite(now, &call_id, cseq)).await?;
    match cancelled {
        true => Ok(Answer::Value(json!({}))),
        false => Err(Fault::new(400, "Transaction not found")),
    }
}

pub(super) async fn sl_stats(control: &Control) -> Outcome {
    let (_, stats) = sum(control).await?;
    let counters: Map<String, Value> =
        stats.answered.each().map(|(name, count)| (name.to_owned(), count.into())).collect();
    Ok(Answer::Value(Value::Object(counters)))
}
