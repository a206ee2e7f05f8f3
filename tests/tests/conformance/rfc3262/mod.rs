//! Reliability of Provisional Responses in SIP.

mod section_03;
mod section_04;
mod section_05;
