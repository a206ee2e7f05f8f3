//! A database that cannot be written, or not soon: a disk that is full, one that is read-only, a server that takes no changes, and
//! one that is slow. Whoever starts or commands hears what is wrong; what runs goes on, and catches up.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::baresip::Account;
use e2e::databases::{Engine, Server};
use e2e::disks::Disk;
use e2e::gateway::{DOMAIN, Gateway, binary};
use e2e::on_databases;
use e2e::phone::Phone;
use e2e::wait::{self, PATIENCE};

const KEPT: &str = "database does not answer: registrations are kept in memory and written later";

/// A configuration with its data, and perhaps its database, in this folder.
fn configuration(folder: &Path, data: &Path, database: Option<&Path>) -> Result<String> {
    let config = folder.join("causeway.toml");
    let section = database.map(|path| format!("[database]\ndb_url = \"sqlite://{}\"\n", path.display()));
    let text = format!("[general]\ndata_directory = \"{}\"\n[sip]\ndomain = \"{DOMAIN}\"\n", data.display());
    std::fs::write(&config, format!("{text}{}", section.unwrap_or_default()))?;
    Ok(config.display().to_string())
}

/// Exit code 1 and one line that says what is wrong, with the file.
fn refused(disk: &Disk, config: &str, arguments: &[&str], words: &[&str]) -> Result<()> {
    let arguments = [arguments, &["--config", config]].concat();
    let output = disk.run(&binary()?, &arguments)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = said.lines().last().unwrap_or_default();
    ensure!(output.status.code() == Some(1), "{arguments:?}: {:?} {said}", output.status);
    ensure!(
        line.starts_with("causeway: ") && words.iter().any(|word| line.contains(word)),
        "{arguments:?}: {said}"
    );
    Ok(())
}

/// Nothing can be made on a disk that is full, and whoever tries is told.
#[tokio::test]
async fn nothing_begins_on_a_full_disk() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let place = folder.path().join("disk");
    let disk = Disk::small(&place, 24)?;
    let config = configuration(folder.path(), &folder.path().join("data"), Some(&place.join("x.sqlite")))?;
    for arguments in [&["db", "create"][..], &["user", "list"], &["domain", "add", "a.test"], &["run"]] {
        refused(&disk, &config, arguments, &["x.sqlite: "])?;
    }
    // A backup that has no room leaves nothing behind.
    let whole =
        configuration(folder.path(), &folder.path().join("data"), Some(&folder.path().join("y.sqlite")))?;
    let made = Command::new(binary()?).args(["db", "create", "--config", &whole]).output()?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let backup = place.join("backup.sqlite").display().to_string();
    refused(&disk, &whole, &["db", "backup", &backup], &["backup.sqlite"])?;
    Ok(())
}

/// A disk that nobody may write to: the data directory, and the database.
#[tokio::test]
async fn nothing_begins_on_a_read_only_disk() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let place = folder.path().join("disk");
    let Some(disk) = Disk::read_only(&place)? else {
        // Then only what no one may write to is left.
        let config = configuration(folder.path(), Path::new("/proc/causeway"), None)?;
        return refused(&Disk::small(&place, 1)?, &config, &["user", "list"], &["/proc/causeway"]);
    };
    let data = place.join("data");
    let config = configuration(folder.path(), &data, None)?;
    for arguments in [&["user", "list"][..], &["db", "create"], &["token", "add", "a"], &["run"]] {
        refused(&disk, &config, arguments, &["data_directory"])?;
    }
    let config = configuration(folder.path(), &folder.path().join("data"), Some(&place.join("x.sqlite")))?;
    for arguments in [&["user", "list"][..], &["domain", "add", "a.test"], &["run"]] {
        refused(&disk, &config, arguments, &["Read-only file system"])?;
    }
    Ok(())
}

fn anybody(user: &str) -> Account {
    Account { user: user.into(), password: String::new(), domain: DOMAIN.into() }
}

/// Registers two phones and has one write to the other, all at once.
async fn goes_on(gateway: &mut Gateway, phones: [Account; 2]) -> Result<()> {
    let [caller, callee] = phones;
    let mut callee = Phone::registered(callee, gateway.proxy()).await?;
    let mut caller = Phone::registered(caller, gateway.proxy()).await?;
    caller.writes_to(&mut callee).await?;
    gateway.logs(&[KEPT]).await?;
    let told = gateway.log().iter().filter(|line| line.contains(KEPT)).count();
    ensure!(told == 1, "told {told} times");
    // While an attempt is made, what it is about is not among what waits.
    let metric = wait::until_now("a metric of what waits", PATIENCE, || {
        let asked = ["rpc", "stats.fetchn", "database_waiting", "database_lost", "--json"];
        let metric: serde_json::Value = serde_json::from_str(&gateway.command(&asked, "").ok()?).ok()?;
        (metric["causeway.database_waiting"].as_u64() >= Some(1)).then_some(metric)
    });
    let metric = metric.await?;
    ensure!(metric["causeway.database_lost"] == 0, "{metric}");
    Ok(())
}

/// The rows that were kept back are there.
async fn catches_up(gateway: &mut Gateway, rows: impl Fn() -> Option<String>) -> Result<()> {
    let both =
        wait::until_now("the rows of alice and bob", PATIENCE, || rows().filter(|rows| rows == "alice\nbob"));
    if let Err(error) = both.await {
        return Err(error.context(format!("there are {:?}\n{}", rows(), gateway.process().tail())));
    }
    gateway.logs(&["database answers again"]).await.map(drop)
}

const NAMES: &str = "SELECT DISTINCT username FROM location ORDER BY username";

/// The disk becomes full while the gateway runs.
async fn a_full_disk_stops_nothing(place: &Path, disk: Disk) -> Result<()> {
    let mut gateway = Gateway::start_on(&disk, &place.join("x.sqlite"), "[auth]\nrequired = false\n").await?;
    let id = gateway.process().id();
    let ask = |sql: &str| {
        let mut sqlite = disk.beside(id, "sqlite3");
        sqlite.args(["-batch", "-cmd", ".timeout 5000"]).arg(place.join("x.sqlite")).arg(sql);
        let output = sqlite.output().ok()?;
        Some(String::from_utf8(output.stdout).ok()?.trim_end().to_owned())
    };
    // So that the next write needs room.
    ask("PRAGMA wal_checkpoint(TRUNCATE)");
    disk.fill(id)?;
    goes_on(&mut gateway, ["alice", "bob"].map(anybody)).await?;
    disk.free(id)?;
    let rows = || ask(NAMES);
    catches_up(&mut gateway, rows).await?;
    gateway.stop().await.map(drop)
}

#[tokio::test]
async fn a_full_file_system_stops_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let place = folder.path().join("disk");
    a_full_disk_stops_nothing(&place, Disk::small(&place, 8192)?).await
}

/// The same where it is the size of files that is limited, as a quota may: what the test above does on a host that lets it mount
/// nothing.
#[tokio::test]
async fn files_that_may_not_grow_stop_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let place = folder.path().join("disk");
    a_full_disk_stops_nothing(&place, Disk::of_small_files(&place)?).await
}

/// The disk of a server becomes full.
async fn a_server_with_a_full_disk_stops_nothing(engine: Engine) -> Result<()> {
    let mut server = Server::start_on_a_small_disk(engine).await?;
    let url = server.database("causeway")?;
    let mut gateway = Gateway::start_with(&format!("[database]\ndb_url = \"{url}\"\n")).await?;
    let [alice, bob] = ["alice", "bob"].map(|user| gateway.account(user, "first-light-12"));
    server.fill()?;
    // A table may have room of its own for some rows: others take it.
    for contact in [400, 20, 1] {
        let row = format!(
            "INSERT INTO location (ruid, username, domain, contact, expires) SELECT CONCAT('filler-', COUNT(*)), 'filler', 'x', \
             REPEAT('x', {contact}), '2001-01-01 00:00:00' FROM location;\n"
        );
        let full = server.ask("causeway", &row.repeat(500));
        ensure!(full.is_err(), "there is room for {} rows", 500);
    }
    goes_on(&mut gateway, [alice?, bob?]).await?;
    let refused = gateway.command(&["alias", "add", "sales", "bob"], "").err();
    server.free()?;
    server.ask("causeway", "DELETE FROM location WHERE username = 'filler'")?;
    catches_up(&mut gateway, || server.ask("causeway", NAMES).ok()).await?;
    let aliases = gateway.command(&["alias", "list"], "")?;
    ensure!(refused.is_none() == aliases.contains("sales"), "{refused:?} {aliases}");
    gateway.stop().await.map(drop)
}

on_databases! {
    a_server_with_a_full_disk_stops_nothing:
    a_postgres_with_a_full_disk_stops_nothing = Postgres,
    a_mariadb_with_a_full_disk_stops_nothing = MariaDb,
}

/// A server takes no changes for a while, as one does whose disk is full or that is a copy of another.
#[tokio::test]
async fn a_read_only_server_stops_nothing() -> Result<()> {
    let server = Server::start(Engine::Postgres).await?;
    let url = server.database("causeway")?;
    let mut gateway = Gateway::start_with(&format!("[database]\ndb_url = \"{url}\"\n")).await?;
    let accounts = ["alice", "bob"].map(|user| gateway.account(user, "first-light-12"));
    let [alice, bob] = accounts;
    let set = |value: &str| -> Result<()> {
        server.ask("causeway", &format!("ALTER SYSTEM SET default_transaction_read_only = {value}"))?;
        server.ask("causeway", "SELECT pg_reload_conf()").map(drop)
    };
    set("on")?;
    wait::until_now("a server that takes no changes", PATIENCE, || {
        let shown = server.ask("causeway", "SHOW default_transaction_read_only").ok()?;
        (shown == "on").then_some(())
    })
    .await?;
    goes_on(&mut gateway, [alice?, bob?]).await?;
    let refused =
        gateway.command(&["alias", "add", "sales", "bob"], "").err().map(|error| format!("{error:#}"));
    ensure!(refused.as_ref().is_some_and(|error| error.contains("read-only")), "{refused:?}");
    set("off")?;
    catches_up(&mut gateway, || server.ask("causeway", NAMES).ok()).await?;
    gateway.stop().await.map(drop)
}

/// A way to a server on which nothing moves while it is held. Threads of its own: commands of the test wait for it, too.
struct Slow {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    held: AtomicBool,
    over: AtomicBool,
}

impl Slow {
    fn start(server: u16) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (port, shared) = (listener.local_addr()?.port(), Arc::new(Shared::default()));
        let slow = Self { port, shared: Arc::clone(&shared) };
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                if shared.over.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                let Ok((from, to)) = client.try_clone().and_then(|other| Ok((other, server.try_clone()?)))
                else {
                    continue;
                };
                for (from, to) in [(from, to), (server, client)] {
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || carry(from, to, &shared));
                }
            }
        });
        Ok(slow)
    }

    fn hold(&self, held: bool) {
        self.shared.held.store(held, Ordering::Relaxed);
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        self.hold(false);
        self.shared.over.store(true, Ordering::Relaxed);
        // It waits for somebody to come.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, shared: &Shared) {
    let mut buffer = vec![0; 65_536];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        while shared.held.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(5));
        }
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    // Either may have gone first.
    let _ = (to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
}

/// A server that says nothing for a while, its connections open.
async fn a_slow_server_stops_nothing(engine: Engine) -> Result<()> {
    let server = Server::start(engine).await?;
    let url = server.database("causeway")?;
    let slow = Slow::start(server.port())?;
    let url = url.replace(&format!(":{}/", server.port()), &format!(":{}/", slow.port));
    let mut gateway = Gateway::start_with(&format!("[database]\ndb_url = \"{url}\"\n")).await?;
    let accounts = ["alice", "bob"].map(|user| gateway.account(user, "first-light-12"));
    let [alice, bob] = accounts;
    let accounts = [alice?, bob?];
    // From here on they are known.
    for account in accounts.clone() {
        drop(Phone::registered(account, gateway.proxy()).await?);
    }
    server.ask("causeway", "DELETE FROM location")?;
    slow.hold(true);
    goes_on(&mut gateway, accounts).await?;
    slow.hold(false);
    catches_up(&mut gateway, || server.ask("causeway", NAMES).ok()).await?;
    gateway.stop().await.map(drop)
}

on_databases! {
    a_slow_server_stops_nothing:
    a_slow_postgres_stops_nothing = Postgres,
    a_slow_mariadb_stops_nothing = MariaDb,
}
