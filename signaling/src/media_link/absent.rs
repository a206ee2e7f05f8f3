//! The answer while this build has no relay of its own.

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use signaling_core::outside::{MediaControl, MediaError, MediaExchange};

/// Refuses media.
#[derive(Clone, Debug)]
pub struct Absent;

impl Absent {
    pub(super) fn shut_down(&self) {}
}

fn refuse<'a>() -> LocalBoxFuture<'a, Result<Bytes, MediaError>> {
    Box::pin(async { Err(MediaError::Unavailable("this build has no relay of its own".into())) })
}

impl MediaControl for Absent {
    fn offer<'a>(&'a self, _exchange: MediaExchange) -> LocalBoxFuture<'a, Result<Bytes, MediaError>> {
        refuse()
    }

    fn answer<'a>(&'a self, _exchange: MediaExchange) -> LocalBoxFuture<'a, Result<Bytes, MediaError>> {
        refuse()
    }

    fn delete(&self, _call_id: &str, _from_tag: &str, _branch: Option<&str>) {}
}
