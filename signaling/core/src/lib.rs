//! The signaling half's core: it decides, the `causeway` shell does.
//!
//! Nothing here reads a clock, opens a socket or starts a thread: time, bytes and randomness come in as arguments.
#![forbid(unsafe_code)]

pub mod acl;
pub mod alias;
pub mod blocklist;
pub mod bounded;
pub mod dialog;
pub mod digest;
pub mod dispatcher;
pub mod event;
pub mod flow;
pub mod flow_token;
mod fork;
pub mod gruu;
pub mod guesses;
pub mod location;
pub mod message;
pub mod outside;
pub mod overload;
pub mod profiles;
pub mod proxy;
pub mod route;
pub mod secfilter;
pub mod secret;
pub mod settings;
pub mod shards;
pub mod sources;
pub mod stats;
pub mod step;
pub mod stun;
pub mod tables;
pub mod token;
pub mod tolls;
pub mod topology;
pub mod transaction;
pub mod world;
