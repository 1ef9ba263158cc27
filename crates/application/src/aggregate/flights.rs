//! Flights: who asks what is being answered already, waits for that answer; whoever leaves last ends it.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};
use parking_lot::Mutex;
use profile_domain::{
    TenantId,
    views::{Period, Section, ViewName},
};
use tokio::{runtime::Handle, task::JoinHandle};

use super::answer::Outcome;

pub(super) type Work = BoxFuture<'static, Arc<Outcome>>;
pub(super) type Flight = Shared<Work>;

/// All that makes two questions one.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Asked {
    pub(super) tenant: TenantId,
    pub(super) view: ViewName,
    pub(super) sections: Vec<Section>,
    pub(super) id: String,
    pub(super) period: Option<Period>,
    pub(super) fingerprint: String,
}

type Board = Arc<Mutex<HashMap<Asked, (u64, WeakShared<Work>)>>>;

#[derive(Default)]
pub(super) struct Flights {
    /// Nobody is kept in the air by the board: only who waits is.
    board: Board,
    next: AtomicU64,
}

impl Flights {
    /// The flight that there is, or a new one.
    pub(super) fn join(&self, asked: Asked, begin: impl FnOnce() -> Work) -> Flight {
        let mut board = self.board.lock();
        if let Some(flight) = board.get(&asked).and_then(|(_, flight)| flight.upgrade()) {
            return flight;
        }
        self.put(&mut board, asked, begin())
    }

    /// A new one, unless there is one.
    pub(super) fn lead(&self, asked: Asked, begin: impl FnOnce() -> Work) -> Option<Flight> {
        // Let go of without the lock: whoever is the last to do so ends the flight, and that takes it off the board.
        let flying = self.board.lock().get(&asked).and_then(|(_, flight)| flight.upgrade());
        if flying.is_some() {
            return None;
        }
        Some(self.put(&mut self.board.lock(), asked, begin()))
    }

    /// One that nobody joins.
    #[expect(clippy::unused_self, reason = "beside the ones that are joined")]
    pub(super) fn alone(&self, work: Work) -> Flight {
        work.shared()
    }

    fn put(&self, board: &mut HashMap<Asked, (u64, WeakShared<Work>)>, asked: Asked, work: Work) -> Flight {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let place = Place { board: Arc::clone(&self.board), asked: asked.clone(), number };
        let work: Work = Box::pin(async move {
            let _place = place;
            work.await
        });
        let flight = work.shared();
        if let Some(weak) = flight.downgrade() {
            board.insert(asked, (number, weak));
        }
        flight
    }
}

/// A flight's place on the board, which ends with it.
struct Place {
    board: Board,
    asked: Asked,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut board = self.board.lock();
        if board.get(&self.asked).is_some_and(|(number, _)| *number == self.number) {
            board.remove(&self.asked);
        }
    }
}

/// Work on another runtime, ended when this is dropped.
pub(super) struct Spawned<T>(JoinHandle<T>);

impl<T: Send + 'static> Spawned<T> {
    pub(super) fn on(runtime: &Handle, work: impl Future<Output = T> + Send + 'static) -> Self {
        Self(runtime.spawn(work))
    }
}

impl<T> Future for Spawned<T> {
    /// `None`: it panicked, which is in the log.
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        Pin::new(&mut self.0).poll(context).map(Result::ok)
    }
}

impl<T> Drop for Spawned<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
