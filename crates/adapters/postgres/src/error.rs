//! What PostgreSQL's errors mean here: the one place where codes and the names of constraints are read.

use profile_ports::{BoxError, StoreError};
use tokio_postgres::{
    Error,
    error::{DbError, ErrorPosition, Severity, SqlState},
};

/// An error by what to do about it.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Somebody else has inserted a row that wasn't there when it was looked for.
    Duplicate(Error),
    /// The server gave this transaction up so that another could go on: run it again.
    Sacrificed(Error),
    /// A lock was not to be had in the time set for it.
    LockTimeout(Error),
    /// The server can't be used, for now.
    Unavailable(Error),
    /// The disk is full.
    Full(Error),
    /// The statement doesn't fit what is stored.
    Corrupt(Error),
}

/// Sorts an error.
pub(crate) fn trouble(error: Error) -> Trouble {
    let Some(db) = error.as_db_error() else {
        // No answer of the server: the connection broke, or what was said couldn't be read.
        return Trouble::Unavailable(error);
    };
    let code = db.code();
    if *code == SqlState::UNIQUE_VIOLATION {
        return match db.constraint() {
            Some("entities_pkey" | "profile_emails_pkey" | "secrets_pkey") => Trouble::Duplicate(error),
            _ => Trouble::Corrupt(error),
        };
    }
    match code.code() {
        "40P01" | "40001" => Trouble::Sacrificed(error),
        "55P03" => Trouble::LockTimeout(error),
        "53100" => Trouble::Full(error),
        // Data that doesn't fit its column, or breaks a constraint of its row.
        code if code.starts_with("22") || code.starts_with("23") => Trouble::Corrupt(error),
        // The rest is about the server: no connection (08), no resources (53), stopped by somebody (57), a standby (25006),
        // no permission (28, 42501), no such table because nobody has migrated yet (42P01).
        _ => Trouble::Unavailable(error),
    }
}

/// Whether the connection can be used after this error, once its transaction was rolled back. Not where the session is lost,
/// where the server has become a standby, or where it has forgotten what was prepared.
pub(crate) fn leaves_connection_sound(error: &Error) -> bool {
    error.as_db_error().is_some_and(|db| {
        let code = db.code().code();
        definite(db) && code != "25006" && code != "26000" && code != "0A000" && !code.starts_with("57P")
    })
}

/// Whether the server itself said that the statement, and with it the transaction, failed.
pub(crate) fn says_failed(error: &Error) -> bool {
    error.as_db_error().is_some_and(definite)
}

fn definite(db: &DbError) -> bool {
    db.parsed_severity() == Some(Severity::Error)
}

impl From<Trouble> for StoreError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Duplicate(error)
            | Trouble::Sacrificed(error)
            | Trouble::LockTimeout(error)
            | Trouble::Unavailable(error) => unavailable(error),
            Trouble::Full(error) => Self::Full(described(error)),
            Trouble::Corrupt(error) => Self::Corrupt(described(error)),
        }
    }
}

/// The store can't be used, for this reason.
pub(crate) fn unavailable(error: Error) -> StoreError {
    StoreError::Unavailable(described(error))
}

/// A reason for the log. The detail of an error names values of the row, so an error of the server keeps only what has none.
pub(crate) fn described(error: Error) -> BoxError {
    match error.as_db_error() {
        None => error.into(),
        Some(db) => {
            let place = match db.position() {
                Some(ErrorPosition::Original(position)) => format!(" at character {position}"),
                _ => String::new(),
            };
            let constraint = db.constraint().map(|name| format!(" ({name})")).unwrap_or_default();
            format!("PostgreSQL {} {}: {}{constraint}{place}", db.severity(), db.code().code(), db.message()).into()
        }
    }
}

/// The deadline passed.
pub(crate) fn too_late() -> BoxError {
    "PostgreSQL did not answer within the deadline".into()
}
