//! The one writer: a thread that commits what is waiting as a group.
//!
//! Each piece of work runs in its savepoint, and one COMMIT, so one fsync, makes all of them durable. Nobody is answered
//! before that, not even who was refused: the refusal may rest on a change of the same group. While the disk is busy the next
//! group gathers, so the groups grow with the load and nobody waits for one to fill.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use profile_domain::changeset::MAX_ITEMS;
use profile_ports::{BoxError, CommitError, Deadline, StoreError};
use rusqlite::{Connection, ErrorCode};
use thiserror::Error;
use tokio::sync::oneshot;

use crate::{OpenError, error::store_error, log::Log, metrics::Metrics};

/// Pieces of work that wait; one more waits for room, until its deadline.
const QUEUE: usize = 1_024;
/// Pieces of work in a group. It takes no more either once it holds [`MAX_ITEMS`] entity writes.
const MAX_GROUP: usize = 256;

/// The handle to the thread, which ends once nobody can send any more and the queue is empty.
pub(crate) struct Writer {
    /// `None` once closed. Whoever sends does so through a clone, so that what was accepted before is still run.
    queue: Mutex<Option<flume::Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Job {
    /// Entity writes in it.
    items: usize,
    deadline: Deadline,
    claim: Arc<Claim>,
    work: Box<dyn Work>,
}

/// Settles, between the writer and a caller whose deadline passes, who has the job: if the caller, it was never run.
#[derive(Default)]
struct Claim(AtomicBool);

impl Claim {
    /// Whether the one who asks is the first.
    fn take(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }
}

/// Work of any result.
trait Work: Send {
    fn run(&mut self, connection: &Connection) -> Ran;
    /// Gives its result to the caller, if it is still there; or what came between.
    fn answer(self: Box<Self>, instead: Option<StoreError>);
}

/// What became of a piece of work, before its COMMIT.
enum Ran {
    Keep,
    /// It gave an error, so what it did must go; `full` if that was for want of space.
    Undo {
        full: bool,
    },
}

/// An error that can tell whether the disk is full, for those who lose their work to it.
pub(crate) trait Cause {
    fn is_full(&self) -> bool;
}

impl Cause for StoreError {
    fn is_full(&self) -> bool {
        matches!(self, Self::Full(_))
    }
}

impl Cause for CommitError {
    fn is_full(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_full())
    }
}

struct Task<F, T, E> {
    run: Option<F>,
    result: Option<Result<T, E>>,
    caller: oneshot::Sender<Result<T, E>>,
}

impl<F, T, E> Work for Task<F, T, E>
where
    F: FnOnce(&Connection) -> Result<T, E> + Send,
    T: Send,
    E: From<StoreError> + Cause + Send,
{
    fn run(&mut self, connection: &Connection) -> Ran {
        self.result = self.run.take().map(|run| run(connection));
        match &self.result {
            Some(Ok(_)) => Ran::Keep,
            Some(Err(error)) => Ran::Undo { full: error.is_full() },
            None => Ran::Undo { full: false },
        }
    }

    fn answer(self: Box<Self>, instead: Option<StoreError>) {
        let result = match (instead, self.result) {
            (Some(error), _) => Err(error.into()),
            (None, Some(result)) => result,
            (None, None) => Err(StoreError::Unavailable("the work was not run".into()).into()),
        };
        // A caller that has gone doesn't want to know.
        let _ = self.caller.send(result);
    }
}

impl Writer {
    pub(crate) fn start(connection: Connection, log: Log, metrics: Metrics) -> Result<Self, OpenError> {
        let (queue, waiting) = flume::bounded(QUEUE);
        let run = move || Loop { connection, log, waiting, metrics }.run();
        let thread = std::thread::Builder::new().name("sqlite-writer".into()).spawn(run).map_err(OpenError::Thread)?;
        Ok(Self { queue: Mutex::new(Some(queue)), thread: Mutex::new(Some(thread)) })
    }

    /// Runs work on the writer's thread within its transaction, and answers once that is durable. An error undoes the work.
    ///
    /// Dropping the future does not stop what was queued.
    pub(crate) async fn submit<T, E, F>(&self, items: usize, deadline: Deadline, run: F) -> Result<T, E>
    where
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Cause + Send + 'static,
    {
        let (caller, result) = oneshot::channel();
        let claim = Arc::new(Claim::default());
        let work = Box::new(Task { run: Some(run), result: None, caller });
        let job = Job { items, deadline, claim: Arc::clone(&claim), work };
        let queue = lock(&self.queue).clone();
        // Covers the wait for room as well as the wait for the answer.
        let queued_and_done = async {
            let queue = queue.ok_or("the store is closed")?;
            queue.send_async(job).await.map_err(|_| "the writer ended")?;
            drop(queue);
            result.await.map_err(|_| "the writer ended")
        };
        match tokio::time::timeout(deadline.remaining(), queued_and_done).await {
            Ok(Ok(result)) => result,
            Ok(Err(why)) => Err(given_up(&claim, why).into()),
            Err(_) => Err(given_up(&claim, "the writer did not answer before the deadline").into()),
        }
    }

    /// Finishes what is queued, then ends the thread and closes its connection.
    pub(crate) async fn close(&self) {
        drop(lock(&self.queue).take());
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread {
            // It doesn't panic: each group catches its own.
            let _ = tokio::task::spawn_blocking(|| thread.join()).await;
        }
    }
}

/// What these hold can't be left halfway.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn given_up(claim: &Claim, why: &'static str) -> StoreError {
    if claim.take() { StoreError::Unavailable(why.into()) } else { StoreError::OutcomeUnknown(why.into()) }
}

/// What the thread owns.
struct Loop {
    connection: Connection,
    log: Log,
    waiting: flume::Receiver<Job>,
    metrics: Metrics,
}

impl Loop {
    fn run(mut self) {
        while let Ok(first) = self.waiting.recv() {
            let mut group = Vec::new();
            let outcome = catch_unwind(AssertUnwindSafe(|| self.group(first, &mut group)));
            let lost = outcome.unwrap_or_else(|_| {
                tracing::error!("the writer panicked; its group is given up");
                Some(self.abandon())
            });
            for job in group {
                job.work.answer(lost.as_ref().map(Lost::error));
            }
            // Nobody who was just answered waits for this.
            if self.log.is_long() {
                self.metrics.time("checkpoint", || self.log.copy(&self.connection));
            }
        }
    }

    /// Commits what is waiting, leaving it in `group` to be answered; `Some` says that none of it was written, or why that is
    /// unknown.
    fn group(&self, first: Job, group: &mut Vec<Job>) -> Option<Lost> {
        let first = self.begin(first)?;
        let mut items = 0;
        let mut next = Some(first);
        while let Some(job) = next.take() {
            if job.deadline.remaining().is_zero() {
                if job.claim.take() {
                    job.work.answer(Some(StoreError::Unavailable("the writer was busy until the deadline".into())));
                }
            } else if job.claim.take() {
                items += job.items;
                group.push(job);
                if let Some(job) = group.last_mut()
                    && let Err(error) = self.in_savepoint(&mut *job.work)
                {
                    return Some(self.roll_back(error));
                }
            }
            if group.len() < MAX_GROUP && items < MAX_ITEMS {
                next = self.waiting.try_recv().ok();
            }
        }
        self.metrics.time("commit", || self.commit(group.len()))
    }

    /// Begins a transaction. Another process, such as an import, may hold the write lock: then waits for it, but not beyond the
    /// deadline of the one who is first in the queue. `None` once it has been answered with an error.
    fn begin(&self, first: Job) -> Option<Job> {
        loop {
            if !self.connection.is_autocommit() {
                tracing::error!("the writer found a transaction left open");
                self.roll_back_what_is_left();
            }
            let Err(error) = self.execute("BEGIN IMMEDIATE") else { return Some(first) };
            let busy = error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy);
            if !busy || first.deadline.remaining().is_zero() {
                if first.claim.take() {
                    first.work.answer(Some(store_error(error)));
                }
                return None;
            }
        }
    }

    /// Runs one piece of work, keeping or undoing all of it.
    ///
    /// # Errors
    /// The whole transaction is off.
    fn in_savepoint(&self, work: &mut dyn Work) -> Result<(), StoreError> {
        self.execute("SAVEPOINT changeset").map_err(store_error)?;
        let ran = self.metrics.time("changeset", || work.run(&self.connection));
        // A statement that failed, as on a full disk, may have rolled back everything, despite the savepoint.
        if self.connection.is_autocommit() {
            let why = "a failed statement rolled back its transaction".into();
            let full = matches!(ran, Ran::Undo { full: true });
            return Err(if full { StoreError::Full(why) } else { StoreError::Unavailable(why) });
        }
        if matches!(ran, Ran::Undo { .. }) {
            self.execute("ROLLBACK TO changeset").map_err(store_error)?;
        }
        self.execute("RELEASE changeset").map_err(store_error)
    }

    /// A commit without changes costs nothing: SQLite writes no frame for it, so nor does it sync.
    fn commit(&self, changesets: usize) -> Option<Lost> {
        match self.execute("COMMIT") {
            Ok(()) => {
                if let Ok(changesets) = u32::try_from(changesets) {
                    self.metrics.group_size.observe(changesets.into());
                }
                None
            }
            // The last frame may have reached the log before its sync failed; then a recovery would find it.
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure) => {
                Some(self.roll_back(StoreError::OutcomeUnknown(error.into())))
            }
            Err(error) => Some(self.roll_back(store_error(error))),
        }
    }

    fn roll_back(&self, error: StoreError) -> Lost {
        self.roll_back_what_is_left();
        Lost::of(error)
    }

    /// After a panic: before the COMMIT nothing was written, afterwards nobody knows.
    fn abandon(&self) -> Lost {
        let why = "the writer panicked".into();
        if self.connection.is_autocommit() {
            Lost::of(StoreError::OutcomeUnknown(why))
        } else {
            self.roll_back(StoreError::Unavailable(why))
        }
    }

    fn roll_back_what_is_left(&self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.execute("ROLLBACK")
        {
            tracing::error!(error = &error as &dyn std::error::Error, "the writer could not roll back");
        }
    }

    fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute([]).map(drop)
    }
}

/// Why a group as a whole was not acknowledged, to be told to each of it.
struct Lost {
    variant: fn(BoxError) -> StoreError,
    why: Arc<BoxError>,
}

#[derive(Debug, Error)]
#[error("the group of this commit failed: {0}")]
struct GroupFailed(Arc<BoxError>);

impl Lost {
    fn of(error: StoreError) -> Self {
        let (variant, why): (fn(BoxError) -> StoreError, _) = match error {
            StoreError::Unavailable(why) => (StoreError::Unavailable, why),
            StoreError::OutcomeUnknown(why) => (StoreError::OutcomeUnknown, why),
            StoreError::Full(why) => (StoreError::Full, why),
            StoreError::Corrupt(why) => (StoreError::Corrupt, why),
        };
        Self { variant, why: Arc::new(why) }
    }

    fn error(&self) -> StoreError {
        (self.variant)(Box::new(GroupFailed(Arc::clone(&self.why))))
    }
}

#[cfg(test)]
mod tests;
