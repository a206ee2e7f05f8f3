//! The world that exists: a real rtpengine for our proxy, and a real Kamailio for our relay.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::chromium::find;
use crate::gateway::{DOMAIN, host_address, relay_binary};
use crate::ports::Ports;
use crate::process::Process;
use crate::subject::until_it_answers;
use crate::wait::{self, PATIENCE};

/// A relay that speaks ng, in a process of its own.
#[derive(Debug)]
pub struct NgRelay {
    process: Process,
    /// Where it takes commands.
    pub ng: SocketAddr,
    /// Where it takes those of `rtpengine-ctl`.
    pub cli: SocketAddr,
    _folder: TempDir,
    _ports: Ports,
}

impl NgRelay {
    /// Debian's rtpengine without its kernel module.
    pub async fn rtpengine() -> Result<Self> {
        Self::start(&find(&["rtpengine"])?).await
    }

    /// Our own relay alone.
    pub async fn causeway() -> Result<Self> {
        Self::start(&relay_binary()?).await
    }

    /// Both take the same options, which is the point: one replaces the other in a start script.
    async fn start(program: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut ports = Ports::take().await?;
        let ng = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.listener()?));
        let cli = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.listener()?));
        let (first, last) = ports.media();
        let options = [
            format!("--interface={}", host_address()),
            format!("--listen-ng={ng}"),
            format!("--listen-cli={cli}"),
            format!("--port-min={first}"),
            format!("--port-max={last}"),
        ];
        let mut arguments = vec![
            "--config-file=none",
            "--table=-1",
            "--foreground",
            "--log-stderr",
            "--log-level=6",
            // A call is over when it is deleted: the tests wait for that.
            "--delete-delay=0",
        ];
        arguments.extend(options.iter().map(String::as_str));
        // Debug lines name what the relay did with each command.
        let environment = [("RUST_LOG", "info,media=debug"), ("RUST_BACKTRACE", "1")];
        let process = Process::start(program, &arguments, &environment, folder.path())?;
        let relay = Self { process, ng, cli, _folder: folder, _ports: ports };
        relay.ready().await?;
        Ok(relay)
    }

    async fn ready(&self) -> Result<()> {
        wait::until("the relay to answer a ping", PATIENCE, || async {
            Ok(ask(self.ng, "d7:command4:pinge").await.filter(|reply| reply.contains("pong")).map(drop))
        })
        .await
        .with_context(|| self.process.tail())
    }

    /// Waits until it has no call left that carries media: each ends with the BYE and not with a time-out.
    pub async fn is_idle(&self) -> Result<()> {
        wait::until("the end of every call at the relay", PATIENCE, || async {
            let list = ask(self.ng, "d7:command4:liste").await.unwrap_or_default();
            Ok(list.contains("5:callsle").then_some(()))
        })
        .await
        .with_context(|| self.process.tail())
    }

    /// How many calls it has.
    pub async fn calls(&self) -> usize {
        let list = ask(self.ng, "d7:command4:liste").await.unwrap_or_default();
        let calls = list.split_once("5:callsl").map_or("", |(_, calls)| calls);
        calls.split_once("e6:result").map_or("", |(calls, _)| calls).matches(':').count()
    }

    /// Ends it as a crash would.
    pub fn kill(&self) -> Result<()> {
        self.process.signal("KILL")
    }

    /// Everything it logged.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.process.lines()
    }
}

/// One command without repetition, as the relays on the loopback lose nothing.
async fn ask(ng: SocketAddr, command: &str) -> Option<String> {
    /// A cookie used twice would bring the reply of the first time, whoever asks.
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.ok()?;
    let cookie = SERIAL.fetch_add(1, Ordering::Relaxed);
    socket.send_to(format!("{cookie} {command}").as_bytes(), ng).await.ok()?;
    let mut buffer = vec![0; 65_536];
    let length = timeout(Duration::from_millis(300), socket.recv(&mut buffer)).await.ok()?.ok()?;
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// Stands between a proxy and its relay and keeps what they say to each other.
#[derive(Debug)]
pub struct NgTap {
    /// Where the proxy is to send.
    pub address: SocketAddr,
    said: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl NgTap {
    /// Passes on to `relay` and back. A proxy of several processes has several sockets, and each has one of ours.
    pub async fn start(relay: SocketAddr) -> Result<Self> {
        let socket = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?);
        let address = socket.local_addr()?;
        let said = Arc::<Mutex<Vec<String>>>::default();
        let kept = Arc::clone(&said);
        let task = tokio::spawn(async move {
            let mut exchanges = tokio::task::JoinSet::new();
            let mut buffer = vec![0; 65_536];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let (command, socket, said) =
                    (buffer[..length].to_vec(), Arc::clone(&socket), Arc::clone(&kept));
                exchanges.spawn(async move { pass_on(&command, from, relay, &socket, &said).await });
            }
        });
        Ok(Self { address, said, task })
    }

    /// Every command and every reply so far, in order.
    #[must_use]
    pub fn said(&self) -> Vec<String> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Fails when the relay refused a command, or found a word in one that it does not know.
    pub fn no_complaint(&self) -> Result<()> {
        let said = self.said();
        for command in ["7:command5:offer", "7:command6:answer", "7:command6:delete"] {
            ensure!(said.iter().any(|s| s.contains(command)), "never said: {command}");
        }
        let cookie = |s: &str| s.split(' ').next().unwrap_or_default().to_owned();
        // A call that was given up is deleted by every side that hears of it, and is there for the first alone.
        let deletes: Vec<String> =
            said.iter().filter(|s| s.contains("7:command6:delete")).map(|s| cookie(s)).collect();
        let complains = |s: &String| {
            ["7:warning", "12:error-reason"].iter().any(|w| s.contains(w)) && !deletes.contains(&cookie(s))
        };
        match said.iter().position(complains) {
            Some(at) => bail!("complaint of the relay:\n{}", said[..=at].join("\n")),
            None => Ok(()),
        }
    }
}

impl Drop for NgTap {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass_on(
    command: &[u8],
    from: SocketAddr,
    relay: SocketAddr,
    socket: &UdpSocket,
    said: &Mutex<Vec<String>>,
) -> Option<()> {
    let keep = |bytes: &[u8]| {
        said.lock().unwrap_or_else(PoisonError::into_inner).push(String::from_utf8_lossy(bytes).into_owned());
    };
    keep(command);
    let own = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.ok()?;
    own.send_to(command, relay).await.ok()?;
    let mut buffer = vec![0; 65_536];
    let length = timeout(Duration::from_secs(5), own.recv(&mut buffer)).await.ok()?.ok()?;
    keep(&buffer[..length]);
    socket.send_to(&buffer[..length], from).await.ok()?;
    Some(())
}

/// The flags that a proxy gives to its relay, by who gets the SDP.
#[derive(Debug, Clone, Copy)]
pub struct Flags {
    /// For SDP that goes to a browser.
    pub to_browser: &'static str,
    /// For SDP that goes to a phone.
    pub to_phone: &'static str,
}

/// A running Kamailio with WSS for browsers, and UDP, TCP and TLS for phones.
#[derive(Debug)]
pub struct KamailioFront {
    process: Process,
    /// Port of SIP over UDP and TCP.
    pub sip: u16,
    /// Port of WSS.
    pub wss: u16,
    /// Port of SIP over TLS.
    pub tls: u16,
    _folder: TempDir,
    _ports: Ports,
}

impl KamailioFront {
    /// Starts one that uses the relay at `ng` with these flags and shows the certificate `server.pem` of `certificates`.
    pub async fn start(ng: SocketAddr, flags: Flags, certificates: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut ports = Ports::take().await?;
        let (sip, wss, tls) = (ports.listener()?, ports.listener()?, ports.listener()?);
        let file = folder.path().join("kamailio.cfg");
        let text = include_str!("../peers/kamailio.cfg")
            .replace("@ADDRESS@", &host_address().to_string())
            .replace("@SIP@", &sip.to_string())
            .replace("@WSS@", &wss.to_string())
            .replace("@TLS@", &tls.to_string())
            .replace("@NG@", &ng.to_string())
            .replace("@DOMAIN@", DOMAIN)
            .replace("@PASSWORD@", Self::PASSWORD)
            .replace("@CERTIFICATE@", &certificates.join("server.pem").display().to_string())
            .replace("@KEY@", &certificates.join("server.key").display().to_string())
            .replace("@TO_BROWSER@", flags.to_browser)
            .replace("@TO_PHONE@", flags.to_phone);
        fs::write(&file, text)?;
        let (file, home) = (file.display().to_string(), folder.path().display().to_string());
        let arguments = ["-DD", "-E", "-f", &file, "-Y", &home, "-m", "64", "-M", "8"];
        let process = Process::start(&find(&["kamailio"])?, &arguments, &[], folder.path())?;
        let kamailio = Self { process, sip, wss, tls, _folder: folder, _ports: ports };
        until_it_answers(&kamailio.process, kamailio.proxy()).await?;
        Ok(kamailio)
    }

    /// The password of every account there.
    pub const PASSWORD: &'static str = "one-for-all-9";

    /// Where phones reach it over UDP and TCP.
    #[must_use]
    pub fn proxy(&self) -> SocketAddr {
        SocketAddr::new(Self::address(), self.sip)
    }

    /// Where phones reach it over TLS.
    #[must_use]
    pub fn tls(&self) -> SocketAddr {
        SocketAddr::new(Self::address(), self.tls)
    }

    /// Where browsers reach it.
    #[must_use]
    pub fn websocket_url(&self) -> String {
        format!("wss://{}/", SocketAddr::new(Self::address(), self.wss))
    }

    /// Everything it logged: errors and warnings, as nothing else is asked for.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.process.lines()
    }

    fn address() -> IpAddr {
        host_address()
    }
}
