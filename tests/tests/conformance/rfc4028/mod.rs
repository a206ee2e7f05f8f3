//! Session Timers in SIP.

mod section_08;
