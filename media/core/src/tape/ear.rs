//! Hears one stream of sound: its packets in their order, decoded.

use std::time::Instant;

use crate::codec::{Coding, Format, OpusParameters};
use crate::jitter::{InOrder, Sequencer};
use crate::rtp::Header;
use crate::transcode::{Content, Received, Transcoder};

/// A packet that waits for its turn.
#[derive(Debug)]
struct Waiting {
    header: Header,
    payload: Vec<u8>,
    format: Format,
}

/// See the module.
pub struct Ear {
    order: Sequencer<Waiting>,
    transcoder: Transcoder,
}

impl std::fmt::Debug for Ear {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ear").finish_non_exhaustive()
    }
}

impl Ear {
    /// For a stream that begins in `format`, heard at `rate` Hz; `None` when it cannot be decoded, or not to that rate.
    #[must_use]
    pub fn new(format: Format, rate: u32) -> Option<Self> {
        let linear = Format { coding: Coding::L16, clock: rate, ptime: 20, opus: OpusParameters::default() };
        Some(Self { order: Sequencer::default(), transcoder: Transcoder::new(format, linear)? })
    }

    /// Takes an RTP packet. `give` gets what can be heard by then: its timestamp, on a clock of that rate, and linear
    /// samples of 16 bits, most significant octet first. What comes too late or twice is not heard.
    pub fn take(
        &mut self,
        now: Instant,
        format: Format,
        header: Header,
        payload: &[u8],
        give: &mut dyn FnMut(u32, &[u8]),
    ) {
        let waiting = Waiting { header, payload: payload.to_vec(), format };
        drop(self.order.put(now, header.sequence_number, waiting));
        while let Some(InOrder { packet, lost }) = self.order.pop(now) {
            let received = Received {
                content: Content::Sound(packet.format),
                timestamp: packet.header.timestamp,
                payload: &packet.payload,
                lost: lost.unwrap_or(0),
            };
            self.transcoder.take(now, &received, &mut |made, sound| give(made.timestamp, sound));
        }
    }
}
