//! The feed: every committed change of all tenants, in one order.

use serde_json::{Map, Value};

use crate::{EntityKey, Moment, TenantId, Version, plan::ChangeKind};

/// A place in the feed: 1 is that of the first change, 0 the place before it. Places have no gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeedPosition(pub i64);

/// One life of a store's feed: places of one say nothing about another. A new store begins one, and so does whatever takes a
/// store back to what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Incarnation(pub u128);

/// A change with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedChange {
    /// Its place.
    pub position: FeedPosition,
    /// Whose entity.
    pub tenant: TenantId,
    /// The entity.
    pub key: EntityKey,
    /// The version that the change made.
    pub version: Version,
    /// What sort of change.
    pub kind: ChangeKind,
    /// Field → `{"old": …, "new": …}`; `None` once the life that it tells of has ended.
    pub changes: Option<Map<String, Value>>,
    /// The moment of its changeset.
    pub at: Moment,
}
