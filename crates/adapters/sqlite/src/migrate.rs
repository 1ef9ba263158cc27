//! Files, locks and migrations: what happens before the first statement.

use std::{
    ffi::OsString,
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};

use crate::{OpenError, Settings, Synchronous, log};

/// How long a statement waits for a lock that another process holds. The writer and the readers wait on by themselves,
/// until their callers' deadlines.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_millis(250);
/// For what happens once, at start.
const BUSY_TIMEOUT_AT_START: Duration = Duration::from_secs(30);
/// More than there are statements, so that each is prepared once.
const STATEMENT_CACHE: usize = 64;
/// The write-ahead log is cut to this after a checkpoint that emptied it: 64 MiB.
const WAL_SIZE_LIMIT: i64 = 64 << 20;

mod embedded {
    refinery::embed_migrations!("../../../migrations/sqlite");
}

/// Held by the one process that serves a database; let go when dropped, and by the system when the process dies.
#[derive(Debug)]
pub struct ServingLock {
    _file: File,
}

/// Takes the right to serve the database at this path, by a lock on `<path>.lock`. Commands don't need it and may run beside
/// a server.
///
/// # Errors
/// [`OpenError::Served`] if another process, or this one, has it.
pub fn lock_for_serving(path: &Path) -> Result<ServingLock, OpenError> {
    create_folder(path)?;
    let lock = beside(path, ".lock");
    let file = open_lock(&lock)?;
    match file.try_lock() {
        Ok(()) => Ok(ServingLock { _file: file }),
        Err(TryLockError::WouldBlock) => Err(OpenError::Served { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(OpenError::Lock { path: lock, source }),
    }
}

/// Creates the database and brings it to the newest schema. Does nothing if it is there, nor if it is ahead because a newer
/// version has migrated it; any number of processes may do so at once.
///
/// # Errors
/// See [`OpenError`].
pub fn migrate(settings: &Settings) -> Result<(), OpenError> {
    create_folder(&settings.path)?;
    let lock = beside(&settings.path, ".migrate.lock");
    let file = open_lock(&lock)?;
    file.lock().map_err(|source| OpenError::Lock { path: lock, source })?;
    let mut connection = connect(settings, Access::Write)?;
    connection.busy_timeout(BUSY_TIMEOUT_AT_START).map_err(database(settings))?;
    log::settle(&mut connection, &settings.path, &beside(&settings.path, "-wal"))?;
    let failed = |error| OpenError::Migrate(Box::new(error));
    let mut migrations = embedded::migrations::runner().get_migrations().clone();
    if let Some(folder) = &settings.further_migrations {
        migrations.extend(refinery::load_sql_migrations(folder).map_err(failed)?);
    }
    // Grouped: else a migration and the note that it was applied are two transactions, and a process that dies in between leaves a
    // schema on which none starts again.
    refinery::Runner::new(&migrations).set_grouped(true).set_abort_missing(false).run(&mut connection).map_err(failed)?;
    Ok(())
}

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

pub(crate) fn connect(settings: &Settings, access: Access) -> Result<Connection, OpenError> {
    configured(settings, access).map_err(database(settings))
}

fn configured(settings: &Settings, access: Access) -> rusqlite::Result<Connection> {
    let mode = match access {
        Access::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
        Access::Write => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
    };
    let connection = Connection::open_with_flags(&settings.path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT_AT_START)?;
    connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
    if access == Access::Write {
        connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
        let synchronous = match settings.synchronous {
            Synchronous::Full => "full",
            Synchronous::Normal => "normal",
        };
        connection.pragma_update(None, "synchronous", synchronous)?;
        connection.pragma_update_and_check(None, "journal_size_limit", WAL_SIZE_LIMIT, |_| Ok(()))?;
    } else {
        connection.pragma_update(None, "query_only", true)?;
    }
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    // A negative size is one in KiB.
    connection.pragma_update(None, "cache_size", -i64::from(settings.cache_kib))?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

pub(crate) fn database(settings: &Settings) -> impl Fn(rusqlite::Error) -> OpenError {
    let path = settings.path.clone();
    move |source| OpenError::Database { path: path.clone(), source }
}

/// Creates the folder and those above it that are missing. SQLite syncs what is in the folder; that the folder itself is there
/// has to survive a loss of power as well, so whatever gets a new folder is synced.
fn create_folder(path: &Path) -> Result<(), OpenError> {
    let folder = parent(path);
    let failed = |source| OpenError::Folder { path: folder.to_owned(), source };
    let missing: Vec<&Path> =
        folder.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists()).collect();
    std::fs::create_dir_all(folder).map_err(failed)?;
    missing.into_iter().try_for_each(|made| File::open(parent(made))?.sync_all()).map_err(failed)
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// The file stays when the lock goes: removing it would let two processes lock two files of one name.
fn open_lock(path: &Path) -> Result<File, OpenError> {
    File::options()
        .create(true)
        .write(true)
        .truncate(false)
        .open(path)
        .map_err(|source| OpenError::Lock { path: path.to_owned(), source })
}
