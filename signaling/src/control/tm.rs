//! `tm.*` and `sl.stats`: transactions, and what was answered without relaying.

use serde_json::{Map, Value, json};
use signaling_core::message::build::random_call_id;
use signaling_core::message::header::{Contact, RecordRoute};
use signaling_core::message::{Response, StatusCode};
use signaling_core::proxy::control::Transaction;
use signaling_core::proxy::errand::Errand;
use signaling_core::transaction;
use tokio::sync::oneshot;

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
    refuse(control, call_id, cseq, StatusCode::REQUEST_TERMINATED, String::new()).await
}

pub(super) async fn reply_callid(control: &Control, args: Args) -> Outcome {
    let (phrase, call_id, cseq) = (args.text(1)?, args.text(2)?, args.number(3)?);
    let status = StatusCode::new(args.number(0)?).filter(|status| status.code() >= 300);
    let status =
        status.ok_or_else(|| Fault::new(400, "a call is answered by whoever is called: 300 to 699"))?;
    if phrase.chars().any(char::is_control) {
        return Err(Fault::new(400, "Invalid reason"));
    }
    refuse(control, call_id, cseq, status, phrase).await
}

async fn refuse(
    control: &Control,
    call_id: String,
    cseq: u32,
    status: StatusCode,
    phrase: String,
) -> Outcome {
    let worker = control.workers.worker_of_call(&call_id);
    let refused = control
        .ask_one(worker, move |proxy, now| proxy.refuse_invite(now, &call_id, cseq, status, &phrase))
        .await?;
    match refused {
        true => Ok(Answer::Value(json!({}))),
        false => Err(Fault::new(400, "Transaction not found")),
    }
}

/// Sends a request, and does not wait for the answer.
pub(super) async fn t_uac_start(control: &Control, args: Args) -> Outcome {
    t_uac(control, &args).await?;
    Ok(Answer::Value(json!({})))
}

/// Sends a request, and says what was answered: code and phrase; of a 2xx where the dialog that it makes leads, its next hop and
/// its Route; and the headers.
pub(super) async fn t_uac_wait(control: &Control, args: Args) -> Outcome {
    // Whoever is told nothing has asked a worker that has ended.
    let reply = t_uac(control, &args).await?.await.unwrap_or_default();
    let answer = match reply {
        Some(reply) if (200..300).contains(&reply.code) => {
            json!([reply.code, reply.phrase, reply.target, reply.next_hop, reply.routes, reply.headers])
        }
        Some(reply) => json!([reply.code, reply.phrase, reply.headers]),
        None => json!([408, "Request Timeout", "", "", "", ""]),
    };
    Ok(Answer::Value(answer))
}

/// What was answered.
struct Reply {
    code: u16,
    phrase: String,
    target: String,
    next_hop: String,
    routes: String,
    headers: String,
}

impl Reply {
    fn of(response: &Response) -> Self {
        let text = String::from_utf8_lossy(&response.to_bytes()).into_owned();
        let headers = text.split_once("\r\n").map_or("", |(_, rest)| rest).to_owned();
        let contact = response.get::<Contact<'_>>().ok().flatten();
        let target = contact.as_ref().and_then(|contact| contact.address()).map(|address| address.uri_text());
        let target = target.unwrap_or_default().to_owned();
        let mut routes: Vec<String> = response
            .all::<RecordRoute<'_>>()
            .flatten()
            .map(|route| format!("<{}>", route.uri_text()))
            .collect();
        routes.reverse();
        let next_hop = routes.first().map_or(&*target, |route| route.trim_matches(['<', '>'])).to_owned();
        let routes = if routes.is_empty() { String::new() } else { format!("Route: {}", routes.join(", ")) };
        let (code, phrase) = (response.status().code(), response.reason().into_owned());
        Self { code, phrase, target, next_hop, routes, headers }
    }
}

/// Sends a request of these parameters; the receiver hears the answer.
async fn t_uac(control: &Control, args: &Args) -> Result<oneshot::Receiver<Option<Reply>>, Fault> {
    let refused = |reason: String| Fault::new(400, reason);
    let (hop, socket, body) = (args.text(2)?, args.text(3)?, args.optional(5)?.unwrap_or_default());
    if !matches!(&*socket, "" | ".") && !control.bound.iter().any(|bound| is_of(&socket, bound.address)) {
        return Err(refused(format!("No local socket for \"{socket}\"")));
    }
    let hop = if hop == "." { "" } else { &*hop };
    let errand = Errand::read(&args.text(0)?, &args.text(1)?, hop, &args.text(4)?, &body).map_err(refused)?;
    let call_id = match errand.call_id() {
        Some(call_id) => call_id.to_owned(),
        None => random_call_id(&mut rand::rng()),
    };
    let worker = control.workers.worker_of_call(&call_id);
    let (told, reply) = oneshot::channel();
    let sent = control.ask_one(worker, move |proxy, now| {
        proxy.send_errand(now, &errand, &call_id, move |response| {
            // Whoever has asked may not wait.
            _ = told.send(response.map(Reply::of));
        })
    });
    sent.await?.map_err(|reason| Fault::new(500, reason))?;
    Ok(reply)
}

/// Whether Kamailio's name of a socket, `proto:address:port`, is that of this address: then the request leaves from where the way
/// to its receiver begins, which is one of ours.
fn is_of(socket: &str, address: std::net::SocketAddr) -> bool {
    let place = socket.split_once(':').filter(|(proto, _)| proto.chars().all(char::is_alphabetic));
    place.map_or(socket, |(_, place)| place) == address.to_string()
}

pub(super) async fn sl_stats(control: &Control) -> Outcome {
    let (_, stats) = sum(control).await?;
    let counters: Map<String, Value> =
        stats.answered.each().map(|(name, count)| (name.to_owned(), count.into())).collect();
    Ok(Answer::Value(Value::Object(counters)))
}
