//! The part of a packet's life in which keys may be taken out of it.

use std::time::Instant;

use super::Paths;
use crate::call::leg::LegKey;
use crate::call::plan::{Payload, PayloadMap};
use crate::codec::g711;
use crate::packet::Packet;
use crate::rtp::Header;

impl Paths {
    /// Passes a packet on, or what a screen puts in its place. True when a picture (re)starts somewhere with it.
    pub(super) fn screen(
        &mut self,
        now: Instant,
        from: (LegKey, usize),
        mut packet: Packet,
        header: &mut Header,
    ) -> bool {
        match self.times(from, &mut packet, header) {
            0 => {
                self.pool.put(packet);
                false
            }
            times => {
                for _ in 1..times {
                    let mut copy = self.pool.take();
                    copy.copy_from(&packet);
                    self.spread(now, from, copy, header);
                    header.sequence_number = header.sequence_number.wrapping_add(1);
                    header.write(packet.as_mut_slice());
                }
                self.spread(now, from, packet, header)
            }
        }
    }

    /// Writes sound that a screen has just made in the listener's law at once: by way of the sender's it would be coarser.
    /// What is left to become of the packet.
    pub(super) fn say_in_its_law(
        &self,
        (from, line): (LegKey, usize),
        packet: &mut Packet,
        header: &Header,
        map: PayloadMap,
    ) -> PayloadMap {
        let law = match map.payload {
            Payload::UlawToAlaw => g711::encode_alaw,
            Payload::AlawToUlaw => g711::encode_ulaw,
            _ => return map,
        };
        let line = self.legs.get(from).and_then(|leg| leg.line(line));
        let made = line.and_then(|line| line.screen.as_ref()?.made());
        let payload = packet.as_mut_slice().get_mut(header.header_len()..);
        let (Some((samples, rate)), Some(payload)) = (made, payload) else { return map };
        if rate != map.to_clock || samples.len() != payload.len() {
            return map;
        }
        payload.iter_mut().zip(samples).for_each(|(octet, sample)| *octet = law(*sample));
        PayloadMap { payload: Payload::Media, ..map }
    }

    /// How often a packet goes on.
    fn times(&mut self, (from, line): (LegKey, usize), packet: &mut Packet, header: &mut Header) -> u8 {
        let Some(leg) = self.legs.get_mut(from) else { return 1 };
        let held = leg.delay;
        let Some(line) = leg.line_mut(line).filter(|line| line.screen.is_some()) else { return 1 };
        let (content, usage) = (line.content(header), line.usage(held));
        line.screen.as_mut().map_or(1, |screen| screen.pass(packet, header, content, &usage))
    }
}
