//! The sounds of the gateway's own: a melody for whoever is on hold, and the tone that says that a call is recorded. They
//! are files, so that an operator puts others in their place.

use std::collections::BTreeMap;
use std::f64::consts::PI;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use media::command::WavClip;

use crate::config::{Config, Sound};

const RATE: u32 = 16_000;

/// A broken chord over four harmonies, in semitones above A3; each note lasts [`NOTE`].
const MELODY: [[i32; 4]; 4] = [[3, 7, 10, 15], [0, 3, 7, 12], [-4, 0, 3, 8], [-2, 2, 5, 10]];
const NOTE: f64 = 0.3;

/// Where the sounds lie that the settings name, made where they are the gateway's own and missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sounds {
    /// What an end hears that is on hold.
    pub music_on_hold: Option<String>,
    /// What both ends hear when a recording begins.
    pub recording_notice: Option<String>,
    /// What a caller hears before a final response with this code.
    pub announcements: BTreeMap<u16, String>,
}

impl Sounds {
    /// Those of `config`.
    ///
    /// # Errors
    /// The directory of sounds cannot be written.
    pub fn open(config: &Config) -> anyhow::Result<Self> {
        let directory = std::path::absolute(config.data_directory.join("sounds"))?;
        let file = |sound: &Sound, name: &str, make: fn() -> WavClip| match sound {
            Sound::Off => Ok(None),
            Sound::File(path) => Ok(Some(path.clone())),
            Sound::Own => own(&directory, name, make).map(|path| Some(path.to_string_lossy().into_owned())),
        };
        let announcement = |(code, sound): (&u16, &Sound)| {
            let (name, make): (_, fn() -> WavClip) = match code {
                404 | 410 | 484 | 604 => ("unobtainable.wav", unobtainable),
                486 | 600 => ("busy.wav", busy),
                _ => ("congestion.wav", congestion),
            };
            file(sound, name, make).map(|path| path.map(|path| (*code, path))).transpose()
        };
        Ok(Self {
            announcements: config.announcements.iter().filter_map(announcement).collect::<Result<_, _>>()?,
            music_on_hold: file(&config.music_on_hold, "music-on-hold.wav", melody)?,
            recording_notice: file(&config.recording_notice, "recording-notice.wav", notice)?,
        })
    }
}

/// A file of ours, made when it is missing: one that is there may be the operator's.
fn own(directory: &Path, name: &str, make: fn() -> WavClip) -> anyhow::Result<PathBuf> {
    let path = directory.join(name);
    if !path.exists() {
        std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
        std::fs::write(&path, make().to_file()).with_context(|| path.display().to_string())?;
    }
    Ok(path)
}

fn melody() -> WavClip {
    let notes = MELODY.iter().flat_map(|chord| [0, 1, 2, 3, 2, 1, 2, 1].map(|at| chord[at]));
    let frequencies: Vec<f64> = notes.map(|note| 220.0 * 2f64.powf(f64::from(note) / 12.0)).collect();
    let length = (NOTE * f64::from(RATE)) as usize;
    let samples = (0..frequencies.len() * length).map(|at| {
        let time = (at % length) as f64 / f64::from(RATE);
        // What is struck fades; the note before it still rings, so that nothing clicks.
        let struck = pluck(frequencies[at / length], time);
        let before = frequencies[(at / length + frequencies.len() - 1) % frequencies.len()];
        ((struck + pluck(before, time + NOTE)) * 7000.0) as i16
    });
    WavClip::new(RATE, samples.collect::<Vec<_>>())
}

fn pluck(frequency: f64, time: f64) -> f64 {
    let turn = 2.0 * PI * frequency * time;
    let overtones = turn.sin() + 0.4 * (2.0 * turn).sin() + 0.15 * (3.0 * turn).sin();
    overtones * (time / 0.01).min(1.0) * (-time * 5.0).exp()
}

/// "This call is being recorded", as Flite (voice slt) says it, and before that 1400 Hz for those who do not understand it:
/// the sign of recorders on telephone lines for decades.
fn notice() -> WavClip {
    /// At [`RATE`].
    const SPOKEN: &[u8] = include_bytes!("sounds/recording-notice.wav");
    let tone = tones(&[(1400.0, 0.4)]);
    let spoken = WavClip::parse(SPOKEN);
    let words = spoken.iter().flat_map(|clip| clip.samples());
    WavClip::new(RATE, tone.samples().iter().chain(words).copied().collect::<Vec<_>>())
}

/// The special information tone of ITU-T E.180, twice: the number leads nowhere.
fn unobtainable() -> WavClip {
    tones(&[(950.0, 0.33), (1400.0, 0.33), (1800.0, 0.33), (0.0, 1.0)].repeat(2))
}

/// The busy tone of ITU-T E.180 for four seconds.
fn busy() -> WavClip {
    tones(&[(425.0, 0.5), (0.0, 0.5)].repeat(4))
}

/// The congestion tone of ITU-T E.180 for three seconds.
fn congestion() -> WavClip {
    tones(&[(425.0, 0.25), (0.0, 0.25)].repeat(6))
}

/// Tones of so many hertz and seconds, one after the other, with edges that do not click; 0 Hz is silence.
fn tones(tones: &[(f64, f64)]) -> WavClip {
    let tone = |&(hertz, seconds): &(f64, f64)| {
        (0..(seconds * f64::from(RATE)) as u32).map(move |at| {
            let time = f64::from(at) / f64::from(RATE);
            let edge = (time / 0.01).min((seconds - time) / 0.01).min(1.0);
            ((2.0 * PI * hertz * time).sin() * edge * 6000.0) as i16
        })
    };
    WavClip::new(RATE, tones.iter().flat_map(tone).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sounds_are_made_once_and_an_operators_stay() {
        let directory = tempfile::tempdir().unwrap();
        let text = format!("[general]\ndata_directory = \"{}\"\n", directory.path().display());
        let config = Config::parse(&text, "test").unwrap();
        let sounds = Sounds::open(&config).unwrap();
        let music = PathBuf::from(sounds.music_on_hold.clone().unwrap());
        let clip = WavClip::parse(&std::fs::read(&music).unwrap()).unwrap();
        assert!((9_000..10_000).contains(&clip.millis()));
        let loudest = clip.samples().iter().map(|sample| sample.unsigned_abs()).max().unwrap();
        assert!((5_000..20_000).contains(&loudest), "{loudest}");
        let step = clip.samples().windows(2).map(|pair| pair[0].abs_diff(pair[1])).max().unwrap();
        assert!(step < 6_000, "it clicks: {step}");
        std::fs::write(&music, b"mine").unwrap();
        assert_eq!(Sounds::open(&config).unwrap(), sounds);
        assert_eq!(std::fs::read(&music).unwrap(), b"mine");
        let text = format!("{text}[media]\nmusic_on_hold = \"off\"\n[recording]\nnotice = \"/x/y.wav\"\n");
        let sounds = Sounds::open(&Config::parse(&text, "test").unwrap()).unwrap();
        assert_eq!((sounds.music_on_hold, sounds.recording_notice.as_deref()), (None, Some("/x/y.wav")));
    }

    #[test]
    fn the_notice_is_a_tone_and_then_words() {
        let notice = notice();
        assert_eq!((notice.rate(), notice.millis().div_ceil(100)), (RATE, 29));
        let (tone, words) = notice.samples().split_at(RATE as usize * 2 / 5);
        // A tone crosses zero at even distances, and speech does not; both are loud enough.
        let crossings =
            |samples: &[i16]| samples.windows(2).filter(|pair| (pair[0] < 0) != (pair[1] < 0)).count();
        assert!((1110..=1130).contains(&crossings(tone)), "{}", crossings(tone));
        let pieces: Vec<usize> = words.chunks(RATE as usize / 10).map(crossings).collect();
        assert!(pieces.iter().max() > pieces.iter().min().map(|least| least + 50).as_ref(), "{pieces:?}");
        assert!(words.iter().map(|sample| sample.unsigned_abs()).max() > Some(8_000));
    }

    #[test]
    fn every_code_has_its_announcement() {
        let directory = tempfile::tempdir().unwrap();
        let text = format!(
            "[general]\ndata_directory = \"{}\"\n[media]\nannouncements = ",
            directory.path().display()
        );
        let list = r#"["404=default", "480 = /x/away.wav", "486=default", "503=default", "603=off"]"#;
        let sounds = Sounds::open(&Config::parse(&format!("{text}{list}\n"), "test").unwrap()).unwrap();
        let named: Vec<(u16, &str)> = sounds
            .announcements
            .iter()
            .map(|(code, path)| (*code, path.rsplit('/').next().unwrap()))
            .collect();
        assert_eq!(
            named,
            [(404, "unobtainable.wav"), (480, "away.wav"), (486, "busy.wav"), (503, "congestion.wav")]
        );
        for (code, seconds) in [(404, 4), (486, 4), (503, 3)] {
            let clip = WavClip::parse(&std::fs::read(&sounds.announcements[&code]).unwrap()).unwrap();
            assert_eq!(clip.millis().div_ceil(1000), seconds, "{code}");
            let step = clip.samples().windows(2).map(|pair| pair[0].abs_diff(pair[1])).max().unwrap();
            assert!(step < 6_000, "{code} clicks: {step}");
        }
        for wrong in ["[\"404\"]", "[\"200=default\"]", "[\"x=default\"]", "\"404=default\""] {
            assert!(Config::parse(&format!("{text}{wrong}\n"), "test").is_err(), "{wrong}");
        }
    }
}
