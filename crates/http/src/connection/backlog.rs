//! What all connections together hold of answers that their peers don't read.
//!
//! A slow peer is waited for, and meanwhile the rest of its answer stays in memory: nothing for one of them, and hundreds of
//! megabytes for two thousand. So there is a limit to the sum, and whoever has waited longest without taking a byte goes first.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
};

/// The answers that wait, of all workers.
#[derive(Clone)]
pub(crate) struct Backlog(Arc<Shared>);

struct Shared {
    limit: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    bytes: usize,
    next: u64,
    /// In the order in which they began to wait.
    answers: BTreeMap<u64, (usize, Waker)>,
}

/// One answer that waits; dropped, it waits no more.
pub(super) struct Place {
    backlog: Backlog,
    number: u64,
}

impl Backlog {
    pub(crate) fn new(limit: usize) -> Self {
        Self(Arc::new(Shared { limit, waiting: Mutex::default() }))
    }

    /// Begins to wait with so many bytes, for which others may have to go. The last one may be as large as it is.
    pub(super) fn enter(&self, bytes: usize, waker: &Waker) -> Place {
        let mut waiting = self.waiting();
        let number = waiting.next;
        waiting.next += 1;
        waiting.bytes += bytes;
        waiting.answers.insert(number, (bytes, waker.clone()));
        while waiting.bytes > self.0.limit && waiting.answers.len() > 1 {
            let Some((_, (bytes, waker))) = waiting.answers.pop_first() else { break };
            waiting.bytes -= bytes;
            waker.wake();
        }
        Place { backlog: self.clone(), number }
    }

    /// Nothing in here panics while it is locked.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Whether it is still there; whoever asks is woken when it no longer is.
    pub(super) fn is_kept(&self, waker: &Waker) -> bool {
        match self.backlog.waiting().answers.get_mut(&self.number) {
            Some((_, known)) => {
                known.clone_from(waker);
                true
            }
            None => false,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.backlog.waiting();
        if let Some((bytes, _)) = waiting.answers.remove(&self.number) {
            waiting.bytes -= bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_waited_longest_goes_first() {
        let (backlog, waker) = (Backlog::new(100), Waker::noop());
        let first = backlog.enter(60, waker);
        let second = backlog.enter(30, waker);
        assert!(first.is_kept(waker) && second.is_kept(waker));
        let third = backlog.enter(20, waker);
        assert!(!first.is_kept(waker) && second.is_kept(waker) && third.is_kept(waker));
        // What left makes room.
        drop((first, second));
        let fourth = backlog.enter(80, waker);
        assert!(third.is_kept(waker) && fourth.is_kept(waker));
    }

    #[test]
    fn the_only_one_may_be_as_large_as_it_is() {
        let (backlog, waker) = (Backlog::new(100), Waker::noop());
        let only = backlog.enter(1_000, waker);
        assert!(only.is_kept(waker));
        let next = backlog.enter(1, waker);
        assert!(!only.is_kept(waker) && next.is_kept(waker));
        drop((only, next));
        assert_eq!(backlog.waiting().bytes, 0);
    }
}
