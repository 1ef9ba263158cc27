//! Caches: tiers of what was read. A tier may lose anything at any time; what it gives is never older than what it gave.
//!
//! **Who keeps it true.** Nobody asks whether an entry is current. The feed is applied to every tier ([`Cache::follow`]), and a
//! tier knows up to which [`Mark`] that was done. Whether that is recent enough to believe an entry is the caller's to judge,
//! who knows the feed; so an entry comes with the mark that was true before it was looked up.
//!
//! **Why a load can't bring back the past.** Between a miss and the fill that follows it anything may happen. So
//! - whoever loads names the [`Ticket`] that the miss came with, and whoever commits and writes through, one from before;
//! - entries are compared by version, and an older one never replaces a newer;
//! - a change leaves its version behind as a **floor**, whatever becomes of the entry, for as long as a load may still come that
//!   saw less: [`Spans::floor`]. A fill below it is refused;
//! - a ticket ends with [`Spans::load`], so that a floor outlives every load that needs it, even that of a process which was
//!   stopped on its way;
//! - floors are bounded. One too many, and the part begins anew: everything is dropped, a new [`Namespace`] begins, tickets of
//!   the old one are void, and for [`Spans::lag`] no new ones are given, because a load may still see less than the floors that
//!   were dropped.
//!
//! **Parts.** A tier consists of [`Cache::parts`], numbered from 0, and every key belongs to one of them. A part has a mark,
//! floors and a namespace of its own, and is lost or falls behind as a whole: a shard in memory, a bucket in a Redis Cluster.
//!
//! Deliberately lacking: the feed, the judgement, single flight, jitter, breakers. They are the application's.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::{BoxFuture, Either, Ready, ready};
use profile_domain::{EntityKey, Incarnation, TenantId, Version};
use thiserror::Error;

use crate::BoxError;

/// Why a tier didn't answer. Whatever it was, the caller goes on without: a miss, or a change that the feed will bring.
#[derive(Debug, Error)]
pub enum CacheError {
    /// It can't be reached.
    #[error("the cache is unavailable")]
    Unavailable(#[source] BoxError),
    /// It didn't answer in time. What was asked for may still happen.
    #[error("the cache didn't answer in time")]
    TimedOut,
    /// It answered, and refused: it is read-only, out of memory, or doesn't know what was asked.
    #[error("the cache refused")]
    Refused(#[source] BoxError),
}

/// An answer that may be there already: a tier in this process gives it without allocating anything.
pub type Answer<'a, T> = Either<Ready<Result<T, CacheError>>, BoxFuture<'a, Result<T, CacheError>>>;

/// An answer that is there.
pub fn at_once<'a, T>(answer: T) -> Answer<'a, T> {
    Either::Left(ready(Ok(answer)))
}

/// What a tier relies on. The same for all who share it, or else the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spans {
    /// The longest time from a ticket to the fill that names it, so the longest load. Enforced: later fills are refused.
    pub load: Duration,
    /// How far what a load reads may lie behind what was committed when it began: of replicas, and a margin.
    pub lag: Duration,
}

impl Spans {
    /// For how long a version is left behind: once it is over, no fill can come that saw less.
    #[must_use]
    pub fn floor(self) -> Duration {
        self.load + self.lag
    }
}

/// What is known of an entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It lives.
    Living {
        /// The version that the bytes show.
        version: Version,
        /// Its serialised form, which means nothing to a tier.
        bytes: Bytes,
    },
    /// There is none.
    Absent {
        /// The version of its deletion. `None`, which is below every version: nothing was ever known of it. Whoever can't tell
        /// the two apart says `None`; then only floors keep what was before the deletion from taking its place.
        version: Option<Version>,
    },
}

impl State {
    /// What states of one entity are compared by.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        match self {
            Self::Living { version, .. } => Some(*version),
            Self::Absent { version } => *version,
        }
    }
}

/// What to remember.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fill {
    /// What is known.
    pub state: State,
    /// For how long. Jitter, if any, is in it.
    pub expires_in: Duration,
    /// Whether others may still load what was before.
    pub standing: Standing,
}

/// How long ago a state came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Within [`Spans::floor`], or it isn't known: others may still load what was before. Leaves its version behind, as the
    /// feed will do for the same change; so these are no more floors than changes. Every write-through is fresh.
    Fresh,
    /// Longer ago.
    Settled,
}

/// What became of a fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is remembered.
    Stored,
    /// Something newer is known. Nothing changed.
    Older,
    /// The ticket is void: of another namespace, or too old. Nothing changed, but where the fill itself left one floor too many.
    Late,
    /// More bytes than may be held. What was there of older versions is gone.
    TooLarge,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    /// The entry, if there is one that fits.
    pub hit: Option<Hit>,
    /// How far the key's part had followed the feed before the entry was looked up. `None`: nobody has begun it, so it holds
    /// nothing.
    pub mark: Option<Mark>,
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// What is known.
    pub state: State,
    /// What is left of its time: for refreshing early, and for `Cache-Status`.
    pub expires_in: Duration,
}

/// Names everything that a part holds from one beginning to the next. Never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Namespace(pub u128);

/// Says when and in which namespace a load or a commit began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The namespace of then.
    pub namespace: Namespace,
    /// The time of then, by the tier's own clock, from a beginning of its own.
    pub at: Duration,
}

/// Up to where a part has followed the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// What it holds now.
    pub namespace: Namespace,
    /// Whose feed.
    pub incarnation: Incarnation,
    /// The last position applied.
    pub position: i64,
    /// To be named by a fill or write-through of any key of this part. `None` while the part takes nothing.
    pub ticket: Option<Ticket>,
}

/// A change of an entity, of which tiers need to know no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub key: EntityKey,
    /// The version that it made.
    pub version: Version,
}

/// A stretch of the feed.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// Whose feed.
    pub incarnation: Incarnation,
    /// It holds every change after this position …
    pub from: i64,
    /// … up to and with this one.
    pub to: i64,
    /// The changes, of whatever part: a tier takes those of the part that follows. Per entity, the last is enough.
    pub changes: &'a [Change],
}

/// Where to begin.
#[derive(Clone, Copy, Debug)]
pub struct Begin {
    /// The namespace that shall end, as it was seen by whoever decided so; `None` where nothing was begun.
    pub instead_of: Option<Namespace>,
    /// Whose feed.
    pub incarnation: Incarnation,
    /// The position from which it will be followed.
    pub position: i64,
    /// For how long no tickets are given: [`Spans::lag`], unless every load sees all that is committed when it begins. The
    /// changes up to the position have left no floors here.
    pub quiet: Duration,
}

/// A tier. It takes the tenant first, and what belongs to another is never given [`cache_tenants_are_apart`].
///
/// Over any order of loads, fills, writes, deletions, invalidations, expiry, eviction and beginnings: nothing older after
/// something newer, and nothing older than what was followed [`cache_never_goes_back`].
#[async_trait]
pub trait Cache: Send + Sync {
    /// How many parts there are. 0: nothing is ever kept, and there is nothing to follow.
    fn parts(&self) -> u16;

    /// The part of a key, below [`Self::parts`]; 0 where there is none.
    fn part_of(&self, tenant: &TenantId, key: &EntityKey) -> u16;

    /// What was put [`cache_gives_what_was_put`], unless it has expired [`cache_entries_expire`] or was dropped. An entry
    /// names its schema, tenant, key and version; where one of these isn't what was asked for, or it can't be read, it is a
    /// miss, counted and removed [`cache_removes_what_does_not_fit`].
    ///
    /// # Errors
    /// See [`CacheError`].
    fn get<'a>(&'a self, tenant: &'a TenantId, key: &'a EntityKey) -> Answer<'a, Got>;

    /// Remembers, if the ticket is valid and nothing newer is known.
    ///
    /// - **By version**: never replaces a newer one [`cache_newer_versions_stay`]; an equal one is written anew, with its new
    ///   expiry [`cache_equal_versions_are_refreshed`]. Of many at once the newest stays [`cache_races_keep_the_newest`].
    /// - **In time**: a ticket is void once its part began anew [`cache_tickets_end_with_their_namespace`], and after
    ///   [`Spans::load`] [`cache_tickets_end_with_the_longest_load`].
    /// - **A fresh state** leaves its version behind [`cache_fresh_states_leave_a_floor`].
    /// - **Absence** is remembered like a value [`cache_gives_what_was_put`], in a bound apart from theirs, so that asking for
    ///   ids that nobody has displaces nothing [`cache_absences_displace_nothing`]. It ends with the creation, and one that was
    ///   loaded before can't come back [`cache_absence_ends_with_creation`].
    /// - **Bounded**: an adapter with bounds of its own never holds more entries [`cache_entries_are_bounded`] or bytes
    ///   [`cache_bytes_are_bounded`], not for a moment; the entry of too many bytes is refused and leaves nothing older behind
    ///   [`cache_too_large_leaves_nothing_older`].
    ///
    /// # Errors
    /// See [`CacheError`].
    async fn put(&self, tenant: &TenantId, key: &EntityKey, ticket: Ticket, fill: Fill) -> Result<Put, CacheError>;

    /// Drops what is known of one entity, and no floor [`cache_removes_one`].
    ///
    /// # Errors
    /// See [`CacheError`].
    async fn remove(&self, tenant: &TenantId, key: &EntityKey) -> Result<(), CacheError>;

    /// Drops what is older than these versions, and refuses it for [`Spans::floor`], or longer
    /// [`cache_floors_refuse_what_is_older`], whatever is evicted meanwhile [`cache_floors_outlive_evictions`]; then no more
    /// [`cache_floors_end`]. What is of the version named stays [`cache_newer_versions_stay`]. If there are more floors than their
    /// bound, the part begins anew at its mark, and takes nothing for [`Spans::lag`] [`cache_overflow_begins_anew`].
    ///
    /// A short cut for what the feed will bring; any number of times, in any order, whatever the namespace.
    ///
    /// # Errors
    /// See [`CacheError`]; then some may have been applied.
    async fn invalidate(&self, changes: &[Change]) -> Result<(), CacheError>;

    /// The mark of a part: a ticket for a commit, or a look at how far it is. `None` where none was begun, or was lost.
    ///
    /// # Errors
    /// See [`CacheError`].
    async fn mark(&self, part: u16) -> Result<Option<Mark>, CacheError>;

    /// Invalidates what a stretch of the feed changed in a part and advances its mark, in one: if it is the same feed, the
    /// stretch begins at or before the mark and ends after it [`cache_steps_leave_no_gap`]. Else nothing happens. So any number
    /// of instances may do it at once; positions that were applied are not applied again, and none is left out.
    ///
    /// Gives the mark as it is afterwards: who finds it before the end of the stretch goes on from there, and begins anew where
    /// that can't be.
    ///
    /// # Errors
    /// See [`CacheError`]; then it may have happened.
    async fn follow(&self, part: u16, step: &Step<'_>) -> Result<Option<Mark>, CacheError>;

    /// Drops everything in a part, floors too, and begins a new namespace [`cache_beginning_drops_everything`], which takes
    /// nothing for the time named [`cache_beginning_is_quiet`]; unless its namespace is no longer the one that shall end. So of
    /// all who decide it at once one does it [`cache_begins_once`].
    ///
    /// Gives the mark as it is afterwards.
    ///
    /// # Errors
    /// See [`CacheError`]; then it may have happened.
    async fn begin(&self, part: u16, begin: &Begin) -> Result<Option<Mark>, CacheError>;
}
