//! The commands that ask the running gateway.

use super::*;

/// Runs the command with the configuration of the bench: exit code, standard output, standard error.
pub(super) async fn causeway(bench: &Bench, arguments: &[&str]) -> (i32, String, String) {
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    run(bench.directory.path(), &arguments).await
}

async fn run(directory: &std::path::Path, arguments: &[String]) -> (i32, String, String) {
    let config = directory.join("control.toml");
    let text = format!("general.data_directory = {directory:?}\nsip.domain = \"sip.example\"\n");
    std::fs::write(&config, text).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_causeway"));
    command.args(arguments).arg("--config").arg(&config);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn the_command_line_asks_the_gateway() {
    let bench = Bench::start(OPEN).await;
    let bob = Phone::registered(&bench, "bob").await;
    let (code, version, _) = causeway(&bench, &["rpc", "core.version"]).await;
    assert!(code == 0 && version.starts_with("causeway ") && version.ends_with('\n'), "{version}");
    let (_, stats, _) = causeway(&bench, &["rpc", "tm.stats"]).await;
    assert!(stats.starts_with("current: 0\nwaiting: 0\ntotal: 1\n"), "{stats}");
    let (_, stats, _) = causeway(&bench, &["rpc", "tm.stats", "--json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&stats).unwrap()["total"], 1);
    let (_, echo, _) = causeway(&bench, &["rpc", "core.echo", "a", "-1"]).await;
    assert_eq!(echo, "a\n-1\n");
    for (arguments, expected, what) in [
        (&["rpc", "core.no_such"][..], 2, "Method not found"),
        (&["rpc", "ul.rm", "location"], 2, "usage: ul.rm table aor"),
        (&["rpc", "ul.lookup", "location", "nobody"], 1, "AOR not found"),
        (&["calls", "end", "nobody"], 1, "Dialog not found"),
    ] {
        let (code, _, error) = causeway(&bench, arguments).await;
        assert!(code == expected && error.contains(what), "{arguments:?}: {code} {error}");
    }

    let alice = Phone::registered(&bench, "alice").await;
    assert_eq!(causeway(&bench, &["calls", "list", "--live"]).await.1, "");
    alice.send(&alice.invite("bob", "live-call")).await;
    let invite = bob.expect("INVITE ").await;
    bob.reply(&invite, "180 Ringing").await;
    alice.expect("SIP/2.0 180 ").await;
    let (_, live, _) = causeway(&bench, &["calls", "list", "--live"]).await;
    assert!(live.contains("ringing") && live.contains("live-call") && live.lines().count() == 2, "{live}");
    assert_eq!(causeway(&bench, &["calls", "end", "live-call"]).await.0, 0);
    alice.expect("SIP/2.0 487 ").await;
    bob.expect("CANCEL ").await;
}

#[tokio::test]
async fn registrations_are_removed_by_command_with_and_without_a_gateway() {
    let bench = Bench::start(OPEN).await;
    Phone::registered(&bench, "bob").await;
    assert_eq!(causeway(&bench, &["registrations", "remove", "bob", "sip:other@192.0.2.1"]).await.0, 1);
    assert_eq!(causeway(&bench, &["registrations", "remove", "bob"]).await.0, 0);
    assert_eq!(causeway(&bench, &["rpc", "ul.lookup", "location", "bob"]).await.0, 1);
    // Only the database is there.
    for user in ["carol", "dave"] {
        Phone::registered(&bench, user).await;
    }
    let directory = std::sync::Arc::clone(&bench.directory);
    let _ = bench.gateway.stop().await;
    let alone = |arguments: &[&str]| {
        let (directory, arguments) = (directory.path().to_owned(), arguments.iter().map(ToString::to_string));
        let arguments: Vec<String> = arguments.collect();
        async move { run(&directory, &arguments).await }
    };
    let (code, list, _) = alone(&["registrations", "list"]).await;
    assert!(code == 0 && list.contains("carol") && list.contains("dave") && !list.contains("bob"), "{list}");
    let (code, _, error) = alone(&["registrations", "remove", "carol", "sip:other@192.0.2.1"]).await;
    assert!(code == 1 && error.contains("it is not there"), "{error}");
    assert_eq!(alone(&["registrations", "remove", "carol"]).await.0, 0);
    assert_eq!(alone(&["registrations", "remove", "carol"]).await.0, 1);
    let (_, list, _) = alone(&["registrations", "list"]).await;
    assert!(!list.contains("carol") && list.contains("dave"), "{list}");
}

#[tokio::test]
async fn tokens_are_made_shown_and_taken_back() {
    let bench = Bench::start(OPEN).await;
    let (_, token, _) = causeway(&bench, &["token", "add", "console"]).await;
    let owner = Tokens::of(bench.directory.path()).owner(token.trim()).unwrap();
    assert_eq!(owner.as_deref(), Some("console"));
    assert_eq!(causeway(&bench, &["token", "list"]).await.1, "console\n");
    let (_, list, _) = causeway(&bench, &["token", "list", "--json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&list).unwrap(), json!([{ "name": "console" }]));
    assert_eq!(causeway(&bench, &["token", "add", "console"]).await.0, 1, "there already");
    assert_eq!(causeway(&bench, &["token", "remove", "console"]).await.0, 0);
}

#[tokio::test]
async fn without_a_gateway_there_is_nobody_to_ask() {
    let none =
        Bench::start_in(std::sync::Arc::new(tempfile::tempdir().unwrap()), "rpc.socket = \"off\"\n").await;
    let (code, _, error) = causeway(&none, &["rpc", "core.version"]).await;
    assert!(code == 3 && error.contains("no gateway runs"), "{error}");
}

/// Without `--json` a table for people, with it an array for programs, which is empty where there is nothing.
#[tokio::test]
async fn every_list_is_there_for_people_and_for_programs() {
    let bench = Bench::start(OPEN).await;
    Phone::registered(&bench, "bob").await;
    let at = "sip:192.0.2.1";
    for (what, add) in [
        ("domain", &["add", "a.test"][..]),
        ("alias", &["add", "sales", "bob"]),
        ("speed-dial", &["add", "bob", "42", "sip:carol@sip.example"]),
        ("address", &["add", "192.0.2.0/24"]),
        ("group", &["add", "bob", "int"]),
        ("dispatcher", &["add", "1", at]),
        ("secfilter", &["add", "ip", "192.0.2.0/24", "--allow"]),
        ("token", &["add", "console"]),
        ("registrations", &[]),
        ("user", &[]),
        ("calls", &[]),
    ] {
        if !add.is_empty() {
            let (code, _, error) = causeway(&bench, &[&[what], add].concat()).await;
            assert_eq!(code, 0, "{what}: {error}");
            assert_eq!(causeway(&bench, &[&[what], add].concat()).await.0, 1, "{what}: it is there already");
        }
        let (code, text, _) = causeway(&bench, &[what, "list", "--json"]).await;
        let rows: Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{what}: {error}: {text}"));
        let expected = usize::from(!matches!(what, "user" | "calls"));
        assert_eq!((code, rows.as_array().map(Vec::len)), (0, Some(expected)), "{what}: {text}");
        let (code, text, _) = causeway(&bench, &[what, "list"]).await;
        assert!(code == 0 && !text.contains('['), "{what}: {text}");
    }
}
