//! Sources that are asked while somebody waits.

use async_trait::async_trait;
use profile_domain::{SourceName, TenantId};
use serde_json::Value;
use thiserror::Error;

use crate::{BoxError, Deadline};

/// What a source is asked.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// For whom.
    pub tenant: &'a TenantId,
    /// About whom.
    pub id: &'a str,
    /// About which time, as the domain writes it.
    pub period: Option<&'a str>,
    /// The W3C trace that this belongs to, to be passed on as it is.
    pub traceparent: Option<&'a str>,
}

/// Why a source gave nothing that could be used.
#[derive(Debug, Error)]
pub enum SourceError {
    /// It can't be connected to, or went away while it answered.
    #[error("the source can't be reached")]
    Unreachable(#[source] BoxError),
    /// It didn't answer in time.
    #[error("the source didn't answer in time")]
    TimedOut,
    /// It answered with a status that says neither what is known nor that nothing is.
    #[error("the source answered with status {0}")]
    Status(u16),
    /// It answered with more than is taken.
    #[error("the source's answer is too large")]
    TooLarge,
    /// It answered with what is no JSON as it is taken here.
    #[error("the source's answer can't be read")]
    Unreadable(#[source] BoxError),
    /// Its address may not be connected to.
    #[error("the source's address may not be connected to")]
    Forbidden(#[source] BoxError),
    /// As many calls as may be are at it already.
    #[error("too many calls to the source are waiting")]
    Busy,
    /// It failed lately, and isn't asked for a while.
    #[error("the source failed lately and isn't asked now")]
    Open,
}

impl SourceError {
    /// For programs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::TimedOut => "timed_out",
            Self::Status(_) => "status",
            Self::TooLarge => "too_large",
            Self::Unreadable(_) => "unreadable",
            Self::Forbidden(_) => "forbidden",
            Self::Busy => "busy",
            Self::Open => "open",
        }
    }
}

/// What came of asking.
#[derive(Debug)]
pub struct Fetched {
    /// The document; `None`: the source knows nothing under this id.
    pub answer: Result<Option<Value>, SourceError>,
    /// How often it was called: not at all while it isn't asked, more than once where a call was repeated.
    pub attempts: u32,
    /// Whether it is asked: `closed` while it is, `open` while it isn't, `half_open` while one call finds out.
    pub breaker: &'static str,
}

/// Sources by name. There is one adapter, over HTTP, and its own tests hold it to what is said here.
#[async_trait]
pub trait Sources: Send + Sync {
    /// Asks one source about one id, and answers within the deadline and within the source's own time, whatever the source does.
    /// What it takes to do so is bounded in memory. Dropping the future ends the call.
    async fn fetch(&self, source: &SourceName, ask: &Ask<'_>, deadline: Deadline) -> Fetched;
}
