//! Calls: what offer and answer decide (`offer_answer`, `plan`), and what the engine keeps of it.
//!
//! `offer_answer::Session` is a call as SDP knows it (ends, branches, m= lines), one per Call-ID:
//! `Session::default()`, `offer(&Exchange, &mut dyn Transports)` and `answer(…)` → `Result<Outcome { sdp, plan, warnings },
//! Failure>`, `remove(&Delete)` → the legs that are no longer needed. It asks the engine for ports and credentials
//! through [`plan::Transports`] and hands it a [`plan::MediaPlan`] per pair of legs. A pair with a browser in it gets
//! descriptions written anew (`compose`); other pairs of a controller that speaks ng are shown each other's (`mirror`).

mod codecs;
mod compose;
mod end;
pub mod fragment;
mod keys;
mod lines;
mod mirror;
pub mod offer_answer;
mod parties;
pub mod plan;

mod agree;

pub mod history;
pub mod latch;
pub mod leg;
pub mod port_pool;
pub mod sink;
pub mod transcoding;

#[cfg(test)]
mod cases;
