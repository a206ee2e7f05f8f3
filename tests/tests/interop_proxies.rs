//! The examples of `deploy/proxies` in real reverse proxies: a browser that signs in through each is seen with its own address.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use e2e::baresip::Account;
use e2e::chromium::find;
use e2e::gateway::Gateway;
use e2e::ports::Ports;
use e2e::process::Process;
use e2e::wait::{self, PATIENCE};
use e2e::wire::{WebSocket, Wire};
use rustls_pki_types::ServerName;
use tempfile::TempDir;
use tokio::net::{TcpSocket, TcpStream};

/// Whence the browser comes, which the proxy is to say.
const BROWSER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 77);
/// Whence a proxy comes that speaks the PROXY protocol: nobody else here does.
const PROXY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// A gateway behind a reverse proxy.
struct Behind {
    gateway: Gateway,
    alice: Account,
    folder: TempDir,
    ports: Ports,
}

impl Behind {
    async fn start(https: &str, more: &str) -> Result<Self> {
        let gateway = Gateway::start_with_https(https, more).await?;
        let alice = gateway.account("alice", "through-a-proxy-1")?;
        Ok(Self { gateway, alice, folder: tempfile::tempdir()?, ports: Ports::take().await? })
    }

    /// One that hears from its proxy by the PROXY protocol.
    async fn proxy_protocol() -> Result<Self> {
        Self::start("", &format!("[network]\nproxy_protocol_from = [\"{PROXY}\"]\n")).await
    }

    /// One that hears from it by X-Forwarded-For.
    async fn forwarded_for() -> Result<Self> {
        Self::start("forwarded_from = [\"127.0.0.1\"]\n", "").await
    }

    /// The example `name` with what differs here: each of `changes` must be in it.
    fn example(&self, name: &str, changes: &[(&str, String)]) -> Result<String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no workspace")?;
        let mut text = fs::read_to_string(root.join("deploy/proxies").join(name))?;
        for (from, to) in changes {
            ensure!(text.contains(from), "{name} has no {from:?}");
            text = text.replace(from, to);
        }
        let path = self.folder.path().join(name);
        fs::write(&path, text)?;
        path.into_os_string().into_string().ok().context("a path that is no text")
    }

    /// Starts a proxy and waits until it listens on all of `ports`.
    async fn proxy(&self, program: &str, arguments: &[&str], ports: &[u16]) -> Result<Process> {
        let home = self.folder.path().to_str().context("a path that is no text")?;
        let environment = [("HOME", home), ("XDG_DATA_HOME", home), ("XDG_CONFIG_HOME", home)];
        let process = Process::start(&find(&[program])?, arguments, &environment, self.folder.path())?;
        for port in ports {
            let listens =
                || async { Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).await.ok().map(drop)) };
            let listening = wait::until(format!("{program} on port {port}"), PATIENCE, listens).await;
            listening.with_context(|| process.tail())?;
        }
        Ok(process)
    }

    /// Signs in through the proxy on `port`; by which address the gateway has seen it, and which it had.
    async fn signs_in(&self, port: u16) -> Result<(SocketAddr, SocketAddr)> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((BROWSER, 0).into())?;
        let stream = socket.connect((Ipv4Addr::LOCALHOST, port).into()).await?;
        let own = stream.local_addr()?;
        let name = ServerName::IpAddress(stream.peer_addr()?.ip().into());
        let wire = Wire::of_tls(self.gateway.tls_over(stream, name, None).await?)?;
        let mut browser = WebSocket::upgrade(wire, "Sec-WebSocket-Protocol: sip\r\n").await?;
        let answer = browser.register(&self.alice, 1).await?;
        ensure!(answer.status() == Some(200), "{answer}");
        let parameter = |name| answer.parameter("Via", name).with_context(|| format!("no {name}: {answer}"));
        let seen = SocketAddr::new(parameter("received")?.parse()?, parameter("rport")?.parse()?);
        Ok((seen, own))
    }
}

/// nginx's own directories, which only root may write to.
fn nginx_paths(folder: &Path) -> String {
    let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let paths = kinds.map(|kind| format!("{kind}_temp_path {}/{kind};\n", folder.display()));
    format!("http {{\naccess_log off;\n{}", paths.concat())
}

/// nginx and its two ways: TLS that ends at the gateway, and TLS that ends at nginx.
async fn nginx(mut behind: Behind) -> Result<(Behind, Process, u16, u16)> {
    let mut port = || behind.ports.listener();
    let (passed, sips, ended) = (port()?, port()?, port()?);
    let Gateway { https, tls, websocket, .. } = behind.gateway;
    let certificates = behind.gateway.certificates();
    let from_proxy = |port: u16| format!("proxy_bind {PROXY};\n        proxy_pass 127.0.0.1:{port};");
    let config = behind.example(
        "nginx.conf",
        &[
            ("listen 443;", format!("listen {passed};")),
            ("listen 5061;", format!("listen {sips};")),
            ("listen 444 ssl;", format!("listen {ended} ssl;")),
            ("proxy_pass 127.0.0.1:8443;", from_proxy(https)),
            ("proxy_pass 127.0.0.1:5071;", from_proxy(tls)),
            ("http://127.0.0.1:8080", format!("http://127.0.0.1:{websocket}")),
            ("/etc/ssl/gw.example.com.pem", certificates.join("server.pem").display().to_string()),
            ("/etc/ssl/private/gw.example.com.key", certificates.join("server.key").display().to_string()),
            ("http {", nginx_paths(behind.folder.path())),
        ],
    )?;
    let folder = behind.folder.path().display();
    let main = format!("daemon off; pid {folder}/nginx.pid; error_log stderr;");
    let process = behind.proxy("nginx", &["-c", &config, "-g", &main], &[passed, sips, ended]).await?;
    Ok((behind, process, passed, ended))
}

/// nginx passes connections on, and says from whom by version 1 of the PROXY protocol.
#[tokio::test]
async fn nginx_passes_tls_on() -> Result<()> {
    let (behind, process, port, _) = nginx(Behind::proxy_protocol().await?).await?;
    let (seen, own) = behind.signs_in(port).await.with_context(|| process.tail())?;
    assert_eq!(seen, own);
    Ok(())
}

/// nginx ends TLS, and says from whom a request comes by X-Forwarded-For.
#[tokio::test]
async fn nginx_ends_tls() -> Result<()> {
    let (behind, process, _, port) = nginx(Behind::forwarded_for().await?).await?;
    let (seen, own) = behind.signs_in(port).await.with_context(|| process.tail())?;
    assert_eq!(seen.ip(), own.ip());
    Ok(())
}

/// HAProxy passes connections on, and says from whom by version 2.
#[tokio::test]
async fn haproxy_passes_tls_on() -> Result<()> {
    let mut behind = Behind::proxy_protocol().await?;
    let (passed, sips) = (behind.ports.listener()?, behind.ports.listener()?);
    let (https, tls) = (behind.gateway.https, behind.gateway.tls);
    let config = behind.example(
        "haproxy.cfg",
        &[
            ("bind :443\n", format!("bind :{passed}\n")),
            ("bind :5061\n", format!("bind :{sips}\n")),
            ("127.0.0.1:8443 send-proxy-v2", format!("127.0.0.1:{https} source {PROXY} send-proxy-v2")),
            ("127.0.0.1:5071 send-proxy-v2", format!("127.0.0.1:{tls} source {PROXY} send-proxy-v2")),
        ],
    )?;
    let process = behind.proxy("haproxy", &["-db", "-f", &config], &[passed, sips]).await?;
    let (seen, own) = behind.signs_in(passed).await.with_context(|| process.tail())?;
    assert_eq!(seen, own);
    Ok(())
}

/// Caddy ends TLS, and says from whom a request comes by X-Forwarded-For.
#[tokio::test]
async fn caddy_ends_tls() -> Result<()> {
    let mut behind = Behind::forwarded_for().await?;
    let port = behind.ports.listener()?;
    let certificates = behind.gateway.certificates();
    let own = certificates.join("server.pem").display().to_string();
    let key = certificates.join("server.key").display().to_string();
    let site =
        format!("{{\n\tadmin off\n\tauto_https off\n}}\nhttps://127.0.0.1:{port} {{\n\ttls {own} {key}");
    let websocket = format!("127.0.0.1:{}", behind.gateway.websocket);
    let config = behind.example(
        "Caddyfile",
        &[("reverse_proxy 127.0.0.1:8080", format!("reverse_proxy {websocket}")), ("gw.example.com {", site)],
    )?;
    let process =
        behind.proxy("caddy", &["run", "--adapter", "caddyfile", "--config", &config], &[port]).await?;
    let (seen, own) = behind.signs_in(port).await.with_context(|| process.tail())?;
    assert_eq!(seen.ip(), own.ip());
    Ok(())
}
