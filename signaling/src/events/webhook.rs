//! Events posted to a URL, one after the other, signed, each tried for some minutes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::hmac;

use super::kind::Kinds;
use super::told::Told;
use crate::post::{Pauses, Post, Taken, Url};
use crate::queue::Queue;
use crate::store::unix_now;

/// Events that may wait for one URL.
const ROOM: usize = 1024;
/// Tries with one; with the pauses between them it has two minutes.
const TRIES: u32 = 8;
/// The header field with the signature.
const SIGNATURE: &str = "X-Causeway-Signature";

/// Where events are posted.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The setting that names it, for the log: the URL itself may have a secret in it.
    pub name: &'static str,
    /// It.
    pub url: Url,
    /// Of the signature; `None`: there is none.
    pub key: Option<hmac::Key>,
    /// What is posted there.
    pub kinds: Kinds,
}

/// One URL, and what waits for it.
#[derive(Debug)]
pub(super) struct Webhook {
    settings: Settings,
    waiting: Queue<Arc<Told>>,
    posted: AtomicU64,
    /// Those that were refused, too many, or tried in vain.
    lost: AtomicU64,
}

impl Webhook {
    pub(super) fn new(settings: Settings) -> Self {
        let (posted, lost) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { settings, waiting: Queue::new(ROOM), posted, lost }
    }

    /// The client that [`Webhook::serve`] is given.
    ///
    /// # Errors
    /// No TLS.
    pub(super) fn post(&self) -> anyhow::Result<Post> {
        Post::new(self.settings.url.clone())
    }

    /// What it wants.
    pub(super) const fn kinds(&self) -> Kinds {
        self.settings.kinds
    }

    /// Has an event posted, if it is wanted.
    pub(super) fn offer(&self, told: &Arc<Told>) {
        if self.kinds().contain(told.kind) && !self.waiting.put(Arc::clone(told)) {
            self.lose();
        }
    }

    /// Takes no more; what waits is still posted.
    pub(super) fn close(&self) {
        self.waiting.close();
    }

    /// How many were posted, and how many were not although they should have been.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.posted.load(Ordering::Relaxed), self.lost.load(Ordering::Relaxed))
    }

    /// Posts what waits, until it is closed.
    pub(super) async fn serve(&self, post: &Post) {
        let hook = self.settings.name;
        loop {
            let Some(told) = self.waiting.take(1).await.pop() else { return };
            match deliver(post, self.settings.key.as_ref(), &told.body).await {
                Ok(Taken::Yes) => _ = self.posted.fetch_add(1, Ordering::Relaxed),
                Ok(Taken::Never(status)) => {
                    tracing::error!(hook, event = told.kind.as_str(), %status, "event refused by a webhook");
                    self.lose();
                }
                Err(error) => {
                    let (event, error) = (told.kind.as_str(), format!("{error:#}"));
                    tracing::error!(hook, event, error, "event not brought to a webhook");
                    self.lose();
                }
            }
        }
    }

    fn lose(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }
}

/// Tries several times. Each time it is signed anew, for the time is a part of that.
async fn deliver(post: &Post, key: Option<&hmac::Key>, body: &str) -> anyhow::Result<Taken> {
    let mut pauses = Pauses::default();
    for last in (0..TRIES).rev() {
        let fields: Vec<_> =
            key.map(|key| (SIGNATURE, signature(key, unix_now(), body))).into_iter().collect();
        match post.send(body.as_bytes().to_vec(), &fields).await {
            Err(error) if last == 0 => return Err(error),
            Err(_) => pauses.wait().await,
            taken => return taken,
        }
    }
    anyhow::bail!("not tried")
}

/// `t=SECONDS,v1=HEX`: the HMAC-SHA256 of the seconds since 1970, a dot and the body. Whoever checks it refuses old ones, so that
/// none can be sent again.
fn signature(key: &hmac::Key, at: u64, body: &str) -> String {
    let tag = hmac::sign(key, format!("{at}.{body}").as_bytes());
    format!("t={at},v1={}", hex::encode(tag.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231 has no such text: this one was computed with another program.
    #[test]
    fn the_signature_is_the_hmac_of_time_and_body() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"key");
        assert_eq!(
            signature(&key, 1_700_000_000, "{}"),
            "t=1700000000,v1=9d713ed406bb7076d4123f0dc2c39d2df5c654ed4b0cd56b52c8b4c940bd63ae"
        );
    }
}
