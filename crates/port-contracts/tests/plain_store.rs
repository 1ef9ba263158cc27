//! The suite holds for a plain store in memory, and notices every bug that is planted into it.
//!
//! So a case that can't fail is found here, and so is a case that asks more than the port promises.

mod plain;

use std::thread;

use plain::{Bug, Plain, of_tasks};
use profile_port_contracts::{TaskBug, cases};

mod without_bugs {
    use super::{Bug, Plain};

    profile_port_contracts::store_contract!(Plain<{ Bug::None as u8 }>);
}

/// Runs a case as a test runner would, and expects it to panic. Races and random histories may miss a bug once, but not
/// time and again.
fn must_fail<C: Future<Output = ()>>(name: &str, case: fn() -> C) {
    let run = || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        runtime.block_on(case());
    };
    let noticed = (0..10).any(|_| thread::scope(|scope| scope.spawn(run).join()).is_err());
    assert!(noticed, "{name} doesn't notice");
}

macro_rules! planted {
    ($($name:ident: $bug:ident is noticed by $($case:ident)+;)*) => {
        $(
            #[test]
            fn $name() {
                $(must_fail(stringify!($case), cases::$case::<Plain<{ Bug::$bug as u8 }>>);)+
            }
        )*
    };
}

planted! {
    writing_without_a_lock: Unlocked is noticed by
        first_writers_keep_both_facts one_of_many_versions_wins one_email_one_profile idempotency_races_once
        crossing_email_changes_end versions_never_repeat;
    writing_item_by_item: ItemByItem is noticed by dropped_commit_is_whole;
    keeping_half_of_a_refused_changeset: HalfRefused is noticed by
        refused_changeset_leaves_no_trace dependents_of_a_rejected_release_are_rejected model_agrees;
    taking_any_number_of_writes: Unbounded is noticed by too_large_a_changeset_is_refused;
    losing_the_last_write: LosesTheLast is noticed by acknowledged_writes_survive_reopening;
    reading_what_was_before: StaleReads is noticed by reads_see_commits model_agrees;
    mixing_tenants: MixesTenants is noticed by tenants_are_apart;
    writing_for_nothing: TouchesAlways is noticed by
        unchanged_writes_nothing unchanged_items_write_nothing values_round_trip unchanged_keeps_its_key
        idle_numbering_writes_nothing;
    dropping_facts_that_lost: DropsLosers is noticed by
        facts_are_kept_beside_the_winner priority_outvotes_the_newest higher_revision_resolves_anew
        model_agrees;
    reviving_under_the_old_number: KeepsTheNumber is noticed by revival_has_no_past model_agrees;
    forgetting_the_floor: ForgetsTheFloor is noticed by deleted_facts_stay_out revival_has_no_past model_agrees;
    beginning_versions_anew: VersionsBeginAnew is noticed by versions_never_repeat;
    showing_tombstones: ShowsTombstones is noticed by deleted_is_absent model_agrees;
    keeping_the_feed_of_the_deleted: KeepsTheFeed is noticed by deletion_blanks_the_feed model_agrees;
    telling_changes_backwards: FeedBackwards is noticed by feed_tells_every_change model_agrees;
    doing_a_keyed_changeset_again: Repeats is noticed by
        idempotency_replays idempotency_races_once idempotency_forgets_the_deleted model_agrees;
    forgetting_idle_keys: ForgetsIdleKeys is noticed by unchanged_keeps_its_key model_agrees;
    keeping_receipts_of_the_deleted: KeepsReceipts is noticed by idempotency_forgets_the_deleted model_agrees;
    taking_before_releasing: TakesBeforeReleasing is noticed by emails_swap_in_one_changeset;
    ignoring_who_holds_an_address: IgnoresHolders is noticed by
        one_email_one_profile rejected_items_harm_no_other rejected_address_harms_no_other address_follows_the_api_alone
        streams_serve_taken_addresses acknowledged_writes_survive_reopening model_agrees;
    keeping_search_rows: KeepsSearchRows is noticed by filters_all_hold model_agrees;
    taking_one_filter_for_enough: AnyFilter is noticed by filters_all_hold model_agrees;
    taking_a_prefix_for_a_pattern: PatternPrefix is noticed by prefix_is_of_the_folded_name;
    overlapping_pages: OverlappingPages is noticed by list_orders_and_pages short_page_is_the_last walk_meets_the_untouched_once;
    paging_by_offset: PagesByOffset is noticed by walk_meets_the_untouched_once;
    short_pages: ShortPages is noticed by short_page_is_the_last list_orders_and_pages;
    rounding_numbers: RoundsNumbers is noticed by values_round_trip;
    making_many_secrets: ManySecrets is noticed by secrets_made_once;
    keeping_every_secret: KeepsSecrets is noticed by secrets_rotate_keeping_two;
    sorting_a_list: Scans is noticed by list_is_backed_by_an_index;
    giving_places_by_tenant: PlacesByTenant is noticed by readers_miss_nothing places_are_for_good;
    leaving_a_change_out_between_pages: SkipsBetweenPages is noticed by readers_miss_nothing places_are_for_good;
    counting_places_from_the_oldest_kept: PlacesMove is noticed by trimming_leaves_the_rest;
    giving_places_twice: NumbersTwice is noticed by numbering_may_be_done_by_all readers_miss_nothing;
    saying_that_nothing_follows: NothingUnread is noticed by unread_changes_tell_their_age;
    telling_the_age_of_what_was_read: AgeOfTheRead is noticed by unread_changes_tell_their_age;
    keeping_the_incarnation: KeepsTheIncarnation is noticed by renewing_begins_another_incarnation;
    sharing_an_index: SharedIndex is noticed by every_index_starts_with_the_tenant;
}

macro_rules! planted_in_tasks {
    ($($name:ident: $bug:ident is noticed by $($case:ident)+;)*) => {
        $(
            #[test]
            fn $name() {
                $(must_fail(stringify!($case), cases::$case::<Plain<{ of_tasks(TaskBug::$bug) }>>);)+
            }
        )*
    };
}

planted_in_tasks! {
    starting_what_runs: ClaimsTwice is noticed by claims_are_exclusive named_tasks_are_claimed;
    starting_early: Early is noticed by nothing_is_claimed_early delays_go_by_the_stores_clock;
    serving_one_tenant_first: OneTenantFirst is noticed by tenants_take_turns due_tasks_are_queued_once;
    ending_any_attempt: EndsUnfenced is noticed by attempts_of_one_call_are_told_apart endings_are_fenced
        ended_leases_are_rescued leases_are_renewed_while_they_last;
    taking_effects_of_any_attempt: EffectsUnfenced is noticed by effects_are_fenced one_of_many_effects_counts;
    leaving_leases_that_ended: NeverRescues is noticed by ended_leases_are_rescued leases_are_renewed_while_they_last;
    doing_what_was_cancelled: IgnoresCancelling is noticed by cancelling_a_run_lets_success_stand;
    starting_what_was_cancelled: StartsCancelled is noticed by cancelled_tasks_never_start named_tasks_are_claimed;
    keeping_tasks_of_the_deleted: OutlivesProfile is noticed by deletion_cancels_tasks tasks_belong_to_the_living;
    keeping_tasks_of_a_refused_changeset: SurvivesRefusal is noticed by tasks_are_committed_with_their_data;
    ignoring_unique_keys: IgnoresUnique is noticed by unique_keys_hold_until_the_first_start unique_submissions_race_to_one;
    keeping_unique_keys_for_ever: UniqueForEver is noticed by unique_keys_hold_until_the_first_start;
    giving_one_profiles_task_to_another: TakesOver is noticed by unique_keys_are_of_one_profile;
    believing_the_clients_clock: ClientsClock is noticed by delays_go_by_the_stores_clock;
    telling_the_queue_again: QueuesTwice is noticed by due_tasks_are_queued_once named_tasks_are_claimed;
    forgetting_what_ended_just_now: PrunesAll is noticed by ended_tasks_are_pruned;
    giving_the_dead_one_attempt: RetriesOnce is noticed by the_dead_are_retried;
    showing_tasks_of_others: MixesTenants is noticed by tasks_of_tenants_are_apart;
}
