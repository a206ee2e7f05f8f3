//! Which transaction a message belongs to (RFC 3261 §17.1.3, §17.2.3).

use std::borrow::Cow;
use std::cell::RefCell;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hash, Hasher, RandomState};

use crate::message::header::Via;
use crate::message::{Fields, HeaderError, Method, Name, Request};

/// Names a transaction: 128 bits of keyed hashes of what matches it, which nobody outside can aim at each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key(u64, u64);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

/// A map by [`Key`].
pub(super) type KeyMap<T> = std::collections::HashMap<Key, T, BuildHasherDefault<Hashed>>;

/// Takes a key for the hash that it is.
#[derive(Debug, Default)]
pub(super) struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Makes the keys of one table.
#[derive(Debug, Default)]
pub(super) struct Keys {
    one: RandomState,
    other: RandomState,
    /// Where the parts of a key are put together, to be hashed in one piece.
    text: RefCell<Vec<u8>>,
}

impl Keys {
    /// The key of the server transaction that `request` belongs to or would begin. For ACK and CANCEL pass the method of
    /// the transaction they may concern.
    ///
    /// With an RFC 3261 branch: branch, sent-by and method. Otherwise, as RFC 2543 clients need it: request-URI, To tag,
    /// From tag, Call-ID, CSeq number and topmost Via; `to_tag` is given apart because the ACK has the one of the response.
    pub(super) fn server(
        &self,
        request: &Request,
        method: &Method,
        to_tag: Option<&str>,
    ) -> Result<Key, HeaderError> {
        self.server_by(&request.top_via()?, request, method, to_tag)
    }

    /// The same for a request whose topmost Via was read.
    pub(super) fn server_by(
        &self,
        via: &Via<'_>,
        request: &Request,
        method: &Method,
        to_tag: Option<&str>,
    ) -> Result<Key, HeaderError> {
        let method = method.as_str();
        if let Some(branch) = via.cookie_branch() {
            let host = lower_case(via.host());
            let port = via.port().unwrap_or(0).to_be_bytes();
            return Ok(self.hash(&[b"server", branch.as_bytes(), host.as_bytes(), &port, method.as_bytes()]));
        }
        let number = request.cseq()?.number.to_be_bytes();
        let (from_tag, call_id) = (request.from_tag().unwrap_or_default(), request.call_id());
        let via = request.values(Name::Via).next().unwrap_or_default();
        let (uri, to_tag) = (request.uri_text(), to_tag.unwrap_or_default());
        let texts = [uri, to_tag, from_tag, call_id, method].map(str::as_bytes);
        let [uri, to_tag, from_tag, call_id, method] = texts;
        Ok(self.hash(&[b"rfc2543", uri, to_tag, from_tag, call_id, &number, via, method]))
    }

    /// The key of the client transaction of a request or response: our branch, and the method of CSeq, for a CANCEL shares
    /// the branch.
    pub(super) fn client(&self, message: &Fields) -> Option<Key> {
        let via = message.top_via().ok()?;
        let method = message.cseq().ok()?.method;
        Some(self.hash(&[b"client", via.branch()?.as_bytes(), method.as_bytes()]))
    }

    /// What merged INVITEs have in common: one request that came by several ways (RFC 3261 §8.2.2.2). `None` for others, and
    /// within a dialog.
    pub(super) fn merged(&self, request: &Request) -> Option<Key> {
        if *request.method() != Method::Invite || request.to_tag().is_some() {
            return None;
        }
        let number = request.cseq().ok()?.number.to_be_bytes();
        let from_tag = request.from_tag()?.as_bytes();
        Some(self.hash(&[b"merged", from_tag, request.call_id().as_bytes(), &number]))
    }

    fn hash(&self, parts: &[&[u8]]) -> Key {
        let mut text = self.text.borrow_mut();
        text.clear();
        for part in parts {
            // So that no part can be read as the end of the one before it.
            text.extend_from_slice(&(part.len() as u32).to_be_bytes());
            text.extend_from_slice(part);
        }
        Key(self.one.hash_one(&**text), self.other.hash_one(&**text))
    }
}

/// Whether `request` comes from an RFC 2543 client, whose ACK is matched by the response's To tag.
pub(super) fn is_rfc2543(request: &Request) -> bool {
    request.top_via().is_ok_and(|via| via.cookie_branch().is_none())
}

fn lower_case(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        text.to_ascii_lowercase().into()
    } else {
        text.into()
    }
}
