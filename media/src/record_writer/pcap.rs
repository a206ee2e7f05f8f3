//! Captures that Wireshark reads: the packets of the ends, decrypted, with the headers they could have come with.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::net::{IpAddr, SocketAddr};

use media_core::command::RecordedPacket;

use super::files::Shelf;

/// LINKTYPE_ETHERNET and LINKTYPE_RAW.
const ETHERNET: u32 = 1;
const RAW: u32 = 101;

/// A capture in the making.
pub(super) struct Pcap {
    file: BufWriter<File>,
    ethernet: bool,
    frame: Vec<u8>,
}

impl Pcap {
    pub(super) fn open(shelf: &Shelf, name: &str, ethernet: bool) -> std::io::Result<Self> {
        let mut file = BufWriter::new(shelf.create(name, ".pcap")?);
        let link = if ethernet { ETHERNET } else { RAW };
        // Magic number, version 2.4, no time zone, the longest packet, what the packets are.
        for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, link] {
            file.write_all(&u32::to_le_bytes(word))?;
        }
        Ok(Self { file, ethernet, frame: Vec::with_capacity(2048) })
    }

    pub(super) fn take(&mut self, packet: &RecordedPacket) -> std::io::Result<()> {
        self.frame.clear();
        if self.ethernet {
            let kind: u16 = if packet.from.is_ipv4() { 0x0800 } else { 0x86dd };
            self.frame.extend_from_slice(&[0; 12]);
            self.frame.extend_from_slice(&kind.to_be_bytes());
        }
        ip_and_udp(&mut self.frame, packet.from, packet.to, &packet.octets);
        self.frame.extend_from_slice(&packet.octets);
        let seconds = u32::try_from(packet.at.as_secs()).unwrap_or(u32::MAX);
        let len = u32::try_from(self.frame.len()).unwrap_or(u32::MAX);
        for word in [seconds, packet.at.subsec_micros(), len, len] {
            self.file.write_all(&word.to_le_bytes())?;
        }
        self.file.write_all(&self.frame)
    }

    pub(super) fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// Headers of IP (RFC 791, RFC 8200) and UDP (RFC 768).
fn ip_and_udp(out: &mut Vec<u8>, from: SocketAddr, to: SocketAddr, payload: &[u8]) {
    let udp = u16::try_from(payload.len() + 8).unwrap_or(u16::MAX);
    let mut udp_header = [[0; 2]; 4];
    udp_header[0] = from.port().to_be_bytes();
    udp_header[1] = to.port().to_be_bytes();
    udp_header[2] = udp.to_be_bytes();
    match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let total = udp.saturating_add(20).to_be_bytes();
            let mut header = [0; 20];
            header[..10].copy_from_slice(&[0x45, 0, total[0], total[1], 0, 0, 0x40, 0, 64, 17]);
            header[12..16].copy_from_slice(&from.octets());
            header[16..].copy_from_slice(&to.octets());
            let sum = !checksum(&header).to_be();
            header[10..12].copy_from_slice(&sum.to_ne_bytes());
            // UDP over IPv4 may go without a checksum.
            out.extend_from_slice(&header);
        }
        (from, to) => {
            let length = udp.to_be_bytes();
            out.extend_from_slice(&[0x60, 0, 0, 0, length[0], length[1], 17, 64]);
            let mut pseudo = Vec::with_capacity(48 + payload.len());
            for address in [from, to] {
                let octets = match address {
                    IpAddr::V6(address) => address.octets(),
                    IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                };
                out.extend_from_slice(&octets);
                pseudo.extend_from_slice(&octets);
            }
            pseudo.extend_from_slice(&[0, 0, length[0], length[1], 0, 0, 0, 17]);
            pseudo.extend(udp_header.iter().flatten());
            pseudo.extend_from_slice(payload);
            udp_header[3] = (!checksum(&pseudo)).to_be_bytes();
        }
    }
    out.extend(udp_header.iter().flatten());
}

/// The sum of RFC 1071.
fn checksum(octets: &[u8]) -> u16 {
    let words = octets.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_add_up() {
        for (from, to, len) in
            [("192.0.2.1:4000", "198.51.100.2:30000", 20), ("[2001:db8::1]:4000", "[2001:db8::2]:30000", 40)]
        {
            let mut out = Vec::new();
            ip_and_udp(&mut out, from.parse().unwrap(), to.parse().unwrap(), b"abc");
            assert_eq!(out.len(), len + 8);
            assert_eq!(out[len..len + 6], [0x0f, 0xa0, 0x75, 0x30, 0, 11]);
            match len {
                20 => assert_eq!((checksum(&out[..20]), out[2..4].to_vec()), (0xffff, vec![0, 31])),
                _ => {
                    let mut pseudo = out[8..40].to_vec();
                    pseudo.extend_from_slice(&[0, 0, 0, 11, 0, 0, 0, 17]);
                    pseudo.extend_from_slice(&out[40..]);
                    pseudo.extend_from_slice(b"abc");
                    assert_eq!(checksum(&pseudo), 0xffff);
                }
            }
        }
    }
}
