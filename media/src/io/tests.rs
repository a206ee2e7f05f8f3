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

/// The type of service of the next datagram.
fn received_tos(socket: &UdpSocket, ipv6: bool) -> u8 {
    use std::os::fd::AsRawFd as _;
    let mut octets = [0u8; 64];
    let mut control = [0u64; 8];
    let mut part = libc::iovec { iov_base: octets.as_mut_ptr().cast(), iov_len: octets.len() };
    // SAFETY: zeros are a valid `msghdr`.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    // SAFETY: all that `message` points to lives until the end of this function.
    let len = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) };
    assert!(len >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the kernel wrote `message`, and `control` is aligned as a `cmsghdr`.
    let header = unsafe { libc::CMSG_FIRSTHDR(&raw const message).as_ref() }.expect("a control message");
    let expected = if ipv6 { libc::IPV6_TCLASS } else { libc::IP_TOS };
    assert_eq!(header.cmsg_type, expected);
    // SAFETY: the kernel's value is at least one octet; of an integer the lowest comes first or alone.
    unsafe { *libc::CMSG_DATA(std::ptr::from_ref(header)) }
}

fn marked<B: Backend>() {
    for (local, ipv6) in LOOPBACK.into_iter().zip([false, true]) {
        for tos in [0, 184] {
            let peer = peer(local);
            let reference = socket2::SockRef::from(&peer);
            match ipv6 {
                true => reference.set_recv_tclass_v6(true),
                false => reference.set_recv_tos_v4(true),
            }
            .expect("an option");
            let mut backend = B::new().expect("a back end");
            let mut pool = Pool::new(4);
            backend.set_tos(tos);
            let (socket, _) = backend.open(address(local), SocketUse::Leg).expect("a socket");
            let mut packet = pool.take();
            packet.fill(b"marked").expect("it fits");
            backend.send(socket, peer.local_addr().expect("bound"), packet, &mut pool);
            backend.flush(&mut pool);
            assert_eq!(received_tos(&peer, ipv6), tos, "{local}");
            for (mark, expected) in [(Some(96), 96), (None, tos)] {
                backend.mark(socket, mark);
                let mut packet = pool.take();
                packet.fill(b"marked").expect("it fits");
                backend.send(socket, peer.local_addr().expect("bound"), packet, &mut pool);
                backend.flush(&mut pool);
                assert_eq!(received_tos(&peer, ipv6), expected, "{local} {mark:?}");
            }
        }
    }
}

#[test]
fn datagrams_are_marked() {
    marked::<PlainBackend>();
    marked::<BatchBackend>();
}
