//! JSON-RPC as programs use it: over the Unix socket and over HTTPS, beside real SIP.

mod acme;
mod calls;
mod commands;
mod configuration;
mod dispatcher;
mod drain;
mod events;
mod fields;
mod reload;
mod secfilter;
mod tolls;
mod transactions;

use std::path::PathBuf;

use causeway::control::token::Tokens;
use serde_json::{Value, json};
use signaling_core::flow::Protocol;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UdpSocket, UnixStream};

use crate::sip::{Peer, register};
use crate::support::{Bench, PATIENCE, http};

/// One worker, so that what a phone has said is done when it is answered; nobody is asked for a password.
const OPEN: &str = "auth.required = false\nacc.db = false\n";

/// A client of the control socket.
struct Client(BufReader<UnixStream>);

impl Client {
    async fn connect(bench: &Bench) -> Self {
        Self(BufReader::new(UnixStream::connect(socket(bench)).await.unwrap()))
    }

    /// The answer to a line; none to one that has none is found by the answer to the next.
    async fn say(&mut self, line: &str) -> Value {
        self.0.get_mut().write_all(format!("{line}\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(PATIENCE, self.0.read_line(&mut answer)).await.expect("an answer").unwrap();
        serde_json::from_str(&answer).unwrap()
    }

    async fn answer(&mut self, method: &str, params: Value) -> Value {
        let call = json!({ "jsonrpc": "2.0", "method": method, "params": params, "id": method });
        let answer = self.say(&call.to_string()).await;
        assert_eq!((&answer["jsonrpc"], &answer["id"]), (&json!("2.0"), &json!(method)));
        answer
    }

    async fn ask(&mut self, method: &str, params: Value) -> Value {
        let mut answer = self.answer(method, params).await;
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].take()
    }

    async fn refused(&mut self, method: &str, params: Value) -> (i64, String) {
        let answer = self.answer(method, params).await;
        let error = answer.get("error").unwrap_or_else(|| panic!("{method}: {answer}"));
        (error["code"].as_i64().unwrap(), error["message"].as_str().unwrap().to_owned())
    }

    /// Asks until the answer is what is waited for.
    async fn until(&mut self, method: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let asking = async {
            loop {
                let answer = self.ask(method, json!([])).await;
                if is_it(&answer) {
                    return answer;
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("{method}: it never came"))
    }
}

fn socket(bench: &Bench) -> PathBuf {
    bench.directory.path().join("rpc.sock")
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap_or_else(|| panic!("no object: {value}")).keys().map(String::as_str).collect()
}

/// A phone on UDP that writes SIP as plain text.
struct Phone {
    socket: UdpSocket,
    user: &'static str,
}

impl Phone {
    async fn registered(bench: &Bench, user: &'static str) -> Self {
        Self::registered_at(bench.address(Protocol::Udp), user).await
    }

    async fn registered_at(gateway: std::net::SocketAddr, user: &'static str) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(gateway).await.unwrap();
        let phone = Self { socket, user };
        let fields = format!("Contact: <{}>;q=0.5\r\nExpires: 600\r\nUser-Agent: phone\r\n", phone.contact());
        phone
            .send(&phone.request("REGISTER", "sip:sip.example", &format!("reg-{user}"), user, "", &fields))
            .await;
        assert!(phone.receive().await.starts_with("SIP/2.0 200 "));
        phone
    }

    fn contact(&self) -> String {
        format!("sip:{}@{}", self.user, self.socket.local_addr().unwrap())
    }

    fn request(&self, method: &str, uri: &str, call: &str, to: &str, to_tag: &str, fields: &str) -> String {
        let local = self.socket.local_addr().unwrap();
        let user = self.user;
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{method}{call}\r\nMax-Forwards: 70\r\n\
             From: <sip:{user}@sip.example>;tag={user}\r\nTo: <sip:{to}@sip.example>{to_tag}\r\nCall-ID: {call}\r\n\
             CSeq: 1 {method}\r\n{fields}Content-Length: 0\r\n\r\n"
        )
    }

    fn invite(&self, to: &str, call: &str) -> String {
        let fields = format!("Contact: <{}>\r\n", self.contact());
        self.request("INVITE", &format!("sip:{to}@sip.example"), call, to, "", &fields)
    }

    async fn send(&self, message: &str) {
        self.socket.send(message.as_bytes()).await.unwrap();
    }

    async fn receive(&self) -> String {
        let mut buffer = vec![0; 65_535];
        let length =
            tokio::time::timeout(PATIENCE, self.socket.recv(&mut buffer)).await.expect("a message").unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    /// The next message that begins so; retransmissions and 100 are passed over.
    async fn expect(&self, start: &str) -> String {
        loop {
            let message = self.receive().await;
            if message.starts_with(start) {
                return message;
            }
        }
    }

    /// An answer to a request, from this phone's tag.
    async fn reply(&self, request: &str, status: &str) {
        let copied = |name: &str| -> String {
            let lines = request.lines().filter(|line| line.starts_with(name));
            lines.map(|line| format!("{line}\r\n")).collect()
        };
        let mut to = copied("To: ");
        if !to.contains("tag=") {
            to = to.replace("\r\n", &format!(";tag={}\r\n", self.user));
        }
        let head = [copied("Via: "), copied("Record-Route: "), copied("From: "), to].concat();
        let tail = [copied("Call-ID: "), copied("CSeq: ")].concat();
        let contact = self.contact();
        self.send(&format!(
            "SIP/2.0 {status}\r\n{head}{tail}Contact: <{contact}>\r\nContent-Length: 0\r\n\r\n"
        ))
        .await;
    }

    /// The ACK to the 200 of `callee`.
    async fn acknowledge(&self, answer: &str, callee: &Self, call: &str) {
        self.say("ACK", answer, callee, call).await;
    }

    /// Hangs up a call that `callee` has answered.
    async fn hang_up(&self, answer: &str, callee: &Self, call: &str) {
        self.say("BYE", answer, callee, call).await;
        let bye = callee.expect("BYE ").await;
        callee.reply(&bye, "200 OK").await;
        self.expect("SIP/2.0 200 ").await;
    }

    async fn say(&self, method: &str, answer: &str, callee: &Self, call: &str) {
        let routes: String = answer
            .lines()
            .filter_map(|line| line.strip_prefix("Record-Route: "))
            .map(|route| format!("Route: {route}\r\n"))
            .collect();
        let (contact, user) = (callee.contact(), callee.user);
        self.send(&self.request(method, &contact, call, user, &format!(";tag={user}"), &routes)).await;
    }
}

/// Each answer has the fields of Kamailio's, in its order.
#[tokio::test]
async fn the_process_and_its_sockets() {
    let bench = Bench::start("").await;
    let mut client = Client::connect(&bench).await;
    let info = client.ask("core.info", json!([])).await;
    assert_eq!(keys(&info), ["version", "id", "compiler", "compiled", "flags"]);
    assert!(info["compiler"].as_str().unwrap().starts_with("rustc 1."), "{info}");
    assert!(client.ask("core.version", json!([])).await.as_str().unwrap().starts_with("causeway "));
    let uptime = client.ask("core.uptime", json!([])).await;
    assert_eq!(keys(&uptime), ["now", "up_since", "uptime"]);
    let memory = client.ask("core.shmmem", json!([])).await;
    assert_eq!(keys(&memory), ["total", "free", "used", "real_used", "max_used"]);
    assert!(memory["real_used"].as_u64().unwrap() > 1 << 20, "{memory}");
    // A thread bears its name soon after it has begun.
    client.until("core.ps", |ps| ps.as_array().unwrap().contains(&json!("signaling-1"))).await;
    let psx = client.ask("core.psx", json!([])).await;
    assert_eq!(keys(&psx[0]), ["IDX", "PID", "DSC"]);
    let sockets = client.ask("core.sockets_list", json!([])).await;
    let shown: Vec<(&str, String)> = sockets
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            (row["socket"]["proto"].as_str().unwrap(), row["socket"]["port"].as_str().unwrap().to_owned())
        })
        .collect();
    let port = |protocol| bench.address(protocol).port().to_string();
    assert_eq!(
        keys(&sockets[0]["socket"]),
        ["proto", "address", "ipaddress", "port", "mcast", "mhomed", "virtual"]
    );
    let expected = [
        ("udp", Protocol::Udp),
        ("tcp", Protocol::Tcp),
        ("tls", Protocol::Tls),
        ("tls", Protocol::Wss),
        ("tcp", Protocol::Ws),
    ];
    assert_eq!(shown, expected.map(|(proto, protocol)| (proto, port(protocol))));
    let idle = client.ask("tls.info", json!([])).await;
    assert_eq!(
        idle,
        json!({"max_connections": 10000, "opened_connections": 0, "clear_text_write_queued_bytes": 0})
    );
    let open = bench.tls(Protocol::Tls).await;
    let list = client.until("tls.list", |list| list[0].is_object()).await;
    assert_eq!(list[0]["src_port"], open.get_ref().0.local_addr().unwrap().port());
    assert_eq!(client.ask("tls.info", json!([])).await["opened_connections"], 1);
    let info = client.ask("core.tcp_info", json!([])).await;
    assert_eq!((&info["opened_connections"], &info["opened_tls_connections"]), (&json!(1), &json!(1)));
    drop(open);
    client.until("tls.info", |info| info["opened_connections"] == 0).await;
    assert_eq!(client.ask("tls.reload", json!([])).await, "Ok. TLS configuration reloaded.");
    assert_eq!(client.ask("core.echo", json!(["a", 1])).await, json!(["a", 1]));
    let aliases = client.ask("core.aliases_list", json!([])).await;
    assert_eq!(aliases["aliases"][0]["alias"], json!({"proto": "*", "address": "sip.example", "port": "*"}));
    let relay = client.ask("rtpengine.show", json!(["all"])).await;
    assert_eq!(keys(&relay[0]), ["url", "set", "index", "weight", "disabled", "recheck_ticks"]);
    assert_eq!(relay[0]["url"], "udp:127.0.0.1:9");
    assert_eq!(client.refused("rtpengine.show", json!(["udp:192.0.2.1:9"])).await.0, 404);
    assert_eq!(client.refused("rtpengine.enable", json!(["all", 2])).await.0, -32602);
    let url = &relay[0]["url"];
    let status = client.ask("rtpengine.enable", json!([url, 0])).await;
    assert_eq!(status, json!({"url": url, "status": "disable"}));
    let relay = client.ask("rtpengine.show", json!([url])).await;
    assert_eq!((&relay[0]["disabled"], &relay[0]["recheck_ticks"]), (&json!("1(permanent)"), &json!("N/A")));
}

#[tokio::test]
async fn what_is_wrong_has_its_code_and_harms_nothing() {
    let bench = Bench::start("").await;
    let mut client = Client::connect(&bench).await;
    for (line, code) in [
        ("{", -32700),
        ("\u{1b}[2J", -32700),
        ("[]", -32600),
        ("7", -32600),
        (r#"{"jsonrpc":"2.0","method":1,"id":1}"#, -32600),
        (r#"{"jsonrpc":"2.0","method":"core.no_such","id":1}"#, -32601),
        (r#"{"jsonrpc":"2.0","method":"ul.rm","params":["location"],"id":1}"#, -32602),
        (r#"{"jsonrpc":"2.0","method":"tm.stats","params":["x"],"id":1}"#, -32602),
        (r#"{"jsonrpc":"2.0","method":"dlg.end_dlg","params":["x","y"],"id":1}"#, -32602),
        (r#"{"jsonrpc":"2.0","method":"htable.seti","params":["ipban","nobody"],"id":1}"#, -32602),
        (r#"{"jsonrpc":"2.0","method":"dlg.end_dlg","params":[99,1],"id":1}"#, 404),
        (r#"{"jsonrpc":"2.0","method":"ul.lookup","params":["location","nobody"],"id":1}"#, 500),
    ] {
        let answer = client.say(line).await;
        assert_eq!(answer["error"]["code"], code, "{line}: {answer}");
    }
    // A notification is not answered: the next answer is that of the batch, and it has one part.
    client.0.get_mut().write_all(b"{\"jsonrpc\":\"2.0\",\"method\":\"core.version\"}\n").await.unwrap();
    let batch = r#"[{"jsonrpc":"2.0","method":"core.version"},{"jsonrpc":"2.0","method":"core.echo","params":[1],"id":5}]"#;
    assert_eq!(client.say(batch).await, json!([{"jsonrpc": "2.0", "result": [1], "id": 5}]));
    let long = format!("\"{}\"", "x".repeat(1 << 20));
    assert_eq!(client.say(&long).await["error"]["code"], -32600);
    let mut client = Client::connect(&bench).await;
    let methods = client.ask("system.listMethods", json!([])).await;
    for method in methods.as_array().unwrap() {
        let help = client.ask("system.methodHelp", json!([method])).await;
        assert!(help.as_str().unwrap().contains(&format!("usage: {}", method.as_str().unwrap())), "{help}");
    }
    assert_eq!(client.refused("system.methodHelp", json!(["core.no_such"])).await.0, 400);
}

/// A second gateway does not take the place of one that runs; what one has left that was killed is in nobody's way.
#[tokio::test]
async fn the_socket_is_for_its_owner_and_for_one_gateway() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = Bench::start("").await;
    let path = socket(&bench);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let second = causeway::gateway::Gateway::start(crate::support::config(&bench.directory, "")).await;
    let error = format!("{:#}", second.expect_err("one gateway in a data directory"));
    assert!(error.contains("another gateway runs"), "{error}");
    let directory = std::sync::Arc::clone(&bench.directory);
    // Whether its database was slow is not the matter here.
    let _ = bench.gateway.stop().await;
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let again = Bench::start_in(directory, "").await;
    assert_eq!(Client::connect(&again).await.ask("core.echo", json!([])).await, json!([]));
    let _ = again.gateway.stop().await;
    let without = Bench::start("rpc.socket = \"off\"\n").await;
    assert!(!socket(&without).exists());
}

#[tokio::test]
async fn registrations_are_shown() {
    let bench = Bench::start(OPEN).await;
    let mut client = Client::connect(&bench).await;
    let bob = Phone::registered(&bench, "bob").await;
    let found = client.ask("ul.lookup", json!(["location", "bob"])).await;
    let contact = &found["Contacts"][0]["Contact"];
    assert_eq!((&found["AoR"], &contact["Address"]), (&json!("bob@sip.example"), &json!(bob.contact())));
    assert_eq!(
        keys(contact),
        [
            "Address",
            "Expires",
            "Q",
            "Call-ID",
            "CSeq",
            "User-Agent",
            "Received",
            "Path",
            "State",
            "Flags",
            "CFlags",
            "Socket",
            "Methods",
            "Ruid",
            "Instance",
            "Reg-Id",
            "Server-Id",
            "Tcpconn-Id",
            "Keepalive",
            "Last-Keepalive",
            "Last-Modified"
        ]
    );
    for (name, value) in [
        ("Q", json!(0.5)),
        ("User-Agent", json!("phone")),
        ("Received", json!("[not set]")),
        ("Instance", json!("[not set]")),
        ("Tcpconn-Id", json!(-1)),
        ("Socket", json!(format!("udp:{}", bench.address(Protocol::Udp)))),
        ("State", json!("CS_SYNC")),
    ] {
        assert_eq!(contact[name], value, "{name}");
    }
    let dump = client.ask("ul.dump", json!([])).await;
    let domain = &dump["Domains"][0]["Domain"];
    assert_eq!((&domain["Domain"], &domain["Stats"]["Records"]), (&json!("location"), &json!(1)));
    assert_eq!(domain["AoRs"][0]["Info"]["Contacts"], found["Contacts"]);
    let brief = client.ask("ul.dump", json!(["brief"])).await;
    assert_eq!(brief["Domains"][0]["Domain"]["AoRs"], json!([{ "AoR": "bob@sip.example" }]));
}

#[tokio::test]
async fn registrations_are_made_and_removed() {
    let bench = Bench::start(OPEN).await;
    let mut client = Client::connect(&bench).await;
    Phone::registered(&bench, "bob").await;
    let dave = json!({"table": "location", "aor": "dave", "contact": "sip:dave@192.0.2.9:5070", "expires": 600, "q": 1});
    client.ask("ul.add", dave).await;
    let added = client.ask("ul.lookup", json!(["location", "sip:dave@sip.example"])).await;
    assert_eq!(added["Contacts"][0]["Contact"]["Q"], 1.0);
    client.ask("ul.flush", json!([])).await;
    let count = async |client: &mut Client| {
        let contacts = client.ask("ul.db_contacts", json!(["location"])).await;
        (client.ask("ul.db_users", json!(["location"])).await, contacts)
    };
    assert_eq!(count(&mut client).await, (json!(2), json!(2)));
    assert_eq!(client.ask("ul.db_expired_contacts", json!(["location"])).await, 0);
    for (params, what) in [
        (json!(["location", "dave", "sip:dave@nowhere.example", 60, 1]), "no address"),
        (json!(["location", "dave", "sip:dave@192.0.2.9;transport=ws", 60, 1]), "over ws"),
        (json!(["location", "dave", "tel:+49", 60, 1]), "no SIP URI"),
        (json!(["location", "dave", "sip:dave@192.0.2.9", 60, 2]), "between 0 and 1"),
        (json!(["aliases", "dave", "sip:dave@192.0.2.9", 60, 1]), "Domain table not found"),
    ] {
        let (_, message) = client.refused("ul.add", params).await;
        assert!(message.contains(what), "{message}");
    }
    let other = json!(["location", "dave", "sip:other@192.0.2.9"]);
    assert_eq!(client.refused("ul.rm_contact", other).await, (404, "Contact not found".to_owned()));
    client.ask("ul.rm_contact", json!(["location", "dave", "sip:dave@192.0.2.9:5070"])).await;
    client.ask("ul.rm", json!(["location", "bob"])).await;
    assert_eq!(client.refused("ul.rm", json!(["location", "bob"])).await, (404, "AOR not found".to_owned()));
    client.ask("ul.flush", json!([])).await;
    client.until("ul.dump", |dump| dump["Domains"][0]["Domain"]["AoRs"] == json!([])).await;
    let gone = async {
        while count(&mut client).await != (json!(0), json!(0)) {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("the database forgets them too");
}

/// The users and addresses with refused passwords.
#[tokio::test]
async fn guesses_are_listed_and_forgiven() {
    let bench = Bench::start("").await;
    let mut client = Client::connect(&bench).await;
    let mut peer = Peer::connect(&bench, Protocol::Udp).await;
    let contact = "Contact: <sip:carol@192.0.2.7:5062>\r\n";
    let refused = register(&mut peer, Protocol::Udp, "wrong", contact).await;
    assert!(refused.starts_with("SIP/2.0 401 "), "{refused}");
    let dump = client.ask("htable.dump", json!(["auth_block_list"])).await;
    let names = |entry: &Value| entry["slot"][0]["name"].clone();
    assert_eq!(
        [names(&dump[0]), names(&dump[1])],
        [json!("127.0.0.1::auth_count"), json!("carol@sip.example::auth_count")]
    );
    assert_eq!(
        (&dump[1]["slot"][0]["value"], &dump[1]["slot"][1]["name"]),
        (&json!(1), &json!("carol@sip.example::last_auth"))
    );
    let got = client.ask("htable.get", json!(["auth_block_list", "carol@sip.example"])).await;
    assert_eq!(got["item"]["value"], 1);
    client.ask("htable.delete", json!(["auth_block_list", "carol@sip.example"])).await;
    assert_eq!(client.refused("htable.delete", json!(["auth_block_list", "carol@sip.example"])).await.0, 404);
    client.ask("htable.flush", json!(["auth_block_list"])).await;
    assert_eq!(client.ask("htable.dump", json!(["auth_block_list"])).await, json!([]));
    assert_eq!(client.refused("htable.seti", json!(["auth_block_list", "carol", 1])).await.0, -32602);
    assert_eq!(client.ask("cnt.get", json!(["causeway", "auth_failures"])).await, 1);
}

#[tokio::test]
async fn sources_are_banned_and_forgiven() {
    let bench = Bench::start("").await;
    let mut client = Client::connect(&bench).await;
    assert_eq!(client.ask("htable.dump", json!(["ipban"])).await, json!([]));
    client.ask("htable.seti", json!(["ipban", "198.51.100.7", 1])).await;
    client.ask("htable.setex", json!(["ipban", "2001:db8::7", 60])).await;
    let dump = client.ask("htable.dump", json!(["ipban"])).await;
    assert_eq!(
        dump[0],
        json!({"entry": 0, "size": 1, "slot": [{"name": "198.51.100.7", "value": 1, "type": "int"}]})
    );
    for neighbour in ["2001:db8::7", "2001:db8::8"] {
        let item = &client.ask("htable.get", json!(["ipban", neighbour])).await["item"];
        assert_eq!(keys(item), ["name", "value", "flags", "expire"]);
        assert_eq!(item["name"], "2001:db8::", "a network is one source");
    }
    let top = client.ask("pike.top", json!([])).await;
    assert_eq!((&top["max_hits"], &top["number_of_rows"]), (&json!(16), &json!(2)));
    assert_eq!(top["list"][0]["status"], "HOT");
    assert_eq!(client.ask("cnt.get", json!(["pike", "blocked_ips"])).await, 2);
    client.ask("htable.delete", json!(["ipban", "198.51.100.7"])).await;
    assert_eq!(client.refused("htable.delete", json!(["ipban", "198.51.100.7"])).await.0, 404);
    client.ask("htable.flush", json!(["ipban"])).await;
    assert_eq!(client.ask("htable.dump", json!(["ipban"])).await, json!([]));
    assert_eq!(client.refused("htable.seti", json!(["ipban", "127.0.0.1"])).await.0, 500, "exempt");
    assert_eq!(client.refused("htable.dump", json!(["other"])).await.0, 404);
    let tables = client.ask("htable.listTables", json!([])).await;
    let told = |place: usize| (tables[place]["name"].clone(), tables[place]["expire"].clone());
    assert_eq!([told(0), told(1)], [(json!("ipban"), json!(300)), (json!("auth_block_list"), json!(900))]);
    client.ask("dst_blocklist.add", json!(["192.0.2.9", 5060, "tcp", 60])).await;
    let blocked = client.ask("dst_blocklist.view", json!([])).await;
    assert_eq!((&blocked[0]["protocol"], &blocked[0]["ip"]), (&json!("tcp"), &json!("192.0.2.9")));
    client.ask("dst_blocklist.delete_all", json!([])).await;
    assert_eq!(client.ask("dst_blocklist.view", json!([])).await, json!([]));
}

fn posted(token: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST /rpc HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{token}Content-Length: {length}\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn over_https_a_token_is_needed_and_a_place_that_may() {
    const ECHO: &str = r#"{"jsonrpc":"2.0","method":"core.echo","params":["x"],"id":1}"#;
    let bench = Bench::start("").await;
    let token = Tokens::of(bench.directory.path()).add("console").unwrap();
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let post =
        async |bearer: &str, body: &str| http(bench.tls(Protocol::Wss).await, &posted(bearer, body)).await;
    let answer = post(&bearer, ECHO).await;
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.contains("\r\ncache-control: no-store\r\n"),
        "{answer}"
    );
    assert!(answer.ends_with(r#"{"jsonrpc":"2.0","result":["x"],"id":1}"#), "{answer}");
    let broken = post(&bearer, "{").await;
    assert!(broken.starts_with("HTTP/1.1 200 ") && broken.contains("-32700"), "{broken}");
    assert!(post(&bearer, r#"{"jsonrpc":"2.0","method":"core.echo"}"#).await.starts_with("HTTP/1.1 204 "));
    for wrong in [
        "",
        "Authorization: Bearer cw_wrong\r\n",
        "Authorization: Basic YTpi\r\n",
        "Authorization: Bearer\r\n",
    ] {
        let refused = post(wrong, ECHO).await;
        assert!(
            refused.starts_with("HTTP/1.1 401 ") && refused.contains("www-authenticate: Bearer"),
            "{refused}"
        );
    }
    let long = post(&bearer, &" ".repeat((1 << 20) + 1)).await;
    assert!(long.starts_with("HTTP/1.1 413 "), "{long}");
    let get = format!("GET /rpc HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{bearer}\r\n");
    assert!(http(bench.tls(Protocol::Wss).await, &get).await.starts_with("HTTP/1.1 405 "));
    let plain = http(bench.tcp(Protocol::Ws).await, &posted(&bearer, ECHO)).await;
    assert!(plain.starts_with("HTTP/1.1 403 "), "{plain}");
    Tokens::of(bench.directory.path()).remove("console").unwrap();
    assert!(post(&bearer, ECHO).await.starts_with("HTTP/1.1 401 "), "taken back");

    for (allow, status) in [("[\"192.0.2.0/24\"]", "HTTP/1.1 403 "), ("[]", "HTTP/1.1 405 ")] {
        let bench = Bench::start(&format!("rpc.allow = {allow}\n")).await;
        let token = Tokens::of(bench.directory.path()).add("console").unwrap();
        let bearer = format!("Authorization: Bearer {token}\r\n");
        let refused = http(bench.tls(Protocol::Wss).await, &posted(&bearer, ECHO)).await;
        assert!(refused.starts_with(status), "{allow}: {refused}");
    }
}
