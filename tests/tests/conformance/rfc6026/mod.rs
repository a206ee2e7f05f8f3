//! RFC 6026: Correct Transaction Handling for 2xx Responses to SIP INVITE Requests.

mod section_7;
mod section_8;
