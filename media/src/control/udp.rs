//! The ng protocol over UDP: one message a datagram.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Control;
use crate::StartError;

/// How often the thread looks whether it is to stop.
const STOP_CHECK: Duration = Duration::from_millis(200);

/// The largest UDP datagram.
const MAX_DATAGRAM: usize = 65_535;

/// A running server.
#[derive(Debug)]
pub(crate) struct UdpDoor {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl UdpDoor {
    /// Serves at `address`; port 0 takes any.
    pub(crate) fn open(address: SocketAddr, control: &Arc<Control>) -> Result<Self, StartError> {
        let failed = |error: std::io::Error| StartError::Sockets(format!("ng port {address}: {error}"));
        let socket = bind(address).map_err(failed)?;
        socket.set_read_timeout(Some(STOP_CHECK)).map_err(failed)?;
        let bound = socket.local_addr().map_err(failed)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, control) = (Arc::clone(&stop), Arc::clone(control));
        let thread = std::thread::Builder::new()
            .name("media-ng".to_owned())
            .spawn(move || serve(&Arc::new(socket), &control, &stopped))
            .map_err(failed)?;
        Ok(Self { address: bound, stop, thread })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends the thread and frees the port.
    pub(crate) fn close(self) {
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

fn serve(socket: &Arc<UdpSocket>, control: &Arc<Control>, stop: &AtomicBool) {
    let mut buffer = vec![0; MAX_DATAGRAM];
    while !stop.load(Ordering::Acquire) {
        // A time-out, or an ICMP error of an earlier reply: nothing was received.
        let Ok((len, source)) = socket.recv_from(&mut buffer) else { continue };
        if control.relay().is_none() {
            return;
        }
        let socket = Arc::clone(socket);
        let answer = Box::new(move |reply: Arc<[u8]>| send(&socket, source, &reply));
        // What was dropped is counted, and there is nobody to tell.
        let _ = control.message(source, source, &buffer[..len], answer);
    }
}

fn send(socket: &UdpSocket, to: SocketAddr, octets: &[u8]) {
    if let Err(error) = socket.send_to(octets, to) {
        tracing::debug!(%to, %error, "an ng reply could not be sent");
    }
}
