//! The relay that carries the media: the one of this process, or any that speaks ng.

mod bencode;
mod in_process;
mod ng_client;

use std::net::IpAddr;

use anyhow::Context as _;
use media::{Relay, RelayConfig};
use signaling_core::outside::MediaControl;

use self::in_process::InProcess;
use self::ng_client::NgClient;
use crate::config::{self, Media};

/// The relay in use; clones share it.
#[derive(Clone, Debug)]
pub enum MediaLink {
    /// In this process.
    InProcess(InProcess),
    /// Elsewhere, over ng.
    Ng(NgClient),
}

impl MediaLink {
    /// Starts or finds the relay. `advertised` is written into SDP in place of the local address.
    ///
    /// # Errors
    /// Its ports cannot be opened.
    pub fn start(media: &Media, advertised: Option<IpAddr>) -> anyhow::Result<Self> {
        match media.relay {
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
                    ..RelayConfig::default()
                })
                .context("media relay (settings media.first_port, media.last_port, media.ng)")?;
                Ok(Self::InProcess(InProcess::new(relay, advertised)))
            }
        }
    }

    /// The door for one worker.
    #[must_use]
    pub fn control(&self) -> Box<dyn MediaControl> {
        match self {
            Self::InProcess(link) => Box::new(link.clone()),
            Self::Ng(link) => Box::new(link.clone()),
        }
    }

    /// Ends the relay of this process.
    pub fn shut_down(&self) {
        if let Self::InProcess(link) = self {
            link.shut_down();
        }
    }
}
