//! Whether the database answers. One that does not is left alone but for a try each second, so that those who ask it hear at
//! once that they must do without; the log says so once, and once when it is over.

use std::fmt::Display;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use signaling_core::outside::Unavailable;

use super::sql::{Kind, is_fault_of_values};
use crate::moment::Moment;

/// Between two tries while it does not answer.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// One thing that the database is for: reading or writing.
#[derive(Debug)]
pub(super) struct Health {
    kind: Kind,
    /// How long an answer may take.
    limit: Duration,
    /// What the log says when it begins.
    meanwhile: &'static str,
    /// When the next try is, while it does not answer.
    next: Moment,
    failures: AtomicU64,
}

impl Health {
    pub(super) fn new(kind: Kind, limit: Duration, meanwhile: &'static str) -> Self {
        Self { kind, limit, meanwhile, next: Moment::default(), failures: AtomicU64::new(0) }
    }

    /// Asks the database, or does not when it has just failed to answer.
    pub(super) async fn ask<T>(
        &self,
        question: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, Unavailable> {
        if !self.is_to_be_tried() {
            return Err(Unavailable("database: does not answer".into()));
        }
        self.answer(question).await.map_err(|error| error.unavailable())
    }

    /// The answer to `question`, whatever became of those before.
    pub(super) async fn answer<T>(
        &self,
        question: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, Failure> {
        match tokio::time::timeout(self.limit, question).await {
            Ok(Ok(answer)) => {
                self.works();
                Ok(answer)
            }
            Ok(Err(error)) if is_fault_of_values(self.kind, &error) => Err(Failure::Refused(error)),
            Ok(Err(error)) => {
                self.failed(&error);
                Err(Failure::Down(error.to_string()))
            }
            Err(_) => {
                let error = format!("no answer within {} s", self.limit.as_secs());
                self.failed(&error);
                Err(Failure::Down(error))
            }
        }
    }

    /// Whether it does not answer.
    pub(super) fn is_down(&self) -> bool {
        self.next.get().is_some()
    }

    /// Questions without an answer so far.
    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// True for everybody while it answers, and for one caller a second while it does not.
    fn is_to_be_tried(&self) -> bool {
        match self.next.get() {
            None => true,
            Some(due) if due > Instant::now() => false,
            due => self.next.replace(due, Some(Instant::now() + self.limit + RETRY)),
        }
    }

    pub(super) fn failed(&self, error: &dyn Display) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let before = self.next.swap(Some(Instant::now() + RETRY));
        if before.is_none() {
            tracing::error!(%error, "database does not answer: {}", self.meanwhile);
        }
    }

    fn works(&self) {
        if self.is_down() && self.next.swap(None).is_some() {
            tracing::warn!(failures = self.failures(), "database answers again");
        }
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The database does not want what it was given, now or later.
    Refused(sqlx::Error),
    /// It does not answer, or cannot do anything at all.
    Down(String),
}

impl Failure {
    pub(super) fn unavailable(self) -> Unavailable {
        match self {
            Self::Refused(error) => Unavailable(format!("database: {error}")),
            Self::Down(error) => Unavailable(format!("database: {error}")),
        }
    }
}
