//! Waiting for a condition with a deadline, so that no test depends on how fast the machine is.

use std::fmt::Display;
use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Longest wait for something that takes a real peer a moment: a browser start, a registration, a call.
pub const PATIENCE: Duration = Duration::from_secs(20);

const PAUSE: Duration = Duration::from_millis(25);

/// Calls `condition` until it yields something, at most for `limit`; the error names `what`.
pub async fn until<T, F>(what: impl Display, limit: Duration, mut condition: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = condition().await? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!("waited {} s in vain for {what}", limit.as_secs_f32());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The same for a condition that is known at once.
pub async fn until_now<T>(
    what: impl Display,
    limit: Duration,
    mut condition: impl FnMut() -> Option<T>,
) -> Result<T> {
    until(what, limit, || std::future::ready(Ok(condition()))).await
}
