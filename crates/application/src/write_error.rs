//! Why a write of one profile was not done.

use profile_domain::Rejection;
use profile_ports::{CommitError, StoreError};
use thiserror::Error;

/// Nothing was written, except perhaps under [`StoreError::OutcomeUnknown`].
#[derive(Debug, Error)]
pub enum WriteError {
    /// The write can't be applied to the profile as it is.
    #[error(transparent)]
    Refused(Rejection),
    /// The idempotency key was used for another request.
    #[error("the idempotency key belongs to another request")]
    KeyReused,
    /// A request with the same idempotency key is still being worked on.
    #[error("a request with the same idempotency key is in progress")]
    InProgress,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<CommitError> for WriteError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Refused(refusal) => Self::Refused(refusal.rejection),
            CommitError::KeyReused => Self::KeyReused,
            CommitError::InProgress => Self::InProgress,
            CommitError::Store(error) => Self::Store(error),
            error @ (CommitError::TooLarge | CommitError::Fenced | CommitError::NoProfile | CommitError::UniqueElsewhere) => {
                Self::Store(StoreError::Unavailable(error.into()))
            }
        }
    }
}
