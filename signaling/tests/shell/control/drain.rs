//! A gateway that is about to be replaced: by a method, by the command line, and by SIGTERM.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Output, Stdio};

use super::calls::talks;
use super::*;
use crate::support::get;

#[tokio::test]
async fn draining_ends_with_the_last_call() {
    let bench = Bench::start(OPEN).await;
    let mut client = Client::connect(&bench).await;
    let (alice, bob) = (Phone::registered(&bench, "alice").await, Phone::registered(&bench, "bob").await);
    assert!(http(bench.tls(Protocol::Wss).await, &get("/readyz")).await.ends_with("\r\n\r\nok\n"));
    let answer = talks(&alice, &bob, "drain-1").await;
    let draining = client.ask("core.drain", json!([])).await;
    assert_eq!((&draining["draining"], &draining["calls"]), (&json!(true), &json!(1)));
    let ready = http(bench.tls(Protocol::Wss).await, &get("/readyz")).await;
    assert!(
        ready.starts_with("HTTP/1.1 503 ")
            && ready.ends_with("not ready: draining: no new calls are taken\n")
    );
    assert!(http(bench.tls(Protocol::Wss).await, &get("/healthz")).await.starts_with("HTTP/1.1 200 "));
    alice.send(&alice.invite("bob", "drain-2")).await;
    assert!(alice.expect("SIP/2.0 503 ").await.contains("\r\nRetry-After: 10\r\n"));
    let health = client.ask("core.health", json!([])).await;
    assert_eq!(
        (&health["live"], &health["ready"], &health["calls"]),
        (&json!(true), &json!(false), &json!(1))
    );
    // Somebody changes his mind, and again.
    assert_eq!(client.ask("core.drain_cancel", json!([])).await["draining"], false);
    assert_eq!(client.ask("core.health", json!([])).await["ready"], true);
    client.ask("core.drain", json!({ "timeout": 600 })).await;
    let (gateway, hang_up) = (&bench.gateway, alice.hang_up(&answer, &bob, "drain-1"));
    let both = async { tokio::join!(gateway.drained(), hang_up) };
    tokio::time::timeout(PATIENCE, both).await.expect("no call is left");
}

/// A call that does not end is ended when the time is over, and not before it is.
#[tokio::test]
async fn draining_has_its_limits() {
    let bench = Bench::start(OPEN).await;
    let mut client = Client::connect(&bench).await;
    let (alice, bob) = (Phone::registered(&bench, "alice").await, Phone::registered(&bench, "bob").await);
    let begun = std::time::Instant::now();
    client.ask("core.drain", json!({ "at_least": 1 })).await;
    tokio::time::timeout(PATIENCE, bench.gateway.drained()).await.expect("no call was there");
    assert!(begun.elapsed() >= std::time::Duration::from_secs(1), "others had to see it first");
    client.ask("core.drain_cancel", json!([])).await;
    talks(&alice, &bob, "drain-1").await;
    client.ask("core.drain", json!([1])).await;
    tokio::time::timeout(PATIENCE, bench.gateway.drained()).await.expect("its time is over");
    assert_eq!(client.ask("dlg.stats_active", json!([])).await["all"], 1);
}

/// A gateway as an operator runs it.
pub(super) struct Process {
    child: Child,
    pub(super) directory: tempfile::TempDir,
}

impl Process {
    pub(super) fn start(general: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = format!(
            "[general]\n{general}\n[network]\naddresses = [\"127.0.0.1\"]\n[sip]\ndomain = \"sip.example\"\n\
             udp = \"127.0.0.1:0\"\ntcp = \"off\"\ntls = \"off\"\n[https]\nlisten = \"127.0.0.1:0\"\n\
             [media]\nrelay = \"off\"\n[auth]\nrequired = false\n[acc]\ndb = false\n"
        );
        std::fs::write(directory.path().join("x.toml"), config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_causeway"));
        command.args(["run", "--config", "x.toml"]).current_dir(directory.path());
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        // It has started when it shows its first screen.
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        Self { child, directory }
    }

    pub(super) fn command(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_causeway"));
        command.args(arguments).args(["--config", "x.toml"]).current_dir(self.directory.path());
        command.output().unwrap()
    }

    /// Two phones that are registered.
    async fn phones(&self) -> (Phone, Phone) {
        let sockets = self.command(&["rpc", "core.sockets_list", "--json"]).stdout;
        let sockets: Value = serde_json::from_slice(&sockets).unwrap();
        let port: u16 = sockets[0]["socket"]["port"].as_str().unwrap().parse().unwrap();
        let gateway = ([127, 0, 0, 1], port).into();
        (Phone::registered_at(gateway, "alice").await, Phone::registered_at(gateway, "bob").await)
    }

    fn terminate(&self) {
        self.signal("TERM");
    }

    pub(super) fn signal(&self, name: &str) {
        let number = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &number]).status().unwrap().success());
    }

    /// Until it says so.
    async fn is(&self, words: &str) {
        let asking = async {
            while !String::from_utf8_lossy(&self.command(&["health", "--ready"]).stdout).contains(words) {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("it never was {words}"));
    }

    async fn ended(&mut self) -> Option<i32> {
        let waiting = async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status.code();
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("it ends")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended has nothing against it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn sigterm_drains_where_that_is_set_and_a_second_one_does_not_wait() {
    let mut process = Process::start("drain_timeout = 600");
    assert_eq!(process.command(&["health"]).status.code(), Some(0));
    let (alice, bob) = process.phones().await;
    let answer = talks(&alice, &bob, "term-1").await;
    process.terminate();
    process.is("not ready: draining").await;
    let said = process.command(&["health", "--ready"]);
    assert_eq!(said.status.code(), Some(1));
    assert_eq!(process.command(&["health"]).status.code(), Some(0), "it lives");
    alice.send(&alice.invite("bob", "term-2")).await;
    alice.expect("SIP/2.0 503 ").await;
    alice.hang_up(&answer, &bob, "term-1").await;
    assert_eq!(process.ended().await, Some(0));
    assert_eq!(process.command(&["health"]).status.code(), Some(3), "none runs");

    let mut process = Process::start("drain_timeout = 600");
    let (alice, bob) = process.phones().await;
    talks(&alice, &bob, "term-3").await;
    process.terminate();
    process.is("not ready: draining").await;
    process.terminate();
    for phone in [&alice, &bob] {
        let bye = phone.expect("BYE ").await;
        phone.reply(&bye, "200 OK").await;
    }
    assert_eq!(process.ended().await, Some(0));
}

/// The command waits for the end, and says how many calls are left.
#[tokio::test]
async fn drain_from_the_command_line() {
    let mut process = Process::start("");
    let said = process.command(&["drain", "--timeout", "600"]);
    assert_eq!(said.status.code(), Some(0), "{said:?}");
    assert_eq!(String::from_utf8_lossy(&said.stdout), "draining: calls left: 0\nstopped\n");
    assert_eq!(process.ended().await, Some(0));
    assert_eq!(process.command(&["drain"]).status.code(), Some(3));
}
