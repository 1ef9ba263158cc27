//! One suite per port, which every adapter of that port runs whole.
//!
//! An adapter implements [`Fixture`] in its tests and calls [`store_contract!`], which makes one test of every case, so that
//! the runner runs them in parallel. A case gets a store of its own and nothing else, and takes what it must know beyond the
//! port (rows, indexes, plans) through the fixture. So does an adapter of a cache, with [`CacheFixture`] and [`cache_contract!`],
//! one of a queue, with [`QueueFixture`] and [`queue_contract!`], and one of objects, with [`ObjectsFixture`] and [`objects_contract!`].

#![expect(clippy::missing_panics_doc, reason = "a case says by panicking that an adapter breaks its contract")]

mod build;
mod bulk;
mod cache;
pub mod disk;
mod entities;
mod feed;
mod model;
mod objects;
mod process;
mod queue;
pub mod rabbitmq;
mod random;
pub mod redis;
mod replicas;
mod scale;
mod secrets;
mod tasks;
pub mod timelines;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use profile_domain::{EntityKey, Policy, TenantId, Version, plan::ChangeKind, search::ListQuery};
use profile_ports::Store;
use serde_json::{Map, Value};

pub use cache::{CacheFixture, CacheLimits, CacheSize, Planted};
pub use objects::ObjectsFixture;
pub use queue::QueueFixture;
pub use random::{Random, seed};
pub use scale::scaled;
pub use tasks::table::{TaskBug, TaskTable};

/// A fresh, isolated store, and a look behind its port.
#[async_trait]
pub trait Fixture: Sized + Send + Sync + 'static {
    /// Makes an empty, migrated store of its own, that vanishes with the fixture.
    async fn fresh(policy: Policy) -> Self;

    /// The store under test.
    fn store(&self) -> Arc<dyn Store>;

    /// Closes the store and opens what it left, as the next process would, under a policy that may differ.
    async fn reopen(&mut self, policy: Policy);

    /// Every feed row of a tenant, in the order of appending.
    async fn feed(&self, tenant: &TenantId) -> Vec<FeedRow>;

    /// Every table with all its rows as text, sorted: equal dumps mean that nothing was written.
    async fn dump(&self) -> BTreeMap<String, Vec<String>>;

    /// Every index of every table, those behind keys included, with its columns in order.
    async fn indexes(&self) -> Vec<Index>;

    /// Moves the clock by which the store's tasks are due.
    fn shift_clock(&self, by: Duration);

    /// The query plan of the statement that answers this query, as the store explains it.
    async fn list_plan(&self, tenant: &TenantId, query: &ListQuery) -> String;
}

/// A feed row as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedRow {
    /// The entity.
    pub key: EntityKey,
    /// The version that the change made.
    pub version: Version,
    /// What sort of change.
    pub kind: ChangeKind,
    /// What changed; `None` where a deletion blanked it.
    pub changes: Option<Map<String, Value>>,
}

/// An index of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Its columns, in order.
    pub columns: Vec<String>,
}

/// Hands the names of all cases to a macro: those that the port's docs promise, then those that go beyond them.
#[doc(hidden)]
#[macro_export]
macro_rules! store_cases {
    ($then:path [$($with:tt)*]) => {
        $then! {
            [$($with)*]
            promised {
                // entities
                acknowledged_writes_survive_reopening
                created_together_are_listed_in_order
                crossing_email_changes_end
                deleted_facts_stay_out
                deleted_is_absent
                deletion_blanks_the_feed
                dropped_commit_is_whole
                emails_swap_in_one_changeset
                facts_are_kept_beside_the_winner
                facts_merge_in_any_order
                feed_tells_every_change
                filters_all_hold
                first_writers_keep_both_facts
                idempotency_forgets_the_deleted
                idempotency_races_once
                idempotency_replays
                list_orders_and_pages
                one_email_one_profile
                one_of_many_versions_wins
                prefix_is_of_the_folded_name
                reads_see_commits
                refused_changeset_leaves_no_trace
                rejected_items_harm_no_other
                revival_has_no_past
                search_fields_may_change
                short_page_is_the_last
                tenants_are_apart
                unchanged_keeps_its_key
                unchanged_writes_nothing
                values_round_trip
                versions_never_repeat
                walk_meets_the_untouched_once
                writes_see_earlier_ones
                // replicas
                an_answer_shows_its_place
                // bulk
                email_owners_are_found
                emptiness_counts_tombstones
                export_gives_everything_in_order
                export_is_one_snapshot
                outdated_are_walked_once
                restore_is_exact
                tenants_are_listed
                // feed
                idle_numbering_writes_nothing
                numbering_may_be_done_by_all
                places_are_for_good
                readers_miss_nothing
                renewing_begins_another_incarnation
                trimming_leaves_the_rest
                unread_changes_tell_their_age
                // tasks
                attempts_of_one_call_are_told_apart
                cancelled_tasks_never_start
                cancelling_a_run_lets_success_stand
                claims_are_exclusive
                delays_go_by_the_stores_clock
                deletion_cancels_tasks
                due_tasks_are_queued_once
                effects_are_fenced
                ended_leases_are_rescued
                ended_tasks_are_pruned
                endings_are_fenced
                leases_are_renewed_while_they_last
                named_tasks_are_claimed
                nothing_is_claimed_early
                one_of_many_effects_counts
                tasks_are_committed_with_their_data
                tasks_are_listed
                tasks_belong_to_the_living
                tasks_come_back_whole
                tasks_of_tenants_are_apart
                tenants_take_turns
                the_dead_are_retried
                unique_keys_are_of_one_profile
                unique_keys_hold_until_the_first_start
                unique_submissions_race_to_one
                waiting_tasks_are_counted
                // secrets
                secrets_made_once
                secrets_rotate_keeping_two
                secrets_survive_reopening
            }
            beyond {
                address_follows_the_api_alone
                broken_off_exports_leave_room
                dependents_of_a_rejected_release_are_rejected
                every_index_starts_with_the_tenant
                higher_revision_resolves_anew
                list_is_backed_by_an_index
                model_agrees
                priority_outvotes_the_newest
                rejected_address_harms_no_other
                restore_is_refused_where_anything_is_known
                searchable_fields_are_limited
                streams_serve_taken_addresses
                too_large_a_changeset_is_refused
                unchanged_items_write_nothing
                unkeepable_values_are_refused
                update_sets_and_removes_fields
            }
        }
    };
}

/// One test of every case, over a [`Fixture`] type. The crate that calls it depends on `tokio`.
#[macro_export]
macro_rules! store_contract {
    ($fixture:ty) => {
        $crate::store_cases! { $crate::test_each [$fixture] }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! test_each {
    ([$fixture:ty] promised { $($promised:ident)* } beyond { $($beyond:ident)* }) => {
        $crate::test_each! { @ [$fixture] $($promised)* $($beyond)* }
    };
    (@ [$fixture:ty] $($case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::cases::$case::<$fixture>().await;
            }
        )*
    };
}

/// Every case, by its name.
#[doc(hidden)]
pub mod cases {
    pub use crate::{
        bulk::*,
        cache::{bounds::*, floors::*, following::*, history::cache_never_goes_back, keeping::*, tickets::*},
        entities::{
            addresses::*, atomic::*, catalog::*, deletion::*, durable::*, feed::*, idempotency::*, listing::*, merging::*,
            paging::*, races::*, values::*,
        },
        feed::*,
        model::model_agrees,
        objects::*,
        queue::{giving::*, room::*, waiting::*},
        replicas::*,
        secrets::*,
        tasks::{cancelling::*, committing::*, ending::*, keeping::*, starting::*},
    };
}
