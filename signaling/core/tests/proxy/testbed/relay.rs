//! A relay that only notes what it is asked.

use super::*;

/// What the fake relay was asked.
#[derive(Debug, Clone)]
pub enum Asked {
    /// An offer.
    Offer(MediaExchange),
    /// An answer.
    Answer(MediaExchange),
    /// The end of a call (`branch` is `None`) or of a branch.
    Delete {
        /// Call-ID.
        call_id: String,
        /// The offerer's tag.
        from_tag: String,
        /// The branch.
        branch: Option<String>,
    },
}

/// A relay that puts an `a=x-relay` line at the end of each SDP and remembers everything.
#[derive(Default)]
pub struct FakeMedia {
    /// Everything asked, in order.
    pub log: RefCell<Vec<Asked>>,
    /// Sessions open now: call and branch.
    pub open: RefCell<Vec<(String, Option<String>)>>,
    /// What was played, stopped and recorded, in order.
    pub sounds: RefCell<Vec<String>>,
    /// While set, every exchange fails with it.
    pub refuse: RefCell<Option<MediaError>>,
}

impl FakeMedia {
    fn exchange(&self, kind: &str, exchange: &MediaExchange) -> Result<Bytes, MediaError> {
        if let Some(error) = self.refuse.borrow().clone() {
            return Err(error);
        }
        let branch = exchange.branch.as_deref().unwrap_or("-");
        let (from, to) = (exchange.from.kind, exchange.to.kind);
        let mut sdp = exchange.sdp.to_vec();
        sdp.extend_from_slice(format!("a=x-relay:{kind} {from:?} {to:?} {branch}\r\n").as_bytes());
        Ok(sdp.into())
    }

    /// Offers and deletes so far, as numbers.
    pub fn offers(&self) -> usize {
        self.log.borrow().iter().filter(|asked| matches!(asked, Asked::Offer(_))).count()
    }

    /// Whether nothing is left open.
    pub fn is_clean(&self) -> bool {
        self.open.borrow().is_empty()
    }
}

impl MediaControl for Shared<FakeMedia> {
    fn offer<'a>(&'a self, exchange: MediaExchange) -> LocalBoxFuture<'a, Result<Bytes, MediaError>> {
        let result = self.0.exchange("offer", &exchange);
        if result.is_ok() {
            let session = (exchange.call_id.clone(), exchange.branch.clone());
            if !self.0.open.borrow().contains(&session) {
                self.0.open.borrow_mut().push(session);
            }
        }
        self.0.log.borrow_mut().push(Asked::Offer(exchange));
        ready(result).boxed_local()
    }

    fn answer<'a>(&'a self, exchange: MediaExchange) -> LocalBoxFuture<'a, Result<Bytes, MediaError>> {
        let result = self.0.exchange("answer", &exchange);
        self.0.log.borrow_mut().push(Asked::Answer(exchange));
        ready(result).boxed_local()
    }

    fn play(&self, call_id: &str, tag: &str, file: &str, forever: bool) {
        let how = if forever { "for ever" } else { "once" };
        self.0.sounds.borrow_mut().push(format!("{call_id}: play {file} to {tag} {how}"));
    }

    fn announce<'a>(
        &'a self,
        call_id: &'a str,
        tag: &'a str,
        file: &'a str,
    ) -> LocalBoxFuture<'a, Result<Duration, MediaError>> {
        let refused = self.0.refuse.borrow().clone();
        if refused.is_none() {
            self.0.sounds.borrow_mut().push(format!("{call_id}: announce {file} to {tag}"));
        }
        ready(refused.map_or(Ok(Duration::from_secs(3)), Err)).boxed_local()
    }

    fn press<'a>(
        &'a self,
        call_id: &'a str,
        tag: &'a str,
        code: u8,
        duration: Duration,
    ) -> LocalBoxFuture<'a, Result<(), MediaError>> {
        let refused = self.0.refuse.borrow().clone();
        if refused.is_none() {
            let millis = duration.as_millis();
            self.0.sounds.borrow_mut().push(format!("{call_id}: press {code} for {tag}, {millis} ms"));
        }
        ready(refused.map_or(Ok(()), Err)).boxed_local()
    }

    fn stop(&self, call_id: &str, tag: &str) {
        self.0.sounds.borrow_mut().push(format!("{call_id}: stop {tag}"));
    }

    fn record(&self, call_id: &str, from_tag: &str) {
        self.0.sounds.borrow_mut().push(format!("{call_id}: record {from_tag}"));
    }

    fn delete(&self, call_id: &str, from_tag: &str, branch: Option<&str>) {
        self.0
            .open
            .borrow_mut()
            .retain(|(call, open)| call != call_id || (branch.is_some() && open.as_deref() != branch));
        self.0.log.borrow_mut().push(Asked::Delete {
            call_id: call_id.to_owned(),
            from_tag: from_tag.to_owned(),
            branch: branch.map(str::to_owned),
        });
    }
}
