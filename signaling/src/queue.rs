//! Things on their way from one task to the next, taken many at a time: whoever takes sleeps until there are some, and whoever
//! puts wakes nobody who is awake.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A queue of one writer and one reader.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    items: Mutex<VecDeque<T>>,
    room: usize,
    some: Notify,
    closed: AtomicBool,
}

impl<T> Queue<T> {
    /// One that holds at most `room`.
    pub(crate) fn new(room: usize) -> Self {
        Self { items: Mutex::default(), room, some: Notify::new(), closed: AtomicBool::new(false) }
    }

    /// Puts one at the end; `false` when there is no room, or nobody takes any more.
    pub(crate) fn put(&self, item: T) -> bool {
        let mut items = self.lock();
        let taken = items.len() < self.room && !self.is_closed();
        if taken {
            items.push_back(item);
        }
        drop(items);
        self.some.notify_one();
        taken
    }

    /// The next, at most `most`; none when it is closed and empty.
    pub(crate) async fn take(&self, most: usize) -> Vec<T> {
        loop {
            let some = self.take_now(most);
            if !some.is_empty() || self.is_closed() {
                return some;
            }
            self.some.notified().await;
        }
    }

    /// The same, without waiting for any.
    fn take_now(&self, most: usize) -> Vec<T> {
        let mut items = self.lock();
        let most = most.min(items.len());
        items.drain(..most).collect()
    }

    /// Nothing more is put; what is there may be taken.
    pub(crate) fn close(&self) {
        // Under the lock, so that nothing is put behind the last that is taken.
        let items = self.lock();
        self.closed.store(true, Ordering::Release);
        drop(items);
        self.some.notify_one();
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Nothing that is done under the lock can panic half-way.
    fn lock(&self) -> MutexGuard<'_, VecDeque<T>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_put_is_taken_in_order_until_the_end() {
        let queue = Queue::new(3);
        assert_eq!([1, 2, 3, 4].map(|item| queue.put(item)), [true, true, true, false]);
        assert_eq!(queue.take(2).await, [1, 2]);
        let (taken, ()) = tokio::join!(async { [queue.take(9).await, queue.take(9).await] }, async {
            tokio::task::yield_now().await;
            assert!(queue.put(5));
        });
        assert_eq!(taken, [vec![3], vec![5]]);
        assert!(queue.put(6));
        queue.close();
        assert!(!queue.put(7));
        assert_eq!(queue.take(9).await, [6]);
        assert!(queue.take(9).await.is_empty());
    }
}
