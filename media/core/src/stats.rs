//! Counters of a worker: a leaf.

/// Counters of one worker. All only rise; what is running now is counted elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Commands executed.
    pub commands: u64,
    /// Calls begun.
    pub calls_created: u64,
    /// Calls ended.
    pub calls_ended: u64,
    /// Calls ended since no media came.
    pub calls_timed_out: u64,
    /// Legs made.
    pub legs_opened: u64,
    /// Legs freed.
    pub legs_closed: u64,
    /// RTP packets received and accepted.
    pub received: u64,
    /// RTP packets sent on.
    pub forwarded: u64,
    /// RTP packets encoded here, of those sent on.
    pub transcoded: u64,
    /// RTP packets of announcements, music and tones.
    pub played: u64,
    /// RTP packets that never came, where what they said had to be made up.
    pub concealed: u64,
    /// RTP packets that had nowhere to go yet, or could not be protected.
    pub unsendable: u64,
    /// RTCP packets received and accepted.
    pub rtcp_received: u64,
    /// RTCP packets sent.
    pub rtcp_sent: u64,
    /// Datagrams dropped: malformed, not authentic, from strangers.
    pub dropped: u64,
    /// Recordings begun.
    pub recordings: u64,
    /// DTLS handshakes completed.
    pub dtls_connected: u64,
    /// DTLS handshakes failed.
    pub dtls_failed: u64,
}
