//! Trickled candidates (RFC 8838): the body `application/trickle-ice-sdpfrag` of an INFO (RFC 8840), and whose it is.

use bytes::Bytes;

use super::lines::base_line;
use super::offer_answer::{Session, refuse};
use super::plan::LegId;
use crate::command::{Cause, Failure, LegKind};
use crate::sdp::{Candidate, Description};

/// Candidates of one transport of an end.
#[derive(Debug, Clone, PartialEq)]
pub struct Trickled {
    /// Whose.
    pub leg: LegId,
    /// The m= line whose ports they are for; `None` for the one transport of a browser.
    pub line: Option<usize>,
    /// The candidates.
    pub candidates: Vec<Candidate>,
}

/// What has to stand before a fragment to make a description of it.
const FRAME: &[u8] = b"v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n";

impl Session {
    /// The candidates in a fragment that the end of `tag` sent. Those of another generation than the end's description are
    /// left out: they are late, or early (RFC 8838 §11).
    ///
    /// # Errors
    /// No such end, or no fragment.
    pub fn trickled(&self, tag: &str, fragment: &Bytes) -> Result<Vec<Trickled>, Failure> {
        let end = self.ends.iter().find(|end| end.has_tag(tag));
        let said = end.and_then(|end| Some((end, self.latest(end.id)?)));
        let (end, said) = said.ok_or_else(|| Failure {
            cause: Cause::UnknownCall,
            reason: "no end with a description has sent this fragment".to_owned(),
        })?;
        let fragment = read(fragment)?;
        let mut trickled = Vec::new();
        for (position, section) in fragment.media.iter().enumerate() {
            let named = section
                .mid
                .as_ref()
                .and_then(|mid| said.media.iter().position(|media| media.mid.as_ref() == Some(mid)));
            let index = match end.kind {
                LegKind::Browser => base_line(said, end.kind),
                LegKind::Legacy => named.or(Some(position)),
            };
            let Some((index, media)) = index.and_then(|index| Some((index, said.media.get(index)?))) else {
                continue;
            };
            let (Some(ours), Some(theirs)) = (&media.ice, &section.ice) else { continue };
            if ours.ufrag != theirs.ufrag || theirs.candidates.is_empty() {
                continue;
            }
            let line = (end.kind == LegKind::Legacy).then_some(index);
            trickled.push(Trickled { leg: end.id, line, candidates: theirs.candidates.clone() });
        }
        Ok(trickled)
    }

    /// What an end wrote last, answered or not.
    fn latest(&self, id: LegId) -> Option<&Description> {
        self.pairs.iter().rev().find_map(|pair| {
            let side = pair.ends.iter().position(|end| *end == id)?;
            let offered = pair.pending.as_ref().filter(|pending| pending.side == side);
            offered.map(|pending| &pending.description).or(pair.remote.get(side)?.as_ref())
        })
    }
}

fn read(fragment: &Bytes) -> Result<Description, Failure> {
    let whole = match fragment.starts_with(b"v=") {
        true => fragment.clone(),
        false => [FRAME, fragment.as_ref()].concat().into(),
    };
    Description::parse(whole).map_err(|error| refuse(&format!("the fragment cannot be read: {error}")))
}
