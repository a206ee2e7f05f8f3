//! `ul.*`: registrations. The only table is `location`.

use std::time::Duration;

use serde_json::{Value, json};
use signaling_core::flow::Protocol;
use signaling_core::location::Binding;
use signaling_core::proxy::control::NewContact;

use super::Control;
use super::core::proto;
use super::jsonrpc::{Answer, Fault, MAX_ANSWER};
use super::methods::{Args, Outcome};
use crate::store::sql::Statement;
use crate::store::{DbMode, unix_now};

/// Kamailio's flag of a contact behind a NAT (`FLB_NATB` 6 of its sample configuration).
const NATED: u32 = 1 << 6;
/// How long `ul.flush` waits for the database.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest lifetime that can be asked for: a year.
const LONGEST: u32 = 31_536_000;

/// Whether the first parameter names the table.
fn check_table(args: &Args) -> Result<(), Fault> {
    match args.text(0)?.as_str() {
        "location" => Ok(()),
        _ => Err(Fault::new(500, "Domain table not found")),
    }
}

/// `NAME` of the gateway's own domain, or `NAME@DOMAIN`; a `sip:` before it is as good.
fn aor(control: &Control, args: &Args) -> Result<String, Fault> {
    let text = args.text(1)?;
    let bare = text.strip_prefix("sip:").unwrap_or(&text);
    let (user, host) = match bare.rsplit_once('@') {
        None => (bare, None),
        Some((user, host)) => (user, Some(host)),
    };
    let home = || control.settings.domains.first().cloned().unwrap_or_default();
    let domain = host.map_or_else(home, |host| {
        control.settings.local_domain(host).map_or_else(|| host.to_lowercase(), str::to_owned)
    });
    let aor = format!("{user}@{domain}");
    Ok(if control.settings.registrar.case_sensitive { aor } else { aor.to_lowercase() })
}

/// A contact as Kamailio shows it, but for what is not measured here.
fn contact(control: &Control, binding: &Binding, state: &str, now: u64) -> Value {
    let row = binding.stored.row();
    let set = |text: String| if text.is_empty() { "[not set]".to_owned() } else { text };
    let received = if binding.is_nated() { binding.stored.received_uri() } else { String::new() };
    let socket = row.local.map_or_else(String::new, |local| format!("{}:{local}", proto(row.protocol)));
    let asks = row.protocol == Protocol::Udp
        && !control.settings.nathelper.natping_interval.is_zero()
        && (binding.is_nated() || !control.settings.nathelper.ping_nated_only);
    json!({ "Contact": {
        "Address": row.contact,
        "Expires": binding.ends_at().saturating_sub(now),
        "Q": f64::from(row.q) / 1000.0,
        "Call-ID": row.call_id,
        "CSeq": row.cseq,
        "User-Agent": row.user_agent.as_ref().as_ref(),
        "Received": set(received),
        "Path": set(row.path.to_owned()),
        "State": state,
        "Flags": 0,
        "CFlags": if binding.is_nated() { NATED } else { 0 },
        "Socket": set(socket),
        "Methods": row.methods,
        "Ruid": row.ruid,
        "Instance": set(row.instance.to_owned()),
        "Reg-Id": row.reg_id,
        "Server-Id": 0,
        "Tcpconn-Id": binding.connection().map_or(json!(-1), |connection| json!(connection.0)),
        "Keepalive": u8::from(asks),
        "Last-Keepalive": binding.heard_at(),
        "Last-Modified": row.last_modified,
    } })
}

fn contacts(control: &Control, aor: &str, bindings: &[Binding], now: u64) -> Vec<Value> {
    let state = match (control.database.mode(), control.database.waits(aor)) {
        (DbMode::Memory, _) => "CS_NEW",
        (_, true) => "CS_DIRTY",
        (_, false) => "CS_SYNC",
    };
    bindings.iter().map(|binding| contact(control, binding, state, now)).collect()
}

pub(super) fn lookup(control: &Control, args: Args) -> Outcome {
    check_table(&args)?;
    let (aor, now) = (aor(control, &args)?, unix_now());
    let bindings = control.location.bindings(&aor, now);
    if bindings.is_empty() {
        return Err(Fault::new(500, "AOR not found in location table"));
    }
    Ok(Answer::Value(json!({ "AoR": aor, "Contacts": contacts(control, &aor, &bindings, now) })))
}

/// Written as it is read: of hundreds of thousands no tree is made.
pub(super) fn dump(control: &Control, args: Args) -> Outcome {
    let brief = match args.optional(0)?.as_deref() {
        None => false,
        Some("brief") => true,
        Some(_) => return Err(Fault::new(400, "the only parameter there is, is brief")),
    };
    let (now, mut aors, mut records) = (unix_now(), String::new(), 0_usize);
    control.location.visit(now, |aor, bindings| {
        records += 1;
        if aors.len() > MAX_ANSWER {
            return;
        }
        let shown = match brief {
            true => json!({ "AoR": aor }),
            false => json!({ "Info": { "AoR": aor, "Contacts": contacts(control, aor, bindings, now) } }),
        };
        aors.push_str(if aors.is_empty() { "" } else { "," });
        aors.push_str(&shown.to_string());
    });
    Ok(Answer::Written(format!(
        "{{\"Domains\":[{{\"Domain\":{{\"Domain\":\"location\",\"AoRs\":[{aors}],\"Stats\":{{\"Records\":{records}}}}}}}]}}"
    )))
}

pub(super) async fn rm(control: &Control, args: Args) -> Outcome {
    check_table(&args)?;
    let aor = aor(control, &args)?;
    match remove(control, aor, None).await? {
        0 => Err(Fault::new(404, "AOR not found")),
        _ => Ok(Answer::Value(json!({}))),
    }
}

pub(super) async fn rm_contact(control: &Control, args: Args) -> Outcome {
    check_table(&args)?;
    let aor = aor(control, &args)?;
    match remove(control, aor, Some(args.text(2)?)).await? {
        0 => Err(Fault::new(404, "Contact not found")),
        _ => Ok(Answer::Value(json!({}))),
    }
}

/// By a worker, who tells the database as well; any of them will do.
async fn remove(control: &Control, aor: String, contact: Option<String>) -> Result<usize, Fault> {
    let worker = control.workers.worker_of_call(&aor);
    control.ask_one(worker, move |proxy, now| proxy.remove_contacts(now, &aor, contact.as_deref())).await
}

pub(super) async fn add(control: &Control, args: Args) -> Outcome {
    check_table(&args)?;
    let wrong = |what: &str| Fault::new(super::jsonrpc::INVALID_PARAMS, format!("Invalid params: {what}"));
    let q: f64 = args.number(4)?;
    if !(0.0..=1.0).contains(&q) && q != -1.0 {
        return Err(wrong("q lies between 0 and 1, or is -1 for none"));
    }
    let expires = args.number(3)?;
    if !(1..=LONGEST).contains(&expires) {
        return Err(wrong("expires is a number of seconds"));
    }
    let default_q = control.settings.registrar.default_q;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1000")]
    let q = if q < 0.0 { default_q } else { (q * 1000.0).round() as u16 };
    let new = NewContact {
        aor: aor(control, &args)?,
        contact: args.text(2)?,
        expires,
        q,
        path: args.optional(5)?.filter(|path| path != "0").unwrap_or_default(),
        // Flags have no meaning here (6 and 7); a mask of 0 stands for all methods.
        methods: args.optional_number(8)?.filter(|mask| *mask != 0).unwrap_or(u32::MAX),
    };
    let worker = control.workers.worker_of_call(&new.aor);
    let added = control.ask_one(worker, move |proxy, now| proxy.add_contact(now, &new)).await?;
    added.map(|()| Answer::Value(json!({}))).map_err(|what| Fault::new(400, what))
}

pub(super) async fn flush(control: &Control) -> Outcome {
    let written = async {
        while !control.database.is_settled() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, written).await {
        Ok(()) => Ok(Answer::Value(json!({}))),
        Err(_) => Err(Fault::new(500, "the database does not answer")),
    }
}

pub(super) async fn db_users(control: &Control, args: Args) -> Outcome {
    let at = control.database.sql().kind().from_unix();
    let users = format!("SELECT DISTINCT username, domain FROM location WHERE expires > {at}");
    count(control, &args, format!("SELECT COUNT(*) FROM ({users}) AS users")).await
}

pub(super) async fn db_contacts(control: &Control, args: Args) -> Outcome {
    let at = control.database.sql().kind().from_unix();
    count(control, &args, format!("SELECT COUNT(*) FROM location WHERE expires > {at}")).await
}

pub(super) async fn db_expired_contacts(control: &Control, args: Args) -> Outcome {
    let at = control.database.sql().kind().from_unix();
    count(control, &args, format!("SELECT COUNT(*) FROM location WHERE expires <= {at}")).await
}

async fn count(control: &Control, args: &Args, sql: String) -> Outcome {
    check_table(args)?;
    if control.database.mode() == DbMode::Memory {
        return Err(Fault::new(500, "Command is not supported in db_mode=0"));
    }
    let now = i64::try_from(unix_now()).unwrap_or(i64::MAX);
    let rows = control.database.sql().fetch(Statement::new(sql, [now.into()])).await;
    let rows = rows.map_err(|error| Fault::new(500, format!("database: {error}")))?;
    let count = rows.first().map_or(Ok(0), |row| row.int(0));
    count
        .map(|count| Answer::Value(json!(count)))
        .map_err(|error| Fault::new(500, format!("database: {error}")))
}
