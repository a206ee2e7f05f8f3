//! `cfg.*`: keys of the configuration looked at, and changed while the gateway runs.

use super::*;

/// What somebody hears who dials a number of the telephone network: there is a gateway for it, or nobody of this name.
async fn dialled(alice: &Phone, call: &str) -> String {
    alice.send(&alice.invite("+49301234567", call)).await;
    let answer = loop {
        let message = alice.receive().await;
        if message.starts_with("SIP/2.0 ") && !message.starts_with("SIP/2.0 100 ") && message.contains(call) {
            break message;
        }
    };
    let status = answer.lines().next().unwrap_or_default().to_owned();
    let ack = alice.request("ACK", "sip:+49301234567@sip.example", call, "+49301234567", "", "");
    alice.send(&ack.replace("z9hG4bKACK", "z9hG4bKINVITE")).await;
    status
}

#[tokio::test]
async fn keys_are_looked_at() {
    let bench = Bench::start(&format!(
        "{OPEN}jwt.secret = \"an-hour-of-silence-in-the-hall-1234\"\npstn.groups = [\"int:^00\"]\n"
    ))
    .await;
    let mut client = Client::connect(&bench).await;
    let list = client.ask("cfg.list", json!([])).await;
    assert!(list.as_array().unwrap().contains(&json!("timers: fr_timer")), "{list}");
    assert_eq!(client.ask("cfg.list", json!(["routing"])).await, json!(["routing: block_3xx"]));
    for (group, name, value) in [
        ("timers", "fr_timer", json!(30_000)),
        ("auth", "required", json!(false)),
        ("pstn", "groups", json!(["int:^00"])),
        ("sip", "domain", json!("sip.example")),
    ] {
        assert_eq!(client.ask("cfg.get", json!([group, name])).await, value, "{group}.{name}");
        assert_eq!(client.ask("cfg.get", json!([group])).await[name], value, "{group}.{name}");
    }
    let help = client.ask("cfg.help", json!(["pstn", "gw_port"])).await;
    assert!(help.as_str().unwrap().contains("Allowed: 0 to 65535"), "{help}");
    // What is secret is neither shown nor named with the rest.
    let hidden = client.refused("cfg.get", json!(["jwt", "secret"])).await;
    assert_eq!(hidden, (400, "Variable exists, but it is not readable via RPC interface".to_owned()));
    assert!(!client.ask("cfg.get", json!(["jwt"])).await.to_string().contains("silence"));
    for params in [json!(["no", "such"]), json!(["timers", "such"]), json!(["no"])] {
        assert_eq!(client.refused("cfg.get", params).await.0, 400);
    }
}

#[tokio::test]
async fn keys_are_changed_while_the_gateway_runs() {
    let bench = Bench::start(OPEN).await;
    let mut client = Client::connect(&bench).await;
    let (alice, gateway) =
        (Phone::registered(&bench, "alice").await, UdpSocket::bind("127.0.0.1:0").await.unwrap());
    assert_eq!(dialled(&alice, "before").await, "SIP/2.0 404 Not Found");
    for (method, params, what) in [
        ("cfg.set", json!(["timers", "fr_timer", 1000]), "next start"),
        ("cfg.sets", json!(["jwt", "secret", "x"]), "secret"),
        ("cfg.seti", json!(["pstn", "gw_port", 70_000]), "out of range"),
        ("cfg.sets", json!(["pstn", "gw_port", "5060"]), "not a whole number"),
        ("cfg.set", json!(["pstn", "pattern", "("]), "no regular expression"),
        ("cfg.set", json!(["pstn", "such", 1]), "none of this name"),
    ] {
        let (code, message) = client.refused(method, params).await;
        assert!(code == 400 && message.contains(what), "{method}: {code} {message}");
    }
    assert_eq!(client.refused("cfg.seti", json!(["pstn", "gw_port", "x"])).await.0, -32602);

    let port = gateway.local_addr().unwrap().port();
    client.ask("cfg.set_delayed_string", json!(["pstn", "gw_ip", "127.0.0.1"])).await;
    client.ask("cfg.set_delayed_int", json!(["pstn", "gw_port", port])).await;
    client.ask("cfg.set_delayed", json!(["routing", "block_3xx", true])).await;
    let diff = client.ask("cfg.diff", json!([])).await;
    assert_eq!(keys(&diff[0]), ["group name", "variable name", "old value", "new value"]);
    assert_eq!((&diff[0]["old value"], &diff[0]["new value"]), (&json!(""), &json!("127.0.0.1")));
    assert_eq!((diff.as_array().unwrap().len(), &diff[2]["new value"]), (3, &json!(1)));
    assert_eq!(dialled(&alice, "prepared").await, "SIP/2.0 404 Not Found", "nothing counts yet");
    client.ask("cfg.commit", json!([])).await;
    assert_eq!(client.ask("cfg.diff", json!([])).await, json!([]));
    assert_eq!(client.ask("cfg.get", json!(["pstn", "gw_port"])).await, json!(port));
    alice.send(&alice.invite("+49301234567", "after")).await;
    let mut buffer = vec![0; 65_535];
    let received = tokio::time::timeout(PATIENCE, gateway.recv(&mut buffer)).await.expect("a call").unwrap();
    assert!(
        buffer[..received].starts_with(b"INVITE sip:+49301234567@127.0.0.1"),
        "{:?}",
        &buffer[..received]
    );

    // What costs much, and how much of it a user may have of a day.
    client.ask("cfg.set", json!(["secfilter", "premium_dst", ["49"]])).await;
    assert_eq!(client.ask("cfg.get", json!(["secfilter", "premium_dst"])).await, json!(["49"]));
    client.ask("cfg.reset", json!(["secfilter", "premium_dst"])).await;
    client.ask("cfg.seti", json!(["tolls", "calls_per_day", 1])).await;
    assert_eq!(client.ask("cfg.get", json!(["tolls", "calls_per_day"])).await, json!(1));
    client.ask("cfg.reset", json!(["tolls", "calls_per_day"])).await;

    client.ask("cfg.set_delayed", json!(["pstn", "gw_port", 1])).await;
    client.ask("cfg.rollback", json!([])).await;
    client.ask("cfg.commit", json!([])).await;
    assert_eq!(client.ask("cfg.get", json!(["pstn", "gw_port"])).await, json!(port));
    client.ask("cfg.set", json!(["pstn", "groups", ["int:^00", "ld:^\\+"]])).await;
    assert_eq!(client.ask("cfg.get", json!(["pstn", "groups"])).await, json!(["int:^00", "ld:^\\+"]));
    assert_eq!(dialled(&alice, "of-no-group").await, "SIP/2.0 403 Forbidden");
    client.ask("cfg.reset", json!(["pstn", "groups"])).await;
    client.ask("cfg.reset", json!(["pstn", "gw_ip"])).await;
    assert_eq!(dialled(&alice, "reset").await, "SIP/2.0 404 Not Found");
    // What the file says counts from the time on when it is read again.
    client.ask("cfg.set_now_string", json!(["pstn", "gw_ip", "127.0.0.1"])).await;
    bench.gateway.reload(&crate::support::config(&bench.directory, OPEN)).await.unwrap();
    assert_eq!(client.ask("cfg.get", json!(["pstn", "gw_ip"])).await, json!(""));
}
