//! The header fields and body of a message: an index into the received bytes, and edits kept beside them.
//!
//! A field is a pair of offsets until somebody changes it; writing copies runs of untouched fields in one piece, so
//! what is not touched goes out byte for byte and in order.

use std::borrow::Cow;

use bytes::Bytes;

use super::HeaderError;
use super::header::{CSeq, From, Header, To, Via};
use super::name::{Name, NameId};
use super::scan::{self, Values};

/// Header fields and body: what requests and responses have in common.
#[derive(Clone, Default)]
pub struct Fields {
    /// The message as received, start line first, without anything after the body. Empty for one built here.
    pub(super) source: Bytes,
    pub(super) fields: Vec<Field>,
    pub(super) body: Bytes,
    /// Whether writing can hand out `source` as it is.
    pub(super) edited: bool,
}

/// One header line: offsets into `owned` if that is there, else into the source.
#[derive(Clone)]
pub(super) struct Field {
    pub(super) id: NameId,
    pub(super) owned: Option<Box<[u8]>>,
    /// The line from its first byte to behind its last CRLF, folded lines included.
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) name_end: u32,
    /// The value without white space around it.
    pub(super) value_start: u32,
    pub(super) value_end: u32,
}

impl Field {
    fn buffer<'a>(&'a self, source: &'a [u8]) -> &'a [u8] {
        self.owned.as_deref().unwrap_or(source)
    }

    fn line<'a>(&'a self, source: &'a [u8]) -> &'a [u8] {
        &self.buffer(source)[self.start as usize..self.end as usize]
    }

    fn name<'a>(&'a self, source: &'a [u8]) -> &'a [u8] {
        &self.buffer(source)[self.start as usize..self.name_end as usize]
    }

    pub(super) fn value<'a>(&'a self, source: &'a [u8]) -> &'a [u8] {
        &self.buffer(source)[self.value_start as usize..self.value_end as usize]
    }

    /// Whether the line is one, and its colon stands right behind the name: not every peer reads others.
    fn is_plain(&self, source: &[u8]) -> bool {
        let line = self.line(source);
        let colon = (self.name_end - self.start) as usize;
        line.get(colon) == Some(&b':') && memchr::memchr(b'\n', line) == line.len().checked_sub(1)
    }

    /// A line of our own. CR, LF and NUL of `value` become spaces: a value can never start a header of its own. A NUL that is
    /// escaped stays, as it was received.
    fn new(name: &[u8], id: NameId, value: &[u8]) -> Self {
        let mut line = Vec::with_capacity(name.len() + value.len() + 4);
        line.extend_from_slice(name);
        line.extend_from_slice(b": ");
        let value = scan::trim(value);
        if memchr::memchr3(b'\r', b'\n', 0, value).is_none() {
            line.extend_from_slice(value);
        } else {
            line.extend(value.iter().enumerate().map(|(at, &byte)| match byte {
                b'\r' | b'\n' => b' ',
                0 if at == 0 || value[at - 1] != b'\\' => b' ',
                byte => byte,
            }));
        }
        line.extend_from_slice(b"\r\n");
        let end = line.len() as u32;
        let name_end = name.len() as u32;
        Self {
            id,
            owned: Some(line.into_boxed_slice()),
            start: 0,
            end,
            name_end,
            value_start: name_end + 2,
            value_end: end - 2,
        }
    }

    fn has_name(&self, wanted: Wanted<'_>, source: &[u8]) -> bool {
        self.id == wanted.id
            && (self.id != NameId::OTHER || self.name(source).eq_ignore_ascii_case(wanted.text.as_bytes()))
    }
}

impl Fields {
    /// Those of a message that is made here, with room for what most have.
    pub(super) fn made() -> Self {
        Self { fields: Vec::with_capacity(12), edited: true, ..Self::default() }
    }
}

/// Reading.
impl Fields {
    /// The value of the first field `name`, white space around it removed, folding left in.
    #[must_use]
    pub fn raw(&self, name: Name<'_>) -> Option<&[u8]> {
        self.raw_all(name).next()
    }

    /// [`Fields::raw`] as text; `None` also when it is not UTF-8.
    #[must_use]
    pub fn text(&self, name: Name<'_>) -> Option<&str> {
        std::str::from_utf8(self.raw(name)?).ok()
    }

    /// The value of each field line `name`, in order.
    pub fn raw_all<'a, 'n>(&'a self, name: Name<'n>) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        let name = Wanted::new(name);
        self.fields
            .iter()
            .filter(move |field| field.has_name(name, &self.source))
            .map(move |field| field.value(&self.source))
    }

    /// The single values of all fields `name`, in order, with commas taken apart where the field is a list.
    pub fn values<'a, 'n>(&'a self, name: Name<'n>) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        let split = name.id().is_list();
        self.raw_all(name).flat_map(move |value| Values::new(value, split))
    }

    /// Whether one of the values of `name` is `token`, without regard to case (`Supported: path`).
    #[must_use]
    pub fn has_token(&self, name: Name<'_>, token: &str) -> bool {
        self.values(name).any(|value| value.eq_ignore_ascii_case(token.as_bytes()))
    }

    /// Every field as name (as spelled) and value, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Cow<'_, str>, &[u8])> + '_ {
        self.fields
            .iter()
            .map(|field| (String::from_utf8_lossy(field.name(&self.source)), field.value(&self.source)))
    }

    /// Whether a field `name` is there.
    #[must_use]
    pub fn contains(&self, name: Name<'_>) -> bool {
        self.raw(name).is_some()
    }

    /// Number of field lines.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there is no field at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The first value of a typed header; `Ok(None)` when it is absent.
    ///
    /// # Errors
    /// When the value does not parse.
    pub fn get<'a, H: Header<'a> + 'a>(&'a self) -> Result<Option<H>, HeaderError> {
        let split = H::NAME.id().is_list();
        let first = self.raw_all(H::NAME).find_map(|value| Values::new(value, split).next());
        first.map(H::parse).transpose()
    }

    /// Every value of a typed header, in order.
    pub fn all<'a, H: Header<'a> + 'a>(&'a self) -> impl Iterator<Item = Result<H, HeaderError>> + 'a {
        self.values(H::NAME).map(H::parse)
    }

    /// Like [`Fields::get`], for a header that must be there.
    ///
    /// # Errors
    /// When it is absent or does not parse.
    pub fn require<'a, H: Header<'a> + 'a>(&'a self) -> Result<H, HeaderError> {
        self.get::<H>()?.ok_or(HeaderError::new(H::NAME.as_str(), "is missing"))
    }

    /// The topmost Via.
    ///
    /// # Errors
    /// When it is absent or does not parse.
    pub fn top_via(&self) -> Result<Via<'_>, HeaderError> {
        self.require()
    }

    /// The From header.
    ///
    /// # Errors
    /// When it is absent or does not parse.
    pub fn from_header(&self) -> Result<From<'_>, HeaderError> {
        self.require()
    }

    /// The To header.
    ///
    /// # Errors
    /// When it is absent or does not parse.
    pub fn to_header(&self) -> Result<To<'_>, HeaderError> {
        self.require()
    }

    /// The CSeq header.
    ///
    /// # Errors
    /// When it is absent or does not parse.
    pub fn cseq(&self) -> Result<CSeq<'_>, HeaderError> {
        self.require()
    }

    /// The Call-ID; empty when it is absent or not UTF-8, which [`super::Message::parse`] refuses.
    #[must_use]
    pub fn call_id(&self) -> &str {
        self.text(Name::CallId).unwrap_or_default()
    }

    /// The From tag; `None` when absent (RFC 2543 clients).
    #[must_use]
    pub fn from_tag(&self) -> Option<&str> {
        let value = self.raw(Name::From)?;
        plain_tag(value).unwrap_or_else(|| self.from_header().ok()?.tag())
    }

    /// The To tag; its presence in a request means "within a dialog" (RFC 3261 §12.2).
    #[must_use]
    pub fn to_tag(&self) -> Option<&str> {
        let value = self.raw(Name::To)?;
        plain_tag(value).unwrap_or_else(|| self.to_header().ok()?.tag())
    }

    /// The body, empty when there is none.
    #[must_use]
    pub const fn body(&self) -> &Bytes {
        &self.body
    }
}

/// Editing. Every value given is written on one line: line breaks in it become spaces.
impl Fields {
    /// Adds a field above the first one of its name; without such, above all others.
    pub fn prepend(&mut self, name: Name<'_>, value: impl AsRef<[u8]>) {
        let at = self.position(name).unwrap_or(0);
        self.insert(at, name, value.as_ref());
    }

    /// Adds a field below the last one of its name; without such, below all others.
    pub fn append(&mut self, name: Name<'_>, value: impl AsRef<[u8]>) {
        let wanted = Wanted::new(name);
        let last = self.fields.iter().rposition(|field| field.has_name(wanted, &self.source));
        let at = last.map_or(self.fields.len(), |at| at + 1);
        self.insert(at, name, value.as_ref());
    }

    /// Adds a field below all others.
    pub fn push(&mut self, name: Name<'_>, value: impl AsRef<[u8]>) {
        self.insert(self.fields.len(), name, value.as_ref());
    }

    /// Leaves exactly one field `name`, in the place of the first one, else below all others.
    pub fn set(&mut self, name: Name<'_>, value: impl AsRef<[u8]>) {
        let Some(at) = self.position(name) else {
            return self.push(name, value);
        };
        self.rewrite(at, value.as_ref());
        let (name, source) = (Wanted::new(name), &self.source);
        let mut index = 0;
        self.fields.retain(|field| {
            index += 1;
            index - 1 == at || !field.has_name(name, source)
        });
    }

    /// Removes every field `name` and says how many lines that were.
    pub fn remove(&mut self, name: Name<'_>) -> usize {
        let (name, before, source) = (Wanted::new(name), self.fields.len(), &self.source);
        self.fields.retain(|field| !field.has_name(name, source));
        self.edited |= before != self.fields.len();
        before - self.fields.len()
    }

    /// Replaces the `index`-th single value of `name` (counted as [`Fields::values`] does); `false` if there is none.
    pub fn replace_value(&mut self, name: Name<'_>, index: usize, value: impl AsRef<[u8]>) -> bool {
        self.edit_value(name, index, Some(value.as_ref()))
    }

    /// Removes the `index`-th single value of `name`, and its line if nothing is left in it; `false` if there is none.
    pub fn remove_value(&mut self, name: Name<'_>, index: usize) -> bool {
        self.edit_value(name, index, None)
    }

    /// Removes the topmost value of `name`: the Via of a response, the Route that names this proxy.
    pub fn remove_first_value(&mut self, name: Name<'_>) -> bool {
        self.remove_value(name, 0)
    }

    /// Keeps only the single values of `name` that `keep` accepts. Lines from which nothing goes stay untouched.
    pub fn retain_values(&mut self, name: Name<'_>, mut keep: impl FnMut(&[u8]) -> bool) {
        let name = Wanted::new(name);
        let mut at = 0;
        while at < self.fields.len() {
            if !self.fields[at].has_name(name, &self.source) {
                at += 1;
                continue;
            }
            let all: Vec<&[u8]> =
                Values::new(self.fields[at].value(&self.source), name.id.is_list()).collect();
            let kept: Vec<&[u8]> = all.iter().copied().filter(|value| keep(value)).collect();
            if kept.len() != all.len() {
                let joined = kept.join(&b", "[..]);
                if !self.rewrite_or_remove(at, &joined) {
                    continue;
                }
            }
            at += 1;
        }
    }

    /// Replaces each single value of `name` for which `edit` has another one, in one pass however many there are. Lines in
    /// which nothing changes stay untouched.
    pub fn edit_values(&mut self, name: Name<'_>, mut edit: impl FnMut(&[u8]) -> Option<Vec<u8>>) {
        let name = Wanted::new(name);
        for at in 0..self.fields.len() {
            if !self.fields[at].has_name(name, &self.source) {
                continue;
            }
            let mut changed = false;
            let values = Values::new(self.fields[at].value(&self.source), name.id.is_list()).map(|value| {
                let new = edit(value);
                changed |= new.is_some();
                new.map_or(Cow::Borrowed(value), Cow::Owned)
            });
            let joined = values.collect::<Vec<_>>().join(&b", "[..]);
            if changed {
                self.rewrite(at, &joined);
            }
        }
    }

    /// Puts another body in place, with its type, and Content-Length right. An empty `body` takes the headers that
    /// describe a body with it.
    pub fn set_body(&mut self, content_type: &str, body: Bytes) {
        if body.is_empty() {
            for name in
                [Name::ContentType, Name::ContentEncoding, Name::ContentDisposition, Name::ContentLanguage]
            {
                self.remove(name);
            }
        } else if self.text(Name::ContentType) != Some(content_type) {
            self.set(Name::ContentType, content_type);
        }
        self.body = body;
        self.edited = true;
        self.set(Name::ContentLength, self.body.len().to_string());
    }

    /// Adds Content-Length where it is missing: a datagram may come without, a stream may not go without
    /// (RFC 3261 §18.3).
    pub fn ensure_content_length(&mut self) {
        if !self.contains(Name::ContentLength) {
            self.push(Name::ContentLength, self.body.len().to_string());
        }
    }

    /// Writes every name in its compact form (RFC 3261 §7.3.3), which makes a message of many fields some 80 bytes shorter.
    pub fn compact(&mut self) {
        for field in &mut self.fields {
            let Some(letter) = field.id.compact() else { continue };
            if field.name(&self.source).len() > 1 {
                *field = Field::new(&[letter], field.id, field.value(&self.source));
                self.edited = true;
            }
        }
    }

    /// Copies every line of `name` from `other` behind the fields here, spelled as there (RFC 3261 §8.2.6.2), a folded one as
    /// one line. The bytes are shared where all that are received here come from the same message.
    pub fn copy_from(&mut self, other: &Self, name: Name<'_>) {
        let name = Wanted::new(name);
        if self.source.is_empty() {
            self.source = other.source.clone();
        }
        let shared = self.source.as_ptr_range() == other.source.as_ptr_range();
        for field in other.fields.iter().filter(|field| field.has_name(name, &other.source)) {
            self.fields.push(if field.owned.is_some() || (shared && field.is_plain(&other.source)) {
                field.clone()
            } else {
                Field::new(field.name(&other.source), field.id, field.value(&other.source))
            });
        }
        self.edited = true;
    }

    fn insert(&mut self, at: usize, name: Name<'_>, value: &[u8]) {
        let name = Wanted::new(name);
        self.fields.insert(at, Field::new(name.text.as_bytes(), name.id, value));
        self.edited = true;
    }

    /// Where the value of the first field `name` stands in the source; `None` when it is not as it came.
    pub(super) fn place(&self, name: Name<'_>) -> Option<(u32, u32)> {
        let field = &self.fields[self.position(name)?];
        field.owned.is_none().then_some((field.value_start, field.value_end))
    }

    fn position(&self, name: Name<'_>) -> Option<usize> {
        let name = Wanted::new(name);
        self.fields.iter().position(|field| field.has_name(name, &self.source))
    }

    /// Gives the field at `at` another value, keeping its name as spelled.
    fn rewrite(&mut self, at: usize, value: &[u8]) {
        let field = &self.fields[at];
        let line = Field::new(field.name(&self.source), field.id, value);
        self.fields[at] = line;
        self.edited = true;
    }

    /// As [`Fields::rewrite`], but an empty value removes the line; `false` then.
    fn rewrite_or_remove(&mut self, at: usize, value: &[u8]) -> bool {
        if value.is_empty() {
            self.fields.remove(at);
            self.edited = true;
            return false;
        }
        self.rewrite(at, value);
        true
    }

    fn edit_value(&mut self, name: Name<'_>, index: usize, new: Option<&[u8]>) -> bool {
        let name = Wanted::new(name);
        let mut seen = 0;
        for at in 0..self.fields.len() {
            let field = &self.fields[at];
            if !field.has_name(name, &self.source) {
                continue;
            }
            let value = field.value(&self.source);
            let count = Values::new(value, name.id.is_list()).count();
            if index >= seen + count {
                seen += count;
                continue;
            }
            match new.filter(|_| count == 1) {
                Some(new) => self.rewrite(at, new),
                None => {
                    let edited = splice(value, index - seen, new, name.id.is_list());
                    self.rewrite_or_remove(at, &edited);
                }
            }
            return true;
        }
        false
    }
}

/// Writing.
impl Fields {
    /// Appends the header lines, the empty line and the body to `out`.
    pub(super) fn write_to(&self, out: &mut Vec<u8>) {
        let mut run: Option<(usize, usize)> = None;
        for field in &self.fields {
            let (start, end) = (field.start as usize, field.end as usize);
            run = match (run, &field.owned) {
                (Some((first, last)), None) if last == start => Some((first, end)),
                (before, owned) => {
                    self.write_run(before, out);
                    match owned {
                        None => Some((start, end)),
                        Some(_) => {
                            out.extend_from_slice(field.line(&self.source));
                            None
                        }
                    }
                }
            };
        }
        self.write_run(run, out);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&self.body);
    }

    fn write_run(&self, run: Option<(usize, usize)>, out: &mut Vec<u8>) {
        if let Some((start, end)) = run {
            out.extend_from_slice(&self.source[start..end]);
        }
    }

    /// Bytes of the written headers and body, without the start line.
    #[must_use]
    pub fn written_len(&self) -> usize {
        self.fields.iter().map(|field| (field.end - field.start) as usize).sum::<usize>()
            + self.body.len()
            + 2
    }
}

impl std::fmt::Debug for Fields {
    /// Names only: values may hold credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.iter().map(|(name, _)| name.into_owned()).collect::<Vec<_>>();
        f.debug_struct("Fields").field("names", &names).field("body", &self.body.len()).finish()
    }
}

/// The tag of a From or To whose URI stands in brackets and that has nothing else behind them, as nearly all are; `None` for
/// one that must be read. Both headers were read whole when the message came.
fn plain_tag(value: &[u8]) -> Option<Option<&str>> {
    let behind = &value[memchr::memrchr(b'>', value)? + 1..];
    if behind.is_empty() {
        return Some(None);
    }
    let tag = behind.strip_prefix(b";tag=")?;
    scan::is_token(tag).then(|| std::str::from_utf8(tag).ok())
}

/// A name that fields are looked for by. `Name::Other("via")` means Via as well.
#[derive(Clone, Copy)]
struct Wanted<'n> {
    id: NameId,
    /// As it is written in a field of ours.
    text: &'n str,
}

impl<'n> Wanted<'n> {
    #[inline]
    fn new(name: Name<'n>) -> Self {
        let id = name.id();
        match name {
            Name::Other(text) => Self { id, text: id.name().map_or(text, |known| known.as_str()) },
            known => Self { id, text: known.as_str() },
        }
    }
}

/// `value` with its `index`-th comma-separated element replaced or removed, the others as they were.
fn splice(value: &[u8], index: usize, new: Option<&[u8]>, split: bool) -> Vec<u8> {
    let mut elements: Vec<&[u8]> = Values::new(value, split).collect();
    match new {
        Some(new) => elements[index] = new,
        None => {
            elements.remove(index);
        }
    }
    elements.join(&b", "[..])
}

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;
