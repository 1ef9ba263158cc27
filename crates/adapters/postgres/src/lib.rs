//! The store that scales: PostgreSQL.
//!
//! This crate owns the tables in `migrations/postgres` and every statement on them. It deliberately decides nothing about what
//! is stored: it loads what a changeset names, lets the domain make a plan under the locks, and writes the plan.
//!
//! Read in this order: `commit.rs` (the way in), `write.rs` (a plan as statements), `entities.rs` (the reads), `bulk.rs` and
//! `export.rs` (reads of many), `feed.rs`, `tasks`, `pool.rs` (connections, and what happens when they fail), `lanes.rs` (connections
//! that readers share), `succession.rs` (which server takes the writes), `replicas.rs` (those that follow it), `error.rs`.
//!
//! **Behind a pooler in transaction mode** everything works: no lock and no setting outlives its transaction. Only prepared
//! statements need [`Settings::prepared`] to be off where the pooler doesn't follow them.
//!
//! **Where it runs.** Connections of the pool are driven on the runtime given to [`PostgresStore::new`], and what writes runs there
//! as a task, so that a caller who goes away neither stops nor halves it. Reads are polled by the caller, and those of one row go
//! over a connection that the caller's runtime drives.

mod bulk;
mod commit;
mod connector;
mod entities;
mod error;
mod export;
mod feed;
mod idempotency;
mod lanes;
mod metrics;
mod migrate;
mod pool;
mod replicas;
mod row;
mod scouts;
mod secrets;
mod server;
mod settings;
mod statement;
mod succession;
mod tasks;
mod tide;
mod tls;
mod write;

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicI64, Ordering},
};

use async_trait::async_trait;
use profile_domain::Policy;
use profile_ports::{Deadline, Store, StoreError};
use refinery::Migration;
use tokio::{runtime::Handle, task::JoinSet};
use tokio_util::task::TaskTracker;

pub use crate::{
    entities::explain_list,
    migrate::MigrateError,
    settings::{Address, Settings, SettingsError, Tls},
    write::explain_writes,
};
use crate::{
    export::Exports,
    metrics::ReplicaMetrics,
    pool::Pool,
    replicas::Replicas,
    row::get,
    scouts::{Camp, scouts},
    statement::Statement,
};

static PING: Statement = Statement::new("ping", include_str!("sql/ping.sql"), &[]);

/// A PostgreSQL database as a [`Store`].
pub struct PostgresStore {
    pool: Pool,
    replicas: Arc<Replicas>,
    /// Those who look at servers, until the store is closed.
    scouts: Mutex<JoinSet<()>>,
    policy: Arc<Policy>,
    /// Commits that run, for [`Self::close`].
    commits: TaskTracker,
    exports: Exports,
    /// All that this code knows.
    migrations: Vec<Migration>,
    /// What tests add to the server's clock where tasks are due, in microseconds.
    clock_offset: AtomicI64,
    /// Whether it was said that the server's disk isn't synced.
    warned: AtomicBool,
}

impl PostgresStore {
    /// A store whose connections are made when they are needed, on `runtime`, which must be multi-threaded and outlive the
    /// store. So this never fails for an absent server.
    ///
    /// # Errors
    /// [`SettingsError`] if the settings can't work whatever the server is like.
    pub fn new(
        settings: &Settings,
        policy: Policy,
        runtime: Handle,
        registry: &prometheus::Registry,
    ) -> Result<Self, SettingsError> {
        let pool = Pool::new(settings, runtime.clone(), registry)?;
        let named = settings.replicas.iter().map(|address| Ok((address.to_string(), pool.of_replica(address, settings)?)));
        let named = named.collect::<Result<_, SettingsError>>()?;
        let replicas = Replicas::new(named, Arc::clone(pool.succession()), ReplicaMetrics::register(registry)?);
        let replicas = Arc::new(replicas);
        let (succession, tls) = (Arc::clone(pool.succession()), pool.tls().clone());
        let camp = Camp { succession, replicas: Arc::clone(&replicas), tls, runtime };
        let exports = Exports::new(settings.pool_size, pool.in_turn());
        Ok(Self {
            pool,
            replicas,
            scouts: Mutex::new(scouts(&camp, settings)),
            policy: Arc::new(policy),
            commits: TaskTracker::new(),
            exports,
            migrations: migrate::migrations(settings)?,
            clock_offset: AtomicI64::new(0),
            warned: AtomicBool::new(false),
        })
    }

    /// Brings the schema to the version that this code needs, waiting for another instance that does. A schema that is ahead,
    /// because a newer instance migrated it, is left alone.
    ///
    /// # Errors
    /// [`MigrateError`]; then nothing was changed.
    pub async fn migrate(&self, deadline: Deadline) -> Result<(), MigrateError> {
        migrate::migrate(&self.pool, &self.migrations, deadline).await
    }

    /// Ends exports, waits for commits that have begun, each of which ends within its deadline, and closes the connections.
    pub async fn close(&self) {
        self.exports.close();
        self.commits.close();
        self.commits.wait().await;
        self.scouts.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
        self.pool.close();
        self.replicas.close();
    }
}

#[async_trait]
impl Store for PostgresStore {
    /// Fails too while the schema is older than this code, or the server is a standby.
    async fn ping(&self, deadline: Deadline) -> Result<(), StoreError> {
        let rows = self.pool.run(&PING, &[], deadline).await?;
        let row = rows.first().ok_or_else(|| row::corrupt("ping gave no row"))?;
        let (version, read_only, syncs): (i32, bool, bool) = (get(row, "version")?, get(row, "read_only")?, get(row, "syncs")?);
        let newest = self.migrations.iter().map(Migration::version).max().unwrap_or_default();
        if version < newest {
            let reason = format!("the schema is at version {version} and must be migrated to {newest}");
            return Err(StoreError::Unavailable(reason.into()));
        }
        if read_only {
            return Err(StoreError::Unavailable("the server takes no writes".into()));
        }
        // Good enough for a server that is thrown away, and nothing that a client can change.
        if !self.warned.swap(!syncs, Ordering::Relaxed) && !syncs {
            tracing::error!(
                "PostgreSQL runs with fsync=off: when its machine fails, writes that were acknowledged are lost and the database \
                 may be beyond repair"
            );
        }
        Ok(())
    }
}
