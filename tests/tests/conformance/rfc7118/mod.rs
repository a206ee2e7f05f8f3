//! RFC 7118: The WebSocket protocol as a transport for SIP. Only ours is judged: Kamailio's configuration here has no
//! WebSockets.

mod section_4;
mod section_5;
