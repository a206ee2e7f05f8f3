//! HEP version 3, the encapsulation of what Homer captures (the HEP/EEP specification of the sipcapture project): one datagram a
//! packet, made of chunks.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use media_core::rtcp::{ReportBlocks, RtcpPacket, parse};
use serde_json::{Value, json};

/// What a datagram may hold.
const MAX: usize = 65_507;

/// What is inside (chunk 0x000b).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A SIP message.
    Sip,
    /// RTCP, as JSON.
    Rtcp,
    /// How a stream has sounded, as JSON ("MOS full report").
    Quality,
}

impl Kind {
    const fn number(self) -> u8 {
        match self {
            Self::Sip => 1,
            Self::Rtcp => 5,
            Self::Quality => 34,
        }
    }
}

/// What was seen on the network.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// What it is.
    pub kind: Kind,
    /// Number of the protocol it went over: 17 for UDP, 6 for TCP and what is above it.
    pub protocol: u8,
    /// Who has sent it.
    pub from: SocketAddr,
    /// Who has received it; of the same family.
    pub to: SocketAddr,
    /// When, since 1970.
    pub at: Duration,
    /// What belongs together has the same one: the Call-ID.
    pub correlation: &'a [u8],
    /// It.
    pub payload: &'a [u8],
}

/// Who says that it was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Agent {
    /// The number of this capturing agent.
    pub id: u32,
    /// Its password; empty for none.
    pub key: String,
}

impl Agent {
    /// The datagram for Homer; `None` when it would be too long for one.
    #[must_use]
    pub fn encode(&self, packet: &Packet<'_>) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(128 + packet.correlation.len() + packet.payload.len());
        out.extend_from_slice(b"HEP3\0\0");
        let family = if packet.from.is_ipv4() { 2 } else { 10 };
        chunk(&mut out, 0x01, &[family])?;
        chunk(&mut out, 0x02, &[packet.protocol])?;
        for (of_v4, of_v6, address) in [(0x03, 0x05, packet.from.ip()), (0x04, 0x06, packet.to.ip())] {
            match address {
                IpAddr::V4(address) => chunk(&mut out, of_v4, &address.octets())?,
                IpAddr::V6(address) => chunk(&mut out, of_v6, &address.octets())?,
            }
        }
        chunk(&mut out, 0x07, &packet.from.port().to_be_bytes())?;
        chunk(&mut out, 0x08, &packet.to.port().to_be_bytes())?;
        // Its four octets last until 2106.
        let seconds = u32::try_from(packet.at.as_secs()).unwrap_or(u32::MAX);
        chunk(&mut out, 0x09, &seconds.to_be_bytes())?;
        chunk(&mut out, 0x0a, &packet.at.subsec_micros().to_be_bytes())?;
        chunk(&mut out, 0x0b, &[packet.kind.number()])?;
        chunk(&mut out, 0x0c, &self.id.to_be_bytes())?;
        if !self.key.is_empty() {
            chunk(&mut out, 0x0e, self.key.as_bytes())?;
        }
        if !packet.correlation.is_empty() {
            chunk(&mut out, 0x11, packet.correlation)?;
        }
        chunk(&mut out, 0x0f, packet.payload)?;
        let length = u16::try_from(out.len()).ok().filter(|length| usize::from(*length) <= MAX)?;
        out[4..6].copy_from_slice(&length.to_be_bytes());
        Some(out)
    }
}

/// Vendor 0, type, length with these six octets, value.
fn chunk(out: &mut Vec<u8>, kind: u16, value: &[u8]) -> Option<()> {
    let length = u16::try_from(value.len() + 6).ok()?;
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(value);
    Some(())
}

/// A compound packet of RTCP as Homer wants it: the first report of it, and the names of its source. `None` when there is no report.
#[must_use]
pub fn rtcp_json(compound: &[u8]) -> Option<String> {
    let mut report = None;
    let mut names = None;
    for packet in parse(compound).ok()? {
        match packet {
            RtcpPacket::SenderReport(sent) if report.is_none() => {
                let time = sent.ntp.to_bits();
                let fraction = ((time & 0xffff_ffff) * 1_000_000) >> 32;
                let mut told = reported(200, sent.ssrc, &sent.reports);
                told["sender_information"] = json!({
                    "ntp_timestamp_sec": time >> 32,
                    "ntp_timestamp_usec": fraction,
                    "rtp_timestamp": sent.rtp_timestamp,
                    "packets": sent.packet_count,
                    "octets": sent.octet_count,
                });
                report = Some(told);
            }
            RtcpPacket::ReceiverReport { ssrc, reports } if report.is_none() => {
                report = Some(reported(201, ssrc, &reports));
            }
            RtcpPacket::SourceDescription(chunks) if names.is_none() => names = described(chunks),
            _ => {}
        }
    }
    let mut report = report?;
    if let Some((ssrc, cname)) = names {
        report["sdes_ssrc"] = json!(ssrc);
        report["sdes_report_count"] = json!(1);
        report["sdes_information"] = json!([{ "type": 1, "text": cname }]);
    }
    Some(report.to_string())
}

fn reported(kind: u8, ssrc: u32, reports: &ReportBlocks<'_>) -> Value {
    let block = |block: media_core::rtcp::ReportBlock| {
        json!({
            "source_ssrc": block.ssrc,
            "fraction_lost": block.fraction_lost,
            "packets_lost": block.cumulative_lost,
            "highest_seq_no": block.highest_sequence,
            "ia_jitter": block.jitter,
            "lsr": block.last_sr,
            "dlsr": block.delay_since_last_sr,
        })
    };
    let blocks: Vec<Value> = reports.iter().map(block).collect();
    json!({ "type": kind, "ssrc": ssrc, "report_count": blocks.len(), "report_blocks": blocks })
}

/// The first source of an SDES packet (RFC 3550 §6.5) and its CNAME, which comes first by custom. `chunks` begin behind the header.
fn described(chunks: &[u8]) -> Option<(u32, String)> {
    let (ssrc, items) = chunks.split_first_chunk()?;
    let [1, length, text @ ..] = items else { return None };
    let text = text.get(..usize::from(*length))?;
    Some((u32::from_be_bytes(*ssrc), String::from_utf8_lossy(text).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(payload: &[u8]) -> Packet<'_> {
        Packet {
            kind: Kind::Sip,
            protocol: 17,
            from: "192.0.2.7:5060".parse().expect("an address"),
            to: "192.0.2.1:5062".parse().expect("an address"),
            at: Duration::new(1_700_000_000, 123_456_789),
            correlation: b"c@x",
            payload,
        }
    }

    /// Written by hand from the specification.
    #[test]
    fn a_packet_is_its_chunks() {
        let agent = Agent { id: 2001, key: "k".to_owned() };
        let expected: &[&[u8]] = &[
            b"HEP3\0\x78",
            b"\0\0\0\x01\0\x07\x02",
            b"\0\0\0\x02\0\x07\x11",
            b"\0\0\0\x03\0\x0a\xc0\0\x02\x07",
            b"\0\0\0\x04\0\x0a\xc0\0\x02\x01",
            b"\0\0\0\x07\0\x08\x13\xc4",
            b"\0\0\0\x08\0\x08\x13\xc6",
            b"\0\0\0\x09\0\x0a\x65\x53\xf1\0",
            b"\0\0\0\x0a\0\x0a\0\x01\xe2\x40",
            b"\0\0\0\x0b\0\x07\x01",
            b"\0\0\0\x0c\0\x0a\0\0\x07\xd1",
            b"\0\0\0\x0e\0\x07k",
            b"\0\0\0\x11\0\x09c@x",
            b"\0\0\0\x0f\0\x0bHELLO",
        ];
        let encoded = agent.encode(&packet(b"HELLO")).expect("it fits");
        assert_eq!(encoded, expected.concat());
        let v6 = Packet {
            from: "[2001:db8::7]:1".parse().unwrap(),
            to: "[::1]:2".parse().unwrap(),
            ..packet(b"x")
        };
        let encoded = Agent::default().encode(&v6).expect("it fits");
        assert_eq!(&encoded[6..13], b"\0\0\0\x01\0\x07\x0a");
        assert!(encoded.windows(6).any(|six| six == b"\0\0\0\x05\0\x16"), "an IPv6 address");
        assert!(agent.encode(&packet(&vec![0; 65_400])).is_none(), "no datagram is so long");
        assert!(agent.encode(&packet(&vec![0; 70_000])).is_none());
    }

    #[test]
    fn reports_are_told_in_homers_words() {
        let mut compound = vec![0x81, 200, 0, 12, 0, 0, 0, 7];
        // 0.5 s behind a second of NTP.
        compound.extend_from_slice(&[0xe8, 0, 0, 1, 0x80, 0, 0, 0]);
        for word in [160_u32, 50, 8000, 9, 0x0300_0002, 77, 12, 0x1234_5678, 65_536] {
            compound.extend_from_slice(&word.to_be_bytes());
        }
        compound.extend_from_slice(&[0x81, 202, 0, 3, 0, 0, 0, 7, 1, 3, b'a', b'@', b'b', 0, 0, 0]);
        let told: Value = serde_json::from_str(&rtcp_json(&compound).expect("a report")).expect("JSON");
        let expected = json!({
            "type": 200, "ssrc": 7, "report_count": 1,
            "sender_information": {"ntp_timestamp_sec": 0xe800_0001_u32, "ntp_timestamp_usec": 500_000,
                "rtp_timestamp": 160, "packets": 50, "octets": 8000},
            "report_blocks": [{"source_ssrc": 9, "fraction_lost": 3, "packets_lost": 2, "highest_seq_no": 77,
                "ia_jitter": 12, "lsr": 0x1234_5678, "dlsr": 65_536}],
            "sdes_ssrc": 7, "sdes_report_count": 1, "sdes_information": [{"type": 1, "text": "a@b"}],
        });
        assert_eq!(told, expected);
        let receiver = [0x80, 201, 0, 1, 0, 0, 0, 9];
        let told = rtcp_json(&receiver).expect("a report");
        assert_eq!(
            serde_json::from_str::<Value>(&told).unwrap(),
            json!({"type": 201, "ssrc": 9, "report_count": 0, "report_blocks": []})
        );
        assert_eq!(rtcp_json(&[0x81, 203, 0, 1, 0, 0, 0, 9]), None, "a BYE alone");
        assert_eq!(rtcp_json(b"nothing"), None);
    }
}
