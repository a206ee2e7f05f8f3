//! The SIP "Join" Header.

mod section_04;
