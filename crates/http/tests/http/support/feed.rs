//! A feed of which nobody asks here.

use async_trait::async_trait;
use profile_domain::{FeedPosition, Incarnation, Moment};
use profile_ports::{Deadline, Detail, Feed, FeedPage, FeedState, Numbered, StoreError};

use super::FakeStore;

const NOTHING: FeedState = FeedState { incarnation: Incarnation(0), run: 0, trimmed: FeedPosition(0), head: FeedPosition(0) };

#[async_trait]
impl Feed for FakeStore {
    async fn number_feed(&self, _: Deadline) -> Result<Numbered, StoreError> {
        Ok(Numbered { state: NOTHING, complete: true })
    }

    async fn feed_after(&self, _: FeedPosition, _: usize, _: Detail, _: Deadline) -> Result<FeedPage, StoreError> {
        Ok(FeedPage { state: NOTHING, changes: Vec::new(), unread: None })
    }

    async fn trim_feed(&self, _: Moment, _: Deadline) -> Result<FeedState, StoreError> {
        Ok(NOTHING)
    }

    async fn renew_feed(&self, _: Deadline) -> Result<(), StoreError> {
        Ok(())
    }
}
