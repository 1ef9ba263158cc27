//! Groups that fail as a whole. What can be seen from outside the crate is tested there.

use std::{sync::mpsc, time::Duration};

use profile_ports::{Deadline, StoreError};
use rusqlite::Connection;
use tokio::task::JoinHandle;

use super::Writer;
use crate::{error::store_error, log::Log, metrics::Metrics};

type Answer = JoinHandle<Result<usize, StoreError>>;

struct Bench {
    folder: tempfile::TempDir,
    writer: std::sync::Arc<Writer>,
}

impl Bench {
    /// A table without an index, so that an insert has no statement journal and a full disk takes the transaction along.
    fn new(pages: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut connection = Connection::open(folder.path().join("bench.db")).unwrap();
        connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(())).unwrap();
        connection.execute_batch("CREATE TABLE rows (bytes BLOB) STRICT").unwrap();
        connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
        let log = Log::of(&mut connection).unwrap();
        let writer = Writer::start(connection, log, Metrics::new().unwrap()).unwrap();
        Self { folder, writer: writer.into() }
    }

    /// Holds the writer until the sender is dropped, so that what comes next is one group with it.
    fn hold(&self) -> (mpsc::Sender<()>, Answer) {
        let (gate, held) = mpsc::channel::<()>();
        let wait = move |_: &Connection| {
            let _ = held.recv();
            Ok(0)
        };
        (gate, self.submit(wait))
    }

    fn insert(&self, bytes: u32) -> Answer {
        self.submit(move |connection| {
            connection.execute("INSERT INTO rows (bytes) VALUES (zeroblob(?1))", [bytes]).map_err(store_error)
        })
    }

    fn submit(&self, work: impl FnOnce(&Connection) -> Result<usize, StoreError> + Send + 'static) -> Answer {
        let writer = std::sync::Arc::clone(&self.writer);
        tokio::spawn(async move { writer.submit(1, Deadline::within(Duration::from_secs(30)), work).await })
    }

    fn rows(&self) -> i64 {
        let look = Connection::open(self.folder.path().join("bench.db")).unwrap();
        look.query_row("SELECT count(*) FROM rows", [], |row| row.get(0)).unwrap()
    }
}

/// Lets every spawned task run up to its first wait; the tests' runtime has one thread.
async fn all_queued() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_full_disk_is_acknowledged_to_nobody_of_the_group() {
    let bench = Bench::new(20);
    let (gate, held) = bench.hold();
    let before = bench.insert(10);
    let full = bench.insert(1 << 20);
    all_queued().await;
    drop(gate);
    for answer in [held, before, full] {
        let answer = answer.await.unwrap();
        assert!(matches!(answer, Err(StoreError::Full(_))), "{answer:?}");
    }
    assert_eq!(bench.rows(), 0);
    assert_eq!(bench.insert(10).await.unwrap().unwrap(), 1, "a smaller one fits, and the writer goes on");
    assert_eq!(bench.rows(), 1);
}

#[tokio::test]
async fn an_error_undoes_its_own_work_alone() {
    let bench = Bench::new(1_000);
    let (gate, held) = bench.hold();
    let before = bench.insert(1);
    let failing = bench.submit(|connection| {
        connection.execute("INSERT INTO rows (bytes) VALUES (x'00')", []).map_err(store_error)?;
        connection.execute("INSERT INTO nowhere VALUES (1)", []).map_err(store_error)
    });
    let after = bench.insert(1);
    all_queued().await;
    drop(gate);
    assert_eq!(held.await.unwrap().unwrap(), 0);
    assert_eq!(before.await.unwrap().unwrap(), 1);
    assert!(matches!(failing.await.unwrap(), Err(StoreError::Unavailable(_))));
    assert_eq!(after.await.unwrap().unwrap(), 1);
    assert_eq!(bench.rows(), 2);
}

#[tokio::test]
async fn a_panic_answers_its_group_and_the_writer_goes_on() {
    let bench = Bench::new(1_000);
    let (gate, held) = bench.hold();
    let before = bench.insert(1);
    let panicking = bench.submit(|_| panic!("planted"));
    all_queued().await;
    drop(gate);
    for answer in [held, before, panicking] {
        let answer = answer.await.unwrap();
        assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    }
    assert_eq!(bench.rows(), 0);
    assert_eq!(bench.insert(1).await.unwrap().unwrap(), 1);
    assert_eq!(bench.rows(), 1);
}

#[tokio::test]
async fn work_whose_deadline_passed_in_the_queue_is_not_run() {
    let bench = Bench::new(1_000);
    let (gate, held) = bench.hold();
    all_queued().await;
    let insert = |connection: &Connection| connection.execute("INSERT INTO rows (bytes) VALUES (x'00')", []).map_err(store_error);
    let late = bench.writer.submit(1, Deadline::within(Duration::from_millis(20)), insert).await;
    assert!(matches!(late, Err(StoreError::Unavailable(_))), "{late:?}");
    drop(gate);
    held.await.unwrap().unwrap();
    bench.insert(1).await.unwrap().unwrap();
    assert_eq!(bench.rows(), 1);
}

#[tokio::test]
async fn the_outcome_of_work_that_runs_over_its_deadline_is_unknown() {
    let bench = Bench::new(1_000);
    let (gate, held) = mpsc::channel::<()>();
    let slow = move |connection: &Connection| {
        let _ = held.recv();
        connection.execute("INSERT INTO rows (bytes) VALUES (x'00')", []).map_err(store_error)
    };
    let answer = bench.writer.submit(1, Deadline::within(Duration::from_millis(200)), slow).await;
    assert!(matches!(answer, Err(StoreError::OutcomeUnknown(_))), "{answer:?}");
    drop(gate);
    bench.writer.close().await;
    assert_eq!(bench.rows(), 1, "it was finished");
}

/// A COMMIT returns once the log is on the disk: what is acknowledged survives a loss of power.
#[test]
fn the_writers_connection_syncs_every_commit() {
    let folder = tempfile::tempdir().unwrap();
    let settings = crate::Settings::at(folder.path().join("store.db"));
    let connection = crate::migrate::connect(&settings, crate::migrate::Access::Write).unwrap();
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0)).unwrap();
    assert_eq!(pragma("synchronous"), rusqlite::types::Value::Integer(2), "FULL");
    assert_eq!(pragma("journal_mode"), rusqlite::types::Value::Text("wal".to_owned()));
}

#[tokio::test]
async fn work_runs_on_the_writers_thread() {
    let bench = Bench::new(1_000);
    let named = |_: &Connection| Ok::<_, StoreError>(std::thread::current().name().map(str::to_owned));
    let name = bench.writer.submit(0, Deadline::within(Duration::from_secs(30)), named).await.unwrap();
    assert_eq!(name.as_deref(), Some("sqlite-writer"));
}
