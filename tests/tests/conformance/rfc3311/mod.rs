//! The SIP UPDATE Method.

mod section_05;
