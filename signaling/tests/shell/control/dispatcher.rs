//! `dispatcher.*`: each answer as a Kamailio 5.6 gives it.

use super::*;

/// The gateways of one set.
async fn targets(client: &mut Client) -> Vec<Value> {
    let list = client.ask("dispatcher.list", json!([])).await;
    assert_eq!((keys(&list), &list["NRSETS"]), (vec!["NRSETS", "RECORDS"], &json!(1)));
    let set = &list["RECORDS"][0]["SET"];
    assert_eq!((keys(set), &set["ID"]), (vec!["ID", "TARGETS"], &json!(1)));
    set["TARGETS"].as_array().unwrap().iter().map(|target| target["DEST"].clone()).collect()
}

#[tokio::test]
async fn gateways_are_shown_added_disabled_and_removed() {
    let bench = Bench::start("").await;
    let mut client = Client::connect(&bench).await;
    assert_eq!(client.ask("dispatcher.list", json!([])).await, json!({"NRSETS": 0, "RECORDS": []}));
    let first = "sip:192.0.2.1:5060";
    let added = json!([1, first, 0, 5, "weight=60;duid=abc;maxload=7;rweight=20"]);
    assert_eq!(client.ask("dispatcher.add", added).await, "Ok. Dispatcher destination added.");
    client.ask("dispatcher.add", json!([1, "sip:192.0.2.2", 4])).await;
    let all = targets(&mut client).await;
    assert_eq!(
        all[0],
        json!({
            "URI": first, "FLAGS": "AX", "PRIORITY": 5,
            "ATTRS": {
                "BODY": "weight=60;duid=abc;maxload=7;rweight=20", "DUID": "abc", "MAXLOAD": 7, "WEIGHT": 60, "RWEIGHT": 20,
                "SOCKET": null, "SOCKNAME": null, "OBPROXY": null,
            },
            "LATENCY": { "AVG": 0.0, "STD": 0.0, "EST": 0.0, "MAX": 0.0, "TIMEOUT": 0 },
            "RUNTIME": { "DLGLOAD": 0 },
        })
    );
    assert_eq!(keys(&all[1]), ["URI", "FLAGS", "PRIORITY", "LATENCY"]);
    assert_eq!(all[1]["FLAGS"], "DX");
    let updated = client.ask("dispatcher.set_state", json!(["ip", 1, first])).await;
    assert_eq!(updated, "Ok. Dispatcher state updated.");
    assert_eq!(client.ask("dispatcher.reload", json!([])).await, "Ok. Dispatcher successfully reloaded.");
    assert_eq!(targets(&mut client).await[0]["FLAGS"], "IP", "what an operator has said outlives a reload");
    client.ask("dispatcher.set_state", json!(["a", 1, "all"])).await;
    assert!(targets(&mut client).await.iter().all(|target| target["FLAGS"] == "AX"));
    for (state, set, uri, what) in [
        ("zz", 1, first, "Unknown State Value"),
        ("i", 1, "sip:nix", "State Update Failed"),
        ("i", 9, first, "State Update Failed"),
    ] {
        let refused = client.refused("dispatcher.set_state", json!([state, set, uri])).await;
        assert_eq!(refused, (500, what.to_owned()));
    }
    for (method, params) in [
        ("dispatcher.add", json!([1, "nonsense"])),
        ("dispatcher.add", json!([1, first])),
        ("dispatcher.remove", json!([1, "sip:nix"])),
    ] {
        assert_eq!(client.refused(method, params.clone()).await.0, 500, "{method} {params}");
    }
    assert_eq!(client.ask("dispatcher.ping_active", json!([])).await, json!({"OldPingState": 1}));
    let off = client.ask("dispatcher.ping_active", json!([0])).await;
    assert_eq!(off, json!({"NewPingState": 0, "OldPingState": 1}));
    assert_eq!(client.refused("dispatcher.ping_active", json!([2])).await.0, -32602);
    let removed = client.ask("dispatcher.remove", json!([1, first])).await;
    assert_eq!(removed, "Ok. Dispatcher destination removed.");
    assert_eq!(targets(&mut client).await.len(), 1);
}
