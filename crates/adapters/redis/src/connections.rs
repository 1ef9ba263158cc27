//! Connections: who has which, and how they come back.
//!
//! A thread that is a runtime of its own, as the workers of the HTTP server are, has connections of its own, driven by that
//! runtime, so that an operation crosses to no other thread. Other runtimes share a few. Each is multiplexed: what many ask at
//! once goes over it in one stream. Connections are made when they are first needed; one that fails, or doesn't answer in time,
//! is dropped. Another is then dialled in the background, by one attempt at a time and ever more slowly, and whoever needs it
//! meanwhile is told so at once.

use std::{
    cell::RefCell,
    future::Future,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use profile_ports::CacheError;
use redis::{RedisError, aio::MultiplexedConnection};
use thiserror::Error;
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::Notify,
    time::Instant,
};

/// How many connections per server the threads of a runtime share that has several.
const SHARED: usize = 2;
/// Between attempts, at first and at most; each waits for half of it and a random part of the rest.
const PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// There is no connection, and this is why the last attempt failed, or why the one before was dropped.
#[derive(Debug, Error)]
#[error("there is no connection to Redis")]
pub(crate) struct Disconnected(#[source] Option<RedisError>);

/// A place for one connection.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    connection: Option<MultiplexedConnection>,
    /// How many connections there were.
    generation: u64,
    dialling: bool,
    failures: u32,
    not_before: Option<Instant>,
    reason: Option<RedisError>,
}

/// A connection, and the number by which it is given up.
pub(crate) struct Live {
    pub(crate) connection: MultiplexedConnection,
    pub(crate) generation: u64,
}

impl Slot {
    /// The connection. The first is waited for; while a later one is dialled, there is none.
    pub(crate) async fn connection<D>(self: &Arc<Self>, dial: impl Fn() -> D + Send) -> Result<Live, CacheError>
    where
        D: Future<Output = Result<MultiplexedConnection, RedisError>> + Send + 'static,
    {
        if let Some(live) = self.state.lock().live() {
            return Ok(live);
        }
        loop {
            let changed = self.changed.notified();
            {
                let mut state = self.state.lock();
                if let Some(live) = state.live() {
                    return Ok(live);
                }
                let may_dial = !state.dialling && state.not_before.is_none_or(|moment| Instant::now() >= moment);
                if may_dial {
                    state.dialling = true;
                    tokio::spawn(Attempt { slot: Arc::clone(self) }.run(dial()));
                }
                if state.failures > 0 {
                    return Err(CacheError::Unavailable(Disconnected(state.reason.clone()).into()));
                }
            }
            changed.await;
        }
    }

    /// Gives a connection up, unless that was done before.
    pub(crate) fn broken(&self, generation: u64, reason: Option<RedisError>) {
        let mut state = self.state.lock();
        if state.generation == generation && state.connection.take().is_some() {
            (state.failures, state.not_before, state.reason) = (1, None, reason);
        }
    }
}

impl State {
    fn live(&self) -> Option<Live> {
        let connection = self.connection.clone()?;
        Some(Live { connection, generation: self.generation })
    }
}

/// The one attempt at a time. It ends however its task ends, with its runtime too.
struct Attempt {
    slot: Arc<Slot>,
}

impl Attempt {
    async fn run(self, dial: impl Future<Output = Result<MultiplexedConnection, RedisError>>) {
        let outcome = dial.await;
        let mut state = self.slot.state.lock();
        match outcome {
            Ok(connection) => {
                state.connection = Some(connection);
                state.generation += 1;
                (state.failures, state.not_before, state.reason) = (0, None, None);
            }
            Err(error) => {
                let longest = PAUSE.saturating_mul(1 << state.failures.min(10)).min(LONGEST_PAUSE);
                let pause = longest / 2 + (longest / 2).mul_f64(f64::from(crate::random_byte()) / 256.0);
                state.failures = state.failures.saturating_add(1);
                state.not_before = Some(Instant::now() + pause);
                state.reason = Some(error);
            }
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let mut state = self.slot.state.lock();
        state.dialling = false;
        if state.connection.is_none() {
            state.failures = state.failures.max(1);
        }
        drop(state);
        self.slot.changed.notify_waiters();
    }
}

/// A place per server.
#[derive(Debug, Default)]
pub(crate) struct Lane(Mutex<Vec<Arc<Slot>>>);

impl Lane {
    pub(crate) fn slot(&self, node: usize) -> Arc<Slot> {
        let mut slots = self.0.lock();
        while slots.len() <= node {
            slots.push(Arc::default());
        }
        Arc::clone(&slots[node])
    }
}

/// The lanes of one cache.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    /// What is held by threads refers to this.
    token: Arc<()>,
    shared: [Arc<Lane>; SHARED],
    turn: AtomicUsize,
}

thread_local! {
    static OWN: RefCell<Vec<(Weak<()>, Arc<Lane>)>> = const { RefCell::new(Vec::new()) };
}

impl Lanes {
    /// The lane of this thread, or one of those that all share.
    pub(crate) fn here(&self) -> Arc<Lane> {
        if Handle::current().runtime_flavor() != RuntimeFlavor::CurrentThread {
            return Arc::clone(&self.shared[self.turn.fetch_add(1, Ordering::Relaxed) % SHARED]);
        }
        OWN.with_borrow_mut(|own| {
            if let Some((_, lane)) = own.iter().find(|(token, _)| token.as_ptr() == Arc::as_ptr(&self.token)) {
                return Arc::clone(lane);
            }
            own.retain(|(token, _)| token.strong_count() > 0);
            let lane = Arc::<Lane>::default();
            own.push((Arc::downgrade(&self.token), Arc::clone(&lane)));
            lane
        })
    }
}
