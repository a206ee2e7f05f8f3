//! One thread of the relay: wait, read a batch, engine, drain, send a batch.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Instant;

use media_core::command::{Cause, Command, Reply};
use media_core::engine::{Engine, Event, Settings};

use crate::forwarder::Forwarder;
use crate::io::{Backend, Waker};
use crate::record_writer::RecordWriter;

/// Where a worker's events go. A full channel loses the event and counts it: telling must not stop the media.
pub(crate) type EventSender = futures_channel::mpsc::Sender<Event>;

/// Where what a worker has to tell goes.
#[derive(Clone)]
pub(crate) struct Outlets {
    pub(crate) events: EventSender,
    pub(crate) recorder: Option<RecordWriter>,
    pub(crate) forwarder: Option<Forwarder>,
}

/// A command and what to do with its reply, on the worker's thread.
pub(crate) struct Job {
    pub(crate) command: Command,
    pub(crate) done: Box<dyn FnOnce(Reply) + Send>,
}

/// The outside of a worker.
pub(crate) struct Worker {
    jobs: Sender<Job>,
    waker: Waker,
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
}

impl Worker {
    /// Starts the thread. Opens the shared port first, so that a port in use is an error here.
    pub(crate) fn start<B: Backend + Send + 'static>(
        name: String,
        settings: Settings,
        tos: u8,
        seed: [u8; 32],
        out: Outlets,
    ) -> Result<(Worker, JoinHandle<()>), crate::StartError> {
        let mut backend = B::new().map_err(|error| crate::StartError::Sockets(error.to_string()))?;
        backend.set_tos(tos);
        let waker = backend.waker().map_err(|error| crate::StartError::Sockets(error.to_string()))?;
        let unix_now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let engine = Engine::new(settings, backend, seed, Instant::now(), unix_now)
            .map_err(|error| crate::StartError::Sockets(error.to_string()))?;
        let (jobs, inbox) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(move || run(engine, &inbox, &stopped, &counted, out))
            .map_err(|error| crate::StartError::Sockets(error.to_string()))?;
        Ok((Worker { jobs, waker, stop, calls }, thread))
    }

    /// Gives the worker something to do. A worker that has stopped answers with an error at once.
    pub(crate) fn submit(&self, job: Job) {
        match self.jobs.send(job) {
            Ok(()) => self.waker.wake(),
            Err(refused) => (refused.0.done)(Reply::error(Cause::Internal, "the relay has stopped")),
        }
    }

    /// How many calls it has.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// Asks the thread to end.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.waker.wake();
    }
}

fn run<B: Backend>(
    mut engine: Engine<B>,
    inbox: &Receiver<Job>,
    stop: &AtomicBool,
    calls: &AtomicUsize,
    mut out: Outlets,
) {
    let mut lost_events = 0u64;
    while !stop.load(Ordering::Acquire) {
        let timeout = engine.poll_timeout().map(|at| at.saturating_duration_since(Instant::now()));
        if let Err(error) = engine.io().0.wait(timeout) {
            tracing::error!(%error, "waiting for datagrams failed: the worker stops");
            break;
        }
        let now = Instant::now();
        loop {
            let (sockets, pool) = engine.io();
            let Some((socket, source, packet)) = sockets.receive(pool) else { break };
            engine.handle_datagram(now, socket, source, packet);
            drain(&mut engine);
        }
        while let Ok(job) = inbox.try_recv() {
            let reply = engine.handle_command(Instant::now(), &job.command);
            // Before the next command may give a closed socket's number to another call.
            drain(&mut engine);
            calls.store(engine.call_count(), Ordering::Relaxed);
            (job.done)(reply);
        }
        if engine.poll_timeout().is_some_and(|at| at <= now) {
            engine.handle_timeout(now);
            calls.store(engine.call_count(), Ordering::Relaxed);
        }
        drain(&mut engine);
        let (sockets, pool) = engine.io();
        sockets.flush(pool);
        while let Some(event) = engine.poll_event() {
            if out.events.try_send(event).is_err() {
                lost_events += 1;
            }
        }
        give(&mut engine, &out);
    }
    engine.end_all(Instant::now());
    give(&mut engine, &out);
    // The last that browsers hear: BYE.
    drain(&mut engine);
    let (sockets, pool) = engine.io();
    sockets.flush(pool);
    if lost_events > 0 {
        tracing::debug!(lost_events, "events nobody took");
    }
    // Whoever still waits for a reply gets one.
    while let Ok(job) = inbox.try_recv() {
        (job.done)(Reply::error(Cause::Internal, "the relay has stopped"));
    }
}

/// Gives what was heard to those who keep it or pass it on.
fn give<B: Backend>(engine: &mut Engine<B>, out: &Outlets) {
    while let Some(recorded) = engine.poll_recorded() {
        if let Some(recorder) = &out.recorder {
            recorder.give(recorded);
        }
    }
    while let Some(forwarded) = engine.poll_forwarded() {
        if let Some(forwarder) = &out.forwarder {
            forwarder.give(forwarded);
        }
    }
}

fn drain<B: Backend>(engine: &mut Engine<B>) {
    while let Some(transmit) = engine.poll_transmit() {
        let (sockets, pool) = engine.io();
        sockets.send(transmit.socket, transmit.to, transmit.packet, pool);
    }
}
