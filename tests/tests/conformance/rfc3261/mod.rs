//! SIP: Session Initiation Protocol.

mod section_08;
mod section_10;
mod section_12;
mod section_13;
mod section_14;
mod section_15;
mod section_16;
mod section_17;
mod section_18;
mod section_18_1;
mod section_18_streams;
mod section_20;
mod section_21;
