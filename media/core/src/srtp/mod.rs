//! SRTP and SRTCP (RFC 3711, RFC 7714), in place on a [`Packet`], without allocation.
//!
//! An [`SrtpContext`] holds the keys and the replay state of both directions of one leg. Nothing that a stranger sends
//! changes it: state is committed only after a packet was authenticated, and the table of SSRCs is bounded.
//!
//! ```
//! use media_core::packet::Packet;
//! use media_core::srtp::{DtlsRole, MasterKey, Profile, SrtpContext};
//!
//! let profile = Profile::AeadAes128Gcm;
//! let material = [7; 56]; // from the DTLS exporter, `profile.keying_material_len()` octets
//! let (local, remote) = MasterKey::from_dtls(profile, &material, DtlsRole::Client)?;
//! let (mut ours, mut theirs) = (SrtpContext::new(&local, &remote), SrtpContext::new(&remote, &local));
//!
//! let mut packet = Packet::new();
//! packet.fill(b"\x80\x00\x00\x01\x00\x00\x00\xa0\x00\x00\x00\x01voice").unwrap();
//! ours.protect(&mut packet).unwrap();
//! theirs.unprotect(&mut packet).unwrap();
//! assert!(packet.as_slice().ends_with(b"voice"));
//! # Ok::<(), media_core::srtp::KeyError>(())
//! ```

mod cipher;
mod hmac;
mod key;
mod profile;
mod source;
#[cfg(test)]
mod tests;

use std::fmt;

pub use key::{DtlsRole, KeyError, MasterKey};
pub use profile::Profile;

use crate::packet::{Full, Packet};
use crate::rtp::Header;
use cipher::Transform;
use source::{Sources, WhenFull};

/// The last SRTCP index of a key (RFC 3711 §9.2 allows 2^31 packets).
const LAST_RTCP_INDEX: u32 = 0x7fff_ffff;

/// Why a packet was not protected or unprotected: count it and drop the packet, whose content is then unspecified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Error {
    /// Not RTP, not RTCP, or shorter than its tag.
    #[error("not an RTP or RTCP packet")]
    Malformed,
    /// The tag is wrong: a forged or damaged packet, or another key.
    #[error("authentication failed")]
    Authentication,
    /// Seen before, or too old to tell (RFC 3711 §3.3.2). When sending: the sequence number was used already, and
    /// encrypting another packet with it would give the key stream away.
    #[error("replayed or too old")]
    Replayed,
    /// An SRTCP packet without encryption where that was agreed, or with it where it was not.
    #[error("the SRTCP packet is not encrypted as agreed")]
    Unencrypted,
    /// More SSRCs than one key may send with; see [`SrtpContext::protect`].
    #[error("too many SSRCs")]
    TooManySources,
    /// The key has protected as many packets as it may (RFC 3711 §9.2).
    #[error("the key is used up")]
    Exhausted,
    /// No room for the tag behind the packet.
    #[error("no room for the authentication tag")]
    Full,
}

impl From<Full> for Error {
    fn from(_: Full) -> Self {
        Self::Full
    }
}

/// The SRTP state of one leg: what it sends with the local key and receives with the remote one.
///
/// The state survives a re-INVITE: call [`SrtpContext::update_keys`], and only a new DTLS association makes a new
/// context.
pub struct SrtpContext {
    local: MasterKey,
    remote: MasterKey,
    send_rtp: Transform,
    send_rtcp: Transform,
    receive_rtp: Transform,
    receive_rtcp: Transform,
    sent: Sources,
    received: Sources,
    received_rtcp: Sources,
    next_rtcp_index: u32,
}

impl SrtpContext {
    /// A context that sends with `local` and receives with `remote`. Their profiles need not be the same.
    #[must_use]
    pub fn new(local: &MasterKey, remote: &MasterKey) -> Self {
        Self {
            local: local.clone(),
            remote: remote.clone(),
            send_rtp: Transform::for_rtp(local),
            send_rtcp: Transform::for_rtcp(local),
            receive_rtp: Transform::for_rtp(remote),
            receive_rtcp: Transform::for_rtcp(remote),
            sent: Sources::new(WhenFull::Refuse),
            received: Sources::new(WhenFull::ForgetOldest),
            received_rtcp: Sources::new(WhenFull::ForgetOldest),
            next_rtcp_index: 0,
        }
    }

    /// A context from what the DTLS exporter gave (RFC 5764 §4.2).
    ///
    /// # Errors
    /// [`KeyError::Length`] when there are fewer than [`Profile::keying_material_len`] octets.
    pub fn from_dtls(profile: Profile, material: &[u8], role: DtlsRole) -> Result<Self, KeyError> {
        let (local, remote) = MasterKey::from_dtls(profile, material, role)?;
        Ok(Self::new(&local, &remote))
    }

    /// Takes over the keys of a new offer or answer. A key that is the same changes nothing; a new one leaves rollover
    /// counters and replay windows as they are (RFC 3711 §3.3.1: rekeying keeps the counter's sequence of values).
    pub fn update_keys(&mut self, local: &MasterKey, remote: &MasterKey) {
        if !self.local.is_same(local) {
            self.local = local.clone();
            self.send_rtp = Transform::for_rtp(local);
            self.send_rtcp = Transform::for_rtcp(local);
        }
        if !self.remote.is_same(remote) {
            self.remote = remote.clone();
            self.receive_rtp = Transform::for_rtp(remote);
            self.receive_rtcp = Transform::for_rtcp(remote);
        }
    }

    /// The profile that this leg sends with.
    #[must_use]
    pub const fn profile(&self) -> Profile {
        self.local.profile()
    }

    /// Encrypts and authenticates an RTP packet: it grows by [`Profile::rtp_overhead`].
    ///
    /// The packets of one SSRC may come up to 127 out of order, but each sequence number once. An SSRC that is new starts with
    /// rollover counter 0, so begin its sequence numbers below 2^15 (RFC 3711 §3.3.1). One key sends at most 64 SSRCs:
    /// a leg maps what it relays to few of its own.
    ///
    /// # Errors
    /// See [`Error`]; nothing is sent or remembered then.
    pub fn protect(&mut self, packet: &mut Packet) -> Result<(), Error> {
        let header = Header::parse(packet.as_slice()).map_err(|_| Error::Malformed)?;
        let checked = self.sent.check_sequence(header.ssrc, header.sequence_number)?;
        self.send_rtp.protect_rtp(packet, header.header_len(), header.ssrc, checked.index)?;
        insert_mki(packet, self.local.mki(), self.send_rtp.behind_mki())?;
        self.sent.commit(header.ssrc, checked);
        Ok(())
    }

    /// Authenticates and decrypts an SRTP packet: it shrinks by [`Profile::rtp_overhead`].
    ///
    /// Of the 64 SSRCs remembered, a 65th takes the place of the one that was silent longest.
    ///
    /// # Errors
    /// See [`Error`]; the state is as before then.
    pub fn unprotect(&mut self, packet: &mut Packet) -> Result<(), Error> {
        let header = Header::parse(packet.as_slice()).map_err(|_| Error::Malformed)?;
        let checked = self.received.check_sequence(header.ssrc, header.sequence_number)?;
        remove_mki(packet, self.remote.mki(), self.receive_rtp.behind_mki())?;
        self.receive_rtp.unprotect_rtp(packet, header.header_len(), header.ssrc, checked.index)?;
        self.received.commit(header.ssrc, checked);
        Ok(())
    }

    /// Encrypts and authenticates a compound RTCP packet: it grows by [`Profile::rtcp_overhead`].
    ///
    /// One index counts the packets of all SSRCs, so that none is ever used twice with the same key.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn protect_rtcp(&mut self, packet: &mut Packet) -> Result<(), Error> {
        let ssrc = rtcp_sender(packet.as_slice())?;
        if self.next_rtcp_index > LAST_RTCP_INDEX {
            return Err(Error::Exhausted);
        }
        self.send_rtcp.protect_rtcp(packet, ssrc, self.next_rtcp_index)?;
        insert_mki(packet, self.local.mki(), self.send_rtcp.behind_mki())?;
        self.next_rtcp_index += 1;
        Ok(())
    }

    /// Authenticates and decrypts an SRTCP packet: it shrinks by [`Profile::rtcp_overhead`].
    ///
    /// # Errors
    /// See [`Error`]; the state is as before then.
    pub fn unprotect_rtcp(&mut self, packet: &mut Packet) -> Result<(), Error> {
        let ssrc = rtcp_sender(packet.as_slice())?;
        remove_mki(packet, self.remote.mki(), self.receive_rtcp.behind_mki())?;
        let index = self.receive_rtcp.rtcp_index(packet.as_slice())?;
        let checked = self.received_rtcp.check_index(ssrc, index)?;
        self.receive_rtcp.unprotect_rtcp(packet, ssrc, index)?;
        self.received_rtcp.commit(ssrc, checked);
        Ok(())
    }

    /// The rollover counter of an SSRC that was received, for diagnosis.
    #[must_use]
    pub fn received_rollover_counter(&self, ssrc: u32) -> Option<u32> {
        self.received.highest(ssrc).map(|index| (index >> 16) as u32)
    }

    /// How many SSRCs are remembered in all: sent, received, and received as SRTCP.
    #[must_use]
    pub fn source_count(&self) -> usize {
        self.sent.len() + self.received.len() + self.received_rtcp.len()
    }
}

/// Shows no key.
impl fmt::Debug for SrtpContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SrtpContext")
            .field("send", &self.local.profile())
            .field("receive", &self.remote.profile())
            .finish_non_exhaustive()
    }
}

/// Puts the key's identifier before the last `behind` octets (RFC 3711 §3.1).
fn insert_mki(packet: &mut Packet, mki: &[u8], behind: usize) -> Result<(), Full> {
    if mki.is_empty() {
        return Ok(());
    }
    let at = packet.len().saturating_sub(behind);
    packet.grow(mki.len())?;
    let octets = packet.as_mut_slice();
    octets.copy_within(at..octets.len() - mki.len(), at + mki.len());
    octets[at..at + mki.len()].copy_from_slice(mki);
    Ok(())
}

/// Takes the key's identifier out from before the last `behind` octets; another names a key that nobody agreed to.
fn remove_mki(packet: &mut Packet, mki: &[u8], behind: usize) -> Result<(), Error> {
    if mki.is_empty() {
        return Ok(());
    }
    let to = packet.len().checked_sub(behind).ok_or(Error::Malformed)?;
    let from = to.checked_sub(mki.len()).ok_or(Error::Malformed)?;
    if packet.as_slice().get(from..to) != Some(mki) {
        return Err(Error::Authentication);
    }
    packet.remove(from, to);
    Ok(())
}

/// The SSRC of the first RTCP packet, after the checks that SRTCP needs: version 2 and the 8 octets in the clear.
fn rtcp_sender(packet: &[u8]) -> Result<u32, Error> {
    match packet {
        [first, _, _, _, a, b, c, d, ..] if first >> 6 == 2 => Ok(u32::from_be_bytes([*a, *b, *c, *d])),
        _ => Err(Error::Malformed),
    }
}
