//! Which store is used, and how it is brought up and closed.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use profile_ports::{Deadline, Store, Timelines, causes};
use profile_postgres::{Address, PostgresStore};
use profile_redis::RedisCache;
use profile_sqlite::{ServingLock, SqliteStore};
use prometheus::Registry;
use tokio::runtime::Handle;

use crate::config::{Config, Database, Postgres, Sqlite, Tls};

/// Longer than any migration; other instances wait as long for the one that does it.
const MIGRATION_TIMEOUT: Duration = Duration::from_mins(10);

/// How long the leases of runs that were left behind may take to end.
const LEASES_TIMEOUT: Duration = Duration::from_secs(10);

/// The store that configuration picked.
#[derive(Clone)]
pub(crate) enum Opened {
    Sqlite { store: Arc<SqliteStore>, _lock: Option<Arc<ServingLock>> },
    Postgres(Arc<PostgresStore>),
}

/// What the store is opened for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To serve, which one process at a time may do with an embedded store.
    Serving,
    /// For a command, which may run beside it.
    Command,
}

impl Opened {
    /// Opens the embedded store, or prepares connections to a server that may be absent still.
    pub(crate) async fn open(
        config: &Config,
        purpose: Purpose,
        redis: Option<Arc<RedisCache>>,
        registry: &Registry,
    ) -> anyhow::Result<Self> {
        let policy = config.policy.clone();
        match &config.database {
            Database::Sqlite(sqlite) => {
                let settings = profile_sqlite::Settings {
                    further_migrations: config.further_migrations.clone(),
                    ..profile_sqlite::Settings::at(file(sqlite))
                };
                let registry = registry.clone();
                // Opening waits for disks and for others that migrate.
                let opening = tokio::task::spawn_blocking(move || {
                    let lock = match purpose {
                        Purpose::Serving => Some(Arc::new(profile_sqlite::lock_for_serving(&settings.path)?)),
                        Purpose::Command => None,
                    };
                    let store = Arc::new(SqliteStore::open(&settings, policy, &registry)?);
                    Ok::<_, anyhow::Error>((store, lock))
                });
                let (store, lock) = opening.await??;
                if lock.is_some()
                    && let Err(error) = store.end_leases(Deadline::within(LEASES_TIMEOUT)).await
                {
                    tracing::warn!(cause = causes(&error), "leases of runs that a process left behind end only in their time");
                }
                Ok(Self::Sqlite { store, _lock: lock })
            }
            Database::Postgres(postgres) => {
                let settings = profile_postgres::Settings {
                    further_migrations: config.further_migrations.clone(),
                    // All instances remember there which server was replaced.
                    timelines: redis.map(|redis| redis as Arc<dyn Timelines>),
                    ..settings(postgres)
                };
                let store = PostgresStore::new(&settings, policy, Handle::current(), registry)
                    .context("PostgreSQL can't be used with these DB_ settings")?;
                Ok(Self::Postgres(Arc::new(store)))
            }
        }
    }

    /// As the port.
    pub(crate) fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Sqlite { store, .. } => Arc::clone(store) as Arc<dyn Store>,
            Self::Postgres(store) => Arc::clone(store) as Arc<dyn Store>,
        }
    }

    /// Brings the schema to what this program needs. The embedded store was migrated when it was opened.
    pub(crate) async fn migrate(&self) -> anyhow::Result<()> {
        match self {
            Self::Sqlite { .. } => Ok(()),
            Self::Postgres(store) => Ok(store.migrate(Deadline::within(MIGRATION_TIMEOUT)).await?),
        }
    }

    /// Waits for commits that have begun, and lets go of everything.
    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite { store, .. } => store.close().await,
            Self::Postgres(store) => store.close().await,
        }
    }
}

fn file(sqlite: &Sqlite) -> PathBuf {
    sqlite.data_dir.join("profiles.db")
}

fn settings(postgres: &Postgres) -> profile_postgres::Settings {
    let address = |(host, port): &(String, u16)| Address { host: host.clone(), port: *port };
    // There is always a first.
    let (first, others) = postgres
        .hosts
        .split_first()
        .map_or((None, Vec::new()), |(first, others)| (Some(address(first)), others.iter().map(address).collect()));
    let Address { host, port } = first.unwrap_or(Address { host: "localhost".to_owned(), port: postgres.port });
    profile_postgres::Settings {
        host,
        port,
        others,
        replicas: postgres.replicas.iter().map(address).collect(),
        user: postgres.user.clone(),
        password: postgres.password.clone(),
        database: postgres.name.clone(),
        tls: match postgres.tls {
            Tls::Off => profile_postgres::Tls::Off,
            Tls::Prefer => profile_postgres::Tls::Prefer,
            Tls::Verify => profile_postgres::Tls::Verify,
        },
        tls_root_cert: postgres.tls_ca.clone(),
        pool_size: postgres.pool_size,
        prepared: postgres.prepared_statements,
        ..profile_postgres::Settings::default()
    }
}
