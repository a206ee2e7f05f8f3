//! [`MediaControl`] over the relay of this process.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::future::LocalBoxFuture;
use media::Relay;
use media::command::{
    CallReport, Cause, Command, Delete, Digit, Ends, Exchange, Keys, LegKind, Play, PlayDtmf, Record,
    Recording, Replace, Reply, Side, Source, StopMedia,
};
use signaling_core::outside::{self, MediaControl, MediaError, MediaExchange, MediaLeg};

/// How loud a key is that is pressed for an end, in dBm0 below 0, as phones have it.
const KEY_VOLUME: u8 = 10;
/// Between two keys.
const KEY_PAUSE: Duration = Duration::from_millis(60);

/// A handle of the relay, and the address to announce in place of local ones.
#[derive(Clone, Debug)]
pub struct InProcess {
    relay: Relay,
    advertised: Option<IpAddr>,
}

impl InProcess {
    pub(super) fn new(relay: Relay, advertised: Option<IpAddr>) -> Self {
        Self { relay, advertised }
    }

    /// Where it is controlled and looked at from outside, and by what.
    pub(super) fn doors(&self) -> Vec<(&'static str, SocketAddr)> {
        let ng = self.relay.ng_address().into_iter().map(|address| ("ng", address));
        let cli = self.relay.cli_addresses().into_iter().map(|address| ("cli", address));
        let http = self.relay.http_addresses().into_iter().map(|address| ("http", address));
        ng.chain(cli).chain(http).collect()
    }

    pub(super) fn shut_down(&self) {
        self.relay.shutdown();
    }

    /// What happens in its calls; `None` the second time.
    pub(super) fn events(&self) -> Option<impl Stream<Item = media::Event> + Unpin + Send + use<>> {
        self.relay.events()
    }

    /// Whether its workers answer.
    pub(super) async fn ping(&self) -> bool {
        self.calls().await.is_some()
    }

    /// The same, for whoever asks often.
    pub(super) async fn answers(&self) -> bool {
        matches!(self.relay.execute(Command::List { limit: 0 }).await, Reply::Calls(_))
    }

    /// Its calls now; `None` when a worker does not answer.
    pub(super) async fn calls(&self) -> Option<u64> {
        match self.relay.execute(Command::List { limit: usize::MAX }).await {
            Reply::Calls(calls) => Some(calls.len() as u64),
            _ => None,
        }
    }

    /// What it has counted; `None` when it has stopped.
    pub(super) async fn numbers(&self) -> Option<Box<media::stats::Numbers>> {
        self.relay.numbers().await
    }

    /// Ends a call, and what was counted in it; `None` when it is not known.
    pub(super) fn end(&self, call_id: &str) -> impl Future<Output = Option<Box<CallReport>>> + Send + use<> {
        let delete = Delete { call_id: call_id.to_owned(), ..Delete::default() };
        let done = self.relay.execute(Command::Delete(delete));
        async move {
            match done.await {
                Reply::Call { report, .. } => report,
                _ => None,
            }
        }
    }

    /// Records a call, and says so to all its ends.
    pub(super) fn record_all(&self, call_id: &str, notice: Option<&str>) {
        self.record(call_id, "");
        if let Some(file) = notice {
            let ends = Ends { call_id: call_id.to_owned(), ..Ends::default() };
            self.ask(play(ends, file, false));
        }
    }

    /// Ends the recording of a call.
    pub(super) fn stop_recording(&self, call_id: &str) {
        let call_id = call_id.to_owned();
        let (what, metadata, warnings) = (Recording::Stop, None, Vec::new());
        self.ask(Command::Record(Record { call_id, what, metadata, warnings }));
    }

    /// Has something done whose failure changes nothing for the call.
    fn ask(&self, command: Command) {
        let call_id = command.call_id().unwrap_or_default().to_owned();
        let done = self.relay.execute(command);
        tokio::spawn(async move {
            if let Reply::Error(failure) = done.await {
                tracing::warn!(call_id, %failure, "relay");
            }
        });
    }

    async fn exchange(&self, command: Command) -> Result<Bytes, MediaError> {
        match self.relay.execute(command).await {
            Reply::Sdp { sdp, warnings } => {
                if !warnings.is_empty() {
                    tracing::debug!(?warnings, "relay");
                }
                Ok(sdp)
            }
            Reply::Error(failure) => Err(match failure.cause {
                Cause::NotAcceptable | Cause::Malformed => MediaError::NotAcceptable(failure.reason),
                Cause::Full => MediaError::Full(failure.reason),
                _ => MediaError::Unavailable(failure.reason),
            }),
            _ => Err(MediaError::Unavailable("the relay answered something else than SDP".into())),
        }
    }

    fn words(&self, exchange: MediaExchange) -> Box<Exchange> {
        Box::new(Exchange {
            call_id: exchange.call_id,
            from_tag: exchange.offerer_tag,
            to_tag: exchange.answerer_tag,
            via_branch: exchange.branch,
            sdp: exchange.sdp,
            sender: self.side(exchange.from),
            receiver: self.side(exchange.to),
            received_from: exchange.from.signalling_source,
            replace: Replace::ALL,
            transcoding: true,
            ..Exchange::default()
        })
    }

    fn side(&self, leg: MediaLeg) -> Side {
        Side {
            kind: Some(kind(leg.kind)),
            announce: Some(self.announced(leg.local)),
            keys: keys(leg.keys),
            ..Side::default()
        }
    }

    /// A peer on this very host reaches the local address, and may not reach the advertised one from inside.
    fn announced(&self, local: IpAddr) -> IpAddr {
        self.advertised.filter(|ip| ip.is_ipv4() == local.is_ipv4() && !local.is_loopback()).unwrap_or(local)
    }
}

fn end(call_id: &str, tag: &str) -> Ends {
    Ends { call_id: call_id.to_owned(), from_tag: Some(tag.to_owned()), ..Ends::default() }
}

fn play(ends: Ends, file: &str, forever: bool) -> Command {
    Command::Play(Box::new(Play {
        ends,
        source: Source::File(file.to_owned()),
        times: (!forever).then_some(1),
        start: Duration::ZERO,
        limit: None,
        warnings: Vec::new(),
    }))
}

const fn keys(keys: outside::Keys) -> Keys {
    match keys {
        outside::Keys::Agreed => Keys::Agreed,
        outside::Keys::Events => Keys::Events,
        outside::Keys::Tones => Keys::Tones,
        outside::Keys::Info => Keys::Told,
    }
}

const fn kind(kind: outside::LegKind) -> LegKind {
    match kind {
        outside::LegKind::Browser => LegKind::Browser,
        outside::LegKind::Legacy => LegKind::Legacy,
    }
}

impl MediaControl for InProcess {
    fn offer<'a>(&'a self, exchange: MediaExchange) -> LocalBoxFuture<'a, Result<Bytes, MediaError>> {
        Box::pin(self.exchange(Command::Offer(self.words(exchange))))
    }

    fn answer<'a>(&'a self, exchange: MediaExchange) -> LocalBoxFuture<'a, Result<Bytes, MediaError>> {
        Box::pin(self.exchange(Command::Answer(self.words(exchange))))
    }

    fn play(&self, call_id: &str, tag: &str, file: &str, forever: bool) {
        self.ask(play(end(call_id, tag), file, forever));
    }

    fn announce<'a>(
        &'a self,
        call_id: &'a str,
        tag: &'a str,
        file: &'a str,
    ) -> LocalBoxFuture<'a, Result<Duration, MediaError>> {
        let playing = self.relay.execute(play(end(call_id, tag), file, false));
        Box::pin(async move {
            match playing.await {
                Reply::Playing { duration, .. } => Ok(duration),
                Reply::Error(failure) => Err(MediaError::Unavailable(failure.reason)),
                _ => Err(MediaError::Unavailable("the relay does not say how long it plays".into())),
            }
        })
    }

    fn press<'a>(
        &'a self,
        call_id: &'a str,
        tag: &'a str,
        code: u8,
        duration: Duration,
    ) -> LocalBoxFuture<'a, Result<(), MediaError>> {
        let digit = Digit { code, volume: KEY_VOLUME, duration, pause: KEY_PAUSE };
        let press = PlayDtmf { ends: end(call_id, tag), digit, warnings: Vec::new() };
        let pressing = self.relay.execute(Command::PlayDtmf(press));
        Box::pin(async move {
            match pressing.await {
                Reply::Error(failure) => Err(MediaError::Unavailable(failure.reason)),
                _ => Ok(()),
            }
        })
    }

    fn stop(&self, call_id: &str, tag: &str) {
        self.ask(Command::StopMedia(StopMedia { ends: end(call_id, tag), warnings: Vec::new() }));
    }

    fn record(&self, call_id: &str, _from_tag: &str) {
        let call_id = call_id.to_owned();
        let (what, metadata, warnings) = (Recording::Start, None, Vec::new());
        self.ask(Command::Record(Record { call_id, what, metadata, warnings }));
    }

    fn delete(&self, call_id: &str, from_tag: &str, branch: Option<&str>) {
        // Without a branch the whole call ends, whichever end asks.
        let from_tag = branch.map(|_| from_tag.to_owned());
        let delete = Delete {
            call_id: call_id.to_owned(),
            from_tag,
            via_branch: branch.map(ToOwned::to_owned),
            fast: true,
            ..Delete::default()
        };
        let done = self.relay.execute(Command::Delete(delete));
        tokio::spawn(async move {
            if let Reply::Error(failure) = done.await {
                tracing::debug!(%failure, "delete");
            }
        });
    }
}
