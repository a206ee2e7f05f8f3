//! The calls that are open and the records that are on their way, in a file that survives this process: one JSON line for each
//! thing that happens. Each signalling thread has its own, so that none waits for another, and what it does in one turn is written
//! in one piece ([`Journal::flush`]), before anybody else hears of it.
//!
//! It is handed to the operating system and not to the disk: a process that is killed loses nothing, a power cut may cost the
//! last lines.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use signaling_core::event::Answerer;

use super::record::Record;
use crate::store::unix_now;

/// When the file is longer than this, and than twice what is still needed of it, it is written anew.
const LONG: u64 = 4 << 20;

/// Records that may be on their way, about a kilobyte each. One more is set aside ([`Journal::end`]).
const ROOM: usize = 100_000;

/// Bytes of records set aside that are taken up at once ([`Journal::take_up`]): some hundred of them.
const TAKEN_UP: u64 = 256 << 10;

/// Where records go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Destination {
    /// Rows of the database.
    Database,
    /// Lines of a file.
    File,
    /// Posted to a URL.
    Url,
}

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line<'a> {
    /// A call has begun.
    Open { record: Cow<'a, Record>, at: u64 },
    /// It was answered.
    Answered {
        call_id: Cow<'a, str>,
        from_tag: Cow<'a, str>,
        to_tag: Cow<'a, str>,
        dst_ip: Option<IpAddr>,
        at: u64,
    },
    /// A call is over, or more is known of it.
    Ended { record: Cow<'a, Record>, to: Cow<'a, [Destination]>, at: u64 },
    /// A record has reached a destination.
    Delivered { id: Cow<'a, str>, to: Destination, at: u64 },
    /// Nothing has happened, and this process still runs.
    Alive { at: u64 },
}

/// The open journal.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    wanted: Vec<Destination>,
    room: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    file: Option<File>,
    length: u64,
    /// Lines on their way to the file.
    unwritten: Vec<u8>,
    /// The calls that are open, by Call-ID: forks of one are few.
    open: HashMap<String, Vec<Record>>,
    /// The records that are on their way, by id.
    ended: HashMap<String, (Arc<Record>, Vec<Destination>)>,
    /// Those of them that have just ended.
    fresh: Vec<Arc<Record>>,
    /// Times that lines could not be written.
    failures: u64,
    /// Records that were set aside.
    aside: u64,
    /// Whether some of them may be in their file.
    waits_aside: bool,
}

/// A record from before, and where it is still to go.
pub type Left = Vec<(Arc<Record>, Vec<Destination>)>;

impl Journal {
    /// Opens the file, or makes it, and closes the calls that were open in it. Records go to `wanted`; also returned are those
    /// that have not reached all of it.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn open(path: &Path, wanted: &[Destination]) -> anyhow::Result<(Self, Left)> {
        let mut state = State::default();
        let last = state.read(path)?;
        let open: Vec<Record> = state.open.drain().flat_map(|(_, records)| records).collect();
        for record in open {
            let record = record.cut_short(last);
            tracing::warn!(call_id = record.call_id, "call was cut short: this process was killed");
            state.ended.insert(record.id(), (Arc::new(record), wanted.to_vec()));
        }
        state.ended.retain(|_, (_, to)| {
            to.retain(|destination| wanted.contains(destination));
            !to.is_empty()
        });
        let mut left: Left = state.ended.values().cloned().collect();
        left.sort_by_key(|(record, _)| record.end);
        let (file, wanted) = (path.to_owned(), wanted.to_vec());
        let journal = Self { path: file, wanted, room: ROOM, state: Mutex::new(State::default()) };
        state.rewrite(path).context("cannot be written")?;
        state.waits_aside = journal.aside_file().exists();
        *journal.lock() = state;
        Ok((journal, left))
    }

    /// The same where there are so many journals: each has its part of the room.
    #[must_use]
    pub fn one_of(self, journals: usize) -> Self {
        Self { room: (ROOM / journals.max(1)).max(1), ..self }
    }

    /// A call begins.
    pub fn begin(&self, record: Record) {
        let mut state = self.lock();
        state.note(&Line::Open { record: Cow::Borrowed(&record), at: unix_now() });
        state.put_open(record);
    }

    /// It was answered.
    pub fn answered(&self, call_id: &str, from_tag: &str, answerer: &Answerer, at: u64) {
        let mut state = self.lock();
        let Some(record) = state.take_open(call_id, from_tag) else { return };
        state.put_open(record.answered(answerer, at));
        let (call_id, from_tag) = (call_id.into(), from_tag.into());
        let (to_tag, dst_ip) = (answerer.to_tag.as_str().into(), answerer.dst_ip);
        state.note(&Line::Answered { call_id, from_tag, to_tag, dst_ip, at });
    }

    /// It is over. Whether its record may go on its way: while a destination takes nothing for so long that there is no room for
    /// more, it is to be set aside ([`Journal::set_aside`]).
    #[must_use]
    pub fn end(&self, record: &Arc<Record>, from_tag: &str) -> bool {
        let mut state = self.lock();
        // One that failed before it began here has no other entry.
        let _ = state.take_open(&record.call_id, from_tag);
        if state.ended.len() >= self.room {
            state.note(&Line::Ended {
                record: Cow::Borrowed(record),
                to: Cow::Borrowed(&[]),
                at: unix_now(),
            });
            return false;
        }
        self.put_ended(&mut state, record);
        state.fresh.push(Arc::clone(record));
        true
    }

    /// Writes a record that has no room to a file of JSON lines beside the journal (`.undelivered.jsonl`), from which it is taken up
    /// when there is room again ([`Journal::take_up`]).
    pub fn set_aside(&self, record: &Record) {
        let mut state = self.lock();
        state.aside += 1;
        state.waits_aside = true;
        let path = self.aside_file();
        let written = append(&path, record);
        if state.aside.is_power_of_two() || written.is_err() {
            let (records, path) = (state.aside, path.display());
            let error = written.err().map(|error| error.to_string());
            tracing::error!(records, error, "call records set aside in {path}: their destination takes none");
        }
        state.shorten(&self.path);
    }

    /// How many that were.
    #[must_use]
    pub fn aside(&self) -> u64 {
        self.lock().aside
    }

    /// Takes up some of the records that were set aside, those that were last, when half of the room is free. They are in the
    /// journal before they are out of their file, so that none is lost; one may come twice when this process is killed between
    /// the two.
    ///
    /// # Errors
    /// Their file cannot be read or shortened, or the journal not written: they stay where they are.
    pub fn take_up(&self) -> std::io::Result<Vec<Arc<Record>>> {
        let mut state = self.lock();
        if !state.waits_aside || state.ended.len() >= self.room / 2 {
            return Ok(Vec::new());
        }
        let path = self.aside_file();
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                state.waits_aside = false;
                return Ok(Vec::new());
            }
            Err(error) => return Err(error),
        };
        let (lines, from) = last_lines(&file, (self.room - state.ended.len()) / 2)?;
        let read = |line: &Vec<u8>| match serde_json::from_slice::<Record>(line) {
            Ok(record) => Some(Arc::new(record)),
            Err(error) => {
                tracing::error!(%error, "line of {} not understood, and left out", path.display());
                None
            }
        };
        let records: Vec<_> = lines.iter().filter_map(read).collect();
        for record in &records {
            self.put_ended(&mut state, record);
        }
        state.try_write(&self.path)?;
        state.unwritten.clear();
        file.set_len(from)?;
        if from == 0 {
            state.waits_aside = false;
            std::fs::remove_file(&path)?;
        }
        Ok(records)
    }

    fn aside_file(&self) -> PathBuf {
        self.path.with_extension("undelivered.jsonl")
    }

    /// The calls that have ended since this was asked last.
    #[must_use]
    pub fn take_fresh(&self) -> Vec<Arc<Record>> {
        std::mem::take(&mut self.lock().fresh)
    }

    /// More is known of a call that is over. Whether it is one of this journal.
    pub fn filled(&self, record: &Arc<Record>) -> bool {
        let mut state = self.lock();
        let known = state.ended.contains_key(&record.id());
        if known {
            self.put_ended(&mut state, record);
        }
        known
    }

    /// Those of these records that are of this journal have reached `to`.
    pub fn delivered(&self, records: &[Arc<Record>], to: Destination) {
        let mut state = self.lock();
        for record in records {
            let id = record.id();
            let Some((_, left)) = state.ended.get_mut(&id) else { continue };
            left.retain(|destination| *destination != to);
            if left.is_empty() {
                state.ended.remove(&id);
            }
            state.note(&Line::Delivered { id: id.into(), to, at: unix_now() });
        }
        state.write(&self.path);
        state.shorten(&self.path);
    }

    /// Notes the time while calls are open.
    pub fn still_alive(&self) {
        let mut state = self.lock();
        if !state.open.is_empty() {
            state.note(&Line::Alive { at: unix_now() });
            state.write(&self.path);
        }
    }

    /// Writes what was noted.
    pub fn flush(&self) {
        self.lock().write(&self.path);
    }

    /// The calls that are going on.
    #[must_use]
    pub fn open_calls(&self) -> Vec<Record> {
        self.lock().open.values().flatten().cloned().collect()
    }

    /// Records on their way.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.lock().ended.len()
    }

    fn put_ended(&self, state: &mut State, record: &Arc<Record>) {
        state.ended.insert(record.id(), (Arc::clone(record), self.wanted.clone()));
        let (record, to) = (Cow::Borrowed(&**record), Cow::Borrowed(&*self.wanted));
        state.note(&Line::Ended { record, to, at: unix_now() });
    }

    /// Nothing that is done under the lock can panic half-way.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn put_open(&mut self, record: Record) {
        self.open.entry(record.call_id.clone()).or_default().push(record);
    }

    fn take_open(&mut self, call_id: &str, from_tag: &str) -> Option<Record> {
        let records = self.open.get_mut(call_id)?;
        let at = records.iter().position(|record| record.from_tag == from_tag)?;
        let record = records.swap_remove(at);
        if records.is_empty() {
            self.open.remove(call_id);
        }
        Some(record)
    }

    /// Takes what is in the file, and returns when its last line was written. The last line may have been cut off.
    fn read(&mut self, path: &Path) -> anyhow::Result<u64> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        let mut last = 0;
        for line in BufReader::new(file).split(b'\n') {
            let line = line?;
            if line.is_empty() {
                continue;
            }
            match serde_json::from_slice::<Line<'_>>(&line) {
                Ok(line) => last = last.max(self.apply(line)),
                Err(error) => tracing::warn!(%error, "line of the journal of calls not understood"),
            }
        }
        Ok(last)
    }

    fn apply(&mut self, line: Line<'_>) -> u64 {
        match line {
            Line::Open { record, at } => {
                let _ = self.take_open(&record.call_id, &record.from_tag);
                self.put_open(record.into_owned());
                at
            }
            Line::Answered { call_id, from_tag, to_tag, dst_ip, at } => {
                if let Some(record) = self.take_open(&call_id, &from_tag) {
                    self.put_open(record.answered(&Answerer { to_tag: to_tag.into_owned(), dst_ip }, at));
                }
                at
            }
            Line::Ended { record, to, at } => {
                let _ = self.take_open(&record.call_id, &record.from_tag);
                self.ended.insert(record.id(), (Arc::new(record.into_owned()), to.into_owned()));
                at
            }
            Line::Delivered { id, to, at } => {
                if let Some((_, left)) = self.ended.get_mut(&*id) {
                    left.retain(|destination| *destination != to);
                    if left.is_empty() {
                        self.ended.remove(&*id);
                    }
                }
                at
            }
            Line::Alive { at } => at,
        }
    }

    fn note(&mut self, line: &Line<'_>) {
        if let Err(error) = serde_json::to_writer(&mut self.unwritten, line) {
            tracing::error!(%error, "line of the journal of calls cannot be said");
        }
        self.unwritten.push(b'\n');
    }

    /// A disk that is full costs records of calls that are killed, not the calls.
    fn write(&mut self, path: &Path) {
        if self.unwritten.is_empty() {
            return;
        }
        if let Err(error) = self.try_write(path) {
            self.failures += 1;
            if self.failures.is_power_of_two() {
                let failures = self.failures;
                tracing::error!(%error, failures, "journal of calls {} not written", path.display());
            }
            // Half a line may be there: the next is not to be its end.
            self.unwritten.clear();
            self.unwritten.push(b'\n');
            return;
        }
        self.unwritten.clear();
    }

    fn try_write(&mut self, path: &Path) -> std::io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(options().append(true).create(true).open(path)?),
        };
        file.write_all(&self.unwritten)?;
        self.length += self.unwritten.len() as u64;
        Ok(())
    }

    fn shorten(&mut self, path: &Path) {
        // Some 700 bytes a line.
        let needed = 1024 * (self.open.len() + self.ended.len()) as u64;
        if self.length > LONG.max(2 * needed)
            && let Err(error) = self.rewrite(path)
        {
            tracing::error!(%error, "journal of calls {} not shortened", path.display());
        }
    }

    /// Replaces the file by one with only what is needed.
    fn rewrite(&mut self, path: &Path) -> std::io::Result<()> {
        let part = path.with_extension("part");
        let mut file = options().write(true).truncate(true).create(true).open(&part)?;
        let (mut bytes, at) = (Vec::new(), unix_now());
        let open = self.open.values().flatten();
        let open = open.map(|record| Line::Open { record: Cow::Borrowed(record), at });
        let ended = self.ended.values().map(|(record, to)| {
            let (record, to) = (Cow::Borrowed(&**record), Cow::Borrowed(&**to));
            Line::Ended { record, to, at }
        });
        for line in open.chain(ended) {
            serde_json::to_writer(&mut bytes, &line)?;
            bytes.push(b'\n');
        }
        file.write_all(&bytes)?;
        std::fs::rename(&part, path)?;
        self.file = Some(options().append(true).open(path)?);
        self.length = bytes.len() as u64;
        Ok(())
    }
}

/// The last lines of a file, at most `most` and about [`TAKEN_UP`] bytes, and where they begin.
fn last_lines(file: &File, most: usize) -> std::io::Result<(Vec<Vec<u8>>, u64)> {
    use std::os::unix::fs::FileExt as _;
    let length = file.metadata()?.len();
    let mut from = length.saturating_sub(TAKEN_UP);
    let mut bytes = vec![0; usize::try_from(length - from).unwrap_or(0)];
    file.read_exact_at(&mut bytes, from)?;
    let mut pieces: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    // What the first of many bytes belong to has begun before them.
    let passed = pieces.len().saturating_sub(most.max(1)).max(usize::from(from > 0));
    if passed >= pieces.len() && length > 0 {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "a line longer than any record"));
    }
    from += pieces.drain(..passed).map(|piece| piece.len() as u64).sum::<u64>();
    let lines = pieces.into_iter().map(|piece| piece.trim_ascii().to_vec()).filter(|line| !line.is_empty());
    Ok((lines.collect(), from))
}

fn append(path: &Path, record: &Record) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(record)?;
    line.push(b'\n');
    options().append(true).create(true).open(path)?.write_all(&line)
}

/// Who calls whom is for the owner only.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}
