//! The embedded store: one SQLite file, one thread that writes, a few connections that read.
//!
//! What is written is decided by the domain (`profile_domain::plan`); this crate loads what a plan needs, writes it, and
//! makes it durable. It deliberately lacks rules, retries and caches. Modules, in the order to read them: `entities` (the
//! reads), `list`, `commit` (a plan becomes rows), `writer` (group commit), `log`, `readers`, `bulk`, `tasks`, `secrets`, `row`,
//! `error`, `migrate`.

mod bulk;
mod clock;
mod commit;
mod entities;
mod error;
mod feed;
mod list;
mod log;
mod metrics;
mod migrate;
mod readers;
mod row;
mod secrets;
mod tasks;
mod writer;

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use profile_domain::{Policy, TenantId, search::ListQuery};
use profile_ports::{Deadline, Store, StoreError};
use rusqlite::Connection;

use crate::{bulk::Exports, clock::Clock, error::Failure, log::Log, metrics::Metrics, readers::Readers, writer::Writer};

pub use error::OpenError;
pub use migrate::{ServingLock, lock_for_serving, migrate};

/// Where the store is and what it may use.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The database file. Its folder is made if it isn't there; `-wal`, `-shm` and lock files lie beside it.
    pub path: PathBuf,
    /// Connections for reading; at least one.
    pub readers: usize,
    /// What each connection caches of the file, in KiB.
    pub cache_kib: u32,
    /// A folder with migrations that come after those in this program: for tests of an upgrade.
    pub further_migrations: Option<PathBuf>,
    /// What is synced when. Nothing configures it: for a test that must see what a loss of power takes.
    #[doc(hidden)]
    pub synchronous: Synchronous,
}

/// What is synced when.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub enum Synchronous {
    /// Every commit, before it is acknowledged.
    Full,
    /// Only what a checkpoint is about to rely on.
    Normal,
}

impl Settings {
    /// A database at this path, with 4 readers and 8 MiB of cache for each connection.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), readers: 4, cache_kib: 8 * 1024, further_migrations: None, synchronous: Synchronous::Full }
    }
}

/// A store in one file.
pub struct SqliteStore {
    policy: Arc<Policy>,
    clock: Arc<Clock>,
    writer: Writer,
    readers: Arc<Readers>,
    exports: Exports,
    /// Of this opening: [`profile_ports::FeedState::run`].
    run: u64,
}

impl SqliteStore {
    /// Opens the database, creating and migrating it as needed, and starts the writer. Blocks.
    ///
    /// # Errors
    /// See [`OpenError`]. It may be tried again with the same registry.
    pub fn open(settings: &Settings, policy: Policy, registry: &prometheus::Registry) -> Result<Self, OpenError> {
        migrate(settings)?;
        let metrics = Metrics::new().map_err(OpenError::Metrics)?;
        let mut connection = migrate::connect(settings, migrate::Access::Write)?;
        let run: i64 = connection.query_row("SELECT random()", [], |row| row.get(0)).map_err(migrate::database(settings))?;
        let log = Log::of(&mut connection).map_err(migrate::database(settings))?;
        let writer = Writer::start(connection, log, metrics.clone())?;
        let readers = Readers::open(settings, metrics.clone())?;
        metrics.register(registry).map_err(OpenError::Metrics)?;
        Ok(Self {
            policy: Arc::new(policy),
            clock: Arc::new(Clock::start()),
            writer,
            readers,
            exports: Exports::new(settings),
            run: run.cast_unsigned(),
        })
    }

    /// Takes no more commits, finishes those queued, and closes every connection once its user is done.
    pub async fn close(&self) {
        self.exports.close();
        self.readers.close();
        self.writer.close().await;
    }

    /// How SQLite answers a list, as it explains it itself: for tests that require an index and no sorting.
    ///
    /// # Errors
    /// As any read.
    pub async fn explain_list(&self, tenant: &TenantId, query: &ListQuery, deadline: Deadline) -> Result<String, StoreError> {
        self.readers.take(deadline).await?.read("explain", |connection| {
            let keys = list::keys(connection, tenant, query)?;
            let (sql, parameters) = list::statement(tenant, query, &keys, query.after.as_ref(), query.limit);
            let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
            let mut rows = statement.query(rusqlite::params_from_iter(parameters))?;
            let mut plan = String::new();
            while let Some(row) = rows.next()? {
                plan += row::text(row, 3)?;
                plan.push('\n');
            }
            Ok(plan)
        })
    }
}

impl profile_ports::Replicas for SqliteStore {}

#[async_trait]
impl Store for SqliteStore {
    async fn ping(&self, deadline: Deadline) -> Result<(), StoreError> {
        self.readers.take(deadline).await?.read("ping", look)?;
        // Within the write lock, and without a change: nothing reaches the disk.
        self.writer.submit(0, deadline, |connection| Ok(look(connection)?)).await
    }
}

fn look(connection: &Connection) -> Result<(), Failure> {
    connection.prepare_cached("SELECT value FROM sequences WHERE name = 'entity'")?.query_row([], |_| Ok(()))?;
    Ok(())
}
