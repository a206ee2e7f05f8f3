//! One datagram on its way through the relay, with room before and after it.
//!
//! A packet is received, decrypted, stripped, renumbered, encrypted and sent in the same buffer: removing header
//! extensions moves the front forward, an SRTP tag grows the back. Buffers come from a [`Pool`] that one worker owns,
//! so that the packet path neither allocates nor locks.

use std::fmt;

/// Octets of one buffer. Larger than any Ethernet datagram, a power of two for the allocator.
pub const CAPACITY: usize = 2048;

/// Octets kept free before a received datagram, for what is put in front of it (a TURN or TCP framing header).
pub const HEADROOM: usize = 64;

/// Octets kept free behind a received datagram: the longest SRTP trailer is 16 (tag) + 4 (SRTCP index), RFC 7714.
pub const TAILROOM: usize = 64;

/// The longest datagram that can be received; a longer one is cut by the socket and then fails its checks.
pub const MAX_DATAGRAM: usize = CAPACITY - HEADROOM - TAILROOM;

/// The buffer has no room for what was to be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no room left in the packet buffer")]
pub struct Full;

/// A datagram in a buffer of [`CAPACITY`] octets.
pub struct Packet {
    storage: Box<[u8; CAPACITY]>,
    start: usize,
    end: usize,
}

impl Packet {
    /// An empty packet with [`HEADROOM`] before it. Allocates: on the packet path take one from a [`Pool`].
    #[must_use]
    pub fn new() -> Self {
        Self { storage: Box::new([0; CAPACITY]), start: HEADROOM, end: HEADROOM }
    }

    /// Makes the packet empty again, with [`HEADROOM`] before it. The octets stay until they are overwritten.
    pub fn clear(&mut self) {
        self.start = HEADROOM;
        self.end = HEADROOM;
    }

    /// The room a socket reads a datagram into: [`MAX_DATAGRAM`] octets. Call [`Packet::set_received`] afterwards.
    pub fn receive_space(&mut self) -> &mut [u8] {
        self.clear();
        &mut self.storage[HEADROOM..HEADROOM + MAX_DATAGRAM]
    }

    /// Says how many octets were read into [`Packet::receive_space`]; more than fit there count as all of it.
    pub fn set_received(&mut self, len: usize) {
        self.start = HEADROOM;
        self.end = HEADROOM + len.min(MAX_DATAGRAM);
    }

    /// Replaces the content by `bytes`.
    ///
    /// # Errors
    /// [`Full`] when `bytes` is longer than [`MAX_DATAGRAM`]; the packet is then empty.
    pub fn fill(&mut self, bytes: &[u8]) -> Result<(), Full> {
        self.clear();
        if bytes.len() > MAX_DATAGRAM {
            return Err(Full);
        }
        self.extend_from_slice(bytes)
    }

    /// Replaces the content by that of `other`, at the same place of the buffer: one packet for each further sink.
    pub fn copy_from(&mut self, other: &Self) {
        self.storage[other.start..other.end].copy_from_slice(other.as_slice());
        self.start = other.start;
        self.end = other.end;
    }

    /// The octets of the datagram.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.storage[self.start..self.end]
    }

    /// The octets of the datagram, to be rewritten in place.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.storage[self.start..self.end]
    }

    /// Length in octets.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether there is no octet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Cuts the back so that at most `len` octets stay.
    pub fn truncate(&mut self, len: usize) {
        self.end = self.end.min(self.start.saturating_add(len));
    }

    /// Removes `count` octets from the front (all, if there are fewer); the freed room can be used again by
    /// [`Packet::prepend`].
    pub fn advance(&mut self, count: usize) {
        self.start = self.end.min(self.start.saturating_add(count));
    }

    /// Adds `count` octets of unspecified content at the front and returns them.
    ///
    /// # Errors
    /// [`Full`] when there is less room; the packet is unchanged.
    pub fn prepend(&mut self, count: usize) -> Result<&mut [u8], Full> {
        self.start = self.start.checked_sub(count).ok_or(Full)?;
        Ok(&mut self.storage[self.start..self.start + count])
    }

    /// Adds `count` octets of unspecified content at the back and returns them.
    ///
    /// # Errors
    /// [`Full`] when there is less room; the packet is unchanged.
    pub fn grow(&mut self, count: usize) -> Result<&mut [u8], Full> {
        let old = self.end;
        let end = old.checked_add(count).filter(|end| *end <= CAPACITY).ok_or(Full)?;
        self.end = end;
        Ok(&mut self.storage[old..end])
    }

    /// Adds `bytes` at the back.
    ///
    /// # Errors
    /// [`Full`] when there is less room; the packet is unchanged.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) -> Result<(), Full> {
        self.grow(bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    /// Removes the octets `from..to` of the datagram by moving what stands before them towards the back: cheap for a
    /// header extension, where that is the fixed header only. A range outside the packet removes nothing.
    pub fn remove(&mut self, from: usize, to: usize) {
        if from >= to || to > self.len() {
            return;
        }
        let count = to - from;
        self.storage.copy_within(self.start..self.start + from, self.start + count);
        self.start += count;
    }
}

impl Default for Packet {
    fn default() -> Self {
        Self::new()
    }
}

/// Shows the length alone: the content of a call is nobody's business in a log.
impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packet").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// The free buffers of one worker.
#[derive(Debug)]
pub struct Pool {
    free: Vec<Packet>,
    keep: usize,
}

impl Pool {
    /// A pool that holds `keep` buffers from the start and never keeps more; each is [`CAPACITY`] octets.
    #[must_use]
    pub fn new(keep: usize) -> Self {
        let mut free = Vec::with_capacity(keep);
        free.resize_with(keep, Packet::new);
        Self { free, keep }
    }

    /// An empty packet; allocates only when all buffers of the pool are out.
    #[must_use]
    pub fn take(&mut self) -> Packet {
        self.free.pop().unwrap_or_default()
    }

    /// Takes a packet back; one more than the pool keeps is freed.
    pub fn put(&mut self, mut packet: Packet) {
        if self.free.len() < self.keep {
            packet.clear();
            self.free.push(packet);
        }
    }

    /// How many buffers are free.
    #[must_use]
    pub fn available(&self) -> usize {
        self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(bytes: &[u8]) -> Packet {
        let mut packet = Packet::new();
        packet.fill(bytes).expect("fits");
        packet
    }

    #[test]
    fn receives_cuts_and_grows_in_place() {
        let mut p = Packet::new();
        p.receive_space()[..4].copy_from_slice(b"abcd");
        p.set_received(4);
        p.advance(1);
        p.extend_from_slice(b"ef").unwrap();
        p.prepend(2).unwrap().copy_from_slice(b"xy");
        assert_eq!(p.as_slice(), b"xybcdef");
        p.truncate(3);
        assert_eq!(p.as_slice(), b"xyb");
        p.truncate(99);
        p.advance(99);
        assert!(p.is_empty());
    }

    #[test]
    fn removes_from_the_middle_and_ignores_a_wrong_range() {
        let mut p = packet(b"0123456789");
        p.remove(2, 6);
        assert_eq!(p.as_slice(), b"016789");
        p.remove(4, 7);
        p.remove(3, 3);
        p.remove(usize::MAX, 2);
        assert_eq!(p.as_slice(), b"016789");
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let mut p = packet(&[7; MAX_DATAGRAM]);
        assert_eq!(p.grow(TAILROOM + 1), Err(Full));
        assert!(p.grow(TAILROOM).is_ok());
        assert_eq!(p.grow(1), Err(Full));
        assert_eq!(p.grow(usize::MAX), Err(Full));
        assert_eq!(p.prepend(HEADROOM + 1), Err(Full));
        assert_eq!(p.len(), MAX_DATAGRAM + TAILROOM);
        assert_eq!(p.fill(&[0; MAX_DATAGRAM + 1]), Err(Full));
        p.set_received(usize::MAX);
        assert_eq!(p.len(), MAX_DATAGRAM);
    }

    #[test]
    fn a_copy_has_the_same_room() {
        let mut a = packet(b"abcdef");
        a.advance(2);
        let mut b = packet(&[9; 100]);
        b.copy_from(&a);
        assert_eq!(b.as_slice(), b"cdef");
        assert_eq!(b.prepend(HEADROOM + 2).map(|s| s.len()), Ok(HEADROOM + 2));
    }

    #[test]
    fn the_pool_is_bounded() {
        let mut pool = Pool::new(2);
        let out: Vec<_> = (0..5).map(|_| pool.take()).collect();
        assert_eq!(pool.available(), 0);
        out.into_iter().for_each(|p| pool.put(p));
        assert_eq!(pool.available(), 2);
        assert!(pool.take().is_empty());
    }
}
