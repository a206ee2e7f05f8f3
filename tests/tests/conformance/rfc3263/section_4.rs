//! RFC 3263 §4: Client usage.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use e2e::dns::{NameServer, Record};
use e2e::gateway::{Gateway, host_address};
use e2e::phone::Phone;
use e2e::sip::Message;
use e2e::wire::Wire;
use tokio::net::TcpListener;

/// A gateway that asks our name server, Alice who has an account there, and a server of another domain on UDP and TCP.
struct Scene {
    names: NameServer,
    alice: Phone,
    /// The other domain's user agent over UDP.
    udp: Phone,
    /// And over TCP, on another port.
    tcp: TcpListener,
    _gateway: Gateway,
}

impl Scene {
    /// `records` get the ports of the server over UDP and over TCP.
    async fn set(records: impl Fn(u16, u16) -> Vec<(&'static str, Record)>) -> Result<Self> {
        let tcp = TcpListener::bind((host_address(), 0)).await?;
        // Its account is that of a user of the other domain; where it sends is of no matter.
        let nobody =
            e2e::baresip::Account { user: "x".into(), password: String::new(), domain: "far.test".into() };
        let mut udp = Phone::new(nobody, SocketAddr::new(host_address(), 9)).await?;
        let mut records = records(udp.local().port(), tcp.local_addr()?.port());
        records.push(("host.far.test", Record::Address(host_address())));
        let names = NameServer::start(&records).await?;
        let gateway = Gateway::start_with(&names.section()).await?;
        let alice = Phone::new(gateway.account("alice", "far-away-3")?, gateway.proxy()).await?;
        udp.proxy = gateway.proxy();
        Ok(Self { names, alice, udp, tcp, _gateway: gateway })
    }

    /// Sends a message to `uri` and has the server answer it over UDP; the request as it came.
    async fn over_udp(&mut self, uri: &str) -> Result<Message> {
        let message = self.alice.request("MESSAGE", uri, uri);
        let (answer, request) = tokio::join!(self.alice.transact(message), async {
            let request = self.udp.receive("the message", |m| m.method() == Some("MESSAGE")).await?;
            self.udp.answer(&request, 200, "OK", "far", "").await?;
            anyhow::Ok(request)
        });
        ensure!(answer?.status() == Some(200));
        request
    }

    /// The same over TCP.
    async fn over_tcp(&mut self, uri: &str) -> Result<Message> {
        let message = self.alice.request("MESSAGE", uri, uri);
        let (answer, request) = tokio::join!(self.alice.transact(message), async {
            let mut wire = Wire::accept(&self.tcp).await?;
            let request = wire.receive().await?;
            wire.send(self.udp.response(&request, 200, "OK", "far").to_string()).await?;
            anyhow::Ok(request)
        });
        ensure!(answer?.status() == Some(200));
        request
    }

    /// What a request to `uri` is answered when there is no way to it.
    async fn refused(&mut self, uri: &str) -> Result<Option<u16>> {
        let message = self.alice.request("MESSAGE", uri, uri);
        Ok(self.alice.transact(message).await?.status())
    }
}

/// §4.1: NAPTR records say which transport the domain wants, by order and preference; what is not SIP is passed over.
#[tokio::test]
async fn naptr_chooses_the_transport() -> Result<()> {
    let mut scene = Scene::set(|udp, tcp| {
        vec![
            ("far.test", Record::Naptr(5, 1, "u", "E2U+email", "mail.far.test")),
            ("far.test", Record::Naptr(10, 20, "s", "SIP+D2U", "_sip._udp.far.test")),
            ("far.test", Record::Naptr(10, 10, "s", "SIP+D2T", "_odd._name.far.test")),
            ("_odd._name.far.test", Record::Srv(1, 1, tcp, "host.far.test")),
            ("_sip._udp.far.test", Record::Srv(1, 1, udp, "host.far.test")),
        ]
    })
    .await?;
    let request = scene.over_tcp("sip:x@far.test").await?;
    assert!(request.header("Via").starts_with("SIP/2.0/TCP "), "{request}");
    assert_eq!(request.uri(), Some("sip:x@far.test"), "the request-URI stays");
    Ok(())
}

/// §4.1: without NAPTR the SRV records of the transports spoken are asked for; UDP comes first.
#[tokio::test]
async fn without_naptr_srv_records_say_where() -> Result<()> {
    let mut scene = Scene::set(|udp, tcp| {
        vec![
            ("_sip._udp.far.test", Record::Srv(2, 1, 9, "host.far.test")),
            ("_sip._udp.far.test", Record::Srv(1, 1, udp, "host.far.test")),
            ("_sip._tcp.far.test", Record::Srv(0, 1, tcp, "host.far.test")),
        ]
    })
    .await?;
    let request = scene.over_udp("sip:x@far.test").await?;
    assert!(request.header("Via").starts_with("SIP/2.0/UDP "), "{request}");
    Ok(())
}

/// §4.1, §4.2: an explicit transport has only its own SRV records asked for.
#[tokio::test]
async fn an_explicit_transport_is_used() -> Result<()> {
    let mut scene = Scene::set(|udp, tcp| {
        vec![
            ("far.test", Record::Naptr(1, 1, "s", "SIP+D2U", "_sip._udp.far.test")),
            ("_sip._udp.far.test", Record::Srv(1, 1, udp, "host.far.test")),
            ("_sip._tcp.far.test", Record::Srv(1, 1, tcp, "host.far.test")),
        ]
    })
    .await?;
    scene.over_tcp("sip:x@far.test;transport=tcp").await?;
    let asked = scene.names.asked();
    assert!(!asked.iter().any(|name| name == "far.test" || name.starts_with("_sip._udp")), "{asked:?}");
    Ok(())
}

/// §4.2: with a port there is no SRV, and without a transport it is UDP; `maddr` comes before the host.
#[tokio::test]
async fn a_port_asks_for_addresses_only() -> Result<()> {
    let mut scene =
        Scene::set(|udp, _| vec![("_sip._udp.host.far.test", Record::Srv(1, 1, udp, "."))]).await?;
    let port = scene.udp.local().port();
    scene.over_udp(&format!("sip:x@host.far.test:{port}")).await?;
    scene.over_udp(&format!("sip:x@nowhere.test:{port};maddr=host.far.test")).await?;
    let asked = scene.names.asked();
    assert!(asked.iter().all(|name| name == "host.far.test"), "{asked:?}");
    Ok(())
}

/// §4.1: for a SIPS URI nothing but TLS is looked for.
#[tokio::test]
async fn a_secure_uri_asks_for_tls_alone() -> Result<()> {
    let mut scene = Scene::set(|udp, _| {
        vec![
            ("far.test", Record::Naptr(1, 1, "s", "SIP+D2U", "_sip._udp.far.test")),
            ("_sip._udp.far.test", Record::Srv(1, 1, udp, "host.far.test")),
            ("_sips._tcp.far.test", Record::Srv(1, 1, 5061, ".")),
        ]
    })
    .await?;
    let status = scene.refused("sips:x@far.test").await?;
    assert!(status >= Some(400), "{status:?}");
    let asked = scene.names.asked();
    assert!(asked.iter().any(|name| name == "_sips._tcp.far.test"), "{asked:?}");
    assert!(!asked.iter().any(|name| name.starts_with("_sip.")), "{asked:?}");
    Ok(())
}

/// A domain that is not there, or that says that it has no such service (RFC 2782), is a refusal; a browser's name is never
/// asked for (RFC 7118 §5, RFC 2606), and what was asked is remembered.
#[tokio::test]
async fn what_leads_nowhere_is_refused() -> Result<()> {
    let mut scene = Scene::set(|_, _| {
        vec![
            ("_sip._udp.none.test", Record::Srv(0, 0, 0, ".")),
            ("none.test", Record::Address(host_address())),
        ]
    })
    .await?;
    for uri in ["sip:x@nowhere.test", "sip:x@none.test", "sip:x@df7jal23ls0d.invalid", "sip:x@INVALID."] {
        let status = scene.refused(uri).await?;
        assert!(status >= Some(400), "{uri}: {status:?}");
    }
    let asked = scene.names.asked();
    assert!(asked.iter().all(|name| !name.ends_with("invalid")), "{asked:?}");
    // The tests' server gives no SOA record, so that only what is there may be kept.
    scene.refused("sip:y@none.test").await?;
    let asked = scene.names.asked().iter().filter(|asked| *asked == "_sip._udp.none.test").count();
    assert_eq!(asked, 1);
    Ok(())
}
