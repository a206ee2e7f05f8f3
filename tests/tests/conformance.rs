//! Conformance by RFC and section. `SUBJECT=kamailio cargo test -p e2e --test conformance` judges Kamailio by the same tests.

#[path = "conformance/rfc3261/mod.rs"]
mod rfc3261;
