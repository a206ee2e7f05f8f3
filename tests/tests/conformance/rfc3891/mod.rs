//! The SIP "Replaces" Header.

mod section_03;
