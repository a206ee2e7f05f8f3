//! The real gateway as a child process: its own data directory and ports, accounts made by its own command line.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::baresip::Account;
use crate::container::{self, Container, image};
use crate::disks::Disk;
use crate::ports::Ports;
use crate::process::Process;
use crate::wait::PATIENCE;
use crate::wire::Wire;

/// The SIP domain of every gateway here. It resolves nowhere, so whoever reaches it does so by the proxy's address.
pub const DOMAIN: &str = "causeway.test";

/// The certificate and the key of a TLS client.
pub type Identity = (CertificateDer<'static>, PrivateKeyDer<'static>);

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    process: Process,
    folder: TempDir,
    domain: String,
    arguments: &'static [&'static str],
    /// The disk that its process alone sees.
    disk: Option<Disk>,
    /// The container in which it is, removed after its process.
    container: Option<Container>,
    /// The address by which peers reach it.
    pub address: IpAddr,
    /// Port of SIP over UDP and TCP.
    pub sip: u16,
    /// Port of SIP over TLS.
    pub tls: u16,
    /// Port of the page, WSS and `/healthz`.
    pub https: u16,
    /// Port of plain WebSockets.
    pub websocket: u16,
    /// UDP port of the ng protocol on the loopback.
    pub ng: u16,
    // The last field: given back when the process is gone.
    _ports: Ports,
}

impl Gateway {
    /// Starts a gateway and waits until it says that it is well.
    pub async fn start() -> Result<Self> {
        Self::start_with("").await
    }

    /// The same with more lines of configuration (sections other than general, sip, https and media).
    pub async fn start_with(more: &str) -> Result<Self> {
        Self::launch(&format!("[sip]\ndomain = \"{DOMAIN}\"\n"), more, &[]).await
    }

    /// The same for another SIP domain, and with one worker: what several phones send over UDP is served in the order in which
    /// it was sent, while workers of their own sockets may overtake each other.
    pub async fn start_for(domain: &str, more: &str) -> Result<Self> {
        let sip_section = format!("[sip]\ndomain = \"{domain}\"\nworkers = 1\n");
        let mut gateway = Self::launch(&sip_section, more, &[]).await?;
        gateway.domain = domain.to_owned();
        Ok(gateway)
    }

    /// The same with more lines of the section of https.
    pub async fn start_with_https(https: &str, more: &str) -> Result<Self> {
        let section = format!("[sip]\ndomain = \"{DOMAIN}\"\n");
        Self::launch_in(tempfile::tempdir()?, &section, https, more, &[], None).await
    }

    /// Starts a gateway whose media a relay elsewhere carries, which takes ng commands at `relay`.
    pub async fn start_with_relay(relay: SocketAddr) -> Result<Self> {
        // The section of media is the last one, so that this line is one more of it.
        Self::start_with(&format!("relay = \"udp:{relay}\"\n")).await
    }

    /// Starts it as `make run` does, but for the ports and the data directory: two demo accounts, and the domain that a
    /// host without a name has, its address.
    pub async fn start_demo() -> Result<Self> {
        Self::launch("[sip]\n", "", &["--demo"]).await
    }

    /// Starts a gateway that records all calls, on a disk of 160 KiB: a file system in memory that nobody else sees.
    pub async fn start_with_a_small_disk() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let disk = Disk::small(&folder.path().join("disk"), 160)?;
        let place = disk.folder().display();
        let more = format!("[recording]\nusers = [\"*\"]\nnotice = \"off\"\ndirectory = \"{place}\"\n");
        Self::launch_in(folder, &format!("[sip]\ndomain = \"{DOMAIN}\"\n"), "", &more, &[], Some(disk)).await
    }

    /// Starts it with its database on a disk of its own.
    pub async fn start_on(disk: &Disk, database: &Path, more: &str) -> Result<Self> {
        let more = format!("[database]\ndb_url = \"sqlite://{}\"\n{more}", database.display());
        let section = format!("[sip]\ndomain = \"{DOMAIN}\"\n");
        Self::launch_in(tempfile::tempdir()?, &section, "", &more, &[], Some(disk.clone())).await
    }

    /// A file of the disk of [`Gateway::start_with_a_small_disk`] with this suffix, as the gateway sees it.
    pub fn on_disk(&self, suffix: &str) -> Result<Vec<u8>> {
        let disk = self.disk.as_ref().context("it has no disk of its own")?;
        let paths =
            fs::read_dir(disk.seen_by(self.process.id()))?.filter_map(|entry| Some(entry.ok()?.path()));
        let mut wanted = paths.filter(|path| path.to_string_lossy().ends_with(suffix));
        Ok(fs::read(wanted.next().with_context(|| format!("no {suffix}"))?)?)
    }

    async fn launch(sip_section: &str, more: &str, arguments: &'static [&'static str]) -> Result<Self> {
        Self::launch_in(tempfile::tempdir()?, sip_section, "", more, arguments, None).await
    }

    async fn launch_in(
        folder: TempDir,
        sip_section: &str,
        https: &str,
        more: &str,
        arguments: &'static [&'static str],
        disk: Option<Disk>,
    ) -> Result<Self> {
        let mut ports = Ports::take().await?;
        let mut port = || ports.listener();
        let (sip, tls, https_port, websocket, ng) = (port()?, port()?, port()?, port()?, port()?);
        let (first, last) = ports.media();
        let text = format!(
            "[general]\ndata_directory = \"{data}\"\n\
             {sip_section}udp = \"*:{sip}\"\ntcp = \"*:{sip}\"\ntls = \"*:{tls}\"\n\
             [https]\nlisten = \"*:{https_port}\"\nwebsocket = \"*:{websocket}\"\n{https}\
             [media]\nfirst_port = {first}\nlast_port = {last}\nng = \"127.0.0.1:{ng}\"\n{more}\n",
            data = folder.path().join("data").display(),
        );
        fs::write(folder.path().join("causeway.toml"), text)?;
        let process = run(&folder, arguments, disk.as_ref())?;
        let address = host_address();
        let domain = DOMAIN.to_owned();
        let mut gateway = Self {
            process,
            folder,
            domain,
            arguments,
            disk,
            container: None,
            address,
            sip,
            tls,
            https: https_port,
            websocket,
            ng,
            _ports: ports,
        };
        gateway.ready().await?;
        Ok(gateway)
    }

    /// Starts the container image as this service of `deploy/docker-compose.yml` and waits until it is well: `causeway` on a
    /// network of its own, `host` on that of the host.
    pub async fn start_in_container(service: &'static str) -> Result<Self> {
        let (folder, mut ports) = (tempfile::tempdir()?, Ports::take().await?);
        let mut port = || ports.listener();
        let (sip, tls, https, ng, metrics, grafana) = (port()?, port()?, port()?, port()?, port()?, port()?);
        let (first, data) = (ports.media().0, folder.path().join("data"));
        // The user of the image owns it, and on the way to it everybody may pass.
        fs::create_dir(&data)?;
        fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        std::os::unix::fs::chown(&data, Some(10_001), Some(10_001)).context("only root can run this test")?;
        let address = host_address();
        let mut environment = vec![
            ("CAUSEWAY_IMAGE", image()),
            ("CAUSEWAY_DATA", data.display().to_string()),
            ("CAUSEWAY_DOMAIN", DOMAIN.to_owned()),
            ("CAUSEWAY_METRICS", format!("127.0.0.1:{metrics}")),
            ("NG", format!("127.0.0.1:{ng}")),
        ];
        let numbers = [
            ("SIP_PORT", sip),
            ("SIPS_PORT", tls),
            ("HTTPS_PORT", https),
            ("GRAFANA_PORT", grafana),
            ("MEDIA_FIRST_PORT", first),
            ("MEDIA_LAST_PORT", first + 63),
        ];
        environment.extend(numbers.map(|(name, port)| (name, port.to_string())));
        if service != "host" {
            environment.push(("CAUSEWAY_ADVERTISED", address.to_string()));
        }
        let environment = environment.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let container = Container::new(service, sip, environment, folder.path());
        let process = container.up()?;
        let mut gateway = Self {
            process,
            folder,
            domain: DOMAIN.to_owned(),
            arguments: &[],
            disk: None,
            container: Some(container),
            address,
            sip,
            tls,
            https,
            websocket: 0,
            ng,
            _ports: ports,
        };
        gateway.ready().await?;
        Ok(gateway)
    }

    /// The container in which it runs.
    pub fn container(&self) -> Result<&Container> {
        self.container.as_ref().context("it is in no container")
    }

    /// Makes an account by the command line, as an operator does.
    pub fn account(&self, user: &str, password: &str) -> Result<Account> {
        self.command(&["user", "add", user], password)?;
        Ok(Account { user: user.into(), password: password.into(), domain: self.domain.clone() })
    }

    /// Runs another command of the binary with the same configuration, says `input` to it, and returns what it printed.
    pub fn command(&self, arguments: &[&str], input: &str) -> Result<String> {
        use std::io::Write;
        let mut command = match &self.container {
            Some(container) => container.command(arguments)?,
            None => {
                let mut command = Command::new(binary()?);
                command.args(arguments).arg("--config").arg(self.folder.path().join("causeway.toml"));
                command
            }
        };
        let mut child = command
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A command that asks for nothing may have ended before it could be told anything.
            let _ = writeln!(stdin, "{input}");
        }
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success(),
            "causeway {arguments:?}: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(said)
    }

    /// Where SIP over UDP and TCP is served.
    #[must_use]
    pub fn proxy(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.sip)
    }

    /// The page.
    #[must_use]
    pub fn page_url(&self) -> String {
        format!("https://{}/", SocketAddr::new(self.address, self.https))
    }

    /// The certificate of its local CA.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("data/certs/ca.pem")
    }

    /// Stops it with Ctrl-C and returns how long that took; it must end by itself and say that all went well.
    pub async fn stop(&mut self) -> Result<Duration> {
        let asked = Instant::now();
        self.process.signal("INT")?;
        let code = self.process.ended(PATIENCE).await?;
        ensure!(code == Some(0), "ended with {code:?}:\n{}", self.process.tail());
        Ok(asked.elapsed())
    }

    /// Ends it as a power cut does: it has no time for anything.
    pub async fn kill(&mut self) -> Result<()> {
        self.process.signal("KILL")?;
        self.process.ended(PATIENCE).await?;
        Ok(())
    }

    /// Starts it again with the same data and ports.
    pub async fn start_again(&mut self) -> Result<()> {
        self.process = run(&self.folder, self.arguments, self.disk.as_ref())?;
        self.ready().await
    }

    /// The folder of its local CA: `ca.pem`, and the `server.pem` and `server.key` that it made for its own addresses.
    #[must_use]
    pub fn certificates(&self) -> PathBuf {
        self.folder.path().join("data/certs")
    }

    /// The process, with its log.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Everything it logged.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.process.lines()
    }

    /// Waits for a line of the log that has all of `parts`.
    pub async fn logs(&mut self, parts: &[&str]) -> Result<String> {
        self.process
            .line(&format!("a log line with {parts:?}"), PATIENCE, |line| {
                parts.iter().all(|part| line.contains(part)).then(|| line.to_owned())
            })
            .await
    }

    /// Opens a TLS connection to `port`, trusting its own CA and nothing else.
    pub async fn tls_connect(&self, port: u16) -> Result<TlsStream<TcpStream>> {
        self.tls_connect_as(port, None).await
    }

    /// A peer on the port of SIP over TLS, with a certificate of its own when it has one.
    pub async fn tls_as(&self, identity: Option<Identity>) -> Result<Wire> {
        Wire::of_tls(self.tls_connect_as(self.tls, identity).await?)
    }

    async fn tls_connect_as(&self, port: u16, identity: Option<Identity>) -> Result<TlsStream<TcpStream>> {
        // A name for which no other certificate than its own CA's is shown.
        let name = rustls_pki_types::ServerName::try_from("localhost")?;
        self.tls_over(TcpStream::connect((self.address, port)).await?, name, identity).await
    }

    /// TLS over a connection that is there, trusting its own CA and nothing else.
    pub async fn tls_over(
        &self,
        stream: TcpStream,
        name: rustls_pki_types::ServerName<'static>,
        identity: Option<Identity>,
    ) -> Result<TlsStream<TcpStream>> {
        use rustls_pki_types::pem::PemObject;
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.ca()).map_err(|e| anyhow!("{e}"))?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let config = match identity {
            Some((certificate, key)) => config.with_client_auth_cert(vec![certificate], key)?,
            None => config.with_no_client_auth(),
        };
        Ok(TlsConnector::from(Arc::new(config)).connect(name, stream).await?)
    }

    /// The whole answer to `GET path` over HTTPS.
    pub async fn get(&self, path: &str) -> Result<String> {
        let mut stream = self.tls_connect(self.https).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address);
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        // A server may close without a TLS goodbye; what came counts.
        let _ = stream.read_to_end(&mut answer).await;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    async fn ready(&mut self) -> Result<()> {
        let patience = if self.container.is_some() { container::PATIENCE } else { PATIENCE };
        let deadline = Instant::now() + patience;
        loop {
            if self.get("/healthz").await.unwrap_or_default().starts_with("HTTP/1.1 200") {
                return Ok(());
            }
            let running = self.process.is_running();
            if !running || Instant::now() > deadline {
                // What it said last may still be on its way.
                tokio::time::sleep(Duration::from_millis(50)).await;
                bail!("the gateway is not well (running: {running}):\n{}", self.process.tail());
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }
}

fn run(folder: &TempDir, more: &[&str], disk: Option<&Disk>) -> Result<Process> {
    let config = folder.path().join("causeway.toml");
    let config = config.to_str().context("the path of the configuration is no text")?;
    let (before, binary) = (disk.map(Disk::before).unwrap_or_default(), binary()?.display().to_string());
    let words = before.iter().map(String::as_str).chain([binary.as_str(), "run", "--config", config]);
    let words: Vec<&str> = words.chain(more.iter().copied()).collect();
    // Scripted peers are terser than phones, and are to hear what is wrong with what they say.
    let environment = [("RUST_BACKTRACE", "1"), ("CAUSEWAY_LIMITS_STRANGER_PERCENT", "1000")];
    Process::start(Path::new(words[0]), &words[1..], &environment, folder.path())
}

/// The gateway's binary, built with the profile of this test; a build that is up to date takes a moment.
pub fn binary() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BUILT
        .get_or_init(|| build("causeway").map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(|error| anyhow!(error))
}

/// The stand-alone relay's binary.
pub fn relay_binary() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BUILT
        .get_or_init(|| build("causeway-relay").map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(|e| anyhow!(e))
}

fn build(name: &str) -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no workspace")?;
    // target/PROFILE/deps/TEST, or target/PROFILE/TOOL for a binary of this package
    let own = std::env::current_exe()?;
    let folder = own.ancestors().skip(1).find(|f| !f.ends_with("deps")).context("no target directory")?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--locked", "--quiet", "--bin", name]).current_dir(root);
    cargo.arg("--package").arg(if name == "causeway" { "causeway" } else { "media" });
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    let output = cargo.output().context("cannot run cargo")?;
    ensure!(output.status.success(), "cannot build {name}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(folder.join(name))
}

/// The address of this host by which others would reach it; the loopback when it has no other.
#[must_use]
pub fn host_address() -> IpAddr {
    // Connecting a datagram socket sends nothing; it only has the kernel choose the address to send from.
    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
        .and_then(|socket| {
            socket.connect((Ipv4Addr::new(198, 51, 100, 1), 9))?;
            socket.local_addr()
        })
        .map_or(Ipv4Addr::LOCALHOST.into(), |address| address.ip())
}
