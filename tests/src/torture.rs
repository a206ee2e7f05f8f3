//! The torture messages of RFC 4475 and RFC 5118, from the one table of them, which stands beside the parser.

#[path = "../../signaling/core/src/message/torture/cases.rs"]
mod cases;

pub use cases::{Case, rfc4475, rfc5118};
