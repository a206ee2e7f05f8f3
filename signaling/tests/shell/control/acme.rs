//! A certificate from an ACME server that does not do what it is asked: a scripted one, for a real one says so only to who has
//! asked it for a week.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls_pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::support::read_until;

/// The rest of an answer, by which its connection ends.
fn answer(address: std::net::SocketAddr, request: &str) -> String {
    let url = |name: &str| format!("https://{address}/{name}");
    let (status, fields, body) = match request.split(' ').nth(1) {
        Some("/dir") => {
            let directory = json!({
                "newNonce": url("nonce"), "newAccount": url("account"), "newOrder": url("order"),
                "revokeCert": url("revoke"), "keyChange": url("key"),
            });
            ("200 OK", String::new(), directory.to_string())
        }
        Some("/nonce") => ("200 OK", "Replay-Nonce: bm9uY2U\r\n".to_owned(), String::new()),
        _ => {
            let problem = json!({
                "type": "urn:ietf:params:acme:error:rateLimited", "detail": "come back later", "status": 429,
            });
            ("429 Too Many Requests", "Retry-After: 3600\r\n".to_owned(), problem.to_string())
        }
    };
    format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

/// A server that takes no new accounts now, and its certificate.
async fn busy_server(directory: &std::path::Path) -> (std::net::SocketAddr, PathBuf) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let ca = directory.join("server-ca.pem");
    std::fs::write(&ca, cert.pem()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let (acceptor, listener) =
        (TlsAcceptor::from(Arc::new(config)), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = acceptor.accept(stream).await.unwrap();
            let request = read_until(&mut stream, "\r\n\r\n").await;
            stream.write_all(answer(address, &request).as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    (address, ca)
}

/// A server that wants to be left alone is, whatever `acme.retry` says; and the gateway does its work.
#[tokio::test]
async fn a_server_that_has_had_enough_is_left_alone() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let (server, ca) = busy_server(directory.path()).await;
    let settings = format!(
        "acme.domains = [\"gw.example\"]\nacme.directory = \"https://{server}/dir\"\nacme.ca_list = {ca:?}\nacme.retry = 1\n{OPEN}"
    );
    let bench = Bench::start_in(directory, &settings).await;
    let mut client = Client::connect(&bench).await;
    let rows = client.until("acme.list", |rows| !rows[0]["last_error"].is_null()).await;
    let error = rows[0]["last_error"].as_str().unwrap();
    assert!(error.contains("come back later") && error.contains("rateLimited"), "{error}");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let wait = rows[0]["next_try"].as_u64().unwrap().saturating_sub(now);
    assert!((3000..=3600).contains(&wait), "{wait}");
    assert_eq!((&rows[0]["domains"], &rows[0]["not_after"]), (&json!("gw.example"), &Value::Null));
    assert!(http(bench.tls(Protocol::Wss).await, &crate::support::get("/readyz")).await.contains(" 200 "));
}

/// Where no server is asked there is nothing to tell, and plain HTTP on the port of the page is sent on but for proofs.
#[tokio::test]
async fn nobody_asks_and_nothing_is_shown() {
    let bench = Bench::start(OPEN).await;
    let mut client = Client::connect(&bench).await;
    assert_eq!(client.ask("acme.list", json!([])).await, json!([]));
    let (code, message) = client.refused("acme.renew", json!([])).await;
    assert!(code == 400 && message.contains("acme.domains"), "{message}");
    let path = "/.well-known/acme-challenge/nothing";
    let answer = http(bench.tcp(Protocol::Wss).await, &crate::support::get(path)).await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    let answer = http(bench.tcp(Protocol::Wss).await, &crate::support::get("/")).await;
    assert!(answer.starts_with("HTTP/1.1 307 "), "{answer}");
}
