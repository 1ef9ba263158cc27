//! The write-ahead log: when it is copied into the database, and what is not trusted after a sync that failed.
//!
//! A failed sync leaves pages that the system takes for written although they are not, and the next sync succeeds without
//! them. SQLite is safe from that where it writes the same pages again: after a commit that failed the next one overwrites its
//! frames, and after a checkpoint that failed the next one copies from where the last that succeeded had ended. Two things
//! are not written again, and are seen to here:
//!
//! - What a checkpoint copied while a reader kept it from completing isn't synced, and counts as copied all the same. If the
//!   sync of the checkpoint that completes it fails, those pages may be lost, and once the log begins anew they are. So after
//!   a failure this process copies nothing any more: the next one finds the whole log and copies all of it.
//! - The frames of a commit that failed are found in the log by the next process, which takes them for committed, serves
//!   them and builds on them, while they are not on the disk. So whoever opens the database writes the log that it finds once
//!   more, byte for byte, and syncs that first.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
};

use rusqlite::{Connection, ErrorCode, TransactionBehavior, config::DbConfig};

use crate::OpenError;

/// Pages in the log (4 KiB each) after which they are copied into the database.
const LONG: i32 = 1_000;
/// Bytes that are written again at a time.
const CHUNK: usize = 1 << 20;

/// The log of the writer's connection.
pub(crate) struct Log {
    /// In the log after the last commit.
    pages: Arc<AtomicI32>,
    /// Whether all that is copied reaches the disk with the next sync.
    trusted: bool,
}

impl Log {
    /// Takes checkpoints over from SQLite, which would tell nobody that one failed.
    pub(crate) fn of(connection: &mut Connection) -> rusqlite::Result<Self> {
        let pages = Arc::new(AtomicI32::new(0));
        let committed = Arc::clone(&pages);
        connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages| {
            committed.store(pages, Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(Self { pages, trusted: true })
    }

    /// Whether it is time to copy it.
    pub(crate) fn is_long(&self) -> bool {
        self.trusted && self.pages.load(Ordering::Relaxed) >= LONG
    }

    /// Copies it into the database, as far as readers allow.
    pub(crate) fn copy(&mut self, connection: &Connection) {
        // The row says how far it came, which readers decide.
        if let Err(error) = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
            let full = error.sqlite_error_code() == Some(ErrorCode::DiskFull);
            let error = &error as &dyn std::error::Error;
            if full {
                // It came to no sync, so the next attempt copies the same again.
                tracing::warn!(error, "the log can't be copied into the database yet");
                return;
            }
            self.trusted = false;
            // Nor when it is closed. If even that fails, closing copies once more what this process has copied.
            let kept = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).is_ok();
            tracing::error!(
                error,
                log.kept = kept,
                "the database could not be synced: writes are kept in the log, which grows until the service is restarted"
            );
        }
    }
}

/// Puts on the disk what earlier processes left in the log, whatever became of their syncs. Before anything else is done with
/// the database.
///
/// # Errors
/// [`OpenError::Database`] and [`OpenError::Log`].
pub(crate) fn settle(connection: &mut Connection, database: &Path, log: &Path) -> Result<(), OpenError> {
    let failed = |source| OpenError::Database { path: database.to_owned(), source };
    // Who holds the write lock is alone in writing to the log.
    let alone = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    write_again(log).map_err(|source| OpenError::Log { path: log.to_owned(), source })?;
    alone.rollback().map_err(failed)
}

fn write_again(path: &Path) -> io::Result<()> {
    let file = match File::options().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    let (mut bytes, mut offset) = (vec![0; CHUNK], 0);
    loop {
        let length = file.read_at(&mut bytes, offset)?;
        if length == 0 {
            return if offset > 0 { file.sync_data() } else { Ok(()) };
        }
        file.write_all_at(&bytes[..length], offset)?;
        offset += length as u64;
    }
}
