//! A real Kamailio that answers JSON-RPC, and whoever else does: the same questions for both.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixDatagram, UnixStream};
use tokio::time::timeout;

use crate::chromium::find;
use crate::gateway::{DOMAIN, Gateway, host_address};
use crate::ports::Ports;
use crate::process::Process;
use crate::subject::until_it_answers;
use crate::wait::PATIENCE;

/// Who is asked.
#[derive(Debug)]
pub enum Peer {
    /// Kamailio, by datagrams.
    Kamailio(Box<Kamailio>, UnixDatagram),
    /// Ours, by lines.
    Causeway(Box<BufReader<UnixStream>>, SocketAddr),
}

/// A running Kamailio with the modules whose methods are compared.
#[derive(Debug)]
pub struct Kamailio {
    proxy: SocketAddr,
    folder: TempDir,
    _process: Process,
    _ports: Ports,
}

impl Kamailio {
    /// Starts one with the certificate `server.pem` of `certificates`.
    pub async fn start(certificates: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut ports = Ports::take().await?;
        let (sip, tls) = (ports.listener()?, ports.listener()?);
        let path = |name: &str| folder.path().join(name);
        fs::write(
            path("dispatcher.list"),
            "1 sip:192.0.2.1:5060 0 5 weight=60;duid=abc;maxload=7;rweight=20\n",
        )?;
        let text = include_str!("../peers/kamailio-rpc.cfg")
            .replace("@ADDRESS@", &host_address().to_string())
            .replace("@SIP@", &sip.to_string())
            .replace("@TLS@", &tls.to_string())
            .replace("@DOMAIN@", DOMAIN)
            .replace("@FOLDER@", &folder.path().display().to_string())
            .replace("@CERTIFICATE@", &certificates.join("server.pem").display().to_string())
            .replace("@KEY@", &certificates.join("server.key").display().to_string());
        fs::write(path("kamailio.cfg"), text)?;
        let (file, home) = (path("kamailio.cfg").display().to_string(), folder.path().display().to_string());
        let arguments = ["-DD", "-E", "-f", &file, "-Y", &home, "-m", "64", "-M", "8"];
        let process = Process::start(&find(&["kamailio"])?, &arguments, &[], folder.path())?;
        let proxy = SocketAddr::new(host_address(), sip);
        until_it_answers(&process, proxy).await?;
        Ok(Self { proxy, folder, _process: process, _ports: ports })
    }
}

impl Peer {
    /// Kamailio.
    pub async fn kamailio(certificates: &Path) -> Result<Self> {
        let kamailio = Kamailio::start(certificates).await?;
        let socket = UnixDatagram::bind(kamailio.folder.path().join("client.sock"))?;
        Ok(Self::Kamailio(Box::new(kamailio), socket))
    }

    /// Ours.
    pub async fn causeway(gateway: &Gateway) -> Result<Self> {
        let path: PathBuf = gateway.certificates().parent().context("no data folder")?.join("rpc.sock");
        Ok(Self::Causeway(Box::new(BufReader::new(UnixStream::connect(path).await?)), gateway.proxy()))
    }

    /// Where phones reach it.
    #[must_use]
    pub fn proxy(&self) -> SocketAddr {
        match self {
            Self::Kamailio(kamailio, _) => kamailio.proxy,
            Self::Causeway(_, proxy) => *proxy,
        }
    }

    /// The whole answer to a call.
    pub async fn answer(&mut self, method: &str, params: &Value) -> Result<Value> {
        let call = json!({ "jsonrpc": "2.0", "method": method, "params": params, "id": 1 }).to_string();
        let bytes = timeout(PATIENCE, self.exchange(&call)).await.with_context(|| method.to_owned())??;
        serde_json::from_slice(&bytes)
            .with_context(|| format!("{method}: {}", String::from_utf8_lossy(&bytes)))
    }

    /// Its result.
    pub async fn ask(&mut self, method: &str, params: &Value) -> Result<Value> {
        let mut answer = self.answer(method, params).await?;
        ensure!(answer.get("error").is_none(), "{method}: {answer}");
        Ok(answer["result"].take())
    }

    async fn exchange(&mut self, call: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match self {
            Self::Kamailio(kamailio, socket) => {
                socket.send_to(call.as_bytes(), kamailio.folder.path().join("rpc.sock")).await?;
                bytes.resize(1 << 18, 0);
                let length = socket.recv(&mut bytes).await?;
                bytes.truncate(length);
            }
            Self::Causeway(stream, _) => {
                stream.get_mut().write_all(format!("{call}\n").as_bytes()).await?;
                stream.read_until(b'\n', &mut bytes).await?;
            }
        }
        Ok(bytes)
    }
}

/// The ways to all that a value holds: `a.b[].c` for the field `c` of the items of the list `b` of `a`.
#[must_use]
pub fn fields(value: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    collect(value, String::new(), &mut found);
    found
}

fn collect(value: &Value, way: String, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(parts) => {
            for (name, part) in parts {
                let way = if way.is_empty() { name.clone() } else { format!("{way}.{name}") };
                collect(part, way, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, format!("{way}[]"), found)),
        Value::Number(_) => _ = found.insert(format!("{way}: number")),
        Value::String(_) => _ = found.insert(format!("{way}: text")),
        Value::Bool(_) => _ = found.insert(format!("{way}: flag")),
        Value::Null => _ = found.insert(format!("{way}: nothing")),
    }
}
