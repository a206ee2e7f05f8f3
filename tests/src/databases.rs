//! A real PostgreSQL, MariaDB or SQLite with a folder of its own, asked through the client that comes with it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::disks::Disk;
use crate::ports::Ports;
use crate::process::Process;
use crate::wait::{self, PATIENCE};

/// The account that every server here has, by Kamailio's names for it.
const USER: &str = "kamailio";
const PASSWORD: &str = "kamailiorw";
/// MariaDB's own log is smaller than it would be, and begun sooner.
const LOG: &str = "--innodb-log-file-size=8M";
/// The files that Debian's Kamailio makes the tables from that Causeway has too.
const FILES: [&str; 13] = [
    "standard",
    "auth_db",
    "usrloc",
    "acc",
    "alias_db",
    "speeddial",
    "domain",
    "permissions",
    "dispatcher",
    "secfilter",
    "dialog",
    "topos",
    "group",
];

/// Which of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Files.
    Sqlite,
    /// A server of its own.
    Postgres,
    /// A server of its own.
    MariaDb,
}

/// Tests that are the same for several engines: `FUNCTION: NAME = ENGINE, …`.
#[macro_export]
macro_rules! on_databases {
    ($function:ident: $($name:ident = $engine:ident),+ $(,)?) => {
        $(
            #[tokio::test]
            async fn $name() -> anyhow::Result<()> {
                $function($crate::databases::Engine::$engine).await
            }
        )+
    };
}

/// A server, running or not, or a folder of files.
#[derive(Debug)]
pub struct Server {
    engine: Engine,
    port: u16,
    process: Option<Process>,
    /// The disk of its data, where that is a small one.
    disk: Option<Disk>,
    folder: TempDir,
    _ports: Ports,
}

impl Server {
    /// Makes a server without databases and starts it.
    pub async fn start(engine: Engine) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut ports = Ports::take().await?;
        let port = ports.listener()?;
        let mut server = Self { engine, port, process: None, disk: None, folder, _ports: ports };
        server.make()?;
        server.run().await?;
        Ok(server)
    }

    /// The same with its data on a disk that can be filled.
    pub async fn start_on_a_small_disk(engine: Engine) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut ports = Ports::take().await?;
        let port = ports.listener()?;
        let mut server = Self { engine, port, process: None, disk: None, folder, _ports: ports };
        server.make()?;
        let content = server.folder.path().join("content");
        fs::rename(server.data(), &content)?;
        let used = Command::new("du").arg("-sk").arg(&content).output()?;
        let used = String::from_utf8(used.stdout)?;
        let used: u64 = used.split_whitespace().next().context("du")?.parse()?;
        server.disk = Some(Disk::holding(&server.data(), &content, used + 98_304)?);
        server.run().await?;
        Ok(server)
    }

    /// Leaves its disk not a byte more.
    pub fn fill(&mut self) -> Result<()> {
        let id = self.process.as_mut().context("it does not run")?.id();
        self.disk.as_ref().context("it has no small disk")?.fill(id)
    }

    /// Gives it its room back.
    pub fn free(&mut self) -> Result<()> {
        let id = self.process.as_mut().context("it does not run")?.id();
        self.disk.as_ref().context("it has no small disk")?.free(id)
    }

    /// Ends it at once. What clients are doing fails.
    pub async fn stop(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.signal("QUIT")?;
            process.ended(PATIENCE).await?;
        }
        Ok(())
    }

    /// Starts it with the data that it has.
    pub async fn run(&mut self) -> Result<()> {
        let (port, data) = (self.port.to_string(), self.data());
        let data = data.to_str().context("data folder")?;
        let arguments: Vec<String> = match self.engine {
            Engine::Sqlite => return Ok(()),
            Engine::Postgres => {
                ["-D", data, "-p", &port, "-k", "", "-h", "127.0.0.1", "-F"].map(Into::into).into()
            }
            Engine::MariaDb => vec![
                "--no-defaults".into(),
                format!("--datadir={data}"),
                format!("--port={port}"),
                "--bind-address=127.0.0.1".into(),
                format!("--socket={data}/socket"),
                format!("--pid-file={data}/pid"),
                format!("--init-file={}", self.folder.path().join("users.sql").display()),
                "--innodb-flush-log-at-trx-commit=2".into(),
                LOG.into(),
            ],
        };
        let program = self.program(if self.engine == Engine::Postgres { "postgres" } else { "mariadbd" })?;
        let (as_user, own) = self.as_user(&program);
        let own = own.iter().map(String::as_str).chain(arguments.iter().map(String::as_str));
        let before = self.disk.as_ref().map(Disk::before).unwrap_or_default();
        let words: Vec<&str> =
            before.iter().map(String::as_str).chain([as_user.as_str()]).chain(own).collect();
        let mut process = Process::start(Path::new(words[0]), &words[1..], &[], self.folder.path())?;
        let ready = wait::until_now("a database server", PATIENCE, || {
            self.ask(if self.engine == Engine::Postgres { "postgres" } else { "" }, "SELECT 1").ok()
        });
        if let Err(error) = ready.await {
            return Err(error.context(format!("running: {}\n{}", process.is_running(), process.tail())));
        }
        self.process = Some(process);
        Ok(())
    }

    /// The port of a server.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Makes an empty database and returns its `db_url`.
    pub fn database(&self, name: &str) -> Result<String> {
        match self.engine {
            Engine::Sqlite => {}
            Engine::Postgres => _ = self.ask("postgres", &format!("CREATE DATABASE {name}"))?,
            Engine::MariaDb => _ = self.ask("", &format!("CREATE DATABASE {name}"))?,
        }
        Ok(self.url(name))
    }

    /// The same with the tables that Debian's Kamailio has.
    pub fn kamailios_database(&self, name: &str) -> Result<String> {
        let url = self.database(name)?;
        let kind = match self.engine {
            Engine::Sqlite => "db_sqlite",
            Engine::Postgres => "postgres",
            Engine::MariaDb => "mysql",
        };
        for file in FILES {
            let path = format!("/usr/share/kamailio/{kind}/{file}-create.sql");
            let text = fs::read_to_string(&path).with_context(|| path.clone())?;
            self.ask(name, &text).with_context(|| path)?;
        }
        Ok(url)
    }

    /// The answer to `sql`, a line a row, columns parted by tabs.
    pub fn ask(&self, database: &str, sql: &str) -> Result<String> {
        let port = self.port.to_string();
        let file = self.file(database);
        let mut command = match self.engine {
            Engine::Sqlite => {
                let mut command = Command::new("sqlite3");
                command.args(["-batch", "-cmd", ".timeout 10000", "-separator", "\t"]).arg(file).arg(sql);
                command
            }
            Engine::Postgres => {
                let mut command = Command::new("psql");
                command.args(["-h", "127.0.0.1", "-p", &port, "-U", USER, "-d", database]);
                command.args(["-X", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-c", sql]);
                command
            }
            Engine::MariaDb => {
                let mut command = Command::new("mariadb");
                command.args(["--no-defaults", "-h", "127.0.0.1", "-P", &port, "-u", USER]);
                command.args([&format!("-p{PASSWORD}"), "-N", "-B", "-e", sql, database]);
                command
            }
        };
        let output = command.output().with_context(|| format!("{:?}", command.get_program()))?;
        ensure!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?.trim_end_matches('\n').to_owned())
    }

    /// The columns, indexes and versions of all tables, a line each, in words that do not depend on how they were made.
    pub fn shape(&self, database: &str) -> Result<Vec<String>> {
        let queries: &[&str] = match self.engine {
            Engine::Sqlite => &[
                "SELECT m.name, c.name, upper(c.type), c.\"notnull\", coalesce(nullif(c.dflt_value, 'NULL'), '')
                 FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table'",
            ],
            Engine::Postgres => &[
                "SELECT table_name, column_name, data_type, character_maximum_length, is_nullable,
                 CASE WHEN column_default LIKE 'NULL%' THEN '' ELSE regexp_replace(column_default, '::.*', '') END
                 FROM information_schema.columns WHERE table_schema = 'public'",
                "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'",
            ],
            Engine::MariaDb => &[
                "SELECT table_name, column_name, regexp_replace(column_type, 'int\\\\([0-9]+\\\\)', 'int'), is_nullable,
                 column_default, extra FROM information_schema.columns WHERE table_schema = DATABASE()",
                "SELECT table_name, index_name, seq_in_index, column_name, non_unique
                 FROM information_schema.statistics WHERE table_schema = DATABASE()",
            ],
        };
        let mut lines = Vec::new();
        for query in queries.iter().chain(&["SELECT 'version', table_name, table_version FROM version"]) {
            lines.extend(self.ask(database, query)?.lines().map(str::to_owned));
        }
        Ok(lines)
    }

    fn url(&self, name: &str) -> String {
        match self.engine {
            Engine::Sqlite => format!("sqlite://{}", self.file(name).display()),
            Engine::Postgres => format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{}/{name}", self.port),
            Engine::MariaDb => format!("mysql://{USER}:{PASSWORD}@127.0.0.1:{}/{name}", self.port),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.sqlite"))
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The folder of the data, owned by the user that the server runs as.
    fn make(&self) -> Result<()> {
        if self.engine == Engine::Sqlite {
            return Ok(());
        }
        let data = self.data();
        fs::set_permissions(self.folder.path(), fs::Permissions::from_mode(0o755))?;
        fs::create_dir(&data)?;
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700))?;
        if let Some(user) = self.user() {
            let id = |of: &str| -> Result<u32> {
                let output = Command::new("id").args([of, user]).output()?;
                Ok(String::from_utf8(output.stdout)?.trim().parse()?)
            };
            chown(&data, Some(id("-u")?), Some(id("-g")?))?;
        }
        let data = data.to_str().context("data folder")?;
        match self.engine {
            Engine::Sqlite => Ok(()),
            Engine::Postgres => self.prepare(
                "initdb",
                &["-D", data, "-U", USER, "-A", "trust", "-E", "UTF8", "--no-locale", "-N"],
            ),
            Engine::MariaDb => {
                fs::write(
                    self.folder.path().join("users.sql"),
                    format!(
                        "CREATE USER IF NOT EXISTS '{USER}'@'%' IDENTIFIED BY '{PASSWORD}';\n\
                         GRANT ALL ON *.* TO '{USER}'@'%';\n"
                    ),
                )?;
                let data = format!("--datadir={data}");
                self.prepare("mariadb-install-db", &["--no-defaults", &data, "--skip-test-db", LOG])
            }
        }
    }

    /// Runs a program of the server's package to its end.
    fn prepare(&self, program: &str, arguments: &[&str]) -> Result<()> {
        let (as_user, own) = self.as_user(&self.program(program)?);
        let output =
            Command::new(as_user).args(own).args(arguments).current_dir(self.folder.path()).output()?;
        ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    fn program(&self, name: &str) -> Result<String> {
        if self.engine == Engine::MariaDb {
            let folders = ["/usr/sbin", "/usr/bin"].map(|folder| format!("{folder}/{name}"));
            return folders.into_iter().find(|path| Path::new(path).exists()).context("no mariadb-server");
        }
        let versions = fs::read_dir("/usr/lib/postgresql").context("no postgresql")?;
        let paths = versions.filter_map(|entry| Some(entry.ok()?.path().join("bin").join(name)));
        let mut paths: Vec<_> = paths.filter(|path| path.exists()).collect();
        paths.sort();
        Ok(paths.pop().context("no postgresql")?.display().to_string())
    }

    /// Both refuse to be run by root.
    fn user(&self) -> Option<&'static str> {
        let root =
            Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0");
        root.then_some(if self.engine == Engine::Postgres { "postgres" } else { "mysql" })
    }

    /// What runs `program` as that user, and its first arguments.
    fn as_user(&self, program: &str) -> (String, Vec<String>) {
        match self.user() {
            None => (program.to_owned(), Vec::new()),
            Some(user) => {
                let (uid, gid) = (format!("--reuid={user}"), format!("--regid={user}"));
                let own = [&uid, &gid, "--init-groups", "--pdeathsig", "KILL", "--", program];
                ("setpriv".to_owned(), own.map(str::to_owned).into())
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // PostgreSQL gives its shared memory back when it is asked to end, not when it is killed.
        if let Some(process) = &mut self.process {
            let _ = process.signal("QUIT");
            let deadline = std::time::Instant::now() + PATIENCE;
            while process.is_running() && std::time::Instant::now() < deadline {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
    }
}
