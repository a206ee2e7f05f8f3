//! The proxy as its neighbours see it: plain SIP in, plain SIP out, in virtual time.

mod announce;
mod auth;
mod call;
mod control;
mod dialog;
mod dispatcher;
mod drain;
mod dtmf;
mod edge;
mod forking;
mod goodput;
mod guard;
mod limits;
mod natping;
mod overload;
mod pair;
mod reanchor;
mod register;
mod registrar;
mod reliable;
mod routing;
mod secfilter;
mod security;
mod sent_by;
mod size;
mod spiral;
mod takeover;
mod terminate;
#[allow(unreachable_pub, dead_code, reason = "other test crates include the file, each using a part of it")]
mod testbed;
mod token;
mod tolls;
mod topology;
mod topos;
mod transfer;
mod webrtc;
