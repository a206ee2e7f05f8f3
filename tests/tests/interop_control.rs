//! Answers of control, field by field, beside those of a real Kamailio in the same place: two phones registered, one calling the
//! other.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use e2e::baresip::{Account, Baresip};
use e2e::gateway::{DOMAIN, Gateway};
use e2e::kamcmd::{Peer, fields};
use e2e::phone::Phone;
use e2e::wait::{self, PATIENCE};
use serde_json::{Value, json};
use tokio::net::TcpStream;

/// The headers of an operator's request.
const OPERATOR: &str = "From: <sip:operator@causeway.test>\r\nTo: <sip:bob@causeway.test>\r\n";

/// What is asked.
fn questions() -> Vec<(&'static str, Value)> {
    let (bob, bob_uri) = (format!("bob@{DOMAIN}"), format!("sip:bob@{DOMAIN}"));
    let none = || json!([]);
    vec![
        ("core.info", none()),
        ("core.version", none()),
        ("core.uptime", none()),
        ("core.flags", none()),
        ("core.shmmem", none()),
        ("core.ps", none()),
        ("core.psx", none()),
        ("core.pwd", none()),
        ("core.arg", none()),
        ("core.aliases_list", none()),
        ("core.sockets_list", none()),
        ("core.modules", none()),
        ("core.ppdefines", none()),
        ("core.echo", json!(["a", "b"])),
        ("core.prints", json!(["a", "b"])),
        ("core.printi", json!([1, 2])),
        ("core.tcp_info", none()),
        ("core.tcp_list", none()),
        ("core.tcp_options", none()),
        ("corex.debug", none()),
        ("corex.list_aliases", none()),
        ("corex.list_sockets", none()),
        ("corex.shm_summary", none()),
        ("corex.shm_status", none()),
        ("pkg.stats", none()),
        ("cfg.list", json!(["registrar"])),
        ("cfg.get", json!(["registrar", "max_expires"])),
        ("cfg.help", json!(["registrar", "max_expires"])),
        ("cfg.rollback", none()),
        ("cfg.commit", none()),
        ("cnt.get", json!(["core", "rcv_requests"])),
        ("cnt.get_raw", json!(["core", "rcv_requests"])),
        ("cnt.help", json!(["core", "rcv_requests"])),
        ("cnt.grps_list", none()),
        ("cnt.list_vars", json!(["sl"])),
        ("cnt.reset", json!(["core", "rcv_requests"])),
        ("tm.stats", none()),
        ("tm.list", none()),
        ("tm.t_uac_start", json!(["OPTIONS", bob_uri, "sip:192.0.2.1:5060", ".", OPERATOR])),
        ("sl.stats", none()),
        ("stats.get_statistics", json!(["sl:"])),
        ("stats.reset_statistics", json!(["sl:"])),
        ("tls.info", none()),
        ("ul.dump", none()),
        ("ul.dump", json!(["brief"])),
        ("ul.lookup", json!(["location", bob])),
        ("ul.flush", none()),
        ("dlg.list", none()),
        ("dlg.list_ctx", none()),
        ("dlg.dlg_list", json!(["compared"])),
        ("dlg.briefing", none()),
        ("dlg.bridge_dlg", json!(["sip:one@192.0.2.1", "sip:two@192.0.2.1", "."])),
        ("dlg.stats_active", none()),
        ("dlg.profile_get_size", json!(["all"])),
        ("dlg.profile_list", json!(["all"])),
        ("htable.listTables", none()),
        ("htable.seti", json!(["ipban", "198.51.100.7", 1])),
        ("htable.dump", json!(["ipban"])),
        ("htable.get", json!(["ipban", "198.51.100.7"])),
        ("htable.delete", json!(["ipban", "198.51.100.7"])),
        ("htable.setex", json!(["ipban", "198.51.100.7", 60])),
        ("htable.flush", json!(["ipban"])),
        ("pike.top", json!(["ALL"])),
        ("dispatcher.list", none()),
        ("dispatcher.set_state", json!(["ip", 1, "sip:192.0.2.1:5060"])),
        ("dispatcher.ping_active", none()),
        ("dispatcher.ping_active", json!([0])),
        ("dispatcher.add", json!([2, "sip:192.0.2.9:5060"])),
        ("dispatcher.remove", json!([2, "sip:192.0.2.9:5060"])),
        ("dispatcher.reload", none()),
        ("rtpengine.show", json!(["all"])),
        ("rtpengine.get_hash_total", none()),
        ("dns.delete_all", none()),
        ("dst_blocklist.delete_all", none()),
        ("system.methodHelp", json!(["tm.stats"])),
        ("jsonrpc.echo", json!(["a"])),
    ]
}

/// Words that both say letter by letter.
const SAME: &[&str] = &[
    "htable.seti",
    "htable.delete",
    "htable.setex",
    "htable.flush",
    "dispatcher.set_state",
    "dispatcher.add",
    "dispatcher.remove",
    "dispatcher.reload",
    "dispatcher.ping_active",
    "dns.delete_all",
    "core.echo",
    "core.prints",
    "core.printi",
    "jsonrpc.echo",
    "tm.t_uac_start",
    "dlg.bridge_dlg",
];

/// What is wrong for both has one code.
fn refusals() -> Vec<(&'static str, Value)> {
    vec![
        ("dlg.end_dlg", json!([0, 99])),
        ("dlg.profile_get_size", json!(["none"])),
        ("htable.get", json!(["ipban", "198.51.100.9"])),
        ("htable.delete", json!(["ipban", "198.51.100.9"])),
        ("dispatcher.set_state", json!(["zz", 1, "sip:192.0.2.1:5060"])),
        ("dispatcher.set_state", json!(["i", 1, "sip:nobody"])),
        ("ul.rm", json!(["none", "bob@causeway.test"])),
        ("ul.rm_contact", json!(["location", "bob@causeway.test", "sip:nobody@192.0.2.1"])),
        ("tm.cancel", json!(["none", "1"])),
        ("tm.t_uac_start", json!(["OPTIONS", "bob", ".", ".", OPERATOR])),
        ("tm.t_uac_start", json!(["OPTIONS", "sip:bob@192.0.2.1", "nobody", ".", OPERATOR])),
        ("tm.t_uac_start", json!(["OPTIONS", "sip:bob@192.0.2.1", ".", ".", "From: <sip:a@192.0.2.1>\r\n"])),
        ("tm.t_uac_start", json!(["OPTIONS", "sip:bob@192.0.2.1", ".", "udp:192.0.2.1:9", OPERATOR])),
        ("tm.t_uac_start", json!(["MESSAGE", "sip:bob@192.0.2.1", ".", ".", OPERATOR, "hello"])),
        ("cnt.get", json!(["none", "none"])),
        ("cfg.get", json!(["none", "none"])),
        ("system.methodHelp", json!(["none"])),
        ("rtpengine.show", json!(["udp:192.0.2.1:9"])),
    ]
}

/// Method, fields of Kamailio's that are not here, and fields that Kamailio has not. All others are the same, with values of one
/// kind.
const DIFFERENT: &[(&str, &[&str], &[&str])] = &[
    // The allocator is the system's, and has no pools.
    ("core.shmmem", &["fragments: number"], &[]),
    ("pkg.stats", &["[].total_frags: number"], &[]),
    (
        "core.tcp_list",
        &[
            "[].dst_ip: text",
            "[].dst_port: number",
            "[].lifetime: number",
            "[].ref_count: number",
            "[].timeout: number",
        ],
        &["[].write_queued_bytes: number"],
    ),
    // Options of sockets that are none here.
    (
        "core.tcp_options",
        &[
            "accept_aliases: number",
            "alias_flags: number",
            "connect_wait: number",
            "defer_accept: number",
            "delayed_ack: number",
            "fd_cache: number",
            "keepalive: number",
            "keepcnt: number",
            "keepidle: number",
            "keepintvl: number",
            "linger2: number",
            "new_conn_alias_flags: number",
            "send_timeout: number",
            "syncnt: number",
            "wq_max: number",
        ],
        &[],
    ),
    // Bits of its own.
    ("dlg.list", DIALOG_BITS, &[]),
    ("dlg.list_ctx", DIALOG_BITS, &[]),
    ("dlg.profile_list", DIALOG_BITS, &[]),
    ("dlg.dlg_list", &["dflags: number", "iflags: number", "ref: number", "sflags: number"], &[]),
    // Its list is of those above its threshold alone, whatever is asked for.
    (
        "pike.top",
        &[],
        &[
            "list[].expires: number",
            "list[].ip_addr: text",
            "list[].leaf_hits_curr: number",
            "list[].status: text",
        ],
    ),
    // There is no hash table of so many slots, and a keep-alive is not timed.
    (
        "ul.dump",
        &[
            "Domains[].Domain.AoRs[].Info.Contacts[].Contact.KA-Roundtrip: number",
            "Domains[].Domain.AoRs[].Info.HashID: number",
            "Domains[].Domain.Size: number",
            "Domains[].Domain.Stats.Max-Slots: number",
        ],
        &[],
    ),
    ("ul.lookup", &["Contacts[].Contact.KA-Roundtrip: number"], &[]),
];
const DIALOG_BITS: &[&str] =
    &["[].dflags: number", "[].iflags: number", "[].ref: number", "[].sflags: number"];

fn anybody(user: &str) -> Account {
    Account { user: user.into(), password: String::new(), domain: DOMAIN.into() }
}

/// Asks everything while bob's phone rings.
async fn asked(peer: &mut Peer) -> Result<BTreeMap<String, Value>> {
    let mut alice = Phone::registered(anybody("alice"), peer.proxy()).await?;
    let mut bob = Phone::registered(anybody("bob"), peer.proxy()).await?;
    let mut invite = alice.request("INVITE", &bob.aor(), &bob.aor());
    e2e::phone::set(&mut invite, "Call-ID", "compared".into());
    e2e::phone::set(&mut invite, "Contact", format!("<{}>", alice.contact()));
    alice.send(&invite).await?;
    let heard = bob.receive("the INVITE", |message| message.method() == Some("INVITE")).await?;
    let ringing = bob.response(&heard, 180, "Ringing", "b");
    bob.send(&ringing).await?;
    alice.receive("180", |message| message.status() == Some(180)).await?;
    let _connection = TcpStream::connect(peer.proxy()).await?;
    wait_for_connection(peer).await?;
    let mut answers = BTreeMap::new();
    for (method, params) in questions() {
        let answer = peer.ask(method, &params).await?;
        answers.insert(format!("{method} {params}"), answer);
    }
    for (method, params) in refusals() {
        let answer = peer.answer(method, &params).await?;
        let code = answer["error"]["code"].as_i64().with_context(|| format!("{method}: {answer}"))?;
        answers.insert(format!("{method} {params} refused"), json!({ "code": code }));
    }
    Ok(answers)
}

async fn wait_for_connection(peer: &mut Peer) -> Result<()> {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let list = peer.ask("core.tcp_list", &json!([])).await?;
        if list.as_array().is_some_and(|list| !list.is_empty()) {
            return Ok(());
        }
        anyhow::ensure!(std::time::Instant::now() < deadline, "no connection in {list}");
        wait::until_now("a moment", PATIENCE, || Some(())).await?;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn answers_have_kamailios_fields() -> Result<()> {
    let gateway =
        Gateway::start_with("[auth]\nrequired = false\n[dispatcher]\nds_ping_interval = 3600\n").await?;
    let mut kamailio = Peer::kamailio(&gateway.certificates()).await?;
    let mut causeway = Peer::causeway(&gateway).await?;
    causeway
        .ask(
            "dispatcher.add",
            &json!([1, "sip:192.0.2.1:5060", 0, 5, "weight=60;duid=abc;maxload=7;rweight=20"]),
        )
        .await?;
    let (theirs, ours) = (asked(&mut kamailio).await?, asked(&mut causeway).await?);
    let mut wrong = Vec::new();
    for (question, theirs) in &theirs {
        let method = question.split(' ').next().unwrap_or_default();
        let ours = &ours[question];
        let (their_fields, our_fields) = (fields(theirs), fields(ours));
        let known = DIFFERENT.iter().find(|(of, ..)| *of == method);
        let (absent, added) = known.map_or((&[][..], &[][..]), |(_, absent, added)| (*absent, *added));
        let is = |list: &[&str], field: &String| list.contains(&field.as_str());
        // A callee is one there when he answers, and here when he rings.
        let blank = |field: &str, fields: &BTreeSet<String>| {
            let way = field.rsplit_once(": ").map_or(field, |(way, _)| way);
            fields.contains(&format!("{way}: nothing"))
        };
        let missing = their_fields.difference(&our_fields).filter(|field| !is(absent, field));
        let missing: Vec<_> = missing.filter(|field| !field.ends_with(": nothing")).collect();
        let more = our_fields.difference(&their_fields).filter(|field| !is(added, field));
        let more: Vec<_> = more.filter(|field| !blank(field, &their_fields)).collect();
        if !missing.is_empty() || !more.is_empty() {
            wrong.push(format!("{question}: missing {missing:?}, more {more:?}"));
        }
        if (SAME.contains(&method) || question.ends_with("refused")) && theirs != ours {
            wrong.push(format!("{question}: {theirs} there, {ours} here"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

/// An operator has two phones talk to each other, and writes to a third.
#[tokio::test]
async fn an_operator_joins_two_phones() -> Result<()> {
    const TONES: [f64; 2] = [1000.0, 620.0];
    let gateway = Gateway::start().await?;
    let [erin, bob] =
        [gateway.account("erin", "phone-of-erin-1")?, gateway.account("bob", "phone-of-bob-2")?];
    let proxy = gateway.proxy();
    let (mut first, mut second) = tokio::try_join!(
        Baresip::registered(&erin, proxy, "udp", TONES[0]),
        Baresip::registered(&bob, proxy, "udp", TONES[1])
    )?;
    gateway.command(&["rpc", "dlg.bridge_dlg", &erin.uri(), &bob.uri(), "."], "")?;
    for phone in [&mut first, &mut second] {
        phone.event("CALL_INCOMING").await?;
        phone.accept().await?;
        phone.event("CALL_ESTABLISHED").await?;
    }
    // Whoever was asked anew forgets to record what it hears.
    tokio::try_join!(first.goes_on_receiving(), second.hears(TONES[0]))?;
    second.hang_up().await?;
    first.event("CALL_CLOSED").await?;

    let carol = gateway.account("carol", "scripted-phone-3")?;
    let mut carol = Phone::registered(carol, proxy).await?;
    let headers = format!("From: <{}>\r\nTo: <{}>\r\nContent-Type: text/plain\r\n", erin.uri(), carol.aor());
    let mut control = Peer::causeway(&gateway).await?;
    let request = json!(["MESSAGE", carol.aor(), ".", ".", headers, "hello"]);
    let (said, answered) = tokio::join!(control.ask("tm.t_uac_wait", &request), async {
        let message = carol.receive("the message", |m| m.method() == Some("MESSAGE")).await?;
        anyhow::ensure!(message.body == "hello", "{message}");
        carol.answer(&message, 202, "Accepted", "c1", "").await
    });
    answered?;
    let said = said?;
    assert_eq!((&said[0], &said[1]), (&json!(202), &json!("Accepted")), "{said}");
    Ok(())
}
