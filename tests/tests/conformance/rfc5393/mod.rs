//! RFC 5393: Addressing an Amplification Vulnerability in SIP Forking Proxies.

mod section_4;
mod section_5;
