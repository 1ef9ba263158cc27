//! Connections for reading: as many as configured, each used by one caller at a time.

use std::{
    cell::Cell,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use profile_ports::{Deadline, StoreError};
use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use crate::{
    OpenError, Settings,
    error::{Failure, store_error},
    metrics::Metrics,
    migrate,
};

/// Steps of SQLite's virtual machine between two looks at the clock; some microseconds' worth.
const STEPS_BETWEEN_LOOKS: i32 = 10_000;

thread_local! {
    /// Where this thread's last connection lies: its cache of pages is likely in this processor's, too.
    static LAST: Cell<usize> = const { Cell::new(0) };
}

/// The pool.
pub(crate) struct Readers {
    /// A place for each connection; empty while it is on loan.
    places: Box<[Mutex<Option<Connection>>]>,
    permits: Arc<Semaphore>,
    metrics: Metrics,
}

impl Readers {
    pub(crate) fn open(settings: &Settings, metrics: Metrics) -> Result<Arc<Self>, OpenError> {
        let size = settings.readers.max(1);
        let open = |_| migrate::connect(settings, migrate::Access::Read).map(|connection| Mutex::new(Some(connection)));
        let places = (0..size).map(open).collect::<Result<_, _>>()?;
        let gauge = i64::try_from(size).unwrap_or(i64::MAX);
        metrics.pool_size.set(gauge);
        metrics.pool_available.set(gauge);
        Ok(Arc::new(Self { places, permits: Arc::new(Semaphore::new(size)), metrics }))
    }

    /// Takes a connection, waiting for one at most until the deadline.
    pub(crate) async fn take(self: &Arc<Self>, deadline: Deadline) -> Result<Reader, StoreError> {
        let permit = match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => permit,
            Err(TryAcquireError::Closed) => return Err(unavailable("the store is closed")),
            Err(TryAcquireError::NoPermits) => {
                let wait = Arc::clone(&self.permits).acquire_owned();
                tokio::time::timeout(deadline.remaining(), wait)
                    .await
                    .map_err(|_| unavailable("no reader became free before the deadline"))?
                    .map_err(|_| unavailable("the store is closed"))?
            }
        };
        let (place, connection) = self.pick().ok_or_else(|| unavailable("the store is closed"))?;
        self.metrics.pool_available.dec();
        let reader = Reader { connection: Some(connection), place, readers: Arc::clone(self), _permit: permit };
        reader.stop_at(deadline)
    }

    /// Refuses new reads and closes what is idle; what is in use closes when it comes back.
    pub(crate) fn close(&self) {
        self.permits.close();
        (0..self.places.len()).for_each(|place| drop(self.place(place).take()));
    }

    /// The connection that this thread had last, if it is there, else any. Whoever has a permit finds one.
    fn pick(&self) -> Option<(usize, Connection)> {
        let last = LAST.get();
        let places = self.places.len();
        let found = (last..last + places).find_map(|place| Some((place % places, self.place(place % places).take()?)));
        found.inspect(|(place, _)| LAST.set(*place))
    }

    fn place(&self, place: usize) -> std::sync::MutexGuard<'_, Option<Connection>> {
        self.places[place].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection on loan. It may be moved to another thread.
pub(crate) struct Reader {
    /// Taken only by `drop`.
    connection: Option<Connection>,
    place: usize,
    readers: Arc<Readers>,
    _permit: OwnedSemaphorePermit,
}

impl Reader {
    /// Reads on the calling thread, and gives the connection back.
    pub(crate) fn read<T>(
        self,
        statement: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        let Some(connection) = &self.connection else { return Err(unavailable("the store is closed")) };
        Ok(self.readers.metrics.time(statement, || work(connection))?)
    }

    /// Interrupts any statement that still runs at the deadline, and makes waits for locks end with it.
    fn stop_at(mut self, deadline: Deadline) -> Result<Self, StoreError> {
        if let Some(connection) = &mut self.connection {
            let passed = move || deadline.remaining().is_zero();
            connection.progress_handler(STEPS_BETWEEN_LOOKS, Some(passed)).map_err(store_error)?;
            // Readers of a WAL hardly ever wait: for a checkpoint that restarts the log, or recovery after a crash.
            let wait = deadline.remaining().clamp(Duration::from_millis(1), Duration::from_secs(5));
            connection.busy_timeout(wait).map_err(store_error)?;
        }
        Ok(self)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take()
            && !self.readers.permits.is_closed()
        {
            *self.readers.place(self.place) = Some(connection);
            self.readers.metrics.pool_available.inc();
        }
    }
}

fn unavailable(why: &'static str) -> StoreError {
    StoreError::Unavailable(why.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Deadline {
        Deadline::within(Duration::from_secs(30))
    }

    fn briefly() -> Deadline {
        Deadline::within(Duration::from_millis(20))
    }

    fn one(connection: &Connection) -> Result<i64, Failure> {
        Ok(connection.query_row("SELECT 1", [], |row| row.get(0))?)
    }

    #[tokio::test]
    async fn waits_and_statements_end_with_the_deadline() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings { readers: 1, ..Settings::at(folder.path().join("store.db")) };
        migrate::migrate(&settings).unwrap();
        let readers = Readers::open(&settings, Metrics::new().unwrap()).unwrap();

        let held = readers.take(soon()).await.unwrap();
        assert_eq!(readers.metrics.pool_available.get(), 0);
        let late = readers.take(briefly()).await.err();
        assert!(matches!(late, Some(StoreError::Unavailable(_))), "{late:?}");
        drop(held);
        assert_eq!(readers.take(briefly()).await.unwrap().read("one", one).unwrap(), 1);

        let endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
        let count = |connection: &Connection| Ok(connection.query_row(endless, [], |row| row.get::<_, i64>(0))?);
        let cut = readers.take(briefly()).await.unwrap().read("endless", count);
        assert!(matches!(cut, Err(StoreError::Unavailable(_))), "{cut:?}");
        assert_eq!(readers.take(soon()).await.unwrap().read("one", one).unwrap(), 1, "the connection goes on");

        let write = |connection: &Connection| Ok(connection.execute("DELETE FROM secrets", [])?);
        assert!(readers.take(soon()).await.unwrap().read("write", write).is_err(), "readers can't write");
    }
}
