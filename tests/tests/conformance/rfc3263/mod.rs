//! RFC 3263: Locating SIP servers. Only ours is judged: Kamailio takes its name servers from the host alone.

mod section_4;
mod section_4_3;
