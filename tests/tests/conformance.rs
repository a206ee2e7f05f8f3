//! Conformance by RFC and section. `SUBJECT=kamailio cargo test -p e2e --test conformance` judges Kamailio by the same tests.

#[path = "conformance/pair.rs"]
mod pair;
#[path = "conformance/registering.rs"]
mod registering;
#[path = "conformance/rfc3261/mod.rs"]
mod rfc3261;
#[path = "conformance/rfc3262/mod.rs"]
mod rfc3262;
#[path = "conformance/rfc3263/mod.rs"]
mod rfc3263;
#[path = "conformance/rfc3311/mod.rs"]
mod rfc3311;
#[path = "conformance/rfc3326/mod.rs"]
mod rfc3326;
#[path = "conformance/rfc3327/mod.rs"]
mod rfc3327;
#[path = "conformance/rfc3581/mod.rs"]
mod rfc3581;
#[path = "conformance/rfc3891/mod.rs"]
mod rfc3891;
#[path = "conformance/rfc3911/mod.rs"]
mod rfc3911;
#[path = "conformance/rfc4028/mod.rs"]
mod rfc4028;
#[path = "conformance/rfc4475/mod.rs"]
mod rfc4475;
#[path = "conformance/rfc5118/mod.rs"]
mod rfc5118;
#[path = "conformance/rfc5393/mod.rs"]
mod rfc5393;
#[path = "conformance/rfc5626/mod.rs"]
mod rfc5626;
#[path = "conformance/rfc5627/mod.rs"]
mod rfc5627;
#[path = "conformance/rfc5922/mod.rs"]
mod rfc5922;
#[path = "conformance/rfc5923/mod.rs"]
mod rfc5923;
#[path = "conformance/rfc6026/mod.rs"]
mod rfc6026;
#[path = "conformance/rfc7118/mod.rs"]
mod rfc7118;
#[path = "conformance/rfc7616/mod.rs"]
mod rfc7616;
#[path = "conformance/rfc8760/mod.rs"]
mod rfc8760;
#[path = "conformance/rfc8898/mod.rs"]
mod rfc8898;
#[path = "conformance/torture.rs"]
mod torture;
