//! What the application needs from outside, as traits, with the closed set of errors each can give.
//!
//! The docs state promises, not signatures. Every promise names, in brackets, the case in `port-contracts` that holds each
//! adapter to it. There are seven ports: the [`Store`], which is the sum of smaller ones, each with a file of its own here, in the
//! adapters and among the contracts; [`Timelines`], which a store is told of by others; the [`Cache`]; the [`Queue`]; the
//! [`Objects`]; the [`Webhooks`], whose only adapter is tested where it is; and [`Sources`] that are asked live.

#![warn(missing_docs)]
#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "a name in brackets is that of a case in port-contracts, where a test finds it"
)]

mod bulk;
pub mod cache;
mod deadline;
mod entities;
mod feed;
pub mod objects;
pub mod queue;
mod replicas;
mod secrets;
mod sources;
mod tasks;
mod timelines;
pub mod webhooks;

use async_trait::async_trait;
use thiserror::Error;

pub use bulk::{Bulk, EmailOwners, EntityStream};
pub use cache::{Cache, CacheError};
pub use deadline::Deadline;
pub use entities::{CommitError, Entities};
pub use feed::{Detail, Feed, FeedPage, FeedState, Numbered};
pub use objects::{ObjectError, ObjectKey, Objects};
pub use queue::{Queue, QueueError};
pub use replicas::{AsOf, By, Replicas, Seen, Servers};
pub use secrets::{SecretKey, Secrets};
pub use sources::{Ask, Fetched, SourceError, Sources};
pub use tasks::{Claim, Claims, Due, Renewal, TaskDepth, TaskGauges, Tasks};
pub use timelines::Timelines;
pub use webhooks::{WebhookError, Webhooks};

/// Where everything is kept: the sum of the ports below.
#[async_trait]
pub trait Store: Entities + Replicas + Bulk + Feed + Tasks + Secrets {
    /// Asks the store for a sign of life: whether it would answer reads and take writes now.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] with the reason.
    async fn ping(&self, deadline: Deadline) -> Result<(), StoreError>;
}

/// An error from beneath, kept for the log.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// An error with all that lies beneath it, in one line: for the log alone.
#[must_use]
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// What can go wrong with any use of a store. Absence is no error, but an `Option`.
#[derive(Debug, Error)]
pub enum StoreError {
    /// It can't be reached, is too slow for the deadline, or has no room for one more. Nothing was written.
    #[error("the store is unavailable")]
    Unavailable(#[source] BoxError),
    /// The write was sent and its answer was lost: it may have happened.
    #[error("the outcome of the commit is unknown")]
    OutcomeUnknown(#[source] BoxError),
    /// There is no space left to write to. Nothing was written, and reads go on.
    #[error("the store is full")]
    Full(#[source] BoxError),
    /// What is stored can't have been written by this code.
    #[error("stored data is corrupt")]
    Corrupt(#[source] BoxError),
}
