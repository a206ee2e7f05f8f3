//! RFC 5922 §7: Behavior of SIP entities: whom a TLS server must prove to be. Only ours is judged: requests to other domains are
//! no part of Kamailio's configuration here.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use e2e::baresip::Account;
use e2e::dns::{NameServer, Record};
use e2e::gateway::{Gateway, host_address};
use e2e::phone::Phone;
use e2e::sip::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// A TLS server whose certificate names `name`, signed by the CA that the gateway trusts.
fn acceptor(gateway: &Gateway, name: &str) -> Result<TlsAcceptor> {
    let folder = gateway.certificates();
    let ca_key = rcgen::KeyPair::from_pem(&fs::read_to_string(folder.join("ca.key"))?)?;
    let issuer = rcgen::Issuer::from_ca_cert_pem(&fs::read_to_string(folder.join("ca.pem"))?, ca_key)?;
    let key = rcgen::KeyPair::generate()?;
    let certificate = rcgen::CertificateParams::new(vec![name.to_owned()])?.signed_by(&key, &issuer)?;
    let key = rustls_pki_types::PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// What becomes of a message to `far.test` over TLS when the server there shows a certificate for `name`.
async fn message(name: &str) -> Result<Option<u16>> {
    let listener = TcpListener::bind((host_address(), 0)).await?;
    let names = NameServer::start(&[
        ("_sips._tcp.far.test", Record::Srv(1, 1, listener.local_addr()?.port(), "host.elsewhere.test")),
        ("host.elsewhere.test", Record::Address(host_address())),
    ])
    .await?;
    let gateway = Gateway::start_with(&names.section()).await?;
    let mut alice = Phone::new(gateway.account("alice", "who-is-there-7")?, gateway.proxy()).await?;
    let nobody = Account { user: "x".into(), password: String::new(), domain: "far.test".into() };
    let mut far = Phone::new(nobody, SocketAddr::new(host_address(), 9)).await?;
    let acceptor = acceptor(&gateway, name)?;
    let server = async {
        let (stream, _) =
            timeout(e2e::wait::PATIENCE, listener.accept()).await.context("nobody connects")??;
        // Who does not like the certificate ends the handshake.
        let Ok(mut stream) = acceptor.accept(stream).await else { return Ok(()) };
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return Ok(());
            }
        }
        let request = Message::parse(&bytes)?;
        ensure!(request.header("Via").starts_with("SIP/2.0/TLS "), "{request}");
        stream.write_all(far.response(&request, 200, "OK", "far").to_string().as_bytes()).await?;
        // The gateway reads it before the connection goes, in whatever way.
        let _ = stream.read_buf(&mut bytes).await;
        Ok(())
    };
    let message = alice.request("MESSAGE", "sip:x@far.test;transport=tls", "sip:x@far.test");
    tokio::pin!(server);
    let mut served = None;
    let transaction = alice.transact(message);
    tokio::pin!(transaction);
    loop {
        tokio::select! {
            answer = &mut transaction => return Ok(answer?.status()),
            result = &mut server, if served.is_none() => served = Some(result?),
        }
    }
}

/// §7.1, §7.3: the server proves to be the domain of the URI, whatever the names and addresses are to which that led.
#[tokio::test]
async fn the_domain_of_the_uri_is_what_counts() -> Result<()> {
    assert_eq!(message("far.test").await?, Some(200));
    for other in ["host.elsewhere.test", "other.test"] {
        let status = message(other).await?;
        assert!(status >= Some(400), "{other}: {status:?}");
    }
    Ok(())
}
