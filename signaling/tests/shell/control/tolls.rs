//! `tolls.*`: what is spent of a day outlives a restart, is shown and forgiven; and alarms reach a URL.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::commands::causeway;
use super::*;

/// A call of `phone` to the telephone network, which is `gateway`, that is not answered: what it hears.
async fn call(phone: &Phone, gateway: &UdpSocket, number: usize) -> String {
    let call_id = format!("toll-{number}");
    let fields = format!("Contact: <{}>\r\n", phone.contact());
    phone.send(&phone.request("INVITE", "sip:+4930123@sip.example", &call_id, "+4930123", "", &fields)).await;
    let mut buffer = vec![0; 65_535];
    loop {
        tokio::select! {
            received = gateway.recv_from(&mut buffer) => {
                let (length, from) = received.unwrap();
                let invite = String::from_utf8(buffer[..length].to_vec()).unwrap();
                if invite.starts_with("INVITE ") {
                    let copied: String = invite
                        .lines()
                        .filter(|line| ["Via: ", "From: ", "Call-ID: ", "CSeq: "].iter().any(|name| line.starts_with(name)))
                        .map(|line| format!("{line}\r\n"))
                        .collect();
                    let answer = format!(
                        "SIP/2.0 486 Busy Here\r\n{copied}To: <sip:+4930123@sip.example>;tag=gw\r\nContent-Length: 0\r\n\r\n"
                    );
                    gateway.send_to(answer.as_bytes(), from).await.unwrap();
                }
            }
            answer = phone.receive() => {
                let is_final = !answer.starts_with("SIP/2.0 1");
                if is_final && answer.contains(&format!("Call-ID: {call_id}\r\n")) {
                    return answer.lines().next().unwrap().to_owned();
                }
            }
        }
    }
}

#[tokio::test]
async fn what_is_spent_outlives_a_restart_and_may_be_forgiven() {
    let gateway = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let hook = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let extra = format!(
        "{OPEN}pstn.gw_ip = \"127.0.0.1\"\npstn.gw_port = {}\ntolls.calls_per_day = 2\ntolls.timezone = \"Europe/Berlin\"\n\
         alarm.webhook_url = \"http://{}/alarm\"\nalarm.webhook_secret = \"s\"\n",
        gateway.local_addr().unwrap().port(),
        hook.local_addr().unwrap()
    );
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let bench = Bench::start_in(Arc::clone(&directory), &extra).await;
    let bob = Phone::registered(&bench, "bob").await;
    for number in 0..2 {
        assert_eq!(call(&bob, &gateway, number).await, "SIP/2.0 486 Busy Here");
    }
    let refused = "SIP/2.0 403 Limit Of The Day Reached (calls)";
    assert_eq!(call(&bob, &gateway, 2).await, refused);
    let posted = async {
        let (mut stream, _) = hook.accept().await.unwrap();
        let mut text = String::new();
        while !text.ends_with('}') {
            let mut bytes = [0; 4096];
            let length = stream.read(&mut bytes).await.unwrap();
            assert!(length > 0, "{text}");
            text.push_str(std::str::from_utf8(&bytes[..length]).unwrap());
        }
        stream.write_all(b"HTTP/1.1 204 Taken\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        text
    };
    let posted = tokio::time::timeout(PATIENCE, posted).await.expect("an alarm");
    let (head, body) = posted.split_once("\r\n\r\n").unwrap();
    let told: Value = serde_json::from_str(body).unwrap();
    assert!(head.contains("x-causeway-signature: t="), "{head}");
    assert_eq!(
        (&told["event"], &told["user"], &told["what"]),
        (&json!("toll"), &json!("bob@sip.example"), &json!("calls"))
    );
    assert_eq!((&told["domain"], &told["source"]), (&json!("sip.example"), &json!("127.0.0.1")));
    bench.gateway.stop().await.unwrap();

    let bench = Bench::start_in(directory, &extra).await;
    let bob = Phone::registered(&bench, "bob").await;
    assert_eq!(call(&bob, &gateway, 3).await, refused, "as before the restart");
    let (code, text, error) = causeway(&bench, &["tolls", "list", "--json"]).await;
    let rows: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{code} {text} {error}"));
    let row = |profile: &str, value: &str, most: u64| json!({"profile": profile, "value": value, "calls": 2, "calls_per_day": most, "minutes": 0.0, "minutes_per_day": 0});
    let mut rows = rows.as_array().unwrap().clone();
    rows.sort_by_key(|row| row["profile"].to_string());
    assert_eq!(rows, [row("gateway", "127.0.0.1", 0), row("user", "bob@sip.example", 2)]);
    assert!(causeway(&bench, &["tolls", "list"]).await.1.contains("bob@sip.example"));
    let mut client = Client::connect(&bench).await;
    assert_eq!(client.ask("tolls.list", json!(["nobody"])).await, json!([]));
    assert_eq!(client.refused("tolls.reset", json!(["nobody"])).await.0, 404);
    assert_eq!(causeway(&bench, &["tolls", "reset", "bob@sip.example"]).await.0, 0);
    assert_eq!(call(&bob, &gateway, 4).await, "SIP/2.0 486 Busy Here");
    assert_eq!(client.ask("tolls.reset", json!(["all"])).await, "Ok. All reset.");
    let spent = client.ask("tolls.list", json!([])).await;
    assert!(spent.as_array().unwrap().iter().all(|row| row["calls"] == 0), "{spent}");
    bench.gateway.stop().await.unwrap();
}
