//! Calls: how they are shown, counted and ended, in answers, in the table `dialog` and in their records.

use causeway::store::sql::Statement;

use super::*;

/// A call of alice to bob that is answered; the 200.
pub(super) async fn talks(alice: &Phone, bob: &Phone, call: &str) -> String {
    alice.send(&alice.invite(bob.user, call)).await;
    let invite = bob.expect("INVITE ").await;
    bob.reply(&invite, "200 OK").await;
    let answer = alice.expect("SIP/2.0 200 ").await;
    alice.acknowledge(&answer, bob, call).await;
    bob.expect("ACK ").await;
    answer
}

async fn two(bench: &Bench) -> (Phone, Phone) {
    (Phone::registered(bench, "alice").await, Phone::registered(bench, "bob").await)
}

/// Both hear a BYE that says why, and take it.
async fn hear_bye(phones: [&Phone; 2], reason: &str) {
    for phone in phones {
        let bye = phone.expect("BYE ").await;
        assert!(bye.contains(&format!("\r\nReason: {reason}\r\n")), "{bye}");
        phone.reply(&bye, "200 OK").await;
    }
}

#[tokio::test]
async fn calls_are_shown() {
    let bench = Bench::start(OPEN).await;
    let mut client = Client::connect(&bench).await;
    let (alice, bob) = two(&bench).await;
    alice.send(&alice.invite("bob", "dlg-1")).await;
    let invite = bob.expect("INVITE ").await;
    bob.reply(&invite, "180 Ringing").await;
    alice.expect("SIP/2.0 180 ").await;
    let active = client.ask("dlg.stats_active", json!([])).await;
    assert_eq!(active, json!({"starting": 0, "connecting": 1, "answering": 0, "ongoing": 0, "all": 1}));
    bob.reply(&invite, "200 OK").await;
    let answer = alice.expect("SIP/2.0 200 ").await;
    alice.acknowledge(&answer, &bob, "dlg-1").await;
    bob.expect("ACK ").await;
    let calls = client.ask("dlg.list", json!([])).await;
    assert_eq!(
        keys(&calls[0]),
        [
            "h_entry",
            "h_id",
            "call-id",
            "from_uri",
            "to_uri",
            "state",
            "start_ts",
            "init_ts",
            "end_ts",
            "duration",
            "timeout",
            "lifetime",
            "caller",
            "callee",
            "profiles",
            "variables"
        ]
    );
    for (name, value) in [
        ("call-id", json!("dlg-1")),
        ("from_uri", json!("sip:alice@sip.example")),
        ("to_uri", json!("sip:bob@sip.example")),
        ("state", json!(4)),
    ] {
        assert_eq!(calls[0][name], value, "{name}");
    }
    let caller = &calls[0]["caller"];
    assert_eq!(keys(caller), ["tag", "contact", "cseq", "route_set", "socket"]);
    assert_eq!(
        (&caller["tag"], &caller["contact"], &caller["cseq"]),
        (&json!("alice"), &json!(alice.contact()), &json!("1"))
    );
    assert_eq!(calls[0]["callee"]["tag"], "bob");
    assert_eq!(client.ask("dlg.dlg_list", json!(["dlg-1", "alice"])).await["call-id"], "dlg-1");
    assert_eq!(client.ask("dlg.dlg_list", json!(["dlg-1", "somebody"])).await, json!({}));
    assert_eq!(client.ask("dlg.is_alive", json!(["dlg-1"])).await, json!({ "state": 4 }));
    assert_eq!(client.ask("dlg.briefing", json!([])).await[0]["to_tag"], "bob");
}

#[tokio::test]
async fn calls_are_counted_by_profiles() {
    let bench = Bench::start(OPEN).await;
    let mut client = Client::connect(&bench).await;
    let (alice, bob) = two(&bench).await;
    talks(&alice, &bob, "dlg-1").await;
    let calls = client.ask("dlg.list", json!([])).await;
    let profiles = json!(["all", {"user": "alice@sip.example"}, {"user": "bob@sip.example"}]);
    assert_eq!(calls[0]["profiles"], profiles);
    for (params, size) in [
        (json!(["all"]), 1),
        (json!(["user"]), 2),
        (json!(["user", "bob@sip.example"]), 1),
        (json!(["user", "carol@sip.example"]), 0),
        (json!(["gateway"]), 0),
    ] {
        assert_eq!(client.ask("dlg.profile_get_size", params.clone()).await, size, "{params}");
        let listed = client.ask("dlg.profile_list", params.clone()).await;
        assert_eq!(listed.as_array().unwrap().len(), usize::from(size > 0), "{params}");
    }
    let unknown = client.refused("dlg.profile_get_size", json!(["nix"])).await;
    assert_eq!(unknown, (404, "Profile not found: nix".to_owned()));
}

#[tokio::test]
async fn calls_are_ended() {
    let bench = Bench::start(OPEN).await;
    let mut client = Client::connect(&bench).await;
    let (alice, bob) = two(&bench).await;
    talks(&alice, &bob, "dlg-1").await;
    let calls = client.ask("dlg.list", json!([])).await;
    let ids = json!([calls[0]["h_entry"], calls[0]["h_id"]]);
    client.ask("dlg.end_dlg", ids.clone()).await;
    hear_bye([&alice, &bob], "SIP;cause=487;text=\"ended by command\"").await;
    assert_eq!(client.refused("dlg.end_dlg", ids).await, (404, "Dialog not found".to_owned()));
    assert_eq!(client.refused("dlg.is_alive", json!(["dlg-1"])).await.0, 404);

    // One that rings: its caller hears 487, its callee CANCEL.
    alice.send(&alice.invite("bob", "dlg-2")).await;
    let invite = bob.expect("INVITE ").await;
    bob.reply(&invite, "180 Ringing").await;
    alice.expect("SIP/2.0 180 ").await;
    client.ask("dlg.terminate_dlg", json!(["dlg-2"])).await;
    alice.expect("SIP/2.0 487 ").await;
    bob.expect("CANCEL ").await;
    assert_eq!(client.refused("tm.cancel", json!(["dlg-2", 1])).await.0, 400);
    assert_eq!(client.ask("dlg.profile_get_size", json!(["user"])).await, 0);
    assert_eq!(client.ask("dlg.list", json!([])).await, json!([]));
    let dialogs = client.ask("stats.fetchn", json!(["dialog:"])).await;
    assert_eq!(
        dialogs,
        json!({"dialog.active_dialogs": 0, "dialog.early_dialogs": 0, "dialog.expired_dialogs": 0, "dialog.failed_dialogs": 1, "dialog.processed_dialogs": 2})
    );
}

/// The first cell of `query`, when it is not empty.
async fn cell(bench: &Bench, query: &'static str) -> String {
    let asking = async {
        loop {
            let rows = bench.gateway.database().sql().fetch(Statement::new(query, [])).await.unwrap();
            if let Some(text) = rows.first().map(|row| row.text(0).unwrap()).filter(|text| !text.is_empty()) {
                return text;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("{query}: nothing"))
}

/// Kamailio's columns, from the answer to the end.
#[tokio::test]
async fn the_table_dialog_has_the_calls_that_there_are() {
    let bench = Bench::start(&format!("{OPEN}dialog.db_mode = 1\ndialog.db_update_period = 1\n")).await;
    let mut client = Client::connect(&bench).await;
    let (alice, bob) = two(&bench).await;
    talks(&alice, &bob, "dlg-row").await;
    let row = cell(
        &bench,
        "SELECT callid || ' ' || from_uri || ' ' || from_tag || ' ' || to_uri || ' ' || to_tag || ' ' || caller_contact || ' ' ||
                callee_contact || ' ' || caller_sock || ' ' || caller_cseq || ' ' || req_uri FROM dialog",
    );
    let expected = format!(
        "dlg-row sip:alice@sip.example alice sip:bob@sip.example bob {} {} udp:{} 1 sip:bob@sip.example",
        alice.contact(),
        bob.contact(),
        bench.address(Protocol::Udp)
    );
    assert_eq!(row.await, expected);
    let calls = client.ask("dlg.list", json!([])).await;
    let place = cell(&bench, "SELECT hash_entry || ' ' || hash_id || ' ' || start_time FROM dialog").await;
    assert_eq!(place, format!("{} {} {}", calls[0]["h_entry"], calls[0]["h_id"], calls[0]["start_ts"]));
    cell(&bench, "SELECT CASE state WHEN 4 THEN 'confirmed' ELSE '' END FROM dialog").await;
    client.ask("dlg.terminate_dlg", json!(["dlg-row"])).await;
    cell(&bench, "SELECT CASE count(*) WHEN 0 THEN 'empty' ELSE '' END FROM dialog").await;
}

/// What a gateway that was killed has left is not there after the next start; without the mode the table is left alone.
#[tokio::test]
async fn rows_of_calls_that_are_over_do_not_stay() {
    let directory = std::sync::Arc::new(tempfile::tempdir().unwrap());
    let left = "INSERT INTO dialog (hash_entry, hash_id, callid, from_uri, from_tag, to_uri, to_tag, caller_cseq, callee_cseq,
                caller_contact, callee_contact, caller_sock, callee_sock, state, start_time, req_uri)
                VALUES (0, 1, 'old', '', '', '', '', '', '', '', '', '', '', 4, 0, '')";
    let count = "SELECT CAST(count(*) AS TEXT) FROM dialog";
    for (mode, rows) in [("0", "1"), ("2", "0")] {
        let bench =
            Bench::start_in(std::sync::Arc::clone(&directory), &format!("{OPEN}dialog.db_mode = {mode}\n"))
                .await;
        if mode == "0" {
            bench.gateway.database().sql().execute(Statement::new(left, [])).await.unwrap();
        }
        assert_eq!(cell(&bench, count).await, rows, "{mode}");
        let _ = bench.gateway.stop().await;
    }
}

/// The record of a call says why the gateway has ended it, and so does the BYE in `acc`.
async fn ended_for(bench: &Bench, cause: &str) {
    assert_eq!(cell(bench, "SELECT cause FROM acc_cdrs").await, cause);
    assert_eq!(cell(bench, "SELECT sip_reason FROM acc WHERE method = 'BYE'").await, cause);
    assert_eq!(cell(bench, "SELECT sip_code FROM acc WHERE method = 'INVITE'").await, "200");
}

#[tokio::test]
async fn a_call_ended_by_command_says_so_in_its_record() {
    let bench = Bench::start("auth.required = false\n").await;
    let mut client = Client::connect(&bench).await;
    let (alice, bob) = two(&bench).await;
    talks(&alice, &bob, "by-command").await;
    client.ask("dlg.terminate_dlg", json!(["by-command"])).await;
    hear_bye([&alice, &bob], "SIP;cause=487;text=\"ended by command\"").await;
    ended_for(&bench, "ended by command").await;
}

#[tokio::test]
async fn a_call_whose_end_is_gone_says_so_in_its_record() {
    // Nobody is asked until the INVITE has been answered for 64 times retr_timer1.
    let bench = Bench::start("auth.required = false\ndialog.ka_timer = 1\ntimers.retr_timer1 = 100\n").await;
    let (alice, bob) = two(&bench).await;
    talks(&alice, &bob, "gone").await;
    let question = bob.expect("OPTIONS ").await;
    bob.reply(&question, "481 Call/Transaction Does Not Exist").await;
    hear_bye([&alice, &bob], "SIP;cause=408;text=\"keep-alive not answered\"").await;
    ended_for(&bench, "keep-alive not answered").await;
}

#[tokio::test]
async fn a_call_that_is_too_long_says_so_in_its_record() {
    let directory = std::sync::Arc::new(tempfile::tempdir().unwrap());
    let mut config = crate::support::config(&directory, "auth.required = false\n");
    // Shorter than a person may set it.
    config.dialog.default_timeout = std::time::Duration::from_secs(1);
    let bench = Bench { gateway: causeway::gateway::Gateway::start(config).await.unwrap(), directory };
    let (alice, bob) = two(&bench).await;
    talks(&alice, &bob, "long").await;
    hear_bye([&alice, &bob], "SIP;cause=408;text=\"longest duration reached\"").await;
    ended_for(&bench, "longest duration reached").await;
}

#[tokio::test]
async fn a_call_that_the_gateway_leaves_says_so_in_its_record() {
    let directory = std::sync::Arc::new(tempfile::tempdir().unwrap());
    let bench = Bench::start_in(std::sync::Arc::clone(&directory), "auth.required = false\n").await;
    let (alice, bob) = two(&bench).await;
    talks(&alice, &bob, "left").await;
    let (stopped, ()) =
        tokio::join!(bench.gateway.stop(), hear_bye([&alice, &bob], "SIP;cause=503;text=\"gateway stops\""));
    // A database that is slow to close is not the matter here.
    drop(stopped);
    let again = Bench::start_in(directory, "auth.required = false\n").await;
    ended_for(&again, "gateway stops").await;
}
