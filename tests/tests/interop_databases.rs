//! The three databases, each a real one: tables as Debian's Kamailio makes them, a database of Kamailio's used as it is, what
//! is acknowledged is there after a power cut, and what happens while the database is gone or slow.

use std::fs;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use e2e::baresip::Account;
use e2e::databases::{Engine, Server};
use e2e::gateway::{DOMAIN, Gateway, binary};
use e2e::on_databases;
use e2e::phone::Phone;
use e2e::wait::{self, PATIENCE};
use serde_json::Value;

/// Runs the binary with a configuration of its own that names the database at `url`.
fn causeway(url: &str, arguments: &[&str]) -> Result<Output> {
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("causeway.toml");
    let data = folder.path().join("data");
    fs::write(
        &config,
        format!(
            "[general]\ndata_directory = \"{}\"\n[sip]\ndomain = \"{DOMAIN}\"\n[database]\ndb_url = \"{url}\"\n",
            data.display()
        ),
    )?;
    Ok(Command::new(binary()?).args(arguments).arg("--config").arg(&config).output()?)
}

fn done(output: &Output) -> Result<String> {
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout.clone())?)
}

fn using(url: &str) -> String {
    format!("[database]\ndb_url = \"{url}\"\n")
}

fn known(user: &str, password: &str) -> Account {
    Account { user: user.into(), password: password.into(), domain: DOMAIN.into() }
}

/// Every column, index and version of Kamailio's is ours too; what is ours alone is the columns that are documented to be.
async fn tables_are_kamailios(engine: Engine) -> Result<()> {
    let server = Server::start(engine).await?;
    let url = server.database("ours")?;
    done(&causeway(&url, &["db", "create"])?)?;
    server.kamailios_database("theirs")?;
    let (ours, theirs) = (server.shape("ours")?, server.shape("theirs")?);
    // Tables of Kamailio's that belong to the same files and are not for us.
    let foreign = |line: &&String| ["re_grp", "re_grp_", "topos_t"].iter().any(|name| line.contains(name));
    let missing: Vec<_> = theirs.iter().filter(|line| !foreign(line) && !ours.contains(line)).collect();
    assert!(missing.is_empty(), "{engine:?}: {missing:#?}\nof\n{ours:#?}");
    assert!(theirs.len() > 150, "{engine:?}: {theirs:#?}");
    let added: Vec<_> = ours.iter().filter(|line| !theirs.contains(line)).collect();
    for line in added {
        let table = line.split('\t').next().unwrap_or_default();
        assert!(
            line.contains("causeway_users")
                || ["subscriber", "acc", "missed_calls", "acc_cdrs", "subscriber_changes"].contains(&table),
            "{engine:?}: {line}"
        );
    }
    let checked = done(&causeway(&url, &["db", "check"])?)?;
    assert!(checked.contains("dispatcher") && checked.contains("0 rows"), "{checked}");
    Ok(())
}

on_databases! {
    tables_are_kamailios:
    tables_in_sqlite_are_kamailios = Sqlite,
    tables_in_postgres_are_kamailios = Postgres,
    tables_in_mariadb_are_kamailios = MariaDb,
}

/// A database that Kamailio has made and filled is used as it is: accounts with a hash or a password in clear, rows of `location`
/// without a domain. A registration that was acknowledged is there after a power cut.
async fn a_database_of_kamailios_is_used(engine: Engine) -> Result<()> {
    let server = Server::start(engine).await?;
    let url = server.kamailios_database("kamailio")?;
    // The MD5 of alice:causeway.test:first-light-12.
    let ha1 = e2e::digest::hash("MD5", &format!("alice:{DOMAIN}:first-light-12"))?;
    server.ask("kamailio", &format!("INSERT INTO subscriber (username, domain, password, ha1) VALUES ('alice', '{DOMAIN}', '', '{ha1}')"))?;
    server.ask("kamailio", &format!("INSERT INTO subscriber (username, domain, password) VALUES ('bob', '{DOMAIN}', 'second-light-34')"))?;
    server.ask(
        "kamailio",
        "INSERT INTO location (ruid, username, contact, socket, methods, user_agent)
         VALUES ('uloc-1', 'carol', 'sip:carol@192.0.2.77:5066', 'udp:192.0.2.1:5060', -1, 'X-Lite')",
    )?;
    let before = server.shape("kamailio")?;
    let mut gateway = Gateway::start_with(&using(&url)).await?;
    let mut callee = Phone::registered(known("bob", "second-light-34"), gateway.proxy()).await?;
    gateway.kill().await?;
    let row =
        server.ask("kamailio", "SELECT username, domain, reg_id, q FROM location WHERE username = 'bob'")?;
    assert!(row.starts_with(&format!("bob\t{DOMAIN}\t0\t0")), "{engine:?}: {row}");
    gateway.start_again().await?;
    let mut caller = Phone::registered(known("alice", "first-light-12"), gateway.proxy()).await?;
    caller.writes_to(&mut callee).await?;
    let list: Value = serde_json::from_str(&gateway.command(&["registrations", "list", "--json"], "")?)?;
    let names: Vec<_> =
        list.as_array().context("no list")?.iter().map(|row| row["username"].as_str()).collect();
    assert_eq!(names, [Some("alice"), Some("bob"), Some("carol")], "{engine:?}");
    gateway.stop().await?;
    // A table of ours comes beside its own.
    let ours = |line: &String| line.contains("causeway_users");
    let added: Vec<_> = server.shape("kamailio")?.into_iter().filter(|line| !before.contains(line)).collect();
    assert!(added.iter().all(ours), "{engine:?}: nothing of its shape has changed: {added:?}");
    Ok(())
}

on_databases! {
    a_database_of_kamailios_is_used:
    a_sqlite_database_of_kamailios_is_used = Sqlite,
    a_postgres_database_of_kamailios_is_used = Postgres,
    a_mariadb_database_of_kamailios_is_used = MariaDb,
}

/// While the database is gone, phones register, others are called, and what was to be written is written when it is back.
async fn an_outage_stops_nothing(engine: Engine) -> Result<()> {
    let mut server = Server::start(engine).await?;
    let url = server.database("causeway")?;
    let mut gateway = Gateway::start_with(&using(&url)).await?;
    let (alice, bob) =
        (gateway.account("alice", "first-light-12")?, gateway.account("bob", "second-light-34")?);
    // Accounts are known from here on, for they have been used.
    let mut callee = Phone::registered(bob.clone(), gateway.proxy()).await?;
    drop(Phone::registered(alice.clone(), gateway.proxy()).await?);
    server.ask("causeway", "DELETE FROM location")?;
    server.stop().await?;
    let mut caller = Phone::registered(alice, gateway.proxy()).await?;
    gateway.logs(&["database does not answer: registrations are kept in memory and written later"]).await?;
    caller.writes_to(&mut callee).await?;
    let told = gateway.log().iter().filter(|line| line.contains("registrations are kept in memory")).count();
    assert_eq!(told, 1, "{engine:?}: once");
    server.run().await?;
    wait::until_now("the registration to be written", PATIENCE, || {
        let row = server.ask("causeway", "SELECT DISTINCT username FROM location").ok()?;
        (row == "alice").then_some(())
    })
    .await?;
    gateway.logs(&["database answers again"]).await?;
    gateway.stop().await?;
    Ok(())
}

on_databases! {
    an_outage_stops_nothing:
    an_outage_of_postgres_stops_nothing = Postgres,
    an_outage_of_mariadb_stops_nothing = MariaDb,
}

/// What was acknowledged before the process was killed in the middle of its work is there when it starts again.
async fn nothing_acknowledged_is_lost_by_a_kill(engine: Engine) -> Result<()> {
    let server = Server::start(engine).await?;
    let mut gateway = Gateway::start_with(&using(&server.database("causeway")?)).await?;
    let accounts: Vec<_> =
        (0..12).map(|n| gateway.account(&format!("user{n}"), "first-light-12")).collect::<Result<_>>()?;
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let mut phones = tokio::task::JoinSet::new();
    for account in accounts {
        let (list, proxy) = (Arc::clone(&acknowledged), gateway.proxy());
        phones.spawn(async move {
            let user = account.user.clone();
            let phone = Phone::registered(account, proxy).await?;
            list.lock().map_err(|_| anyhow::anyhow!("poisoned"))?.push(user);
            anyhow::Ok(phone)
        });
    }
    let count = || acknowledged.lock().is_ok_and(|list| list.len() >= 4).then_some(());
    wait::until_now("some registrations", PATIENCE, count).await?;
    gateway.kill().await?;
    phones.abort_all();
    let acknowledged = acknowledged.lock().map_err(|_| anyhow::anyhow!("poisoned"))?.clone();
    gateway.start_again().await?;
    let list = gateway.command(&["registrations", "list", "--json"], "")?;
    let list: Value = serde_json::from_str(&list)?;
    let kept: Vec<_> =
        list.as_array().context("no list")?.iter().map(|row| row["username"].as_str()).collect();
    for user in acknowledged {
        assert!(kept.contains(&Some(user.as_str())), "{engine:?}: {user} of {kept:?}");
    }
    Ok(())
}

on_databases! {
    nothing_acknowledged_is_lost_by_a_kill:
    nothing_acknowledged_is_lost_in_sqlite = Sqlite,
    nothing_acknowledged_is_lost_in_postgres = Postgres,
    nothing_acknowledged_is_lost_in_mariadb = MariaDb,
}

/// Accounts and tables of one database are taken over by another, and a backup of any is a file that can be used.
#[tokio::test]
async fn a_database_moves_from_one_engine_to_another() -> Result<()> {
    let (maria, postgres) = (Server::start(Engine::MariaDb).await?, Server::start(Engine::Postgres).await?);
    let from = maria.kamailios_database("kamailio")?;
    maria.ask("kamailio", "INSERT INTO subscriber (username, domain, password) VALUES ('alice', 'a.test', 'x'), ('bob', 'a.test', 'ü')")?;
    maria.ask(
        "kamailio",
        "INSERT INTO address (grp, ip_addr, mask, port) VALUES (1, '192.0.2.0', 24, 65535)",
    )?;
    let to = postgres.database("causeway")?;
    let said = done(&causeway(&to, &["db", "import-kamailio", &from])?)?;
    assert!(said.contains("subscriber      2 rows"), "{said}");
    assert_eq!(postgres.ask("causeway", "SELECT password FROM subscriber ORDER BY id")?, "x\nü");
    let again = causeway(&to, &["db", "import-kamailio", &from])?;
    assert_eq!(again.status.code(), Some(1), "what is there is not doubled");
    assert_eq!(postgres.ask("causeway", "SELECT COUNT(*) FROM address")?, "1", "and nothing half-written");
    done(&causeway(&to, &["db", "import-kamailio", &from, "--replace"])?)?;
    let addresses = done(&causeway(&to, &["address", "list"])?)?;
    assert!(addresses.contains("192.0.2.0") && addresses.contains("65535"), "{addresses}");
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("backup.sqlite");
    let path = file.to_str().context("path")?;
    done(&causeway(&to, &["db", "backup", path])?)?;
    let users = done(&causeway(&format!("sqlite://{path}"), &["user", "list"])?)?;
    assert_eq!(users, "alice@a.test\nbob@a.test\n");
    assert_eq!(causeway(&to, &["db", "backup", path])?.status.code(), Some(1), "a file is not overwritten");
    Ok(())
}

/// What is wrong is said in one line, without the password, and with the exit code that scripts look at.
#[tokio::test]
async fn a_database_that_cannot_be_used_is_named() -> Result<()> {
    let server = Server::start(Engine::Postgres).await?;
    let good = server.database("causeway")?;
    let folder = tempfile::tempdir()?;
    let missing = format!("sqlite://{}/no/such/folder/x.sqlite", folder.path().display());
    let no_name = good.trim_end_matches("causeway");
    let gone = good.replace("causeway", "nowhere");
    for (url, code, words) in [
        ("oracle://a:hidden@b/c", 2, "is no kind of database"),
        (no_name, 2, "names no database"),
        (gone.as_str(), 1, "nowhere"),
        ("mysql://a:hidden@127.0.0.1:1/c", 1, "mysql://127.0.0.1:1/c"),
        (missing.as_str(), 1, "x.sqlite"),
        // Where nobody may write, not even root.
        ("sqlite:///proc/causeway.sqlite", 1, "/proc/causeway.sqlite"),
    ] {
        for arguments in [&["user", "list"], &["db", "check"]] {
            let output = causeway(url, arguments)?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(code), "{url}: {said}");
            assert!(
                said.contains(words) && !said.contains("hidden") && said.trim().lines().count() == 1,
                "{url}: {said}"
            );
        }
    }
    done(&causeway(&good, &["db", "create"])?)?;
    server.ask("causeway", "UPDATE version SET table_version = 8 WHERE table_name = 'location'")?;
    let output = causeway(&good, &["user", "list"])?;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("table location has version 8; 9 is what"));
    let output = causeway(&good, &["db", "check"])?;
    assert_eq!(output.status.code(), Some(1));
    Ok(())
}
