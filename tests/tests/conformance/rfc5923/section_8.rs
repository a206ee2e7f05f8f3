//! RFC 5923 §8.2 and §9.1: a TLS client that proves who it is and asks for it by `alias` gets requests over its own connection.
//! Only ours is judged: requests to other domains are no part of Kamailio's configuration here.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::baresip::Account;
use e2e::dns::{NameServer, Record};
use e2e::gateway::{Gateway, host_address};
use e2e::phone::{Phone, set};
use e2e::wire::Wire;
use tempfile::TempDir;
use tokio::net::TcpListener;

/// An authority whose certificates the gateway takes from peers.
struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Result<Self> {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let (key, folder) = (rcgen::KeyPair::generate()?, tempfile::tempdir()?);
        fs::write(folder.path().join("ca.pem"), params.self_signed(&key)?.pem())?;
        Ok(Self { issuer: rcgen::Issuer::new(params, key), folder })
    }

    /// The configuration by which a gateway trusts it.
    fn section(&self, required: bool) -> String {
        let path = self.folder.path().join("ca.pem");
        format!("[tls]\nca_list = {path:?}\nrequire_certificate = {required}\n")
    }

    /// A certificate and its key for `name`.
    fn certify(&self, name: &str) -> Result<e2e::gateway::Identity> {
        let key = rcgen::KeyPair::generate()?;
        let params = rcgen::CertificateParams::new(vec![name.to_owned()])?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let key =
            rustls_pki_types::PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
        Ok((certificate.der().clone(), key))
    }
}

/// A gateway, Alice who has an account there, and where far.test listens for TLS.
struct Scene {
    gateway: Gateway,
    alice: Phone,
    far: Phone,
    listener: TcpListener,
    authority: Authority,
    _names: NameServer,
}

impl Scene {
    async fn new() -> Result<Self> {
        let (listener, authority) = (TcpListener::bind((host_address(), 0)).await?, Authority::new()?);
        let names = NameServer::start(&[
            ("_sips._tcp.far.test", Record::Srv(1, 1, listener.local_addr()?.port(), "host.far.test")),
            ("host.far.test", Record::Address(host_address())),
        ])
        .await?;
        let more = format!("{}{}", names.section(), authority.section(false));
        let gateway = Gateway::start_with(&more).await?;
        let alice = Phone::new(gateway.account("alice", "reuse-me-2")?, gateway.proxy()).await?;
        let nobody = Account { user: "x".into(), password: String::new(), domain: "far.test".into() };
        let far = Phone::new(nobody, SocketAddr::new(host_address(), 9)).await?;
        Ok(Self { gateway, alice, far, listener, authority, _names: names })
    }

    /// A TLS client that says that it listens at the place of far.test; it has a certificate for `name`.
    async fn client(&mut self, name: Option<&str>) -> Result<Wire> {
        let identity = name.map(|name| self.authority.certify(name)).transpose()?;
        let mut wire = self.gateway.tls_as(identity).await?;
        let mut claim = self.alice.request("OPTIONS", "sip:causeway.test", "sip:causeway.test");
        let port = self.listener.local_addr()?.port();
        set(&mut claim, "Via", format!("SIP/2.0/TLS host.far.test:{port};branch=z9hG4bKclaim;alias"));
        wire.send(claim.to_string()).await?;
        ensure!(wire.receive().await?.status() == Some(200));
        Ok(wire)
    }

    /// Whether a message to far.test comes over `wire`; else a connection to where it listens is opened.
    async fn comes_over(&mut self, wire: &mut Wire) -> Result<bool> {
        let request = self.alice.request("MESSAGE", "sip:x@far.test;transport=tls", "sip:x@far.test");
        let asking = self.alice.transact(request);
        tokio::pin!(asking);
        tokio::select! {
            request = wire.receive() => {
                let answer = self.far.response(&request?, 200, "OK", "far").to_string();
                wire.send(answer).await?;
                ensure!(asking.await?.status() == Some(200));
                Ok(true)
            }
            opened = self.listener.accept() => {
                // Nobody is at home: the handshake fails, and with it the request.
                drop(opened?);
                ensure!(asking.await?.status() >= Some(400));
                Ok(false)
            }
            answer = &mut asking => anyhow::bail!("answered by {:?}", answer?.status()),
        }
    }
}

/// §8.2: requests for a peer that has proved to be it and said `alias` go over its connection.
#[tokio::test]
async fn who_proves_it_gets_requests_over_its_connection() -> Result<()> {
    let mut scene = Scene::new().await?;
    let mut wire = scene.client(Some("far.test")).await?;
    ensure!(scene.comes_over(&mut wire).await?);
    ensure!(scene.comes_over(&mut wire).await?);
    Ok(())
}

/// §9.1: a certificate for somebody else, and none, divert nothing.
#[tokio::test]
async fn who_proves_to_be_another_gets_nothing() -> Result<()> {
    for name in [Some("other.test"), None] {
        let mut scene = Scene::new().await?;
        let mut wire = scene.client(name).await?;
        ensure!(!scene.comes_over(&mut wire).await?, "{name:?}");
        ensure!(wire.is_silent(Duration::from_millis(100)).await);
    }
    Ok(())
}

/// §9.1: a gateway that asks for certificates refuses who has none, and who has one of another authority.
#[tokio::test]
async fn a_certificate_can_be_demanded() -> Result<()> {
    let (authority, stranger) = (Authority::new()?, Authority::new()?);
    let gateway = Gateway::start_with(&authority.section(true)).await?;
    let mut alice = Phone::new(gateway.account("alice", "reuse-me-3")?, gateway.proxy()).await?;
    for (identity, welcome) in [
        (Some(authority.certify("far.test")?), true),
        (Some(stranger.certify("far.test")?), false),
        (None, false),
    ] {
        let mut options = alice.request("OPTIONS", "sip:causeway.test", "sip:causeway.test");
        set(&mut options, "Via", "SIP/2.0/TLS far.test;branch=z9hG4bKdemand".to_owned());
        // With TLS 1.3 a client hears of the refusal only after its own part of the handshake.
        let answer = async {
            let mut wire = gateway.tls_as(identity).await?;
            wire.send(options.to_string()).await?;
            wire.receive().await
        };
        let answer = answer.await;
        ensure!(answer.is_ok() == welcome, "{answer:?}");
        if welcome {
            ensure!(answer.context("welcome")?.status() == Some(200));
        }
    }
    Ok(())
}
