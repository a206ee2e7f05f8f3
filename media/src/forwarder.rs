//! Sends the sound of calls to the operator's receiver, as rtpengine's recording daemon does: a connection for each stream,
//! which says the controller's words, an octet of zero, and then the sound, linear samples of 16 bits, least significant octet
//! first, in one channel.
//!
//! It is a thread of its own. A receiver that does not keep up, or is not there, loses sound, which is counted; it holds up
//! neither the media nor other streams, and is tried again while there is sound for it.

mod tls;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use media_core::command::{Forwarded, ForwardedKind, ForwardedSound};
use media_core::tape::Ear;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, UnboundedReceiver, UnboundedSender, channel, unbounded_channel};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::StartError;

/// Packets that may wait for the thread: about two seconds of a hundred calls.
const MAX_WAITING: usize = 16_384;

/// Streams at once. No more connections than that are opened.
const MAX_STREAMS: usize = 4096;

/// Pieces of sound that wait for a receiver: five seconds of 20 ms.
const MAX_PIECES: usize = 250;

/// A connection that is not there after so long will not be.
const CONNECT: Duration = Duration::from_secs(5);

/// Between two attempts to reach the receiver for one stream.
const AGAIN: Duration = Duration::from_secs(1);

/// A receiver that takes nothing for so long is given up.
const STUCK: Duration = Duration::from_secs(10);

/// Where sound is forwarded to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardingConfig {
    /// The receiver.
    pub to: SocketAddr,
    /// Samples per second.
    pub rate: u32,
    /// Over TLS; else over bare TCP.
    pub tls: Option<ForwardingTls>,
}

/// TLS towards the receiver of sound.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ForwardingTls {
    /// A PEM file with the authorities that vouch for it; `None`: whoever answers is believed, as rtpengine does.
    pub authorities: Option<PathBuf>,
}

enum Job {
    Forwarded(Forwarded),
    /// Ends all streams, and says when what they had is out.
    Finish(std::sync::mpsc::Sender<()>),
}

/// The outside of the thread, which ends with the last handle.
#[derive(Clone)]
pub(crate) struct Forwarder {
    jobs: UnboundedSender<Job>,
    /// Packets on their way to it.
    waiting: Arc<AtomicUsize>,
    /// Packets left out.
    lost: Arc<AtomicUsize>,
}

impl Forwarder {
    /// Starts the thread.
    pub(crate) fn start(config: &ForwardingConfig) -> Result<Self, StartError> {
        let failed =
            |error: std::io::Error| StartError::Sockets(format!("the thread that forwards: {error}"));
        let tls = config.tls.as_ref().map(tls::connector).transpose()?;
        let target = Target { to: config.to, tls };
        let (jobs, inbox) = unbounded_channel();
        let (waiting, lost) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let switch = Switch {
            target,
            rate: config.rate,
            waiting: Arc::clone(&waiting),
            lost: Arc::clone(&lost),
            streams: HashMap::new(),
            tasks: JoinSet::new(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let run = move || runtime.block_on(switch.run(inbox));
        std::thread::Builder::new().name("media-forward".to_owned()).spawn(run).map_err(failed)?;
        Ok(Self { jobs, waiting, lost })
    }

    /// Hands something over, without waiting.
    pub(crate) fn give(&self, forwarded: Forwarded) {
        if matches!(forwarded.what, ForwardedKind::Sound(_)) {
            if self.waiting.load(Ordering::Relaxed) >= MAX_WAITING {
                self.lost.fetch_add(1, Ordering::Relaxed);
                return;
            }
            self.waiting.fetch_add(1, Ordering::Relaxed);
        }
        // The thread ends after the last handle, so somebody hears it.
        drop(self.jobs.send(Job::Forwarded(forwarded)));
    }

    /// Ends all streams; waits so long at most for the receiver to take what is left.
    pub(crate) fn finish(&self, patience: Duration) {
        let (done, finished) = std::sync::mpsc::channel();
        if self.jobs.send(Job::Finish(done)).is_ok() && finished.recv_timeout(patience).is_err() {
            tracing::warn!("the receiver of forwarded sound did not take all of it");
        }
    }
}

/// Where connections go.
#[derive(Clone)]
struct Target {
    to: SocketAddr,
    tls: Option<TlsConnector>,
}

/// The thread: which streams there are.
struct Switch {
    target: Target,
    rate: u32,
    waiting: Arc<AtomicUsize>,
    lost: Arc<AtomicUsize>,
    /// By forwarding and SSRC.
    streams: HashMap<(u64, u32), Stream>,
    /// Their connections.
    tasks: JoinSet<()>,
}

/// One stream of sound.
struct Stream {
    ear: Ear,
    /// To the task that has its connection.
    pieces: Sender<Vec<u8>>,
    /// When that was made.
    tried: Instant,
}

impl Switch {
    async fn run(mut self, mut inbox: UnboundedReceiver<Job>) {
        let mut told = 0;
        while let Some(job) = inbox.recv().await {
            match job {
                Job::Forwarded(Forwarded { forwarding, what: ForwardedKind::Sound(sound) }) => {
                    self.waiting.fetch_sub(1, Ordering::Relaxed);
                    self.take(forwarding, &sound);
                }
                // Their tasks write what they have, and end.
                Job::Forwarded(Forwarded { forwarding, what: ForwardedKind::Ended }) => {
                    self.streams.retain(|(id, _), _| *id != forwarding);
                }
                Job::Finish(done) => {
                    self.streams.clear();
                    while self.tasks.join_next().await.is_some() {}
                    // Whoever asked may wait no longer.
                    let _ = done.send(());
                }
            }
            let lost = self.lost.load(Ordering::Relaxed);
            // Powers of two: the first is told at once, and a flood of them is no flood of lines.
            if lost > told && lost.next_power_of_two() > told.next_power_of_two() {
                tracing::warn!(packets = lost, "sound was not forwarded: the receiver does not keep up");
                told = lost;
            }
            while self.tasks.try_join_next().is_some() {}
        }
    }

    fn take(&mut self, forwarding: u64, sound: &ForwardedSound) {
        let key = (forwarding, sound.header.ssrc);
        if !self.streams.contains_key(&key) && self.streams.len() >= MAX_STREAMS {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let (target, rate, tasks) = (&self.target, self.rate, &mut self.tasks);
        let stream = match self.streams.entry(key) {
            std::collections::hash_map::Entry::Occupied(stream) => stream.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                let Some(ear) = Ear::new(sound.format, rate) else { return };
                place.insert(Stream { ear, pieces: connect(tasks, target, sound), tried: sound.now })
            }
        };
        if stream.pieces.is_closed() && sound.now.saturating_duration_since(stream.tried) >= AGAIN {
            (stream.pieces, stream.tried) = (connect(tasks, target, sound), sound.now);
        }
        let mut piece = Vec::new();
        stream.ear.take(sound.now, sound.format, sound.header, &sound.payload, &mut |_, linear| {
            piece.extend(linear.chunks_exact(2).flat_map(|sample| [sample[1], sample[0]]));
        });
        if piece.is_empty() {
            return;
        }
        if let Err(TrySendError::Full(_) | TrySendError::Closed(_)) = stream.pieces.try_send(piece) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Begins a connection for a stream; it is there until the sender is dropped, or the receiver goes.
fn connect(tasks: &mut JoinSet<()>, target: &Target, sound: &ForwardedSound) -> Sender<Vec<u8>> {
    let (sender, pieces) = channel(MAX_PIECES);
    let (target, call_id) = (target.clone(), Arc::clone(&sound.call_id));
    let mut words = sound.metadata.as_deref().unwrap_or_default().as_bytes().to_vec();
    // What is behind an octet of zero would be taken for sound.
    words.retain(|octet| *octet != 0);
    words.push(0);
    tasks.spawn(async move {
        if let Err(error) = speak(&target, words, pieces).await {
            tracing::warn!(call_id = &*call_id, to = %target.to, %error, "sound is not forwarded");
        }
    });
    sender
}

async fn speak(target: &Target, words: Vec<u8>, pieces: Receiver<Vec<u8>>) -> std::io::Result<()> {
    let connected = tokio::time::timeout(CONNECT, reach(target)).await;
    match connected.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))? {
        Connected::Bare(stream) => pour(stream, words, pieces).await,
        Connected::Tls(stream) => pour(*stream, words, pieces).await,
    }
}

async fn reach(target: &Target) -> std::io::Result<Connected> {
    let stream = TcpStream::connect(target.to).await?;
    stream.set_nodelay(true)?;
    match &target.tls {
        None => Ok(Connected::Bare(stream)),
        Some(tls) => {
            let name = ServerName::IpAddress(target.to.ip().into());
            Ok(Connected::Tls(Box::new(tls.connect(name, stream).await?)))
        }
    }
}

/// A connection.
enum Connected {
    Bare(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

/// Writes all there is, until there will be no more.
async fn pour(
    mut stream: impl AsyncWrite + Unpin,
    words: Vec<u8>,
    mut pieces: Receiver<Vec<u8>>,
) -> std::io::Result<()> {
    let mut next = Some(words);
    while let Some(piece) = next {
        let written = tokio::time::timeout(STUCK, async {
            stream.write_all(&piece).await?;
            stream.flush().await
        });
        written.await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))?;
        next = pieces.recv().await;
    }
    tokio::time::timeout(STUCK, stream.shutdown()).await.unwrap_or(Ok(()))
}
