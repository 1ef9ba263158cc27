//! Timelines: which is the newest that any instance has seen.
//!
//! Every server that takes over the writes of another begins a timeline with a higher number. So whoever knows a higher one than
//! a server is on knows that the server was replaced, though it may have come back and take writes that nobody will ever see.

use async_trait::async_trait;

use crate::CacheError;

/// What all instances have seen. It may forget, as caches do; then each instance has its own memory only.
#[async_trait]
pub trait Timelines: Send + Sync + std::fmt::Debug {
    /// Says that a timeline of these servers was seen, and is told the newest one that anybody said: never less than was said
    /// before [`timelines_only_rise`]. 0 only asks. Servers are told apart by the number that all copies of one share.
    ///
    /// # Errors
    /// See [`CacheError`]; then it may have been noted.
    async fn seen(&self, servers: u64, timeline: u32) -> Result<u32, CacheError>;
}
