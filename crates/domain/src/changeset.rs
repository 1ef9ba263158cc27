//! Changesets: everything that must be written together, and the receipt of what it did.

use std::collections::HashMap;

use serde_json::{Map, Value};
use thiserror::Error;

use crate::{
    entity::Entity,
    fact::Fact,
    key::{EntityKey, EntityType, FieldName, Version},
    moment::Moment,
    profile::FieldProblem,
    task::{Fence, NewTask, TaskReceipt},
};

/// Entity writes in one changeset, at most.
pub const MAX_ITEMS: usize = 5_000;

/// Everything that must be written together; the only way in to the store.
///
/// It carries intents, not results: the store turns each into facts against the state that it has locked. So a changeset
/// can be run again.
#[derive(Clone, Debug, PartialEq)]
pub struct Changeset {
    /// The injected time, by which REST writes and deletes are dated.
    pub now: Moment,
    /// In order: a later write sees what an earlier one did.
    pub writes: Vec<EntityWrite>,
    /// Makes the whole changeset happen once.
    pub idempotency: Option<Idempotency>,
    /// Tasks to write down, at most [`crate::task::MAX_TASKS`].
    pub tasks: Vec<NewTask>,
    /// Lets it happen only while this run goes on, as whose effect, and makes that a success.
    pub fence: Option<Fence>,
}

impl Changeset {
    /// Writes and nothing else.
    #[must_use]
    pub fn of(now: Moment, writes: Vec<EntityWrite>) -> Self {
        Self { now, writes, idempotency: None, tasks: Vec::new(), fence: None }
    }

    /// The entity with whose deletion a receipt of this is forgotten: that of the first write, or the profile of the first task.
    #[must_use]
    pub fn kept_with(&self) -> Option<EntityKey> {
        let of_task = || {
            let reference = self.tasks.first()?.profile.clone()?;
            Some(EntityKey { entity_type: EntityType::profile(), reference })
        };
        self.writes.first().map(|write| write.key.clone()).or_else(of_task)
    }

    /// Whether it is about tasks, so that it has something to write though no entity changes.
    #[must_use]
    pub fn concerns_tasks(&self) -> bool {
        !self.tasks.is_empty() || self.fence.is_some()
    }
}

/// One intent for one entity.
#[derive(Clone, Debug, PartialEq)]
pub struct EntityWrite {
    /// The entity, which need not exist.
    pub key: EntityKey,
    /// What shall become of it.
    pub intent: Intent,
    /// What must hold before.
    pub expect: Expect,
    /// If this write can't be applied the whole changeset fails; else it alone is rejected in the receipt.
    pub required: bool,
}

/// What shall become of an entity.
#[derive(Clone, Debug, PartialEq)]
pub enum Intent {
    /// Take these facts in.
    Merge(Vec<(FieldName, Fact)>),
    /// Serve exactly this document, as source `api`. Fields → values; nulls are absent.
    Replace(Map<String, Value>),
    /// Change the served document by merge patches of its fields, as source `api`.
    Patch {
        /// Field → merge patch (RFC 7396); `null` removes the field.
        fields: Map<String, Value>,
        /// First remove every attribute.
        clear_attributes: bool,
    },
    /// Serve these values beside what is served already, as source `api`: each field becomes its new value as a whole, and
    /// `null` removes it. Fields that aren't named stay.
    Update(Map<String, Value>),
    /// Remove it, leaving a tombstone.
    Delete,
    /// Become exactly this, version, dates and facts included, where nothing is known of it: not even a tombstone.
    Restore(Box<Entity>),
}

/// What must hold of an entity before a write of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Any,
    /// It isn't living: never was, or was deleted.
    Absent,
    /// The id was made just now and is known to nobody else, so nothing needs to be looked up or locked.
    Fresh,
    /// It is living.
    Present,
    /// It is living at one of these versions.
    Version(Vec<Version>),
}

/// The client's key by which a changeset happens once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Idempotency {
    /// The operation, such as `POST /api/v1/profiles`: one key may serve several.
    pub route: &'static str,
    /// As the client sent it.
    pub key: String,
    /// Of the request: another request under the same key is refused.
    pub fingerprint: [u8; 32],
}

/// What a committed changeset did.
#[derive(Clone, Debug, PartialEq)]
pub struct Receipt {
    /// `now` of the changeset that was committed; on a replay, of the first.
    pub at: Moment,
    /// One for each write, in order.
    pub outcomes: Vec<ItemReceipt>,
    /// The entities written, as they are now; empty on a replay.
    pub states: HashMap<EntityKey, Entity>,
    /// One for each task, in order.
    pub tasks: Vec<TaskReceipt>,
    /// Whether this changeset had been committed before, under its idempotency key.
    pub replay: Replay,
    /// Where the store had come to by then, if its reads may come from where that isn't known yet.
    pub place: Option<Place>,
}

/// How far a store has come. Places of one timeline are in the order of its commits; those of different ones can't be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Another one begins whenever another server takes the writes. Never 0.
    pub timeline: u32,
    /// Everything that was committed up to here is at or before this place.
    pub position: u64,
}

impl Receipt {
    /// The versions that this made, in the order of the writes.
    pub fn changed_versions(&self) -> impl Iterator<Item = (&EntityKey, Version)> {
        self.outcomes.iter().filter_map(|item| match item.outcome {
            ItemOutcome::Created(version) | ItemOutcome::Updated(version) | ItemOutcome::Deleted(version) => {
                Some((&item.key, version))
            }
            ItemOutcome::Unchanged(_) | ItemOutcome::Rejected(_) => None,
        })
    }
}

/// Whether a receipt is of this commit or of an earlier one under the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// Committed now.
    No,
    /// Committed before; these are the outcomes of then.
    Yes,
    /// Committed before, and its entity has been deleted since: the outcomes are forgotten.
    Forgotten,
}

/// One write's part of a receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemReceipt {
    /// The entity written: on a replay, that of the first time.
    pub key: EntityKey,
    /// What became of it.
    pub outcome: ItemOutcome,
}

/// What became of one write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemOutcome {
    /// The entity began a life at this version.
    Created(Version),
    /// The entity changed and is now at this version.
    Updated(Version),
    /// Nothing was written. The version it has; `None` if it never existed.
    Unchanged(Option<Version>),
    /// A tombstone was left, at this version.
    Deleted(Version),
    /// The write couldn't be applied, and the rest could.
    Rejected(Rejection),
}

/// Why a write can't be applied. [`Rejection::code`] is what clients are given.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Rejection {
    /// It was expected to be living.
    #[error("there is no such entity")]
    Absent,
    /// It was expected not to be living.
    #[error("the entity exists already, at version {0}")]
    Exists(Version),
    /// It is at another version than was expected.
    #[error("the entity is at version {actual}")]
    VersionConflict {
        /// The version that it has.
        actual: Version,
    },
    /// Another profile has reserved this e-mail address.
    #[error("the e-mail address belongs to another profile")]
    EmailTaken,
    /// The facts, or the merged result, break a rule or a limit.
    #[error("some fields are invalid")]
    Invalid(Vec<FieldProblem>),
    /// A caller dated a fact more than 5 minutes ahead.
    #[error("a fact about {field} is dated {reference_date}; the latest that is taken now is {latest}")]
    DatedAhead {
        /// The field.
        field: FieldName,
        /// Its date.
        reference_date: Moment,
        /// The latest date that would have been taken.
        latest: Moment,
    },
}

impl Rejection {
    /// Stable, for programs; the same in receipts and in answers.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Absent => "NOT_FOUND",
            Self::Exists(_) => "ALREADY_EXISTS",
            Self::VersionConflict { .. } => "VERSION_CONFLICT",
            Self::EmailTaken => "EMAIL_TAKEN",
            Self::Invalid(_) => "VALIDATION_FAILED",
            Self::DatedAhead { .. } => "DATED_AHEAD",
        }
    }
}

/// A required write that can't be applied: the whole changeset is off.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("write {index} can't be applied: {rejection}")]
pub struct Refusal {
    /// Which write, counted from 0.
    pub index: usize,
    /// Why.
    pub rejection: Rejection,
}
