//! The relay that carries the media: the one of this process, or any that speaks ng.

mod bencode;
mod blobs;
mod feature_code;
mod in_process;
mod listened;
mod ng_client;
mod relays;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::future::{BoxFuture, LocalBoxFuture};
use futures_util::{Stream, StreamExt as _};
use media::command::CallReport;
use media::{EventKind, RecordingConfig, RecordingMethod, Relay, RelayConfig};
use signaling_core::outside::{MediaControl, MediaError, MediaExchange};

use self::feature_code::FeatureCode;
use self::in_process::InProcess;
use self::listened::Listened;
pub use self::relays::{RelayStatus, Relays};
use crate::accounting::Accounting;
use crate::config::{self, Config, RecordingFormat};
use crate::events::hub::Hub;
use crate::worker::Workers;

/// The relay in use; clones share it.
#[derive(Clone, Debug)]
pub enum MediaLink {
    /// In this process.
    InProcess(InProcess),
    /// Several, or one elsewhere.
    Several(Relays),
    /// Nowhere: the ends send to each other.
    Off,
}

impl MediaLink {
    /// Starts or finds the relay. Must be called within a runtime.
    ///
    /// # Errors
    /// Its ports cannot be opened.
    pub fn start(config: &Config) -> anyhow::Result<Self> {
        Ok(match config.media.relay {
            config::Relay::Off => Self::Off,
            config::Relay::InProcess => Self::InProcess(in_process(config)?),
            config::Relay::Several => Self::Several(
                Relays::start(&config.media.relays, || in_process(config)).context("media.relay")?,
            ),
        })
    }

    /// The relay of this process, if it is in use.
    fn in_process(&self) -> Option<&InProcess> {
        match self {
            Self::InProcess(link) => Some(link),
            Self::Several(relays) => relays.in_process(),
            Self::Off => None,
        }
    }

    /// Logs what happens to media, and tells the workers of calls that the relay has given up. Must be called within a runtime,
    /// once. A relay elsewhere reports nothing over ng: its calls end by their session timers, and move when it is gone.
    pub fn watch(&self, workers: Arc<Workers>, codes: Codes) {
        if let Self::Several(relays) = self {
            let workers = Arc::clone(&workers);
            relays.watch(move |call_id| workers.relay_lost(call_id));
        }
        if let Some(link) = self.in_process()
            && let Some(events) = link.events()
        {
            tokio::spawn(follow(events, workers, link.clone(), codes));
        }
    }

    /// Has `events` hear of relays that do not answer, and answer again. To be called once.
    pub fn tell(&self, events: &Hub) {
        if let Self::Several(relays) = self {
            relays.tell(events);
        }
    }

    /// The door for one worker. `accounting` hears what is agreed on and counted there.
    #[must_use]
    pub fn control(&self, accounting: &Accounting) -> Box<dyn MediaControl> {
        if accounting.is_on() {
            return Box::new(Listened::new(self.clone(), accounting.clone()));
        }
        match self {
            Self::InProcess(link) => Box::new(link.clone()),
            Self::Several(relays) => Box::new(relays.clone()),
            Self::Off => Box::new(Direct),
        }
    }

    /// The relays in use, as they are now.
    pub async fn relays(&self) -> Vec<RelayStatus> {
        match self {
            Self::InProcess(link) => {
                let calls = link.calls().await.unwrap_or_default();
                let url = "in-process".to_owned();
                vec![RelayStatus { set: 0, url, weight: 1, disabled: None, put_aside: false, calls }]
            }
            Self::Several(relays) => relays.status(),
            Self::Off => Vec::new(),
        }
    }

    /// What the relay of this process has counted; `None` without one.
    pub(crate) async fn numbers(&self) -> Option<Box<media::stats::Numbers>> {
        self.in_process()?.numbers().await
    }

    /// Whether the relay with this URL answers.
    pub async fn ping(&self, url: &str) -> bool {
        match self {
            Self::InProcess(link) => link.ping().await,
            Self::Several(relays) => relays.ping(url).await,
            Self::Off => false,
        }
    }

    /// Whether there is a relay that answers, as far as is known; without any relay nothing is wanted of one.
    pub(crate) async fn answers(&self) -> bool {
        match self {
            Self::InProcess(link) => link.answers().await,
            Self::Several(relays) => {
                relays.status().iter().any(|relay| relay.disabled.is_none() && !relay.put_aside)
            }
            Self::Off => true,
        }
    }

    /// Takes the relay with this URL out of use, or back. The only one there is stays; then `false`.
    pub fn put_aside(&self, url: &str, aside: bool) -> bool {
        let Self::Several(relays) = self else { return false };
        relays.put_aside(url, aside);
        true
    }

    fn door(&self) -> &dyn MediaControl {
        match self {
            Self::InProcess(link) => link,
            Self::Several(relays) => relays,
            Self::Off => &Direct,
        }
    }

    /// Ends a whole call; what its relay has counted in it, if that is ours.
    fn end(&self, call_id: &str, from_tag: &str) -> Option<Report> {
        match self {
            Self::InProcess(link) => Some(Box::pin(link.end(call_id))),
            Self::Several(relays) => relays.end(call_id, from_tag),
            Self::Off => None,
        }
    }

    /// Ends the relay of this process.
    pub fn shut_down(&self) {
        if let Some(link) = self.in_process() {
            link.shut_down();
        }
    }
}

/// What a relay has counted in a call; `None` when it does not know it.
type Report = BoxFuture<'static, Option<Box<CallReport>>>;

/// Starts the relay of this process.
fn in_process(config: &Config) -> anyhow::Result<InProcess> {
    let media = &config.media;
    let relay = Relay::start(RelayConfig {
        port_min: media.first_port,
        port_max: media.last_port,
        workers: media.workers,
        listen_ng: media.ng,
        listen_cli: media.cli.into_iter().collect(),
        listen_http: media.http.into_iter().collect(),
        dtls_12_only: media.dtls_12_only,
        ice_lite: media.ice_lite,
        media_timeout: media.timeout,
        silent_timeout: media.silent_timeout,
        max_sessions: media.max_sessions,
        max_packet_rate: media.max_packet_rate,
        tell_rtcp: config.siptrace.wants_rtcp(),
        recording: Some(recording(config)),
        ..RelayConfig::default()
    })
    .context("media relay (settings media.first_port, media.last_port, media.ng, media.cli, media.http)")?;
    let link = InProcess::new(relay, config.advertised);
    for (door, address) in link.doors() {
        tracing::info!(door, %address, "the relay listens");
    }
    Ok(link)
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

    fn announce<'a>(
        &'a self,
        _call_id: &'a str,
        _tag: &'a str,
        _file: &'a str,
    ) -> LocalBoxFuture<'a, Result<Duration, MediaError>> {
        Box::pin(std::future::ready(Err(MediaError::Unavailable("there is no relay".into()))))
    }

    fn press<'a>(
        &'a self,
        _call_id: &'a str,
        _tag: &'a str,
        _code: u8,
        _duration: Duration,
    ) -> LocalBoxFuture<'a, Result<(), MediaError>> {
        Box::pin(std::future::ready(Err(MediaError::Unavailable("there is no relay".into()))))
    }

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
    /// Whether some end has keys as INFO, and the workers are told of them.
    pub told: bool,
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
            EventKind::Rtcp(rtcp) => {
                if let Some(hep) = workers.hep() {
                    hep.rtcp(&event.call_id, rtcp.from, rtcp.to, &rtcp.octets);
                }
            }
            EventKind::Dtmf(key) => {
                match feature.press(Instant::now(), &event.call_id, leg, key) {
                    Some(true) => link.record_all(call_id, codes.notice.as_deref()),
                    Some(false) => link.stop_recording(call_id),
                    None => {}
                }
                if codes.told {
                    workers.key_pressed(event.call_id, event.tag, key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use signaling_core::outside::{Keys, LegKind, MediaLeg};

    use super::*;

    #[tokio::test]
    async fn without_a_relay_an_offer_passes_as_it_is() {
        let config = Config::parse("[media]\nrelay = \"off\"\n", "test").unwrap();
        let link = MediaLink::start(&config).unwrap();
        let leg = MediaLeg {
            kind: LegKind::Legacy,
            local: [127, 0, 0, 1].into(),
            signalling_source: None,
            keys: Keys::Agreed,
        };
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

    /// Another process may have some of the ports.
    fn started(settings: &str) -> InProcess {
        let places = (20_000..60_000).step_by(500).map(|first| {
            let range = format!("first_port = {first}\nlast_port = {}\nworkers = 1\n", first + 400);
            in_process(&Config::parse(&format!("[media]\n{range}{settings}"), "test").unwrap())
        });
        places.into_iter().find_map(Result::ok).expect("no ports")
    }

    async fn asked(address: SocketAddr, question: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(question.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn the_relay_of_this_process_has_the_doors_that_are_set() {
        let none = started("ng = \"off\"\n");
        assert_eq!(none.doors(), []);
        none.shut_down();
        let link = started("ng = \"off\"\ncli = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\n");
        let [("cli", cli), ("http", http)] = link.doors()[..] else { panic!("{:?}", link.doors()) };
        assert!(asked(cli, "list numsessions\n").await.contains("Current sessions total: 0"));
        let metrics = asked(http, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        assert!(metrics.starts_with("HTTP/1.1 200 ") && metrics.contains("rtpengine_sessions"), "{metrics}");
        link.shut_down();
    }
}
