//! Transactions and the counters of what they were about.

use super::*;

const TM_STATS: [&str; 15] = [
    "current",
    "waiting",
    "total",
    "total_local",
    "rpl_received",
    "rpl_generated",
    "rpl_sent",
    "6xx",
    "5xx",
    "4xx",
    "3xx",
    "2xx",
    "created",
    "freed",
    "delayed_free",
];

const TM_LIST: [&str; 13] = [
    "cell",
    "tindex",
    "tlabel",
    "method",
    "from",
    "to",
    "callid",
    "cseq",
    "uas_request",
    "tflags",
    "outgoings",
    "ref_count",
    "lifetime",
];

/// A call that bob refuses; `during` is done while it rings, `waiting` before it is acknowledged.
async fn refused_call(alice: &Phone, bob: &Phone, during: impl AsyncFnOnce(), waiting: impl AsyncFnOnce()) {
    alice.send(&alice.invite("bob", "tm-call")).await;
    let invite = bob.expect("INVITE ").await;
    bob.reply(&invite, "180 Ringing").await;
    alice.expect("SIP/2.0 180 ").await;
    during().await;
    bob.reply(&invite, "486 Busy Here").await;
    alice.expect("SIP/2.0 486 ").await;
    waiting().await;
    let ack = alice.request("ACK", "sip:bob@sip.example", "tm-call", "bob", ";tag=bob", "");
    alice.send(&ack.replace("z9hG4bKACK", "z9hG4bKINVITE")).await;
}

async fn bench_of_two() -> (Bench, Client, Phone, Phone) {
    let bench = Bench::start(&format!("{OPEN}timers.wt_timer = 0\n")).await;
    let client = Client::connect(&bench).await;
    let (alice, bob) = (Phone::registered(&bench, "alice").await, Phone::registered(&bench, "bob").await);
    (bench, client, alice, bob)
}

/// The life of a transaction, as the article about `tm.stats` shows it: nothing leaks.
#[tokio::test]
async fn the_numbers_of_transactions_live_as_in_the_article() {
    let (bench, mut client, alice, bob) = bench_of_two().await;
    let (mut second, mut third) = (Client::connect(&bench).await, Client::connect(&bench).await);
    let before = client.ask("tm.stats", json!([])).await;
    assert_eq!(keys(&before), TM_STATS);
    let of = |stats: &Value, names: [&str; 4]| names.map(|name| stats[name].as_u64().unwrap());
    assert_eq!(of(&before, ["current", "waiting", "total", "2xx"]), [0, 0, 2, 2], "two REGISTERs");
    let during = async || {
        let stats = second.ask("tm.stats", json!([])).await;
        let names = ["current", "waiting", "total", "total_local"];
        assert_eq!(of(&stats, names), [1, 0, 3, 0], "its branch is part of it");
        is_listed(&mut second).await;
    };
    let waiting = async || {
        let stats = third.ask("tm.stats", json!([])).await;
        assert_eq!(of(&stats, ["current", "waiting", "total", "4xx"]), [1, 1, 3, 1]);
    };
    refused_call(&alice, &bob, during, waiting).await;
    let after = client.until("tm.stats", |stats| stats["current"] == 0).await;
    assert_eq!(of(&after, ["waiting", "total", "created", "freed"]), [0, 3, 3, 3]);
    assert_eq!(client.ask("tm.list", json!([])).await, json!([]));
}

async fn is_listed(client: &mut Client) {
    let list = client.ask("tm.list", json!([])).await;
    assert_eq!(list.as_array().unwrap().len(), 1, "{list}");
    assert_eq!(keys(&list[0]), TM_LIST);
    for (name, value) in [
        ("method", json!("INVITE")),
        ("from", json!("From: <sip:alice@sip.example>;tag=alice\r\n")),
        ("callid", json!("Call-ID: tm-call\r\n")),
        ("cseq", json!("CSeq: 1")),
        ("uas_request", json!("yes")),
        ("tflags", json!(65)),
        ("outgoings", json!(1)),
    ] {
        assert_eq!(list[0][name], value, "{name}");
    }
}

#[tokio::test]
async fn counters_have_kamailios_names_and_are_set_to_zero() {
    let (_bench, mut client, alice, bob) = bench_of_two().await;
    refused_call(&alice, &bob, async || {}, async || {}).await;
    client.until("tm.stats", |stats| stats["current"] == 0).await;
    let sl = client.ask("sl.stats", json!([])).await;
    assert_eq!((&sl["200"], sl.as_object().unwrap().len()), (&json!(2), 19), "{sl}");
    let core = client.ask("stats.get_statistics", json!(["core:", "usrloc:registered_users"])).await;
    for line in [
        "core:rcv_requests = 4",
        "core:rcv_requests_ack = 1",
        "core:rcv_requests_register = 2",
        "core:rcv_replies_486 = 1",
        "core:rcv_replies_4xx = 1",
        "core:rcv_replies_18x = 1",
        "core:fwd_requests = 1",
        "core:fwd_replies = 2",
        "core:bad_msg_hdr = 0",
        "usrloc:registered_users = 2",
    ] {
        assert!(core.as_array().unwrap().contains(&json!(line)), "{line} in {core}");
    }
    assert_eq!(
        client.ask("stats.clear_statistics", json!(["rcv_requests"])).await,
        json!(["core:rcv_requests = 4"])
    );
    assert_eq!(client.ask("cnt.get", json!(["core", "rcv_requests"])).await, 0);
    assert_eq!(
        client.ask("stats.fetchn", json!(["usrloc.", "rcv_requests_register"])).await["core.rcv_requests_register"],
        2
    );
    client.ask("stats.reset_statistics", json!(["all"])).await;
    let fetched = client.ask("stats.fetch", json!(["all"])).await;
    assert_eq!(
        (&fetched["core.rcv_requests_register"], &fetched["usrloc.registered_users"]),
        (&json!("0"), &json!("2"))
    );
    assert_eq!(client.refused("stats.get_statistics", json!([])).await.0, -32602);
    assert!(client.ask("cnt.grps_list", json!([])).await.as_array().unwrap().contains(&json!("tmx")));
}
