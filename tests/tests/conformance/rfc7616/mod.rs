//! HTTP Digest Access Authentication, as SIP uses it (RFC 3261 §22, RFC 8760).

mod section_3;
