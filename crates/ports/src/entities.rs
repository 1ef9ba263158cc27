//! Entities: the one way in, and the reads.

use async_trait::async_trait;
use profile_domain::{Changeset, Entity, EntityKey, EntityView, Receipt, Refusal, TenantId, search::ListQuery};
use thiserror::Error;

use crate::{Deadline, StoreError};

/// Why a changeset was not committed. Except for [`StoreError::OutcomeUnknown`], nothing of it was written
/// [`refused_changeset_leaves_no_trace`].
#[derive(Debug, Error)]
pub enum CommitError {
    /// A write marked `required` can't be applied.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The idempotency key was used for another request.
    #[error("the idempotency key belongs to another request")]
    KeyReused,
    /// A changeset with the same idempotency key is being committed, and didn't end within the deadline.
    #[error("a request with the same idempotency key is in progress")]
    InProgress,
    /// More than [`profile_domain::changeset::MAX_ITEMS`] writes, or [`profile_domain::task::MAX_TASKS`] tasks.
    #[error(
        "a changeset may hold at most {} writes and {} tasks",
        profile_domain::changeset::MAX_ITEMS,
        profile_domain::task::MAX_TASKS
    )]
    TooLarge,
    /// The run that this was to be the effect of goes on no more: it lost its lease, or has ended.
    #[error("the run that this was the effect of has ended")]
    Fenced,
    /// A task is to belong to a profile that isn't living.
    #[error("there is no living profile for the task")]
    NoProfile,
    /// The unique key of a task is held by a waiting one that belongs to another profile, or to none where this one does.
    #[error("the unique key is held by a task that belongs elsewhere")]
    UniqueElsewhere,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Entities of all tenants. Every method names the tenant first; what belongs to another is as if it had never existed
/// [`tenants_are_apart`].
#[async_trait]
pub trait Entities: Send + Sync {
    /// Commits everything in the changeset, or nothing.
    ///
    /// - **Atomic**: a refused changeset leaves no trace, no row and no idempotency key [`refused_changeset_leaves_no_trace`].
    ///   A write that is not `required` and can't be applied is rejected in the receipt, and the rest commits
    ///   [`rejected_items_harm_no_other`].
    /// - **Durable**: what was acknowledged is there after reopening [`acknowledged_writes_survive_reopening`].
    /// - **Isolated**: intents are applied to the state under the entity's lock, so that concurrent expectations of one version
    ///   let one through [`one_of_many_versions_wins`], and first writers of one entity lose no fact
    ///   [`first_writers_keep_both_facts`]. Writes of one changeset see each other in order [`writes_see_earlier_ones`].
    /// - **By rule, not by arrival**: the same facts in any order and batching end in the same state
    ///   [`facts_merge_in_any_order`].
    /// - **In order**: entities that one changeset creates are listed in the order of its writes
    ///   [`created_together_are_listed_in_order`].
    /// - **Nothing for nothing**: a changeset that changes nothing writes no row, no version, no feed row
    ///   [`unchanged_writes_nothing`].
    /// - **Versions** rise by one on every real change, also over a delete, and never repeat [`versions_never_repeat`]. A
    ///   deletion leaves a tombstone; facts dated at or before it change nothing, a later one revives the entity with nothing
    ///   of its past [`deleted_facts_stay_out`] [`revival_has_no_past`].
    /// - **Addresses**: at most one profile per tenant holds an e-mail key; takers race to one winner
    ///   [`one_email_one_profile`], a changeset may swap addresses [`emails_swap_in_one_changeset`], and crossing changes end
    ///   without deadlock [`crossing_email_changes_end`].
    /// - **Once**: a changeset with an idempotency key that was committed before gives the receipt of then
    ///   [`idempotency_replays`] [`idempotency_races_once`]; with another fingerprint it is [`CommitError::KeyReused`]; once its
    ///   entity was deleted the receipt is forgotten [`idempotency_forgets_the_deleted`]. One that changed nothing still stores
    ///   its key [`unchanged_keeps_its_key`].
    /// - **Told**: every real change appends one feed row with the served values that differ [`feed_tells_every_change`]; a
    ///   deletion blanks the entity's earlier rows [`deletion_blanks_the_feed`].
    /// - **With its tasks**: tasks are written down with everything else or not at all [`tasks_are_committed_with_their_data`], due by
    ///   the store's clock [`delays_go_by_the_stores_clock`]. Of those of one type and unique key, one waits for its first start,
    ///   and the other is told of it or takes its place [`unique_keys_hold_until_the_first_start`]
    ///   [`unique_submissions_race_to_one`], where both belong to the same profile or to none; else it is
    ///   [`CommitError::UniqueElsewhere`] [`unique_keys_are_of_one_profile`]. The deletion of a profile cancels its tasks and takes their payloads along
    ///   [`deletion_cancels_tasks`], and none is written down for one that isn't living [`tasks_belong_to_the_living`].
    /// - **As an effect**: with a fence it happens only while that run goes on, and is its success [`effects_are_fenced`]
    ///   [`one_of_many_effects_counts`].
    /// - **Exact**: values come back as they were normalised [`values_round_trip`].
    ///
    /// Dropping the future neither stops nor halves a commit that has begun [`dropped_commit_is_whole`].
    ///
    /// # Errors
    /// See [`CommitError`].
    async fn commit(&self, tenant: &TenantId, changeset: Changeset, deadline: Deadline) -> Result<Receipt, CommitError>;

    /// The served values of a living entity. Sees every commit acknowledged before [`reads_see_commits`]. A tombstone is `None`
    /// [`deleted_is_absent`].
    ///
    /// # Errors
    /// See [`StoreError`]; never [`StoreError::OutcomeUnknown`] or [`StoreError::Full`].
    async fn view(&self, tenant: &TenantId, key: &EntityKey, deadline: Deadline) -> Result<Option<EntityView>, StoreError>;

    /// All facts of an entity, tombstones included [`facts_are_kept_beside_the_winner`].
    ///
    /// # Errors
    /// As [`Self::view`].
    async fn entity(&self, tenant: &TenantId, key: &EntityKey, deadline: Deadline) -> Result<Option<Entity>, StoreError>;

    /// One page of living entities, in the order asked for, after the position given [`list_orders_and_pages`]. Filters are
    /// equalities, all of which hold [`filters_all_hold`]; a prefix is of the folded name, compared by bytes
    /// [`prefix_is_of_the_folded_name`]. Which attributes can be found may be configured anew at any time; then a value is found
    /// once it was written under the new configuration [`search_fields_may_change`]. Fewer than `limit` mean that there are no more [`short_page_is_the_last`]. While others
    /// write, an entity that isn't touched appears exactly once in a walk [`walk_meets_the_untouched_once`].
    ///
    /// # Errors
    /// As [`Self::view`].
    async fn list(&self, tenant: &TenantId, query: &ListQuery, deadline: Deadline) -> Result<Vec<EntityView>, StoreError>;
}
