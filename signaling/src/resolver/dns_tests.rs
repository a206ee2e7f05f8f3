use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{NAPTR, SOA, SRV};
use hickory_resolver::proto::rr::{Name, Record};

use super::*;

/// A name server on the loopback and how often it was asked.
struct Server {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

/// Serves `zone` with this time to live; everything else does not exist, which may be remembered for as long.
async fn serve(zone: Vec<(&'static str, RData)>, ttl: u32) -> Server {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            count.fetch_add(1, Ordering::Relaxed);
            let query = Message::from_vec(&buffer[..length]).unwrap();
            let asked = query.queries[0].clone();
            let mut reply = Message::response(query.metadata.id, OpCode::Query);
            reply.add_query(asked.clone());
            for (name, data) in &zone {
                if asked.name() == &name.parse::<Name>().unwrap() && asked.query_type() == data.record_type()
                {
                    reply.add_answer(Record::from_rdata(asked.name().clone(), ttl, data.clone()));
                }
            }
            if reply.answers.is_empty() {
                reply.metadata.response_code = ResponseCode::NXDomain;
                let root: Name = "example.".parse().unwrap();
                let soa = SOA::new(root.clone(), root.clone(), 1, 60, 60, 60, ttl);
                reply.add_authority(Record::from_rdata(root, ttl, RData::SOA(soa)));
            }
            socket.send_to(&reply.to_vec().unwrap(), from).await.unwrap();
        }
    });
    Server { address, asked }
}

fn dns(server: SocketAddr) -> Dns {
    let text = format!("dns.servers = [\"{server}\"]\ndns.retr_time = 100\ndns.cache_negative_ttl = 60\n");
    let config = config::Config::parse(&text, "test").unwrap();
    let everywhere = ["192.0.2.9:5060", "[2001:db8::9]:5060"].map(|address| address.parse().unwrap());
    let protocols = [Protocol::Udp, Protocol::Tcp, Protocol::Tls];
    let listeners = protocols.into_iter().flat_map(|p| everywhere.map(|address| (p, address)));
    Dns::new(&config.dns, Reach::of(listeners))
}

async fn find(dns: &Dns, target: &str) -> Result<String, Unavailable> {
    let found = dns.resolve(Lookup { target, port: None, transport: None, secure: false }).await?;
    Ok(found.iter().map(|(p, a)| format!("{p}/{a}")).collect::<Vec<_>>().join(" "))
}

fn zone() -> Vec<(&'static str, RData)> {
    let name = |name: &str| name.parse::<Name>().unwrap();
    let naptr =
        NAPTR::new(1, 1, b"s"[..].into(), b"SIP+D2T"[..].into(), [].into(), name("_sip._tcp.x.example."));
    vec![
        ("x.example.", RData::NAPTR(naptr)),
        ("_sip._tcp.x.example.", RData::SRV(SRV::new(1, 1, 5071, name("host.x.example.")))),
        ("host.x.example.", RData::A(std::net::Ipv4Addr::new(127, 0, 0, 7).into())),
        ("_sip._udp.none.example.", RData::SRV(SRV::new(0, 0, 0, Name::root()))),
    ]
}

#[tokio::test]
async fn every_kind_of_record_is_read_and_kept() {
    let server = serve(zone(), 60).await;
    let dns = dns(server.address);
    assert_eq!(find(&dns, "x.example").await.unwrap(), "TCP/127.0.0.7:5071");
    assert!(find(&dns, "none.example").await.unwrap_err().0.contains("no such service"));
    assert!(find(&dns, "nowhere.example").await.is_err());
    let asked = server.asked.load(Ordering::Relaxed);
    // What is there and what is not there are both remembered.
    for _ in 0..3 {
        assert!(find(&dns.clone(), "x.example").await.is_ok());
        assert!(find(&dns, "none.example").await.is_err());
        assert!(find(&dns, "nowhere.example").await.is_err());
    }
    assert_eq!(server.asked.load(Ordering::Relaxed), asked);
}

#[tokio::test]
async fn what_may_not_be_kept_is_asked_again() {
    let server = serve(zone(), 0).await;
    let dns = dns(server.address);
    find(&dns, "x.example").await.unwrap();
    let asked = server.asked.load(Ordering::Relaxed);
    find(&dns, "x.example").await.unwrap();
    assert!(server.asked.load(Ordering::Relaxed) > asked);
}

#[tokio::test]
async fn a_dead_name_server_costs_a_bounded_time() {
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let dns = dns(silent.local_addr().unwrap());
    let begun = tokio::time::Instant::now();
    assert!(find(&dns, "x.example").await.is_err());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn names_that_mean_this_host_or_nobody_are_not_asked_for() {
    let server = serve(Vec::new(), 60).await;
    let dns = dns(server.address);
    let lookup =
        Lookup { target: "localhost", port: Some(5070), transport: Some(Protocol::Tcp), secure: false };
    let found = dns.resolve(lookup).await.unwrap();
    assert!(found.contains(&(Protocol::Tcp, "127.0.0.1:5070".parse().unwrap())), "{found:?}");
    assert!(find(&dns, "df7jal23ls0d.invalid").await.is_err());
    assert_eq!(server.asked.load(Ordering::Relaxed), 0);
}
