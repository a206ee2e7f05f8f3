//! Tables that are changed while the gateway runs: by its commands, by Kamailio's own means, and by the configuration.

use anyhow::{Context, Result};
use e2e::databases::{Engine, Server};
use e2e::gateway::{DOMAIN, Gateway};
use e2e::phone::Phone;
use e2e::wait::PATIENCE;
use serde_json::Value;

/// The status that a MESSAGE of `phone` to `uri` hears; whoever of `others` it reaches says 200.
async fn status(phone: &mut Phone, uri: &str, others: &mut Phone) -> Result<u16> {
    let message = phone.request("MESSAGE", uri, uri);
    let answering = async {
        loop {
            let received = others.receive("a message", |m| m.method() == Some("MESSAGE")).await?;
            others.answer(&received, 200, "OK", "t", "").await?;
        }
        #[allow(unreachable_code, reason = "its type")]
        anyhow::Ok(())
    };
    tokio::select! {
        answer = phone.transact(message) => answer?.status().context("no status"),
        failed = answering => Err(failed.err().context("nobody asked")?),
    }
}

/// Asks until the answer is `wanted`: a change counts within a second.
async fn becomes(phone: &mut Phone, uri: &str, other: &mut Phone, wanted: u16) -> Result<()> {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let status = status(phone, uri, other).await?;
        if status == wanted {
            return Ok(());
        }
        anyhow::ensure!(std::time::Instant::now() < deadline, "{uri}: {status} in place of {wanted}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn commands_change_the_tables_of_a_running_gateway() -> Result<()> {
    let server = Server::start(Engine::Postgres).await?;
    let url = server.kamailios_database("kamailio")?;
    let mut gateway = Gateway::start_with(&format!("[database]\ndb_url = \"{url}\"\n")).await?;
    let (alice, bob) =
        (gateway.account("alice", "first-light-12")?, gateway.account("bob", "second-light-34")?);
    let mut alice = Phone::registered(alice, gateway.proxy()).await?;
    let mut bob = Phone::registered(bob, gateway.proxy()).await?;
    let (sales, branch) = (format!("sip:sales@{DOMAIN}"), "sip:bob@branch.test");
    becomes(&mut alice, &sales, &mut bob, 404).await?;
    gateway.command(&["alias", "add", "sales", "bob"], "")?;
    becomes(&mut alice, &sales, &mut bob, 200).await?;
    assert_eq!(server.ask("kamailio", "SELECT alias_username, username FROM dbaliases")?, "sales\tbob");
    assert!(gateway.command(&["alias", "add", "sales", "alice"], "").is_err(), "it is there");
    gateway.command(&["speed-dial", "add", "alice", "42", &sales], "")?;
    becomes(&mut alice, &format!("sip:42@{DOMAIN}"), &mut bob, 200).await?;
    // A destination that is barred.
    gateway.command(&["secfilter", "add", "dst", "bob"], "")?;
    becomes(&mut alice, &sales, &mut bob, 403).await?;
    assert_eq!(server.ask("kamailio", "SELECT action, type, data FROM secfilter")?, "2\t0\tbob");
    let shown: Value = serde_json::from_str(&gateway.command(&["secfilter", "list", "dst", "--json"], "")?)?;
    assert_eq!(shown, serde_json::json!([{"list": "deny", "kind": "dst", "value": "bob"}]));
    gateway.command(&["secfilter", "remove", "dst", "bob"], "")?;
    becomes(&mut alice, &sales, &mut bob, 200).await?;
    gateway.command(&["alias", "remove", "sales"], "")?;
    becomes(&mut alice, &sales, &mut bob, 404).await?;
    assert!(gateway.command(&["alias", "remove", "sales"], "").is_err(), "it is gone");
    // A user of another domain, who has an alias there.
    gateway.command(&["domain", "add", "branch.test"], "")?;
    gateway.command(&["alias", "add", "bob@branch.test", &format!("bob@{DOMAIN}")], "")?;
    becomes(&mut alice, branch, &mut bob, 200).await?;
    let shown: Value = serde_json::from_str(&gateway.command(&["user", "show", "bob", "--json"], "")?)?;
    assert_eq!(shown["aliases"][0]["alias_domain"], "branch.test");
    assert_eq!(shown["registrations"].as_array().map(Vec::len), Some(1));
    // And by Kamailio's own means.
    server.ask("kamailio", "INSERT INTO secfilter (action, type, data) VALUES (2, 0, 'bob')")?;
    gateway.command(&["rpc", "secfilter.reload"], "")?;
    assert_eq!(status(&mut alice, branch, &mut bob).await?, 403);
    for wrong in [
        &["address", "add", "nowhere"][..],
        &["address", "add", "192.0.2.1/33"],
        &["domain", "add", "sip:x"],
        &["speed-dial", "add", "alice", "4", "sip:bob@x"],
        &["speed-dial", "add", "alice", "43", "bob"],
        &["user", "show", "nobody"],
        &["secfilter", "add", "country", "Germany"],
        &["secfilter", "add", "ip", "nowhere"],
        &["secfilter", "add", "dst", "1", "--allow"],
    ] {
        assert!(gateway.command(wrong, "").is_err(), "{wrong:?}");
    }
    gateway.stop().await?;
    Ok(())
}

/// Gateways of Kamailio's table: a command adds them to what runs, and takes them back.
#[tokio::test]
async fn gateways_of_the_table_dispatcher_are_used() -> Result<()> {
    let server = Server::start(Engine::MariaDb).await?;
    let url = server.kamailios_database("kamailio")?;
    let more =
        format!("[database]\ndb_url = \"{url}\"\n[pstn]\nsetid = 1\n[dispatcher]\nroutes = [\"2:^room-\"]\n");
    let mut gateway = Gateway::start_with(&more).await?;
    let alice = gateway.account("alice", "first-light-12")?;
    let mut alice = Phone::registered(alice, gateway.proxy()).await?;
    // He is the gateway of both sets.
    let mut bob = Phone::new(gateway.account("bob", "second-light-34")?, gateway.proxy()).await?;
    let uri = format!("sip:{}", bob.local());
    for (set, dialled) in [("1", "+4930123456"), ("2", "room-7")] {
        let dialled = format!("sip:{dialled}@{DOMAIN}");
        becomes(&mut alice, &dialled, &mut bob, 404).await?;
        gateway.command(&["dispatcher", "add", set, &uri, "0", "7", "weight=50;duid=b"], "")?;
        becomes(&mut alice, &dialled, &mut bob, 200).await?;
        assert!(gateway.command(&["dispatcher", "add", set, &uri], "").is_err(), "it is there");
        server.ask("kamailio", &format!("UPDATE dispatcher SET flags = 4 WHERE setid = {set}"))?;
        gateway.command(&["rpc", "dispatcher.reload"], "")?;
        becomes(&mut alice, &dialled, &mut bob, 404).await?;
        gateway.command(&["rpc", "dispatcher.set_state", "a", set, &uri], "")?;
        becomes(&mut alice, &dialled, &mut bob, 200).await?;
        let list: Value = serde_json::from_str(&gateway.command(&["dispatcher", "list", "--json"], "")?)?;
        assert_eq!((&list[0]["destination"], &list[0]["priority"]), (&uri.as_str().into(), &7.into()));
        gateway.command(&["dispatcher", "remove", set, &uri], "")?;
        becomes(&mut alice, &dialled, &mut bob, 404).await?;
        assert!(gateway.command(&["dispatcher", "remove", set, &uri], "").is_err(), "it is gone");
    }
    for wrong in [&["dispatcher", "add", "1", "nonsense"][..], &["dispatcher", "add", "x", &uri]] {
        assert!(gateway.command(wrong, "").is_err(), "{wrong:?}");
    }
    gateway.stop().await?;
    Ok(())
}

/// The telephone network by configuration, changed without a restart; what is wrong changes nothing.
#[tokio::test]
async fn a_reload_takes_the_configuration_up() -> Result<()> {
    let mut gateway = Gateway::start().await?;
    let (alice, bob) =
        (gateway.account("alice", "first-light-12")?, gateway.account("bob", "second-light-34")?);
    let mut alice = Phone::registered(alice, gateway.proxy()).await?;
    // He is the gateway of the telephone network.
    let mut bob = Phone::new(bob, gateway.proxy()).await?;
    let config = gateway.certificates().ancestors().nth(2).context("folder")?.join("causeway.toml");
    let text = std::fs::read_to_string(&config)?;
    let number = format!("sip:+4930123456@{DOMAIN}");
    becomes(&mut alice, &number, &mut bob, 404).await?;
    let local = bob.local();
    let section = format!("[pstn]\ngw_ip = \"{}\"\ngw_port = {}\n", local.ip(), local.port());
    std::fs::write(&config, format!("{text}{section}"))?;
    gateway.command(&["reload"], "")?;
    becomes(&mut alice, &number, &mut bob, 200).await?;
    std::fs::write(&config, format!("{text}{section}groups = [\"int:(\"]\n"))?;
    assert!(gateway.command(&["reload"], "").is_err(), "no regular expression");
    becomes(&mut alice, &number, &mut bob, 200).await?;
    std::fs::write(&config, format!("{text}{section}groups = [\"int:^[+]\"]\n"))?;
    gateway.command(&["reload"], "")?;
    becomes(&mut alice, &number, &mut bob, 403).await?;
    gateway.command(&["group", "add", "alice", "int"], "")?;
    becomes(&mut alice, &number, &mut bob, 200).await?;
    gateway.stop().await?;
    let none = gateway.command(&["reload"], "").err().context("nobody runs there")?;
    assert!(format!("{none:#}").contains("no gateway runs in"), "{none:#}");
    Ok(())
}

/// Every command with what it takes, at any depth, is in the manual page; completions know them too.
#[tokio::test]
async fn completions_and_manual_are_generated() -> Result<()> {
    let run = |arguments: &[&str]| -> Result<String> {
        let output = std::process::Command::new(e2e::gateway::binary()?).args(arguments).output()?;
        Ok(String::from_utf8(output.stdout)?)
    };
    /// The commands that `causeway WORDS --help` lists.
    fn commands(help: &str) -> Vec<String> {
        let list = help.lines().skip_while(|line| *line != "Commands:").skip(1);
        let words =
            list.take_while(|line| !line.is_empty()).filter_map(|line| line.split_whitespace().next());
        words.filter(|word| *word != "help").map(str::to_owned).collect()
    }
    let shells = ["bash", "zsh", "fish"].map(|shell| run(&["completions", shell]));
    let shells = shells.into_iter().collect::<Result<Vec<_>>>()?;
    let manual = run(&["man"])?.replace("\\-", "-");
    let mut seen = 0;
    for command in commands(&run(&["--help"])?) {
        assert!(shells.iter().all(|text| text.contains(&command)), "{command}");
        let below = commands(&run(&[&command, "--help"])?);
        if below.is_empty() {
            assert!(manual.contains(&format!("causeway {command}\\fR")), "{command}");
        }
        for sub in below {
            seen += 1;
            assert!(manual.contains(&format!("causeway {command} {sub}\\fR")), "{command} {sub}");
            assert!(shells.iter().all(|text| text.contains(&sub)), "{command} {sub}");
        }
    }
    assert!(seen > 30, "{seen}");
    for option in ["--json", "--config", "--limit", "--replace", "--live"] {
        assert!(manual.contains(option), "{option}");
    }
    Ok(())
}
