//! Session descriptions (RFC 8866) as an index of lines: every line is kept, byte for byte and in order; typed views
//! read them, edits lie on top.

mod attribute;

pub use attribute::{Candidate, CandidateKind, Fingerprint};
