//! Forwarding over real sockets: what the operator's receiver gets of a call, over TCP and TLS.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use media::{Command, ForwardingConfig, ForwardingTls, Relay, RelayConfig, Reply};
use media_core::codec::g711::decode_ulaw;
use media_core::command::LegKind::Legacy;
use media_core::command::{Cause, Ends, Forward};
use support::{Phone, certificate, exchange, wait};

/// Nothing here takes so long but what never comes.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the two phones say over and over, in PCMU.
const SAID: [u8; 2] = [0x11, 0x22];

/// A call of two phones through a relay that forwards to `to`.
struct Call {
    relay: Relay,
    phones: [Phone; 2],
}

impl Call {
    fn new(forwarding: Option<ForwardingConfig>) -> Self {
        let relay = support::relay(RelayConfig { forwarding, ..RelayConfig::default() });
        let certificate = certificate();
        let [mut caller, mut callee] = [1, 2].map(|number| Phone::new(Legacy, &certificate, number));
        let sdp = |reply| match reply {
            Reply::Sdp { sdp, .. } => String::from_utf8(sdp.to_vec()).expect("text"),
            other => panic!("no SDP: {other:?}"),
        };
        let offer = exchange("call-1", true, &caller, &callee, &caller.sdp(true));
        callee.take_sdp(&sdp(wait(relay.execute(offer))), true);
        let answer = exchange("call-1", false, &callee, &caller, &callee.sdp(false));
        caller.take_sdp(&sdp(wait(relay.execute(answer))), false);
        Self { relay, phones: [caller, callee] }
    }

    fn forward(&self, on: bool) -> Reply {
        let ends = Ends { call_id: "call-1".to_owned(), ..Ends::default() };
        let metadata = on.then(|| "to=a|from=b".to_owned());
        wait(self.relay.execute(Command::Forward(Forward { ends, on, metadata, ..Forward::default() })))
    }

    /// Both speak, and hear each other, until `done`.
    fn talk_until(&mut self, what: &str, done: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let heard =
            |phones: &[Phone; 2]| [0, 1].iter().all(|at| phones[*at].last_payload == [SAID[1 - at]; 160]);
        while !(done() && heard(&self.phones)) {
            assert!(Instant::now() < deadline, "waited in vain for {what}");
            for (phone, octet) in self.phones.iter_mut().zip(SAID) {
                phone.say(&[octet; 160]);
                phone.pump();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// The operator's receiver: takes `count` connections, each until its end.
struct Receiver {
    address: SocketAddr,
    octets: Arc<AtomicUsize>,
    thread: JoinHandle<Vec<Vec<u8>>>,
}

impl Receiver {
    fn start(count: usize, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let octets = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&octets);
        let thread = std::thread::spawn(move || {
            let readers: Vec<_> = (0..count)
                .map(|_| {
                    let (stream, _) = listener.accept().expect("a connection");
                    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
                    let counted = Arc::clone(&counted);
                    let tls = tls.clone();
                    std::thread::spawn(move || match tls {
                        None => read(stream, &counted),
                        Some(tls) => {
                            let server = rustls::ServerConnection::new(tls).expect("a server");
                            read(rustls::StreamOwned::new(server, stream), &counted)
                        }
                    })
                })
                .collect();
            readers.into_iter().map(|reader| reader.join().expect("no panic")).collect()
        });
        Self { address, octets, thread }
    }

    fn has(&self, octets: usize) -> bool {
        self.octets.load(Ordering::Relaxed) >= octets
    }
}

fn read(mut stream: impl Read + Write, octets: &AtomicUsize) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut buffer).expect("readable") {
            0 => return all,
            length => {
                octets.fetch_add(length, Ordering::Relaxed);
                all.extend_from_slice(&buffer[..length]);
            }
        }
    }
}

/// What a connection was told first, and the first packet of its sound.
fn heard(connection: &[u8]) -> (String, Vec<i16>) {
    let end = connection.iter().position(|octet| *octet == 0).expect("the end of the words");
    let samples = connection[end + 1..].chunks_exact(2).take(160);
    let samples = samples.map(|it| i16::from_le_bytes([it[0], it[1]])).collect();
    (String::from_utf8(connection[..end].to_vec()).expect("text"), samples)
}

/// Forwards a call to a receiver until it has some of both ends' sound, and ends.
fn both_ends_are_forwarded(tls: Option<(Arc<rustls::ServerConfig>, ForwardingTls)>) {
    let (server, client) = tls.unzip();
    let receiver = Receiver::start(2, server);
    let mut call = Call::new(Some(ForwardingConfig { to: receiver.address, rate: 8000, tls: client }));
    call.talk_until("each other", || true);
    assert_eq!(call.forward(true), Reply::Done { warnings: vec![] });
    call.talk_until("what is forwarded", || receiver.has(20_000));
    assert_eq!(call.forward(false), Reply::Done { warnings: vec![] });
    let connections = receiver.thread.join().expect("no panic");
    let mut sounds: Vec<i16> = Vec::new();
    for connection in &connections {
        let (words, samples) = heard(connection);
        assert_eq!(words, "to=a|from=b");
        assert!(samples.len() == 160 && samples.iter().all(|sample| *sample == samples[0]), "{samples:?}");
        sounds.push(samples[0]);
    }
    sounds.sort_unstable();
    let mut said = SAID.map(decode_ulaw);
    said.sort_unstable();
    assert_eq!(sounds, said, "each end on a connection of its own");
    call.relay.shutdown();
}

#[test]
fn over_tcp() {
    both_ends_are_forwarded(None);
}

#[test]
fn over_tls_to_whom_an_authority_vouches_for_or_to_anybody() {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
    let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address");
    let own = params.self_signed(&key).expect("a certificate");
    let folder = tempfile::tempdir().expect("a directory");
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, own.pem()).expect("written");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let secret = rustls_pki_types::PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![own.der().clone()], secret)
        .expect("a server");
    let server = Arc::new(server);
    for authorities in [Some(file), None] {
        both_ends_are_forwarded(Some((Arc::clone(&server), ForwardingTls { authorities })));
    }
}

#[test]
fn a_receiver_that_is_not_there_holds_nothing_up() {
    let gone = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port");
    let mut call = Call::new(Some(ForwardingConfig { to: gone, rate: 16_000, tls: None }));
    assert_eq!(call.forward(true), Reply::Done { warnings: vec![] });
    call.talk_until("each other", || true);
    call.relay.shutdown();
    // Nor can anything be forwarded where no receiver is named; to stop it is no mistake.
    let call = Call::new(None);
    assert!(matches!(call.forward(true), Reply::Error(failure) if failure.cause == Cause::NotImplemented));
    assert_eq!(call.forward(false), Reply::Done { warnings: vec![] });
    call.relay.shutdown();
    let missing = ForwardingTls { authorities: Some("/no/such/file.pem".into()) };
    let to = SocketAddr::from(([127, 0, 0, 1], 9));
    let forwarding = Some(ForwardingConfig { to, rate: 8000, tls: Some(missing) });
    let error = Relay::start(RelayConfig { forwarding, listen_ng: None, ..RelayConfig::default() });
    let error = error.expect_err("there is no such file").to_string();
    assert!(error.contains("/no/such/file.pem"), "{error}");
}
