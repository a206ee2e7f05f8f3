//! RFC 3581: Symmetric response routing.

mod section_4;
