//! The shell of the signalling half and the gateway as a whole: sockets, threads, files, the database, HTTP.
//!
//! It decides nothing about a call; that is `signaling_core`. [`gateway::Gateway`] puts the parts together:
//!
//! | module | one line |
//! |---|---|
//! | [`config`] | every key once: name, what is allowed, default, sentence; sample and check are made from the table |
//! | [`gateway`] | the composition root |
//! | [`transport`] | UDP, TCP, TLS, WS, WSS and HTTP; the flow table; limits |
//! | [`worker`] | the signalling threads, each with a proxy of its own |
//! | [`store`] | accounts and registrations in SQLite, PostgreSQL or MySQL |
//! | [`accounting`] | a record of every call |
//! | [`countries`] | addresses to countries, by a file of MaxMind's format |
//! | [`events`] | what happens: log lines, webhooks, a stream to read along |
//! | [`certs`] | the local CA, the operator's own certificate, one that was issued |
//! | `acme` | certificates from an ACME server |
//! | [`media_link`] | the relay, in process or over ng |
//! | [`resolver`] | names to addresses (RFC 3263) |
//! | [`sounds`] | music on hold and the notice of a recording |
//! | [`control`] | JSON-RPC with kamcmd's methods, over a socket and HTTPS |
//! | [`health`] | whether it lives, and whether it is to be given calls |
//! | [`metrics`] | every metric once: name, kind, labels, help; and the text for Prometheus |
//! | [`hep`] | copies of messages, RTCP and quality for Homer |
//! | [`page`] | the softphone page and what else HTTP answers |
//! | [`accounts`], [`commands`] | the `user` commands; those that look after the database |
//! | [`doctor`] | what is wrong, in words, with what mends it |
//! | [`demo`] | the demo accounts and the first screen |
//! | [`host`], [`logging`] | what this host is called; how lines are written |
#![forbid(unsafe_code)]

pub mod accounting;
pub mod accounts;
mod acme;
pub mod certs;
pub mod commands;
pub mod config;
pub mod control;
pub mod countries;
pub mod demo;
pub mod doctor;
pub mod events;
pub mod gateway;
pub mod health;
pub mod hep;
pub mod host;
pub mod logging;
pub mod media_link;
pub mod metrics;
mod moment;
pub mod page;
mod post;
mod queue;
pub mod resolver;
pub mod sounds;
pub mod store;
mod toll_file;
pub mod transport;
pub mod worker;
