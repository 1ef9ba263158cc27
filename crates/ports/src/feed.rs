//! The feed: every committed change of all tenants, in one order. The one way in which anything learns of changes.
//!
//! **Following it.** Whoever keeps something true by the feed remembers the [`Incarnation`] and the position up to which it was
//! applied, notes the time, asks for what follows ([`Feed::feed_after`]) and applies it. From then on it knows all that was
//! committed before the time noted, but for what has waited for [`FeedPage::unread`]. It begins anew, at the head, where the
//! incarnation is another, or [`FeedState::covers`] says that its position can't be read from.

use std::time::Duration;

use async_trait::async_trait;
use profile_domain::{FeedChange, FeedPosition, Incarnation, Moment};

use crate::{Deadline, StoreError};

/// How the feed stood when it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedState {
    /// Of which feed the positions are. Another one means that changes may be missing from what was read before, or stand at
    /// other places: whatever was made from it begins anew.
    pub incarnation: Incarnation,
    /// Another one whenever the store began to run: its server, or this process where it is embedded. Its files may have been put
    /// back meanwhile, and more been written since than was lost.
    pub run: u64,
    /// Changes up to here are not kept any more.
    pub trimmed: FeedPosition,
    /// The last change that has a place; [`Self::trimmed`] at least.
    pub head: FeedPosition,
}

impl FeedState {
    /// What caches go by: incarnation and run in one. Readers who keep what they made of the feed go by the incarnation alone.
    #[must_use]
    pub fn life(&self) -> Incarnation {
        Incarnation(self.incarnation.0 ^ u128::from(self.run))
    }

    /// Whether everything after a position is there. If not, it is too old, or was ahead of this feed: of one that was taken
    /// back since.
    #[must_use]
    pub fn covers(&self, position: FeedPosition) -> bool {
        (self.trimmed..=self.head).contains(&position)
    }
}

/// What [`Feed::number_feed`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbered {
    /// How the feed stands now.
    pub state: FeedState,
    /// Whether every change that was committed when it was called has a place up to [`FeedState::head`]. If not, somebody else
    /// is giving them places at this moment, or there is more to do: call it again.
    pub complete: bool,
}

/// How much is read of each change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// What changed, to which version, and how: for whoever only drops what is old.
    Which,
    /// The served values that differ, too.
    Values,
}

/// A part of the feed.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedPage {
    /// How the feed stood, at the same moment. A reader whose position it doesn't cover gets no changes.
    pub state: FeedState,
    /// Changes one after the other, the first right after the position that was asked for.
    pub changes: Vec<FeedChange>,
    /// For how long, at most and by the store's clock, the oldest change that follows these has been committed, with a place or
    /// without. `None`: nothing follows, all that was committed when this was asked for is read.
    pub unread: Option<Duration>,
}

/// The feed of a store.
#[async_trait]
pub trait Feed: Send + Sync {
    /// Gives a place to whatever was committed and has none. Any instance does this, at any time; where another one is at it,
    /// this does nothing [`numbering_may_be_done_by_all`]. Where there is nothing to do, nothing is written
    /// [`idle_numbering_writes_nothing`]. Who is stopped or killed in the middle holds nobody up for longer than a second.
    ///
    /// A place never changes, and is given to no other change [`places_are_for_good`]. Of one entity, places ascend with
    /// versions [`readers_miss_nothing`].
    ///
    /// # Errors
    /// As [`crate::Entities::view`].
    async fn number_feed(&self, deadline: Deadline) -> Result<Numbered, StoreError>;

    /// Changes after a position, at most `limit`, without gaps: no change ever comes to stand before one that was read
    /// [`readers_miss_nothing`]. Fewer than `limit` may be there although more follow; none are only where none follow, or the
    /// position can't be read from [`trimming_leaves_the_rest`]. Without detail they have no values, and are the same else
    /// [`places_are_for_good`]. Says for how long the next has waited
    /// [`unread_changes_tell_their_age`].
    ///
    /// # Errors
    /// As [`crate::Entities::view`].
    async fn feed_after(
        &self,
        position: FeedPosition,
        limit: usize,
        detail: Detail,
        deadline: Deadline,
    ) -> Result<FeedPage, StoreError>;

    /// Forgets changes that got their place before a moment, the oldest first; of those near it some may stay, and of many a part
    /// is forgotten: call it until [`FeedState::trimmed`] stays. Places go on as if nothing had been forgotten
    /// [`trimming_leaves_the_rest`].
    ///
    /// # Errors
    /// As [`crate::Entities::view`].
    async fn trim_feed(&self, before: Moment, deadline: Deadline) -> Result<FeedState, StoreError>;

    /// Begins another incarnation, in which changes keep their places: for whoever takes the store back to what it was, so that
    /// nothing that was made from the feed before is believed [`renewing_begins_another_incarnation`].
    ///
    /// # Errors
    /// As [`crate::Entities::view`].
    async fn renew_feed(&self, deadline: Deadline) -> Result<(), StoreError>;
}
