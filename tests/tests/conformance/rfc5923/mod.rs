//! RFC 5923: Connection reuse.

mod section_5;
mod section_8;
