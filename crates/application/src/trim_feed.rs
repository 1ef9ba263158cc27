//! The feed is kept for a time, and not longer.

use std::time::Duration;

use profile_ports::{Deadline, StoreError, causes};

use crate::App;

/// How often it is trimmed.
const EVERY: Duration = Duration::from_mins(1);
/// How long one step may take.
const STEP: Duration = Duration::from_secs(30);

impl App {
    /// Forgets changes that got their place longer ago than this, over and over, until it is dropped.
    pub async fn trim_feed(&self, retention: Duration) {
        loop {
            tokio::time::sleep(EVERY).await;
            if let Err(error) = self.trim_feed_once(retention).await {
                tracing::warn!(cause = causes(&error), "the feed couldn't be trimmed; it will be tried again");
            }
        }
    }

    /// # Errors
    /// The store's.
    async fn trim_feed_once(&self, retention: Duration) -> Result<(), StoreError> {
        let micros = i64::try_from(retention.as_micros()).unwrap_or(i64::MAX);
        let before = (self.environment.now)().plus_micros(micros.saturating_neg());
        let mut trimmed = None;
        loop {
            let now = self.store.trim_feed(before, Deadline::within(STEP)).await?.trimmed;
            if trimmed == Some(now) {
                return Ok(());
            }
            trimmed = Some(now);
        }
    }
}
