//! `pike.*`, `htable.*` of the tables `ipban` and `auth_block_list`, and `dst_blocklist.*`: whom the gateway does not listen to,
//! whom it does not believe, and where it does not send.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use signaling_core::flow::Protocol;
use signaling_core::guesses::{Guessed, Guesser};
use signaling_core::sources::Counted;

use super::Control;
use super::jsonrpc::{Answer, Fault, INVALID_PARAMS};
use super::methods::{Args, Outcome};
use crate::commands::listing::date;
use crate::store::unix_now;

/// The sources that are not listened to.
const IPBAN: &str = "ipban";
/// The users and addresses with refused passwords.
const AUTH_BLOCK_LIST: &str = "auth_block_list";
/// The longest ban and the longest block: a year.
const LONGEST: u64 = 31_536_000;

fn wrong(what: String) -> Fault {
    Fault::new(INVALID_PARAMS, format!("Invalid params: {what}"))
}

/// Whether the first argument is the table `auth_block_list` and not `ipban`.
fn is_auth_block_list(args: &Args) -> Result<bool, Fault> {
    match args.text(0)?.as_str() {
        IPBAN => Ok(false),
        AUTH_BLOCK_LIST => Ok(true),
        _ => Err(Fault::new(404, "No such htable")),
    }
}

/// Only of `ipban` it is said what is in it.
fn check_table(args: &Args) -> Result<(), Fault> {
    match is_auth_block_list(args)? {
        false => Ok(()),
        true => Err(wrong(format!("{AUTH_BLOCK_LIST} is not set by hand"))),
    }
}

/// Those with refused passwords, by name.
fn guessed(control: &Control) -> Vec<Guessed> {
    let mut guessed = control.guesses.list(Instant::now());
    guessed.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    guessed
}

fn guesser(name: &str) -> Guesser<'_> {
    name.parse().map_or(Guesser::User(name), Guesser::Address)
}

/// Seconds since 1970 at what was so long ago.
fn at(ago: Duration) -> u64 {
    unix_now().saturating_sub(ago.as_secs())
}

fn dump_guessed(control: &Control) -> Value {
    let entry = |(place, guessed): (usize, Guessed)| {
        let mut slot = vec![("auth_count", u64::from(guessed.count)), ("last_auth", at(guessed.last))];
        slot.extend(guessed.blocked.map(|left| ("blocked_until", unix_now() + left.as_secs())));
        let item = |(what, value): (&str, u64)| json!({ "name": format!("{}::{what}", guessed.name), "value": value, "type": "int" });
        let slot: Vec<Value> = slot.into_iter().map(item).collect();
        json!({ "entry": place, "size": slot.len(), "slot": slot })
    };
    guessed(control).into_iter().enumerate().map(entry).collect()
}

fn address(args: &Args, place: usize) -> Result<IpAddr, Fault> {
    let text = args.text(place)?;
    text.parse().map_err(|_| wrong(format!("{text:?} is no address")))
}

/// The banned sources, by address.
fn banned(control: &Control) -> Vec<(IpAddr, Duration)> {
    let all = control.sources.list(Instant::now());
    let mut banned: Vec<_> = all.into_iter().filter_map(|source| Some((source.ip, source.banned?))).collect();
    banned.sort_unstable();
    banned
}

/// When something ends that lasts for `left`, as Kamailio writes it.
fn end(left: Duration) -> String {
    let at = unix_now().saturating_add(left.as_secs());
    date(i64::try_from(at).unwrap_or(i64::MAX)).replace('T', " ").trim_end_matches('Z').to_owned()
}

pub(super) fn tables(control: &Control) -> Outcome {
    let row = |name: &str, expire: Duration, size: usize| {
        json!({
            "name": name,
            "dbtable": "",
            "dbmode": 0,
            "expire": expire.as_secs(),
            "updateexpire": 0,
            "size": size,
            "dmqreplicate": 0,
        })
    };
    let (ban, block) = (control.settings.pike.ban, control.settings.auth.block.last_block);
    let rows = [row(IPBAN, ban, banned(control).len()), row(AUTH_BLOCK_LIST, block, guessed(control).len())];
    Ok(Answer::Value(rows.into_iter().collect()))
}

pub(super) fn dump(control: &Control, args: Args) -> Outcome {
    if is_auth_block_list(&args)? {
        return Ok(Answer::Value(dump_guessed(control)));
    }
    let entry = |(place, (ip, _)): (usize, (IpAddr, Duration))| {
        let slot = json!([{ "name": ip.to_string(), "value": 1, "type": "int" }]);
        json!({ "entry": place, "size": 1, "slot": slot })
    };
    Ok(Answer::Value(banned(control).into_iter().enumerate().map(entry).collect()))
}

pub(super) fn get(control: &Control, args: Args) -> Outcome {
    if is_auth_block_list(&args)? {
        let name = args.text(1)?;
        let found = guessed(control).into_iter().find(|guessed| guessed.name == name).ok_or_else(no_name)?;
        let expire = end(found.blocked.unwrap_or_default());
        let item = json!({ "name": name, "value": found.count, "flags": 0, "expire": expire });
        return Ok(Answer::Value(json!({ "item": item })));
    }
    let ip = control.sources.key(address(&args, 1)?);
    let found = banned(control).into_iter().find(|(known, _)| *known == ip);
    let (ip, left) = found.ok_or_else(no_name)?;
    let item = json!({ "name": ip.to_string(), "value": 1, "flags": 0, "expire": end(left) });
    Ok(Answer::Value(json!({ "item": item })))
}

/// What `htable.get` says, which is not what `htable.delete` says.
fn no_name() -> Fault {
    Fault::new(500, "Key name doesn't exist in htable.")
}

fn no_key() -> Fault {
    Fault::new(404, "Key not found in htable.")
}

pub(super) fn delete(control: &Control, args: Args) -> Outcome {
    if is_auth_block_list(&args)? {
        return match control.guesses.forgive(guesser(&args.text(1)?)) {
            true => Ok(Answer::Value(json!("Ok. Key deleted."))),
            false => Err(no_key()),
        };
    }
    let ip = address(&args, 1)?;
    let is_banned = banned(control).iter().any(|(known, _)| *known == ip.to_canonical());
    if is_banned && control.sources.forget(ip) {
        Ok(Answer::Value(json!("Ok. Key deleted.")))
    } else {
        Err(no_key())
    }
}

pub(super) fn flush(control: &Control, args: Args) -> Outcome {
    if is_auth_block_list(&args)? {
        control.guesses.clear();
    } else {
        for (ip, _) in banned(control) {
            control.sources.forget(ip);
        }
    }
    Ok(Answer::Value(json!("Ok. Htable flushed.")))
}

pub(super) fn set(control: &Control, args: Args) -> Outcome {
    let span = control.settings.pike.ban;
    ban(control, &args, span).map(|()| Answer::Value(json!("Ok. Key set to new value.")))
}

pub(super) fn set_for(control: &Control, args: Args) -> Outcome {
    let seconds = args.number(2)?;
    if !(1..=LONGEST).contains(&seconds) {
        return Err(wrong("seconds is a number up to a year".into()));
    }
    ban(control, &args, Duration::from_secs(seconds)).map(|()| Answer::Value(json!("Ok")))
}

fn ban(control: &Control, args: &Args, span: Duration) -> Result<(), Fault> {
    check_table(args)?;
    let ip = address(args, 1)?;
    match control.sources.ban(&control.settings.pike, Instant::now(), ip, span) {
        true => Ok(()),
        false => Err(Fault::new(
            500,
            format!("{ip} cannot be banned: it is exempt, or pike is off, or too many are"),
        )),
    }
}

pub(super) fn pike_top(control: &Control, args: Args) -> Outcome {
    match args.optional(0)?.as_deref() {
        None | Some("HOT") => pike(control, true),
        Some("ALL") => pike(control, false),
        Some(other) => Err(wrong(format!("{other:?} is neither HOT nor ALL"))),
    }
}

/// The sources by the requests in their sampling period, the busiest first.
pub(super) fn pike(control: &Control, only_banned: bool) -> Outcome {
    let mut sources = control.sources.list(Instant::now());
    sources.retain(|source| !only_banned || source.banned.is_some());
    sources.sort_by_key(|source| (std::cmp::Reverse(source.count), source.ip));
    let row = |source: &Counted| {
        json!({
            "ip_addr": source.ip.to_string(),
            "leaf_hits_curr": source.count,
            "expires": source.banned.map_or(0, |left| left.as_secs()),
            "status": if source.banned.is_some() { "HOT" } else { "ALL" },
        })
    };
    let rows: Vec<Value> = sources.iter().map(row).collect();
    Ok(Answer::Value(json!({
        "max_hits": control.settings.pike.reqs_density_per_unit,
        "number_of_rows": rows.len(),
        "list": rows,
    })))
}

pub(super) fn blocklist_view(control: &Control) -> Outcome {
    let mut list = control.blocklist.list(Instant::now());
    list.sort_unstable();
    let row = |(protocol, remote, left): (Protocol, SocketAddr, Duration)| {
        json!({
            "protocol": super::core::proto(protocol),
            "ip": remote.ip().to_string(),
            "port": remote.port(),
            "expires in (s)": left.as_secs(),
        })
    };
    Ok(Answer::Value(list.into_iter().map(row).collect()))
}

pub(super) fn blocklist_add(control: &Control, args: Args) -> Outcome {
    let remote = SocketAddr::new(address(&args, 0)?, args.number(1)?);
    let protocol = match args.optional(2)?.map(|word| word.to_lowercase()).as_deref() {
        None | Some("udp") => Protocol::Udp,
        Some("tcp") => Protocol::Tcp,
        Some("tls") => Protocol::Tls,
        Some(other) => return Err(wrong(format!("{other:?} is no transport"))),
    };
    let span = match args.optional_number(3)? {
        None => control.settings.blst.dst_blocklist_expire,
        Some(seconds) if (1..=LONGEST).contains(&seconds) => Duration::from_secs(seconds),
        Some(_) => return Err(wrong("seconds is a number up to a year".into())),
    };
    control.blocklist.add(Instant::now(), protocol, remote, span);
    Ok(Answer::Value(json!({})))
}

pub(super) fn blocklist_delete_all(control: &Control) -> Outcome {
    control.blocklist.clear();
    Ok(Answer::Value(json!({})))
}
