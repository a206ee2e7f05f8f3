//! Both programs as systemd runs them: what it is told, and that its watchdog hears nothing any more when a thread hangs.

use std::io::{ErrorKind, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::gateway::{binary, relay_binary};
use e2e::ports::Ports;
use e2e::process::Process;
use e2e::wait::PATIENCE;
use tempfile::TempDir;

/// What systemd allows between two signs of life; a program gives them three times as often.
const LIMIT: Duration = Duration::from_millis(900);

/// A program, and the socket of the systemd that started it.
struct Service {
    process: Process,
    socket: UnixDatagram,
    folder: TempDir,
}

impl Service {
    fn start(program: &Path, folder: TempDir, arguments: &[&str]) -> Result<Self> {
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path)?;
        let (path, limit) = (path.display().to_string(), LIMIT.as_micros().to_string());
        let environment = [("NOTIFY_SOCKET", path.as_str()), ("WATCHDOG_USEC", &limit)];
        let process = Process::start(program, arguments, &environment, folder.path())?;
        Ok(Self { process, socket, folder })
    }

    /// The next thing that it tells; `None` when it tells nothing for so long.
    fn told(&self, within: Duration) -> Result<Option<String>> {
        let mut buffer = [0; 512];
        self.socket.set_read_timeout(Some(within))?;
        match self.socket.recv(&mut buffer) {
            Ok(length) => Ok(Some(String::from_utf8_lossy(&buffer[..length]).trim_end().to_owned())),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What it has told so far was told before now.
    fn forgets(&self) -> Result<()> {
        self.socket.set_nonblocking(true)?;
        while self.socket.recv(&mut [0; 512]).is_ok() {}
        Ok(self.socket.set_nonblocking(false)?)
    }

    /// Waits until it tells this; whatever else it tells before.
    fn tells(&self, what: &str) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(told) = self.told(PATIENCE)?
                && told.lines().any(|line| line == what)
            {
                return Ok(told);
            }
        }
        bail!("never told {what}:\n{}", self.process.tail())
    }

    /// While the thread of this name stands still there is no sign of life, and when it goes on there is.
    fn is_watched_over(&self, thread: &str) -> Result<()> {
        self.tells("WATCHDOG=1")?;
        let mut frozen = Frozen::thread(self.process.id(), thread)?;
        self.forgets()?;
        // One may have been on its way.
        let mut signs = 0;
        while let Some(told) = self.told(LIMIT * 2)? {
            signs += u32::from(told.lines().any(|line| line == "WATCHDOG=1"));
            ensure!(signs <= 1, "{signs} signs of life while {thread} hangs");
        }
        frozen.goes_on()?;
        self.tells("WATCHDOG=1").map(drop)
    }

    async fn ends(&mut self, signal: &str) -> Result<()> {
        self.process.signal(signal)?;
        self.tells("STOPPING=1")?;
        let code = self.process.ended(PATIENCE).await?;
        ensure!(code == Some(0), "ended with {code:?}:\n{}", self.process.tail());
        Ok(())
    }
}

/// What stops a thread.
struct Frozen(Child);

impl Frozen {
    fn thread(process: u32, name: &str) -> Result<Self> {
        use std::io::{BufRead, BufReader};
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/freeze.py");
        let mut child = Command::new("python3")
            .arg(script)
            .args([&process.to_string(), name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("python3")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
        let frozen = Self(child);
        ensure!(line == "frozen\n", "{name} of {process} cannot be stopped: only root, or its owner, may");
        Ok(frozen)
    }

    fn goes_on(&mut self) -> Result<()> {
        if let Some(mut input) = self.0.stdin.take() {
            input.flush()?;
        }
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // One that has ended has nothing against it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn systemd_hears_of_the_gateway() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let config = "[sip]\ndomain = \"sip.example\"\nudp = \"127.0.0.1:0\"\ntcp = \"off\"\ntls = \"off\"\n\
                  [https]\nlisten = \"127.0.0.1:0\"\n[media]\nrelay = \"off\"\n";
    std::fs::write(folder.path().join("causeway.toml"), config)?;
    let run = ["run", "--config", "causeway.toml"];
    let mut service = Service::start(&binary()?, folder, &run)?;
    service.tells("READY=1")?;
    service.is_watched_over("signaling-0")?;
    let mut reload = Command::new(binary()?);
    reload.args(["reload", "--config", "causeway.toml"]).current_dir(service.folder.path());
    ensure!(reload.output()?.status.success(), "not reloaded");
    let reloading = service.tells("RELOADING=1")?;
    // systemd tells by it whether the end belongs to this beginning.
    ensure!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    service.tells("READY=1")?;
    service.ends("TERM").await
}

#[tokio::test]
async fn systemd_hears_of_the_relay() -> Result<()> {
    let mut ports = Ports::take().await?;
    let ng = format!("--listen-ng={}:{}", Ipv4Addr::LOCALHOST, ports.listener()?);
    let (first, last) = ports.media();
    let (first, last) = (format!("--port-min={first}"), format!("--port-max={last}"));
    let arguments = ["--config-file=none", &ng, &first, &last, "--num-threads=2"];
    let mut service = Service::start(&relay_binary()?, tempfile::tempdir()?, &arguments)?;
    service.tells("READY=1")?;
    service.is_watched_over("media-1")?;
    service.ends("TERM").await
}
