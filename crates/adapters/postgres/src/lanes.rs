//! Lanes: connections that point reads of a thread share, one statement behind the other.
//!
//! A connection of the pool serves one caller at a time and is driven on the runtime of the store, so each read wakes another
//! thread twice. A lane is driven where its callers are, and takes all that they ask meanwhile in one write and one read. A
//! statement on a lane waits for those before it, so only reads of one row belong here.
//!
//! Nothing depends on a lane: where there is none yet, where it is full, and where it fails, the pool serves.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use deadpool_postgres::ClientWrapper;
use tokio::runtime::Handle;
use tokio_postgres::{Error, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use profile_ports::{StoreError, causes};

use crate::{
    pool::{Params, cancel},
    statement::Statement,
    succession::{Reign, Succession},
};

/// Reads on one lane; more go to the pool, so that a slow one holds up few.
const MAX_IN_FLIGHT: usize = 64;
/// A lane that has not answered a read for so long is given up.
const STUCK_AFTER: Duration = Duration::from_millis(500);
/// Between two attempts to open a lane.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// The lanes of one pool.
pub(crate) struct Lanes {
    succession: Arc<Succession>,
    tls: MakeRustlsConnect,
    /// For what outlives a caller.
    runtime: Handle,
    places: Box<[Place]>,
    closed: AtomicBool,
}

#[derive(Default)]
struct Place {
    lane: Mutex<Option<Arc<Lane>>>,
    opening: AtomicBool,
}

struct Lane {
    client: ClientWrapper,
    reign: Reign,
    in_flight: AtomicUsize,
}

/// A read on a lane, counted until it ends or is dropped.
struct Turn<'a> {
    lanes: &'a Lanes,
    place: usize,
    lane: Arc<Lane>,
    since: Instant,
    answered: bool,
}

thread_local! {
    /// In the order in which threads first read, so that each has a lane of its own while there are enough.
    static THREAD: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed)
    };
}

impl Lanes {
    /// Lanes for the threads that there will be, but for no more than half of the connections allowed.
    pub(crate) fn new(succession: Arc<Succession>, tls: MakeRustlsConnect, runtime: Handle, connections: usize) -> Arc<Self> {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let places = (0..threads.min(connections / 2)).map(|_| Place::default()).collect();
        Arc::new(Self { succession, tls, runtime, places, closed: AtomicBool::new(false) })
    }

    /// Lanes at most.
    pub(crate) fn size(&self) -> usize {
        self.places.len()
    }

    /// Lanes that are open.
    pub(crate) fn open(&self) -> usize {
        self.places.iter().filter(|place| place.lock().as_ref().is_some_and(|lane| !lane.client.is_closed())).count()
    }

    /// Reads on the lane of this thread. `None` where the pool should be asked: there is no lane yet, it is full, or it failed.
    /// The caller bounds it: a lane that has not answered for long when this is dropped is given up.
    pub(crate) async fn query(self: &Arc<Self>, statement: &Statement, params: Params<'_>) -> Option<Vec<Row>> {
        let mut turn = self.turn()?;
        let result = turn.lane.query(statement, params).await;
        turn.answered = true;
        if let Err(error) = &result {
            tracing::debug!(%error, "a shared connection to PostgreSQL failed");
            turn.give_up();
        }
        result.ok()
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.places.iter().for_each(|place| *place.lock() = None);
    }

    fn turn(self: &Arc<Self>) -> Option<Turn<'_>> {
        if self.places.is_empty() {
            return None;
        }
        let place = THREAD.with(|thread| thread % self.places.len());
        let lane = self.places[place].lock().clone();
        let lane = lane.filter(|lane| !lane.client.is_closed() && self.succession.is_current(lane.reign));
        let Some(lane) = lane else {
            self.open_lane(place);
            return None;
        };
        if lane.in_flight.fetch_add(1, Ordering::Relaxed) >= MAX_IN_FLIGHT {
            lane.in_flight.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Turn { lanes: self, place, lane, since: Instant::now(), answered: false })
    }

    /// Opens a lane that the runtime of the caller drives. Nobody waits for it.
    fn open_lane(self: &Arc<Self>, place: usize) {
        let opening = &self.places[place].opening;
        if self.closed.load(Ordering::Relaxed) || opening.swap(true, Ordering::Relaxed) {
            return;
        }
        let opening = Opening { lanes: Arc::downgrade(self), place };
        let (succession, tls) = (Arc::clone(&self.succession), self.tls.clone());
        Handle::current().spawn(async move {
            match connect(&succession, tls).await {
                Ok(lane) => opening.done(lane),
                Err(error) => {
                    let cause = causes(&error);
                    tracing::debug!(cause, "a shared connection to PostgreSQL could not be made");
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        });
    }
}

impl Lane {
    async fn query(&self, statement: &Statement, params: Params<'_>) -> Result<Vec<Row>, Error> {
        let prepared = self.client.prepare_typed_cached(statement.sql, statement.types).await?;
        self.client.query(&prepared, params).await
    }
}

impl Turn<'_> {
    /// Lets nobody in any more. Those who are on the lane are waited for.
    fn give_up(&self) {
        let mut place = self.lanes.places[self.place].lock();
        if place.as_ref().is_some_and(|lane| Arc::ptr_eq(lane, &self.lane)) {
            *place = None;
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.lane.in_flight.fetch_sub(1, Ordering::Relaxed);
        if !self.answered && self.since.elapsed() >= STUCK_AFTER {
            self.give_up();
            // A server that waits for a lock doesn't notice that the connection is closed.
            let (lane, tls) = (Arc::clone(&self.lane), self.lanes.tls.clone());
            self.lanes.runtime.spawn(async move { cancel(&lane.client, tls).await });
        }
    }
}

/// Ends with its runtime, at the latest; then another may try.
struct Opening {
    lanes: Weak<Lanes>,
    place: usize,
}

impl Opening {
    fn done(&self, lane: Lane) {
        if let Some(lanes) = self.lanes.upgrade() {
            *lanes.places[self.place].lock() = Some(Arc::new(lane));
            if lanes.closed.load(Ordering::Relaxed) {
                lanes.close();
            }
        }
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if let Some(lanes) = self.lanes.upgrade() {
            lanes.places[self.place].opening.store(false, Ordering::Relaxed);
        }
    }
}

async fn connect(succession: &Succession, tls: MakeRustlsConnect) -> Result<Lane, StoreError> {
    let ((client, driver), reign) = succession.connect(tls, &Handle::current()).await?;
    Ok(Lane { client: ClientWrapper::new(client, driver.detach()), reign, in_flight: AtomicUsize::new(0) })
}

impl Place {
    fn lock(&self) -> MutexGuard<'_, Option<Arc<Lane>>> {
        self.lane.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
