//! The part of a packet's life in which keys may be taken out of it.

use std::time::Instant;

use super::Paths;
use crate::call::leg::LegKey;
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

    /// How often a packet goes on.
    fn times(&mut self, (from, line): (LegKey, usize), packet: &mut Packet, header: &mut Header) -> u8 {
        let Some(leg) = self.legs.get_mut(from) else { return 1 };
        let held = leg.delay;
        let Some(line) = leg.line_mut(line).filter(|line| line.screen.is_some()) else { return 1 };
        let (content, usage) = (line.content(header), line.usage(held));
        line.screen.as_mut().map_or(1, |screen| screen.pass(packet, header, content, &usage))
    }
}
