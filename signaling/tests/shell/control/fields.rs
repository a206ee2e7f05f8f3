//! What each method answers, by its fields in their order: those of the articles, which are those of Kamailio 5.6.
//! `tests/tests/interop_control.rs` asks a real one.

use super::*;

/// Method, its parameters, the way to an object of its answer, and that one's fields.
const FIELDS: &[(&str, &[&str], &str, &str)] = &[
    ("core.info", &[], "", "version id compiler compiled flags"),
    ("core.uptime", &[], "", "now up_since uptime"),
    ("core.shmmem", &[], "", "total free used real_used max_used"),
    ("core.psx", &[], "/0", "IDX PID DSC"),
    ("core.sockets_list", &[], "/0", "socket"),
    ("core.sockets_list", &[], "/0/socket", "proto address ipaddress port mcast mhomed virtual"),
    ("core.aliases_list", &[], "", "myself_callbacks aliases"),
    ("core.aliases_list", &[], "/aliases/0/alias", "proto address port"),
    (
        "core.tcp_info",
        &[],
        "",
        "readers max_connections max_tls_connections opened_connections opened_tls_connections write_queued_bytes",
    ),
    (
        "core.tcp_options",
        &[],
        "",
        "connect_timeout connection_lifetime max_connections(soft) max_tls_connections(soft) no_connect async conn_wq_max crlf_ping",
    ),
    ("corex.list_aliases", &[], "/0", "PROTO ADDR PORT"),
    ("corex.list_sockets", &[], "/0", "PROTO NAME ADDRLIST PORT MCAST MHOMED VIRTUAL SOCKNAME ADVERTISE"),
    ("corex.list_sockets", &[], "/0/ADDRLIST", "ADDR"),
    ("corex.shm_summary", &[], "", ""),
    ("pkg.stats", &[], "/0", "entry pid rank used free real_used total_size desc"),
    ("tls.info", &[], "", "max_connections opened_connections clear_text_write_queued_bytes"),
    (
        "tm.stats",
        &[],
        "",
        "current waiting total total_local rpl_received rpl_generated rpl_sent 6xx 5xx 4xx 3xx 2xx created freed delayed_free",
    ),
    (
        "tm.list",
        &[],
        "/0",
        "cell tindex tlabel method from to callid cseq uas_request tflags outgoings ref_count lifetime",
    ),
    ("sl.stats", &[], "", "200 202 2xx 300 301 302 3xx 400 401 403 404 407 408 483 4xx 500 5xx 6xx xxx"),
    (
        "dlg.list",
        &[],
        "/0",
        "h_entry h_id call-id from_uri to_uri state start_ts init_ts end_ts duration timeout lifetime caller callee profiles \
         variables",
    ),
    ("dlg.list", &[], "/0/caller", "tag contact cseq route_set socket"),
    ("dlg.list", &[], "/0/callee", "tag contact cseq route_set socket"),
    ("dlg.briefing", &[], "/0", "h_entry h_id from_uri to_uri call-id from_tag to_tag"),
    ("dlg.stats_active", &[], "", "starting connecting answering ongoing all"),
    ("dlg.is_alive", &["fields"], "", "state"),
    ("ul.dump", &[], "/Domains/0/Domain", "Domain AoRs Stats"),
    ("ul.dump", &[], "/Domains/0/Domain/AoRs/0/Info", "AoR Contacts"),
    (
        "ul.dump",
        &[],
        "/Domains/0/Domain/AoRs/0/Info/Contacts/0/Contact",
        "Address Expires Q Call-ID CSeq User-Agent Received Path State Flags CFlags Socket Methods Ruid Instance Reg-Id \
         Server-Id Tcpconn-Id Keepalive Last-Keepalive Last-Modified",
    ),
    ("ul.lookup", &["location", "bob"], "", "AoR Contacts"),
    ("htable.listTables", &[], "/0", "name dbtable dbmode expire updateexpire size dmqreplicate"),
    ("htable.dump", &["ipban"], "/0", "entry size slot"),
    ("htable.dump", &["ipban"], "/0/slot/0", "name value type"),
    ("htable.get", &["ipban", "198.51.100.7"], "/item", "name value flags expire"),
    ("pike.top", &[], "", "max_hits number_of_rows list"),
    ("pike.top", &[], "/list/0", "ip_addr leaf_hits_curr expires status"),
    ("dst_blocklist.view", &[], "/0", "protocol ip port expires in (s)"),
    ("dispatcher.list", &[], "", "NRSETS RECORDS"),
    ("dispatcher.list", &[], "/RECORDS/0/SET", "ID TARGETS"),
    ("dispatcher.list", &[], "/RECORDS/0/SET/TARGETS/0/DEST", "URI FLAGS PRIORITY ATTRS LATENCY RUNTIME"),
    (
        "dispatcher.list",
        &[],
        "/RECORDS/0/SET/TARGETS/0/DEST/ATTRS",
        "BODY DUID MAXLOAD WEIGHT RWEIGHT SOCKET SOCKNAME OBPROXY",
    ),
    ("dispatcher.list", &[], "/RECORDS/0/SET/TARGETS/0/DEST/LATENCY", "AVG STD EST MAX TIMEOUT"),
    ("rtpengine.show", &["all"], "/0", "url set index weight disabled recheck_ticks"),
    ("rtpengine.ping", &["all"], "", "url status"),
];

#[tokio::test]
async fn each_answer_has_its_fields() {
    let bench = Bench::start(OPEN).await;
    let mut client = Client::connect(&bench).await;
    let (alice, bob) = (Phone::registered(&bench, "alice").await, Phone::registered(&bench, "bob").await);
    alice.send(&alice.invite("bob", "fields")).await;
    let invite = bob.expect("INVITE ").await;
    bob.reply(&invite, "180 Ringing").await;
    alice.expect("SIP/2.0 180 ").await;
    client.ask("htable.seti", json!(["ipban", "198.51.100.7", 1])).await;
    client.ask("dst_blocklist.add", json!(["198.51.100.8", 5060])).await;
    client.ask("dispatcher.add", json!([1, "sip:192.0.2.1", 0, 5, "maxload=7"])).await;
    for (method, params, way, fields) in FIELDS {
        let answer = client.ask(method, json!(params)).await;
        let part = answer.pointer(way).unwrap_or_else(|| panic!("{method} {way}: {answer}"));
        let found = keys(part).join(" ");
        assert_eq!(
            found.split_whitespace().collect::<Vec<_>>(),
            fields.split_whitespace().collect::<Vec<_>>(),
            "{method} {way}"
        );
    }
    // One process with four threads at least; what it was called with; where it is; what it can do.
    for (method, params, expected) in [
        ("core.printi", json!([1, "2"]), json!([1, 2])),
        ("core.prints", json!(["a", 2]), json!(["a", "2"])),
        ("jsonrpc.echo", json!(["a", 2]), json!(["a", 2])),
        ("cnt.help", json!(["tmx", "inuse_transactions"]), json!("how much there is now")),
        ("dns.delete_all", json!([]), json!({"status": "ok"})),
        ("corex.pkg_summary", json!([]), json!({})),
        ("ctl.connections", json!([]), json!(1)),
    ] {
        assert_eq!(client.ask(method, params).await, expected, "{method}");
    }
    let who = client.ask("ctl.who", json!([])).await;
    assert_eq!((&who[1], &who[3]), (&json!("unix_stream"), &json!(socket(&bench).to_str().unwrap())));
    let doors = client.ask("ctl.listen", json!([])).await;
    assert_eq!((&doors[2], &doors[4]), (&who[3], &json!("tls")), "{doors}");
    let modules = client.ask("core.modules", json!([])).await;
    assert!(modules.as_array().unwrap().contains(&json!("usrloc")), "{modules}");
    let switches = client.ask("core.ppdefines", json!([])).await;
    let has = |name: &str| switches.as_array().unwrap().contains(&json!(name));
    assert!(
        has("WITH_TLS") && has("WITH_WEBSOCKETS") && has("WITH_USRLOCDB") && !has("WITH_AUTH"),
        "{switches}"
    );
    // The log of a test is not the gateway's.
    assert_eq!(client.refused("corex.debug", json!([])).await.0, 500);
    assert_eq!(client.refused("dns.lookup", json!(["TXT", "sip.example"])).await.0, -32602);
    assert_eq!(client.refused("core.kill", json!([9])).await.0, -32602);
}
