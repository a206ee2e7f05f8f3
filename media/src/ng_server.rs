//! The ng protocol over UDP: the second door to [`Relay::execute`], for other proxies and other machines.
//!
//! UDP loses replies, and then the controller repeats its command with the same cookie. It gets the same reply, and the
//! command is not executed again: a repeated `offer` must not open ports twice.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use media_core::command::Reply;
use media_core::ng::{self, DecodeError, Defaults};

use crate::{Inner, Relay, StartError};

/// How long a reply is kept. Controllers repeat for a few seconds.
const KEEP: Duration = Duration::from_secs(30);

/// Replies kept at most; the oldest go first.
const MAX_KEPT: usize = 16_384;

/// How often the thread looks whether it is to stop.
const STOP_CHECK: Duration = Duration::from_millis(200);

/// The largest UDP datagram.
const MAX_DATAGRAM: usize = 65_535;

/// A running server.
#[derive(Debug)]
pub(crate) struct NgServer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// One command of one controller.
type Key = (SocketAddr, Vec<u8>);

/// What became of the commands of the last seconds.
#[derive(Debug, Default)]
struct CookieCache {
    replies: HashMap<Key, Option<Arc<[u8]>>>,
    in_order: VecDeque<(Instant, Key)>,
}

/// What to do with a command.
#[derive(Debug, PartialEq, Eq)]
enum Known {
    /// It is the first time.
    Fresh,
    /// It is being executed: its reply will come.
    Running,
    /// It was executed: this was the reply.
    Done(Arc<[u8]>),
}

impl CookieCache {
    /// Looks a command up and, if it is fresh, notes that it runs.
    fn begin(&mut self, now: Instant, key: Key) -> Known {
        while let Some((at, oldest)) = self.in_order.front()
            && (now.saturating_duration_since(*at) > KEEP || self.in_order.len() >= MAX_KEPT)
        {
            self.replies.remove(oldest);
            self.in_order.pop_front();
        }
        match self.replies.get(&key) {
            Some(Some(reply)) => Known::Done(Arc::clone(reply)),
            Some(None) => Known::Running,
            None => {
                self.replies.insert(key.clone(), None);
                self.in_order.push_back((now, key));
                Known::Fresh
            }
        }
    }

    fn finish(&mut self, key: &Key, reply: Arc<[u8]>) {
        if let Some(kept) = self.replies.get_mut(key) {
            *kept = Some(reply);
        }
    }
}

impl NgServer {
    /// Serves the relay at `address`; port 0 takes any.
    pub(crate) fn start(
        address: SocketAddr,
        relay: &Relay,
        defaults: Defaults,
    ) -> Result<NgServer, StartError> {
        let failed = |error: std::io::Error| StartError::Sockets(format!("ng port {address}: {error}"));
        let socket = bind(address).map_err(failed)?;
        socket.set_read_timeout(Some(STOP_CHECK)).map_err(failed)?;
        let bound = socket.local_addr().map_err(failed)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        // The server must not keep alive the relay that owns it.
        let relay = Arc::downgrade(&relay.inner);
        let thread = std::thread::Builder::new()
            .name("media-ng".to_owned())
            .spawn(move || serve(Arc::new(socket), &relay, &stopped, defaults))
            .map_err(failed)?;
        Ok(NgServer { address: bound, stop, thread })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends the thread and frees the port.
    pub(crate) fn stop(self) {
        self.stop.store(true, Ordering::Release);
        if self.thread.join().is_err() {
            tracing::error!("the ng server panicked");
        }
    }
}

/// All addresses of a host without IPv6 are those of IPv4.
fn bind(address: SocketAddr) -> std::io::Result<UdpSocket> {
    UdpSocket::bind(address).or_else(|error| match address.ip() {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, address.port())),
        _ => Err(error),
    })
}

fn serve(socket: Arc<UdpSocket>, relay: &Weak<Inner>, stop: &AtomicBool, defaults: Defaults) {
    let cache = Arc::new(Mutex::new(CookieCache::default()));
    let mut buffer = vec![0; MAX_DATAGRAM];
    while !stop.load(Ordering::Acquire) {
        // A time-out, or an ICMP error of an earlier reply: nothing was received.
        let Ok((len, source)) = socket.recv_from(&mut buffer) else { continue };
        let Some(inner) = relay.upgrade() else { return };
        handle(&Relay { inner }, &socket, &cache, source, &buffer[..len], &defaults);
    }
}

fn handle(
    relay: &Relay,
    socket: &Arc<UdpSocket>,
    cache: &Arc<Mutex<CookieCache>>,
    source: SocketAddr,
    datagram: &[u8],
    defaults: &Defaults,
) {
    let request = match ng::decode_with(datagram, defaults) {
        Ok(request) => request,
        Err(DecodeError::Refused { cookie, encoding, failure }) => {
            tracing::debug!(%source, %failure, "ng message refused");
            return send(socket, source, &ng::encode(&cookie, &Reply::Error(failure), encoding));
        }
        Err(error @ DecodeError::NoCookie) => return tracing::debug!(%source, %error, "ng message dropped"),
    };
    let key = (source, request.cookie.clone());
    match lock(cache).begin(Instant::now(), key.clone()) {
        Known::Fresh => {}
        Known::Running => return,
        Known::Done(reply) => return send(socket, source, &reply),
    }
    let (socket, cache) = (Arc::clone(socket), Arc::clone(cache));
    let (cookie, encoding) = (request.cookie, request.encoding);
    relay.submit(
        request.command,
        Box::new(move |reply| {
            let octets: Arc<[u8]> = ng::encode(&cookie, &reply, encoding).into();
            lock(&cache).finish(&key, Arc::clone(&octets));
            send(&socket, source, &octets);
        }),
    );
}

fn send(socket: &UdpSocket, to: SocketAddr, octets: &[u8]) {
    if let Err(error) = socket.send_to(octets, to) {
        tracing::debug!(%to, %error, "an ng reply could not be sent");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(cookie: &str) -> Key {
        (SocketAddr::from(([127, 0, 0, 1], 9)), cookie.as_bytes().to_vec())
    }

    #[test]
    fn a_repeated_command_runs_once() {
        let mut cache = CookieCache::default();
        let now = Instant::now();
        assert_eq!(cache.begin(now, key("a")), Known::Fresh);
        assert_eq!(cache.begin(now, key("a")), Known::Running);
        assert_eq!(cache.begin(now, key("b")), Known::Fresh);
        cache.finish(&key("a"), b"reply".as_slice().into());
        assert_eq!(cache.begin(now, key("a")), Known::Done(b"reply".as_slice().into()));
        assert_eq!(
            cache.begin(now + KEEP + Duration::from_secs(1), key("a")),
            Known::Fresh,
            "forgotten in time"
        );
    }

    #[test]
    fn the_cache_is_bounded() {
        let mut cache = CookieCache::default();
        let now = Instant::now();
        for number in 0..2 * MAX_KEPT {
            cache.begin(now, key(&number.to_string()));
        }
        assert!(cache.replies.len() <= MAX_KEPT && cache.in_order.len() <= MAX_KEPT);
    }
}
