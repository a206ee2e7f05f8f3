//! Both back ends do the same.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use media_core::packet::Pool;
use media_core::sockets::{OpenError, SocketId, SocketUse};

use super::batch::BatchBackend;
use super::plain::PlainBackend;
use super::{Backend, Waker};

const LOOPBACK: [&str; 2] = ["127.0.0.1:0", "[::1]:0"];

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn peer(local: &str) -> UdpSocket {
    let socket = UdpSocket::bind(local).expect("a peer");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    socket
}

/// Waits for `count` datagrams.
fn collect<B: Backend>(
    backend: &mut B,
    pool: &mut Pool,
    count: usize,
) -> Vec<(SocketId, SocketAddr, Vec<u8>)> {
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut all = Vec::new();
    while all.len() < count {
        assert!(Instant::now() < deadline, "only {} of {count} datagrams", all.len());
        backend.wait(Some(Duration::from_millis(100))).expect("waiting");
        while let Some((socket, source, packet)) = backend.receive(pool) {
            all.push((socket, source, packet.as_slice().to_vec()));
            pool.put(packet);
        }
    }
    all
}

fn both_ways<B: Backend>() {
    for local in LOOPBACK {
        for kind in [SocketUse::Shared, SocketUse::Leg] {
            let mut backend = B::new().expect("a back end");
            let mut pool = Pool::new(8);
            let (socket, bound) = backend.open(address(local), kind).expect("a socket");
            let peers = [peer(local), peer(local)];
            // More than a batch, of every length from nothing to the largest.
            for number in 0..100usize {
                let octets = vec![number as u8; number * 17];
                peers[number % 2].send_to(&octets, bound).expect("sent");
            }
            let received = collect(&mut backend, &mut pool, 100);
            for (index, peer) in peers.iter().enumerate() {
                let source = peer.local_addr().expect("bound");
                let lengths: Vec<usize> = received
                    .iter()
                    .filter(|(_, from, _)| *from == source)
                    .map(|(.., octets)| octets.len())
                    .collect();
                let expected: Vec<usize> =
                    (0..100).filter(|number| number % 2 == index).map(|number| number * 17).collect();
                assert_eq!(lengths, expected, "{local} {kind:?}: in order from each sender");
            }
            assert!(received.iter().all(|(id, _, octets)| *id == socket
                && octets.iter().all(|octet| usize::from(*octet) * 17 == octets.len())));
            for (_, from, octets) in &received {
                let mut packet = pool.take();
                packet.fill(octets).expect("it fits");
                backend.send(socket, *from, packet, &mut pool);
            }
            backend.flush(&mut pool);
            assert_eq!(backend.send_errors(), 0);
            for peer in &peers {
                let mut buffer = [0; 2048];
                let mut lengths = BTreeSet::new();
                for _ in 0..50 {
                    let (len, from) = peer.recv_from(&mut buffer).expect("an echo");
                    assert_eq!(from, bound);
                    lengths.insert(len);
                }
                assert_eq!(lengths.len(), 50);
            }
        }
    }
}

fn wakes_and_closes<B: Backend>() {
    let mut backend = B::new().expect("a back end");
    let mut pool = Pool::new(8);
    let waker: Waker = backend.waker().expect("a waker");
    let thread = std::thread::spawn(move || waker.wake());
    backend.wait(Some(Duration::from_secs(30))).expect("woken");
    assert!(backend.receive(&mut pool).is_none());
    thread.join().expect("no panic");

    let (socket, bound) = backend.open(address("127.0.0.1:0"), SocketUse::Leg).expect("a socket");
    assert_eq!(backend.open(bound, SocketUse::Leg), Err(OpenError::InUse));
    assert!(matches!(backend.open(address("192.0.2.1:0"), SocketUse::Leg), Err(OpenError::Failed(_))));
    let sender = peer("127.0.0.1:0");
    sender.send_to(b"late", bound).expect("sent");
    backend.wait(Some(Duration::from_secs(5))).expect("readable");
    backend.close(socket);
    assert!(backend.receive(&mut pool).is_none(), "nothing comes from a closed socket");
    let (again, _) = backend.open(bound, SocketUse::Leg).expect("the port is free again");
    backend.close(again);
    let mut packet = pool.take();
    packet.fill(b"nowhere").expect("it fits");
    backend.send(again, bound, packet, &mut pool);
    backend.flush(&mut pool);
}

/// A refused destination is counted and does not stop those behind it.
fn refusals_are_counted<B: Backend>() {
    let mut backend = B::new().expect("a back end");
    let mut pool = Pool::new(8);
    let (socket, _) = backend.open(address("127.0.0.1:0"), SocketUse::Shared).expect("a socket");
    let good = peer("127.0.0.1:0");
    let good_address = good.local_addr().expect("bound");
    for to in [good_address, address("[::1]:9"), good_address] {
        let mut packet = pool.take();
        packet.fill(b"hello").expect("it fits");
        backend.send(socket, to, packet, &mut pool);
    }
    backend.flush(&mut pool);
    assert_eq!(backend.send_errors(), 1);
    let mut buffer = [0; 16];
    for _ in 0..2 {
        assert_eq!(good.recv(&mut buffer).expect("it came"), 5);
    }
}

macro_rules! for_each_backend {
    ($($name:ident: $backend:ty),*) => {
        $(mod $name {
            use super::*;

            #[test]
            fn datagrams_pass_both_ways() {
                both_ways::<$backend>();
            }

            #[test]
            fn a_waker_wakes_and_closed_is_closed() {
                wakes_and_closes::<$backend>();
            }

            #[test]
            fn a_refused_datagram_is_counted() {
                refusals_are_counted::<$backend>();
            }
        })*
    };
}

for_each_backend!(batch: BatchBackend, plain: PlainBackend);
