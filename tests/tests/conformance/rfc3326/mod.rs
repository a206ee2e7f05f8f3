//! RFC 3326: The Reason Header Field for SIP.

mod section_3;
