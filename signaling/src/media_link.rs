//! The relay that carries the media: the one of this process, or any that speaks ng.

mod bencode;
mod feature_code;
mod in_process;
mod listened;
mod ng_client;

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use futures_util::{Stream, StreamExt as _};
use media::{EventKind, RecordingConfig, RecordingMethod, Relay, RelayConfig};
use signaling_core::outside::{MediaControl, MediaError, MediaExchange};

use self::feature_code::FeatureCode;
use self::in_process::InProcess;
use self::listened::Listened;
use self::ng_client::NgClient;
use crate::accounting::Accounting;
use crate::config::{self, Config, RecordingFormat};
use crate::worker::Workers;

/// The relay in use; clones share it.
#[derive(Clone, Debug)]
pub enum MediaLink {
    /// In this process.
    InProcess(InProcess),
    /// Elsewhere, over ng.
    Ng(NgClient),
    /// Nowhere: the ends send to each other.
    Off,
}

impl MediaLink {
    /// Starts or finds the relay. Must be called within a runtime.
    ///
    /// # Errors
    /// Its ports cannot be opened.
    pub fn start(config: &Config) -> anyhow::Result<Self> {
        let media = &config.media;
        match media.relay {
            config::Relay::Off => Ok(Self::Off),
            config::Relay::Ng(address) => Ok(Self::Ng(NgClient::connect(address).context("media.relay")?)),
            config::Relay::InProcess => {
                let relay = Relay::start(RelayConfig {
                    port_min: media.first_port,
                    port_max: media.last_port,
                    workers: media.workers,
                    listen_ng: media.ng,
                    dtls_12_only: media.dtls_12_only,
                    ice_lite: media.ice_lite,
                    media_timeout: media.timeout,
                    silent_timeout: media.silent_timeout,
                    recording: Some(recording(config)),
                    ..RelayConfig::default()
                })
                .context("media relay (settings media.first_port, media.last_port, media.ng)")?;
                Ok(Self::InProcess(InProcess::new(relay, config.advertised)))
            }
        }
    }

    /// Logs what happens to media, and tells the workers of calls that the relay has given up. Must be called within a runtime,
    /// once. A relay elsewhere reports nothing over ng: its calls end by their session timers.
    pub fn watch(&self, workers: Arc<Workers>, codes: Codes) {
        if let Self::InProcess(link) = self
            && let Some(events) = link.events()
        {
            tokio::spawn(follow(events, workers, link.clone(), codes));
        }
    }

    /// The door for one worker. `accounting` hears what is agreed on and counted there.
    #[must_use]
    pub fn control(&self, accounting: &Accounting) -> Box<dyn MediaControl> {
        let (control, relay): (Box<dyn MediaControl>, _) = match self {
            Self::InProcess(link) => (Box::new(link.clone()), Some(link.clone())),
            Self::Ng(link) => (Box::new(link.clone()), None),
            Self::Off => (Box::new(Direct), None),
        };
        if accounting.is_on() { Box::new(Listened::new(control, relay, accounting.clone())) } else { control }
    }

    /// How Kamailio would name it; `None` when there is none.
    #[must_use]
    pub fn url(&self) -> Option<String> {
        match self {
            Self::InProcess(_) => Some("in-process".to_owned()),
            Self::Ng(link) => Some(format!("udp:{}", link.address())),
            Self::Off => None,
        }
    }

    /// Whether it answers.
    pub async fn ping(&self) -> bool {
        match self {
            Self::InProcess(link) => link.ping().await,
            Self::Ng(link) => link.ping().await,
            Self::Off => false,
        }
    }

    /// The calls of the relay of this process; `None` when it is elsewhere.
    pub async fn calls(&self) -> Option<u64> {
        match self {
            Self::InProcess(link) => link.calls().await,
            Self::Ng(_) | Self::Off => None,
        }
    }

    /// Ends the relay of this process.
    pub fn shut_down(&self) {
        if let Self::InProcess(link) = self {
            link.shut_down();
        }
    }
}

/// What the relay of this process writes.
fn recording(config: &Config) -> RecordingConfig {
    let method = match config.recording.format {
        RecordingFormat::Stereo => RecordingMethod::Stereo,
        RecordingFormat::Mixed => RecordingMethod::Mixed,
        RecordingFormat::Separate => RecordingMethod::Separate,
        RecordingFormat::Pcap => RecordingMethod::Pcap { ethernet: false },
    };
    let config::Recording { max_octets, max_age, .. } = config.recording;
    RecordingConfig { directory: config.recordings(), method, max_octets, max_age }
}

/// No relay: what one end says of its media is what the other hears.
#[derive(Debug)]
struct Direct;

impl MediaControl for Direct {
    fn offer<'a>(&'a self, exchange: MediaExchange) -> LocalBoxFuture<'a, Result<Bytes, MediaError>> {
        Box::pin(std::future::ready(Ok(exchange.sdp)))
    }

    fn answer<'a>(&'a self, exchange: MediaExchange) -> LocalBoxFuture<'a, Result<Bytes, MediaError>> {
        Box::pin(std::future::ready(Ok(exchange.sdp)))
    }

    // Sound comes from a relay, and there is none.
    fn play(&self, _call_id: &str, _tag: &str, _file: &str, _forever: bool) {}

    fn stop(&self, _call_id: &str, _tag: &str) {}

    fn record(&self, _call_id: &str, _from_tag: &str) {}

    fn delete(&self, _call_id: &str, _from_tag: &str, _branch: Option<&str>) {}
}

/// What keys mean that are pressed in a call.
#[derive(Debug, Clone, Default)]
pub struct Codes {
    /// Begins and ends the recording of the call; empty for none.
    pub record: String,
    /// What both ends hear when it begins.
    pub notice: Option<String>,
}

/// What happens to the media of each call, until the relay ends. Pressed keys are not logged: they may be a PIN.
async fn follow(
    mut events: impl Stream<Item = media::Event> + Unpin,
    workers: Arc<Workers>,
    link: InProcess,
    codes: Codes,
) {
    let mut feature = FeatureCode::new(&codes.record);
    while let Some(event) = events.next().await {
        let (call_id, leg) = (&*event.call_id, event.leg);
        match event.kind {
            EventKind::Ice(state) => tracing::debug!(call_id, leg, ?state, "ICE"),
            EventKind::DtlsConnected => tracing::info!(call_id, leg, "media encrypted (DTLS-SRTP)"),
            EventKind::DtlsFailed(failure) => tracing::warn!(call_id, leg, %failure, "no media: DTLS failed"),
            EventKind::DtlsClosed => tracing::debug!(call_id, leg, "media closed by the browser"),
            EventKind::FirstPacket => tracing::info!(call_id, leg, "media arrives"),
            EventKind::MediaTimeout => {
                tracing::warn!(call_id, leg, "no media for too long: ports given back");
                workers.media_timed_out(event.call_id);
            }
            EventKind::Dtmf(key) => match feature.press(Instant::now(), &event.call_id, leg, key) {
                Some(true) => link.record_all(call_id, codes.notice.as_deref()),
                Some(false) => link.stop_recording(call_id),
                None => {}
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use signaling_core::outside::{LegKind, MediaLeg};

    use super::*;

    #[tokio::test]
    async fn without_a_relay_an_offer_passes_as_it_is() {
        let config = Config::parse("[media]\nrelay = \"off\"\n", "test").unwrap();
        let link = MediaLink::start(&config).unwrap();
        let leg = MediaLeg { kind: LegKind::Legacy, local: [127, 0, 0, 1].into(), signalling_source: None };
        let exchange = MediaExchange {
            call_id: "c".into(),
            offerer_tag: "a".into(),
            answerer_tag: None,
            branch: None,
            from: leg,
            to: leg,
            sdp: Bytes::from_static(b"v=0\r\n"),
        };
        let control = link.control(&Accounting::off());
        assert_eq!(control.offer(exchange.clone()).await.unwrap(), exchange.sdp);
        assert_eq!(control.answer(exchange.clone()).await.unwrap(), exchange.sdp);
    }
}
