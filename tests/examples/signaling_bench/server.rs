//! The servers under load, as child processes with directories of their own.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::load::{PASSWORD, USERS, user};

/// Where both listen, away from what else may run here.
const ADDRESS: &str = "127.0.0.71";

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Causeway,
    Kamailio,
}

/// A running server; it ends with this.
pub(crate) struct Server {
    processes: Vec<Child>,
    /// SIP over UDP, no password asked for.
    pub(crate) open: SocketAddr,
    /// SIP over UDP with digest.
    pub(crate) digest: SocketAddr,
    /// WSS.
    pub(crate) wss: SocketAddr,
    _folder: Option<TempDir>,
}

/// What a gateway of ours keeps in its database.
pub(crate) struct Keeping {
    pub(crate) records: bool,
    pub(crate) db_mode: u8,
    /// Whether a password is asked for.
    pub(crate) digest: bool,
}

/// The program, if it is installed.
pub(crate) fn kamailio() -> Option<PathBuf> {
    ["/usr/sbin/kamailio", "/usr/local/sbin/kamailio"]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
}

/// The relay of Kamailio's side, if it is installed.
pub(crate) fn rtpengine() -> Option<PathBuf> {
    ["/usr/bin/rtpengine", "/usr/sbin/rtpengine"].into_iter().map(PathBuf::from).find(|path| path.exists())
}

impl Server {
    /// With `relay` calls have their media carried.
    pub(crate) fn start(kind: Kind, relay: bool) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let certificate = rcgen::generate_simple_self_signed(["bench.test".to_owned()])?;
        fs::write(folder.path().join("server.pem"), certificate.cert.pem())?;
        fs::write(folder.path().join("server.key"), certificate.signing_key.serialize_pem())?;
        let ports = free_ports()?;
        let processes = match kind {
            Kind::Causeway => causeway(folder.path(), ports, relay)?,
            Kind::Kamailio => start_kamailio(folder.path(), ports, relay)?,
        };
        let [open, digest, wss] = ports.map(|port| SocketAddr::new(ADDRESS.parse().expect("address"), port));
        let server = Self { processes, open, digest, wss, _folder: Some(folder) };
        server.wait_until_ready()?;
        Ok(server)
    }

    /// A gateway of ours with its data in `folder`.
    pub(crate) fn keeping(folder: &Path, keeping: &Keeping) -> Result<Self> {
        let [open, _, wss] = free_ports()?;
        let more = format!(
            "[auth]\nrequired = {}\n[usrloc]\ndb_mode = {}\n[acc]\ndb = {}\n",
            keeping.digest, keeping.db_mode, keeping.records
        );
        let config = config(&folder.join("data"), open, &format!("\"{ADDRESS}:{wss}\""), "off") + &more;
        let processes = vec![spawn(folder, "keeping", &config)?];
        let [open, wss] = [open, wss].map(|port| SocketAddr::new(ADDRESS.parse().expect("address"), port));
        let server = Self { processes, open, digest: open, wss, _folder: None };
        server.wait_until_ready()?;
        Ok(server)
    }

    /// CPU time of `work`, in microseconds for each of `count` operations.
    pub(crate) fn cpu_per_operation(&self, count: u32, work: impl FnOnce() -> Result<()>) -> Result<f64> {
        let before = self.cpu();
        work()?;
        // What a server does after its last answer belongs to the operation too.
        std::thread::sleep(Duration::from_millis(100));
        Ok((self.cpu() - before) / f64::from(count))
    }

    /// Microseconds on a processor until now, of all threads.
    fn cpu(&self) -> f64 {
        let threads = self.pids().into_iter().flat_map(|pid| {
            fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten().map(|task| task.path())
        });
        let time = |task: PathBuf| -> Option<f64> {
            fs::read_to_string(task.join("schedstat")).ok()?.split(' ').next()?.parse().ok()
        };
        threads.filter_map(time).sum::<f64>() / 1000.0
    }

    /// Memory that is its own, shared pages counted once.
    pub(crate) fn memory_kib(&self) -> f64 {
        Self::memory(self.pids())
    }

    /// That of the process without passwords and what it has started.
    pub(crate) fn memory_of_first_kib(&self) -> f64 {
        Self::memory(Self::descendants(self.processes.iter().take(1)))
    }

    fn memory(pids: Vec<u32>) -> f64 {
        let pss = |pid: u32| -> Option<f64> {
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
            text.lines().find_map(|line| line.strip_prefix("Pss:"))?.trim().split(' ').next()?.parse().ok()
        };
        pids.into_iter().filter_map(pss).sum()
    }

    /// The processes and all that they have started.
    fn pids(&self) -> Vec<u32> {
        Self::descendants(self.processes.iter())
    }

    fn descendants<'a>(processes: impl Iterator<Item = &'a Child>) -> Vec<u32> {
        let mut pids: Vec<u32> = processes.map(Child::id).collect();
        let mut at = 0;
        while at < pids.len() {
            let children =
                fs::read_to_string(format!("/proc/{0}/task/{0}/children", pids[at])).unwrap_or_default();
            pids.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
            at += 1;
        }
        pids
    }

    fn wait_until_ready(&self) -> Result<()> {
        let socket = UdpSocket::bind((ADDRESS, 0))?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let deadline = Instant::now() + Duration::from_secs(20);
        for at in [self.open, self.digest] {
            loop {
                ensure!(Instant::now() < deadline, "the server does not answer");
                let options = crate::load::options(socket.local_addr()?);
                // Refused as long as nobody listens.
                let asked =
                    socket.send_to(options.as_bytes(), at).and_then(|_| socket.recv_from(&mut [0; 2048]));
                if asked.is_ok() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        while TcpStream::connect(self.wss).is_err() {
            ensure!(Instant::now() < deadline, "the server takes no connection");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // SIGTERM, so that what it has started ends too.
            let _ = Command::new("kill").arg(process.id().to_string()).status();
            let deadline = Instant::now() + Duration::from_secs(8);
            while matches!(process.try_wait(), Ok(None)) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Keeping {
    /// The database of a gateway with its data in `folder`, for what is to be there before it runs.
    pub(crate) fn database(folder: &Path) -> Result<PathBuf> {
        let data = folder.join("data");
        fs::create_dir_all(&data)?;
        Ok(data.join("causeway.sqlite"))
    }
}

/// Two gateways: whether digest is asked for is a setting of the whole.
fn causeway(folder: &Path, [open, digest, wss]: [u16; 3], relay: bool) -> Result<Vec<Child>> {
    let mut processes = Vec::new();
    for (name, port, https, required) in [
        ("open", open, format!("\"{ADDRESS}:{wss}\""), false),
        ("digest", digest, "\"off\"".to_owned(), true),
    ] {
        let relay = if relay && !required { "in-process" } else { "off" };
        let certificate = format!(
            "[certificate]\nchain = {:?}\nprivate_key = {:?}\n",
            folder.join("server.pem"),
            folder.join("server.key"),
        );
        let config = config(&folder.join(name), port, &https, relay)
            + &certificate
            + &format!("[auth]\nrequired = {required}\n[usrloc]\ndb_mode = 0\n[acc]\ndb = false\n");
        let file = folder.join(format!("{name}.toml"));
        fs::write(&file, &config)?;
        for number in 0..if required { USERS } else { 0 } {
            add_user(&program()?, &file, &user(number))?;
        }
        processes.push(spawn(folder, name, &config)?);
    }
    Ok(processes)
}

fn program() -> Result<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/causeway");
    let program = std::env::var_os("CAUSEWAY").map_or(built, PathBuf::from);
    ensure!(program.exists(), "build it first: cargo build --release --package causeway");
    Ok(program)
}

/// What all gateways have in common, with their data in `data`.
fn config(data: &Path, port: u16, https: &str, relay: &str) -> String {
    format!(
        "[general]\ndata_directory = {data:?}\n[network]\naddresses = [\"{ADDRESS}\"]\n\
         [sip]\ndomain = \"bench.test\"\nudp = \"{ADDRESS}:{port}\"\ntcp = \"off\"\ntls = \"off\"\n\
         [https]\nlisten = {https}\n[media]\nrelay = \"{relay}\"\nng = \"off\"\n[log]\nlevel = \"warn\"\n"
    )
}

/// Starts a gateway; its configuration and its log are in `folder`.
fn spawn(folder: &Path, name: &str, config: &str) -> Result<Child> {
    let file = folder.join(format!("{name}.toml"));
    fs::write(&file, config)?;
    let log = fs::File::create(folder.join(format!("{name}.log")))?;
    let mut command = Command::new(program()?);
    command.args(["run", "--config"]).arg(&file);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.spawn().context("causeway")
}

fn add_user(program: &Path, config: &Path, name: &str) -> Result<()> {
    let mut command = Command::new(program);
    command.args(["user", "add", name, "--config"]).arg(config).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn()?;
    child.stdin.take().context("standard input")?.write_all(format!("{PASSWORD}\n").as_bytes())?;
    ensure!(child.wait()?.success(), "account {name} not made");
    Ok(())
}

fn start_kamailio(folder: &Path, [open, digest, wss]: [u16; 3], relay: bool) -> Result<Vec<Child>> {
    let Some(program) = kamailio() else { bail!("Kamailio is not installed") };
    let ng = UdpSocket::bind((ADDRESS, 0))?.local_addr()?;
    let text = include_str!("../../peers/kamailio_bench.cfg")
        .replace("@RELAY@", if relay { "#!define RELAY" } else { "" })
        .replace("@NG@", &ng.to_string())
        .replace("@ADDRESS@", ADDRESS)
        .replace("@OPEN@", &open.to_string())
        .replace("@DIGEST@", &digest.to_string())
        .replace("@WSS@", &wss.to_string())
        .replace("@PASSWORD@", PASSWORD)
        .replace("@CERTIFICATE@", &folder.join("server.pem").display().to_string())
        .replace("@KEY@", &folder.join("server.key").display().to_string());
    let file = folder.join("kamailio.cfg");
    fs::write(&file, text)?;
    let mut processes = Vec::new();
    if let Some(program) = rtpengine().filter(|_| relay) {
        let log = fs::File::create(folder.join("rtpengine.log"))?;
        let mut command = Command::new(program);
        command.args(["--config-file=none", "--table=-1", "--foreground", "--log-stderr", "--log-level=4"]);
        // As many calls one after the other as there are would hold more ports than there are.
        command.args(["--delete-delay=0", &format!("--interface={ADDRESS}"), &format!("--listen-ng={ng}")]);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        processes.push(command.spawn().context("rtpengine")?);
    }
    let log = fs::File::create(folder.join("kamailio.log"))?;
    let mut command = Command::new(program);
    command.args(["-DD", "-E", "-m", "1024", "-M", "16", "-f"]).arg(&file).arg("-Y").arg(folder);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    processes.push(command.spawn().context("kamailio")?);
    Ok(processes)
}

/// Free ports of the kernel's choice; both servers run after one another, so nobody else is there to take them.
fn free_ports() -> Result<[u16; 3]> {
    let held = [
        TcpListener::bind((ADDRESS, 0))?,
        TcpListener::bind((ADDRESS, 0))?,
        TcpListener::bind((ADDRESS, 0))?,
    ];
    let mut ports = [0; 3];
    for (port, socket) in ports.iter_mut().zip(&held) {
        *port = socket.local_addr()?.port();
    }
    Ok(ports)
}
