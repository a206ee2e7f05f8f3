//! RFC 5922: Domain certificates in SIP.

mod section_7;
