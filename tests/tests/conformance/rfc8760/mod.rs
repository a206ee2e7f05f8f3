//! The SIP Digest Access Authentication Scheme: more than MD5.

mod section_2;
