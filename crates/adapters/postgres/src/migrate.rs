//! Migrations: embedded, and run under a lock in one transaction.
//!
//! refinery reads, numbers and checks the files, and its table `refinery_schema_history` says what was applied. It would run
//! each file in a transaction of its own; here everything happens in the one transaction that holds the advisory lock, so that
//! no lock of a session is needed and a failure leaves nothing behind.

use profile_ports::{Deadline, StoreError};
use refinery::Migration;
use thiserror::Error;
use tokio::time::timeout;
use tokio_postgres::types::Type;

use crate::{
    error::{too_late, trouble},
    pool::{Lease, Pool},
    row::get,
    settings::{Settings, SettingsError},
    statement::Statement,
};

mod embedded {
    refinery::embed_migrations!("../../../migrations/postgres");
}

/// `profile-` in bytes: the advisory lock that migrating instances wait for.
const LOCK: &str = "SELECT pg_advisory_xact_lock(8102661165239002413)";

/// As refinery makes it.
const HISTORY: &str = "CREATE TABLE IF NOT EXISTS refinery_schema_history (
    version int4 PRIMARY KEY, name varchar(255), applied_on varchar(255), checksum varchar(255))";

static APPLIED: Statement =
    Statement::new("migrations_applied", "SELECT version, name, checksum FROM refinery_schema_history ORDER BY version", &[]);

static APPLY: Statement = Statement::new(
    "migration_record",
    "INSERT INTO refinery_schema_history (version, name, applied_on, checksum)
     VALUES ($1, $2, to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), $3)",
    &[Type::INT4, Type::TEXT, Type::TEXT],
);

/// Why the schema was not migrated. Nothing of it was changed.
#[derive(Debug, Error)]
pub enum MigrateError {
    /// A migration was changed after it was applied.
    #[error("migration V{version} ({name}) was applied to this database in another form than the one in this program")]
    Diverged {
        /// Its number.
        version: i32,
        /// Its name.
        name: String,
    },
    /// A migration failed.
    #[error("migration V{version} ({name}) failed")]
    Failed {
        /// Its number.
        version: i32,
        /// Its name.
        name: String,
        /// What the server said.
        #[source]
        source: StoreError,
    },
    /// The server can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What makes the schema that this code needs, in order.
pub(crate) fn migrations(settings: &Settings) -> Result<Vec<Migration>, SettingsError> {
    let mut migrations = embedded::migrations::runner().get_migrations().clone();
    if let Some(folder) = &settings.further_migrations {
        migrations.extend(refinery::load_sql_migrations(folder)?);
    }
    Ok(migrations)
}

pub(crate) async fn migrate(pool: &Pool, migrations: &[Migration], deadline: Deadline) -> Result<(), MigrateError> {
    let work = async {
        let lease = pool.lease().await?;
        match within_lock(&lease, migrations, deadline).await {
            Ok(()) => {
                lease.keep();
                Ok(())
            }
            Err(error) => {
                lease.roll_back().await;
                Err(error)
            }
        }
    };
    timeout(deadline.remaining(), work).await.unwrap_or_else(|_| Err(StoreError::Unavailable(too_late()).into()))
}

async fn within_lock(lease: &Lease<'_>, migrations: &[Migration], deadline: Deadline) -> Result<(), MigrateError> {
    let store = |error| StoreError::from(trouble(error));
    lease.begin(deadline).await.map_err(store)?;
    lease.batch("migration_lock", LOCK).await.map_err(store)?;
    lease.batch("migration_history", HISTORY).await.map_err(store)?;
    let mut applied = Vec::new();
    for row in lease.query(&APPLIED, &[]).await.map_err(store)? {
        applied.push((get::<i32>(&row, "version")?, get::<String>(&row, "name")?, get::<String>(&row, "checksum")?));
    }
    for migration in migrations {
        let (version, name, checksum) = (migration.version(), migration.name(), migration.checksum().to_string());
        if let Some((_, known, sum)) = applied.iter().find(|(known, ..)| *known == version) {
            if known != name || *sum != checksum {
                return Err(MigrateError::Diverged { version, name: name.to_owned() });
            }
            continue;
        }
        let failed = |error| MigrateError::Failed { version, name: name.to_owned(), source: store(error) };
        lease.batch("migration_apply", migration.sql().unwrap_or_default()).await.map_err(failed)?;
        lease.query(&APPLY, &[&version, &name, &checksum]).await.map_err(failed)?;
        tracing::info!(migration.version = version, migration.name = name, "migrated the schema");
    }
    lease.batch("migration_commit", "COMMIT").await.map_err(store)?;
    Ok(())
}
