//! The ng protocol: bytes ↔ [`Command`], bytes ↔ [`Reply`](crate::command::Reply).
//!
//! A message is `cookie SP dictionary`, the dictionary in bencode or JSON. The cookie names the request, so that a
//! retransmitted one gets the same reply; keeping replies is the door's business, not this module's.

mod bencode;
mod decode;
mod encode;
mod flags;
mod framing;
mod gate;
mod node;
mod play;

pub use decode::{Defaults, decode, decode_plain, decode_with};
pub use encode::{encode, encode_plain};
pub use framing::{Framer, Unframed};

use crate::command::{Command, Failure};

/// Longest message, octets. UDP cannot carry more than 64 KiB; TCP and HTTP doors refuse what is longer.
pub const MAX_MESSAGE: usize = 256 * 1024;
/// Longest cookie, octets.
pub const MAX_COOKIE: usize = 255;

/// How the dictionary of a message is written; the reply is written the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// BitTorrent's.
    Bencode,
    /// RFC 8259.
    Json,
}

/// A request, understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Names the request.
    pub cookie: Vec<u8>,
    /// What is asked.
    pub command: Command,
    /// How to answer.
    pub encoding: Encoding,
}

/// A request that could not be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No cookie: there is nothing to answer to. Drop and count.
    #[error("the message has no cookie")]
    NoCookie,
    /// Answer with this failure.
    #[error("{failure}")]
    Refused {
        /// Of the message.
        cookie: Vec<u8>,
        /// How to answer.
        encoding: Encoding,
        /// What is wrong with it.
        failure: Failure,
    },
}
