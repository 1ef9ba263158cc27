//! From the driver's errors to the port's: the only place that knows SQLite's codes.

use std::{io, path::PathBuf};

use profile_domain::{key::NameError, stored::Malformed};
use profile_ports::{BoxError, StoreError};
use rusqlite::ErrorCode;
use thiserror::Error;

/// Why a store could not be opened, for the person who starts the process.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The folder for the file can't be made.
    #[error("can't create the folder {path}")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A lock file can't be made or locked.
    #[error("can't lock {path}")]
    Lock {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process serves this file.
    #[error("{path} is being served by another process: an embedded store belongs to one `serve` at a time")]
    Served {
        /// The database.
        path: PathBuf,
    },
    /// The file can't be opened as a database.
    #[error("can't open the database {path}")]
    Database {
        /// Which.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// What an earlier process wrote can't be put on the disk for certain.
    #[error("can't sync {path}")]
    Log {
        /// The write-ahead log.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A migration failed, or the file was migrated by a newer version of this program.
    #[error("can't migrate the database")]
    Migrate(#[source] Box<refinery::Error>),
    /// No thread for the writer.
    #[error("can't start the writer thread")]
    Thread(#[source] io::Error),
    /// The metrics are registered already: two stores in one registry.
    #[error("can't register the store's metrics")]
    Metrics(#[source] prometheus::Error),
}

/// What can go wrong with a statement or with what it gave.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
    #[error("a stored value can't have been written by this program")]
    Corrupt(#[source] BoxError),
}

impl From<Malformed> for Failure {
    fn from(error: Malformed) -> Self {
        Self::Corrupt(error.into())
    }
}

impl From<NameError> for Failure {
    fn from(error: NameError) -> Self {
        Self::Corrupt(error.into())
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::Corrupt(error.into())
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Sql(error) => store_error(error),
            Failure::Corrupt(error) => Self::Corrupt(error),
        }
    }
}

/// What an error of SQLite means to the application. Never [`StoreError::OutcomeUnknown`]: only the writer knows whether a
/// COMMIT was under way.
pub(crate) fn store_error(error: rusqlite::Error) -> StoreError {
    use rusqlite::Error;
    let corrupt = match &error {
        Error::FromSqlConversionFailure(..)
        | Error::IntegralValueOutOfRange(..)
        | Error::InvalidColumnType(..)
        | Error::Utf8Error(..) => true,
        // The domain decides what is written. If a constraint has to refuse it, the rows are not what they should be.
        error => matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::ConstraintViolation)
        ),
    };
    if corrupt {
        StoreError::Corrupt(error.into())
    } else if error.sqlite_error_code() == Some(ErrorCode::DiskFull) {
        StoreError::Full(error.into())
    } else {
        StoreError::Unavailable(error.into())
    }
}
