//! A real ACME server: Let's Encrypt's own for tests, which does check what it is shown.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::chromium::find;
use crate::dns::{NameServer, Record};
use crate::ports::Ports;
use crate::process::Process;
use crate::wait::{self, PATIENCE};

/// The name for which certificates are issued.
pub const NAME: &str = "gw.test";
/// The account that its operator has given away, with its key.
pub const BINDING: (&str, &str) =
    ("kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W");

/// How it is to be.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wishes {
    /// Where it looks for what plain HTTP shows.
    pub http: u16,
    /// Where it looks for what TLS shows.
    pub tls: u16,
    /// Whether it takes accounts of [`BINDING`] alone.
    pub binding: bool,
    /// For how many seconds its certificates count; 0: for years.
    pub validity: u32,
}

/// The place of a server that may be started and stopped.
#[derive(Debug)]
pub struct Pebble {
    folder: TempDir,
    listen: SocketAddr,
    management: SocketAddr,
    names: NameServer,
    process: Option<Process>,
    _ports: Ports,
}

impl Pebble {
    /// Chooses where it will be, and makes the certificate that it shows itself. It does not run yet.
    pub async fn place() -> Result<Self> {
        let (folder, mut ports) = (tempfile::tempdir()?, Ports::take().await?);
        let mut port = || Ok::<_, anyhow::Error>(SocketAddr::from((Ipv4Addr::LOCALHOST, ports.listener()?)));
        let (listen, management) = (port()?, port()?);
        let names = NameServer::start(&[(NAME, Record::Address(IpAddr::V4(Ipv4Addr::LOCALHOST)))]).await?;
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let (authority_key, key) = (KeyPair::generate()?, KeyPair::generate()?);
        let root = authority.self_signed(&authority_key)?;
        let issuer = Issuer::new(authority, &authority_key);
        let own = CertificateParams::new(vec![listen.ip().to_string()])?.signed_by(&key, &issuer)?;
        fs::write(folder.path().join("ca.pem"), root.pem())?;
        fs::write(folder.path().join("own.pem"), own.pem())?;
        fs::write(folder.path().join("own.key"), key.serialize_pem())?;
        Ok(Self { folder, listen, management, names, process: None, _ports: ports })
    }

    /// The section of a gateway's configuration that has it ask here, tried again each second.
    #[must_use]
    pub fn section(&self) -> String {
        format!(
            "[acme]\ndomains = [\"{NAME}\"]\ndirectory = \"https://{}/dir\"\nca_list = \"{}\"\nretry = 1\n",
            self.listen,
            self.authority().display()
        )
    }

    /// Who has signed its own certificate.
    fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Starts it and waits until it answers.
    pub async fn start(&mut self, wishes: Wishes) -> Result<()> {
        let file = |name: &str| self.folder.path().join(name);
        let mut config = json!({
            "listenAddress": self.listen,
            "managementListenAddress": self.management,
            "certificate": file("own.pem"),
            "privateKey": file("own.key"),
            "httpPort": wishes.http,
            "tlsPort": wishes.tls,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": wishes.binding,
            "externalAccountMACKeys": { BINDING.0: BINDING.1 },
        });
        if wishes.validity > 0 {
            config["certificateValidityPeriod"] = wishes.validity.into();
        }
        fs::write(file("pebble.json"), json!({ "pebble": config }).to_string())?;
        let config = file("pebble.json").display().to_string();
        let arguments = ["-config", &config, "-dnsserver", &self.names.address.to_string()];
        // Else it waits for up to 15 seconds before it looks.
        let environment = [("PEBBLE_VA_NOSLEEP", "1")];
        self.process =
            Some(Process::start(&find(&["pebble"])?, &arguments, &environment, self.folder.path())?);
        let answers = || async { Ok(self.get(self.listen, "/dir").await.ok().map(drop)) };
        wait::until("the ACME server", PATIENCE, answers).await.with_context(|| self.tail())
    }

    /// Ends it.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// What it said last.
    #[must_use]
    pub fn tail(&self) -> String {
        self.process.as_ref().map(Process::tail).unwrap_or_default()
    }

    /// Opens a TLS connection to `address`, calling it [`NAME`] and trusting nothing but what this server has issued.
    pub async fn connect(&self, address: SocketAddr) -> Result<TlsStream<TcpStream>> {
        let root = self.get(self.management, "/roots/0").await?;
        let root = CertificateDer::from_pem_slice(root.as_bytes()).map_err(|error| anyhow!("{error}"))?;
        tls(TcpStream::connect(address).await?, root, ServerName::try_from(NAME)?).await
    }

    /// The body of an answer of its own.
    async fn get(&self, address: SocketAddr, path: &str) -> Result<String> {
        let root = CertificateDer::from_pem_file(self.authority()).map_err(|error| anyhow!("{error}"))?;
        let stream = TcpStream::connect(address).await?;
        let mut stream = tls(stream, root, ServerName::IpAddress(address.ip().into())).await?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
        let mut answer = Vec::new();
        // It may close without a TLS goodbye; what came counts.
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        anyhow::ensure!(head.contains(" 200 "), "{head}");
        Ok(body.to_owned())
    }
}

async fn tls(
    stream: TcpStream,
    root: CertificateDer<'static>,
    name: ServerName<'static>,
) -> Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)).connect(name, stream).await?)
}
