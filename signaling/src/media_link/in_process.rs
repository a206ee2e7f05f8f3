//! [`MediaControl`] over the relay of this process.

use std::net::IpAddr;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::future::LocalBoxFuture;
use media::Relay;
use media::command::{CallReport, Cause, Command, Delete, Exchange, LegKind, Replace, Reply, Side};
use signaling_core::outside::{self, MediaControl, MediaError, MediaExchange, MediaLeg};

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

    pub(super) fn shut_down(&self) {
        self.relay.shutdown();
    }

    /// What happens in its calls; `None` the second time.
    pub(super) fn events(&self) -> Option<impl Stream<Item = media::Event> + Unpin + Send + use<>> {
        self.relay.events()
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
        Side { kind: Some(kind(leg.kind)), announce: Some(self.announced(leg.local)), ..Side::default() }
    }

    /// A peer on this very host reaches the local address, and may not reach the advertised one from inside.
    fn announced(&self, local: IpAddr) -> IpAddr {
        self.advertised.filter(|ip| ip.is_ipv4() == local.is_ipv4() && !local.is_loopback()).unwrap_or(local)
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
