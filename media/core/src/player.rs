//! Says a piece of sound to one end: reads it, resamples, encodes, and tells when each packet is due.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::codec::resample::Resampler;
use crate::codec::wav::Clip;
use crate::codec::{Encode, Format};
use crate::transcode::Made;

/// The longest payload that is made.
const MAX_PAYLOAD: usize = 1400;

/// A player that is so late leaves out what it missed: a burst would fill the listener's buffer.
const MAX_LATE: Duration = Duration::from_millis(200);

/// Pieces that wait for their turn.
const MAX_QUEUED: usize = 64;

/// One piece, and how it is played.
#[derive(Debug, Clone)]
pub struct Piece {
    /// The sound.
    pub clip: Arc<Clip>,
    /// Where it begins.
    pub start: Duration,
    /// How often it is played; `None` for ever.
    pub times: Option<u32>,
    /// It ends after so long, however often it was played.
    pub limit: Option<Duration>,
}

/// Plays pieces one after the other.
pub struct Player {
    now: Piece,
    queued: VecDeque<Piece>,
    /// The next sample of the clip.
    at: usize,
    /// Samples of the clip that were said, over all repetitions.
    said: u64,
    format: Format,
    encoder: Box<dyn Encode>,
    resampler: Option<Resampler>,
    /// Samples of one packet at the encoder's rate.
    frame: usize,
    /// At the encoder's rate, not yet sent.
    waiting: Vec<i16>,
    payload: Vec<u8>,
    next: Made,
    due: Instant,
    over: bool,
}

impl std::fmt::Debug for Player {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Player").field("clip", &self.now.clip).field("at", &self.at).finish_non_exhaustive()
    }
}

impl Player {
    /// Plays `piece` as `format` from now on; its packets begin at the numbers of `first`. `None` when the codec cannot be
    /// had or the clip's rate is too odd.
    #[must_use]
    pub fn new(now: Instant, piece: Piece, format: Format, first: Made) -> Option<Self> {
        let (encoder, resampler) = coder(&piece.clip, format)?;
        let frame = encoder.rate() as usize * usize::from(format.ptime) / 1000;
        let mut player = Self {
            now: piece,
            queued: VecDeque::new(),
            at: 0,
            said: 0,
            format,
            encoder,
            resampler,
            frame,
            waiting: Vec::with_capacity(2 * frame),
            payload: vec![0; MAX_PAYLOAD],
            next: Made { marker: true, ..first },
            due: now,
            over: false,
        };
        player.rewind();
        Some(player)
    }

    /// Plays `piece` when what there is has been played; false when too many wait.
    pub fn append(&mut self, piece: Piece) -> bool {
        let room = self.queued.len() < MAX_QUEUED;
        if room {
            self.queued.push_back(piece);
        }
        room
    }

    /// Goes on in another format; false when that cannot be.
    pub fn set_format(&mut self, format: Format) -> bool {
        if format == self.format {
            return true;
        }
        let Some((encoder, resampler)) = coder(&self.now.clip, format) else { return false };
        self.frame = encoder.rate() as usize * usize::from(format.ptime) / 1000;
        (self.format, self.encoder, self.resampler) = (format, encoder, resampler);
        self.waiting.clear();
        self.next.marker = true;
        true
    }

    /// When the next packet is due; `None` when all was said.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        (!self.over).then_some(self.due)
    }

    /// The next packet, if it is due at `now`; `None` also where the codec sends nothing in a silence.
    pub fn next(&mut self, now: Instant) -> Option<(Made, &[u8])> {
        if self.over || self.due > now {
            return None;
        }
        // The last packet lasts as long as the others.
        self.over = self.has_ended() && self.queued.is_empty() && self.waiting.is_empty();
        if self.over {
            return None;
        }
        let packet = Duration::from_millis(u64::from(self.format.ptime));
        self.due += packet;
        if now.saturating_duration_since(self.due) > MAX_LATE {
            self.due = now + packet;
        }
        self.fill();
        let made = self.next;
        let len = self.encoder.encode(self.waiting.get(..self.frame)?, &mut self.payload);
        self.waiting.drain(..self.frame);
        let ticks = self.frame as u64 * u64::from(self.format.clock) / u64::from(self.encoder.rate());
        self.next.timestamp = self.next.timestamp.wrapping_add(ticks as u32);
        self.next.marker = len.is_none();
        let payload = self.payload.get(..len?)?;
        self.next.sequence_number = self.next.sequence_number.wrapping_add(1);
        Some((made, payload))
    }

    /// Says from the beginning again: nobody could hear what was said.
    pub fn rewind(&mut self) {
        let rate = u64::from(self.now.clip.rate());
        let start = self.now.start.as_millis().min(u128::from(u32::MAX)) as u64 * rate / 1000;
        self.at = usize::try_from(start).unwrap_or(usize::MAX).min(self.now.clip.samples().len());
        self.said = 0;
        self.waiting.clear();
        self.over = self.has_ended() && self.queued.is_empty();
        self.next.marker = true;
    }

    /// Does not begin before a packet's time from `now`.
    pub fn wait(&mut self, now: Instant) {
        self.due = now + Duration::from_millis(u64::from(self.format.ptime));
    }

    /// Brings one packet's samples to the encoder's rate; behind the end there is silence.
    fn fill(&mut self) {
        while self.waiting.len() < self.frame {
            if self.has_ended() && !self.turn() {
                return self.waiting.resize(self.frame, 0);
            }
            let clip = Arc::clone(&self.now.clip);
            let samples = clip.samples();
            if self.at >= samples.len() {
                self.at = 0;
                self.now.times = self.now.times.map(|times| times.saturating_sub(1));
                continue;
            }
            let wanted = (self.frame - self.waiting.len()) as u64 * u64::from(clip.rate());
            let wanted = wanted.div_ceil(u64::from(self.encoder.rate())).max(1).min(self.left());
            let end = (self.at + wanted as usize).min(samples.len());
            let piece = samples.get(self.at..end).unwrap_or_default();
            match &mut self.resampler {
                Some(resampler) => resampler.process(piece, |sample| self.waiting.push(sample)),
                None => self.waiting.extend_from_slice(piece),
            }
            self.said += piece.len() as u64;
            self.at = end;
        }
    }

    /// Samples until the piece's time is up.
    fn left(&self) -> u64 {
        let limit = |limit: Duration| limit.as_millis() as u64 * u64::from(self.now.clip.rate()) / 1000;
        self.now.limit.map_or(u64::MAX, limit).saturating_sub(self.said)
    }

    /// Whether the piece was played as often and as long as it is to be.
    fn has_ended(&self) -> bool {
        let len = self.now.clip.samples().len();
        let last = self.now.times.is_some_and(|times| times <= 1);
        len == 0 || self.left() == 0 || (self.at >= len && last)
    }

    /// Begins the next piece; false when there is none.
    fn turn(&mut self) -> bool {
        while let Some(piece) = self.queued.pop_front() {
            let Some((_, resampler)) = coder(&piece.clip, self.format) else { continue };
            (self.now, self.resampler) = (piece, resampler);
            let waiting = std::mem::take(&mut self.waiting);
            self.rewind();
            self.waiting = waiting;
            return true;
        }
        false
    }
}

/// An encoder, and what brings the clip to its rate.
fn coder(clip: &Clip, format: Format) -> Option<(Box<dyn Encode>, Option<Resampler>)> {
    // Opus takes any of its rates; of a telephone's clip it need not be asked for more.
    let rate = if clip.rate() <= 16_000 { 16_000 } else { 48_000 };
    let encoder = format.encoder(rate)?;
    let resampler = Resampler::new(clip.rate(), encoder.rate());
    (resampler.is_some() || clip.rate() == encoder.rate()).then_some((encoder, resampler))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Coding, OpusParameters};
    use crate::transcode::Kind;

    fn format(coding: Coding, clock: u32) -> Format {
        Format { coding, clock, ptime: 20, opus: OpusParameters::default() }
    }

    fn piece(rate: u32, samples: usize, times: Option<u32>) -> Piece {
        let clip = Clip::new(rate, (0..samples).map(|at| (at as i16 % 100) * 50).collect::<Vec<_>>());
        Piece { clip: Arc::new(clip), start: Duration::ZERO, times, limit: None }
    }

    const FIRST: Made =
        Made { kind: Kind::Sound, marker: false, sequence_number: 65_535, timestamp: u32::MAX };

    /// All packets, with the time since the beginning.
    fn play(mut player: Player, most: usize) -> Vec<(Duration, Made, Vec<u8>)> {
        let start = player.due;
        let mut packets = Vec::new();
        while let Some(due) = player.poll_timeout().filter(|_| packets.len() < most) {
            if let Some((made, payload)) = player.next(due) {
                packets.push((due - start, made, payload.to_vec()));
            }
        }
        packets
    }

    #[test]
    fn packets_come_every_ptime_with_rising_numbers() {
        let now = crate::testing::start();
        let l16 = format(Coding::L16, 8000);
        let packets = play(Player::new(now, piece(8000, 800, Some(1)), l16, FIRST).unwrap(), 100);
        assert_eq!(packets.len(), 5);
        for (at, (due, made, payload)) in packets.iter().enumerate() {
            assert_eq!(due.as_millis(), 20 * at as u128);
            assert_eq!(made.sequence_number, FIRST.sequence_number.wrapping_add(at as u16));
            assert_eq!(made.timestamp, FIRST.timestamp.wrapping_add(160 * at as u32));
            assert_eq!((made.marker, payload.len()), (at == 0, 320));
        }
        let said: Vec<i16> = packets
            .iter()
            .flat_map(|it| it.2.chunks(2).map(|it| i16::from_be_bytes([it[0], it[1]])))
            .collect();
        assert_eq!(said, piece(8000, 800, None).clip.samples());
    }

    #[test]
    fn it_is_repeated_limited_and_begun_later() {
        let now = crate::testing::start();
        let millis = Duration::from_millis;
        for (times, start, limit, packets) in [
            (Some(1), 0, None, 5),
            (Some(3), 0, None, 15),
            // Of the first time a part is left out, of the others nothing.
            (Some(2), 40, None, 8),
            (Some(1), 100, None, 0),
            (Some(1), 5000, None, 0),
            (Some(9), 0, Some(120), 6),
            (None, 0, Some(1000), 50),
            (None, 0, None, 60),
        ] {
            let piece = Piece { start: millis(start), limit: limit.map(millis), ..piece(8000, 800, times) };
            let player = Player::new(now, piece, format(Coding::Pcmu, 8000), FIRST).unwrap();
            assert_eq!(play(player, 60).len(), packets, "{times:?} {start} {limit:?}");
        }
    }

    #[test]
    fn the_last_packet_is_filled_with_silence() {
        let player = Player::new(
            crate::testing::start(),
            piece(8000, 200, Some(1)),
            format(Coding::Pcmu, 8000),
            FIRST,
        );
        let packets = play(player.unwrap(), 100);
        assert_eq!(packets.len(), 2);
        assert!(packets[1].2.len() == 160 && packets[1].2[40..].iter().all(|octet| *octet == 0xff));
    }

    #[test]
    fn every_codec_hears_every_rate_at_its_length() {
        for rate in [8000, 11_025, 16_000, 22_050, 44_100, 48_000] {
            for (coding, clock, samples) in [
                (Coding::Pcmu, 8000, 160),
                (Coding::Pcma, 8000, 160),
                (Coding::G722, 8000, 160),
                (Coding::L16, 16_000, 320),
                (Coding::Opus, 48_000, 960),
            ] {
                let second = piece(rate, rate as usize, Some(1));
                let player =
                    Player::new(crate::testing::start(), second, format(coding, clock), FIRST).unwrap();
                let packets = play(player, 100);
                assert!((50..=51).contains(&packets.len()), "{rate} {coding:?}: {}", packets.len());
                assert_eq!(packets[1].1.timestamp.wrapping_sub(packets[0].1.timestamp), samples);
            }
        }
    }

    #[test]
    fn pieces_follow_each_other_and_are_bounded() {
        let now = crate::testing::start();
        let mut player =
            Player::new(now, piece(8000, 80, Some(1)), format(Coding::Pcmu, 8000), FIRST).unwrap();
        assert!(player.append(piece(16_000, 160, Some(2))));
        let packets = play(player, 100);
        assert!((2..=3).contains(&packets.len()), "10 ms and twice 10 ms: {}", packets.len());
        let mut player = Player::new(now, piece(8000, 80, None), format(Coding::Pcmu, 8000), FIRST).unwrap();
        let taken = (0..2 * MAX_QUEUED).filter(|_| player.append(piece(8000, 80, None))).count();
        assert_eq!(taken, MAX_QUEUED);
    }

    #[test]
    fn who_comes_late_does_not_send_a_burst() {
        let start = crate::testing::start();
        let mut player =
            Player::new(start, piece(8000, 8000, Some(1)), format(Coding::Pcmu, 8000), FIRST).unwrap();
        assert!(player.next(start).is_some());
        let late = start + Duration::from_secs(5);
        let mut burst = 0;
        while player.poll_timeout().is_some_and(|due| due <= late) {
            assert!(player.next(late).is_some());
            burst += 1;
        }
        assert_eq!(burst, 1);
    }
}
