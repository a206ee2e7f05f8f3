//! Recordings to be listened to: WAV files.

use std::fs::File;
use std::io::{BufWriter, Error, Seek as _, SeekFrom, Write as _};
use std::time::Instant;

use media_core::codec::wav;
use media_core::command::RecordedPacket;
use media_core::tape::{RATE, Tape};

use super::RecordingMethod;
use super::files::{Shelf, suffixes};

/// The longest file: its header has 32 bits for it.
const MAX_DATA: u32 = u32::MAX - 1024;

/// A recording in the making.
pub(super) struct Sound {
    tape: Tape,
    layout: RecordingMethod,
    files: Vec<Wav>,
}

struct Wav {
    file: BufWriter<File>,
    channels: u16,
    written: u32,
}

impl Sound {
    pub(super) fn open(
        shelf: &Shelf,
        name: &str,
        layout: RecordingMethod,
        start: Instant,
    ) -> std::io::Result<Self> {
        let channels = if layout == RecordingMethod::Stereo { 2 } else { 1 };
        let open = |suffix: &&str| {
            let mut file = BufWriter::new(shelf.create(name, suffix)?);
            // Until the end its length is that of a pipe: what there is can be heard whatever happens to us.
            file.write_all(&wav::header(channels, RATE, u32::MAX))?;
            Ok(Wav { file, channels, written: 0 })
        };
        let files: std::io::Result<Vec<Wav>> = suffixes(layout).iter().map(open).collect();
        Ok(Self { tape: Tape::new(start), layout, files: files? })
    }

    pub(super) fn take(&mut self, packet: &RecordedPacket) -> std::io::Result<()> {
        if let Some((header, format)) = packet.sound
            && let Ok(payload) = header.payload(&packet.octets)
        {
            self.tape.take(packet.now, usize::from(!packet.caller), format, header, payload);
        }
        let (layout, files) = (self.layout, &mut self.files);
        let mut result = Ok(());
        self.tape.give(packet.now, &mut |frames| keep(&mut result, write(layout, files, frames)));
        result
    }

    pub(super) fn flush(&mut self) -> std::io::Result<()> {
        self.files.iter_mut().try_for_each(|wav| wav.file.flush())
    }

    pub(super) fn finish(mut self, now: Instant) -> std::io::Result<()> {
        let (layout, files) = (self.layout, &mut self.files);
        let mut result = Ok(());
        self.tape.finish(now, &mut |frames| keep(&mut result, write(layout, files, frames)));
        result?;
        for wav in &mut self.files {
            wav.file.seek(SeekFrom::Start(0))?;
            wav.file.write_all(&wav::header(wav.channels, RATE, wav.written))?;
            wav.file.flush()?;
        }
        Ok(())
    }
}

/// The first failure is the one that counts.
fn keep(result: &mut std::io::Result<()>, next: std::io::Result<()>) {
    if result.is_ok() {
        *result = next;
    }
}

fn write(layout: RecordingMethod, files: &mut [Wav], frames: &[[i16; 2]]) -> std::io::Result<()> {
    for (side, wav) in files.iter_mut().enumerate() {
        let octets: Vec<u8> = match layout {
            RecordingMethod::Stereo => frames.iter().flatten().flat_map(|it| it.to_le_bytes()).collect(),
            RecordingMethod::Mixed => {
                frames.iter().flat_map(|[a, b]| a.saturating_add(*b).to_le_bytes()).collect()
            }
            _ => frames.iter().flat_map(|frame| frame[side].to_le_bytes()).collect(),
        };
        let len = octets.len() as u32;
        if wav.written > MAX_DATA - len {
            return Err(Error::other("the file is as long as a WAV file can be"));
        }
        wav.file.write_all(&octets)?;
        wav.written += len;
    }
    Ok(())
}
