//! The contract of [`profile_ports::Cache`], by theme.
//!
//! An adapter implements [`CacheFixture`] and calls [`crate::cache_contract!`]. Cases come in three kinds: what holds of every
//! cache, what needs one that keeps what it is given, and what needs one that bounds itself.

pub(crate) mod bounds;
pub(crate) mod floors;
pub(crate) mod following;
pub(crate) mod history;
pub(crate) mod keeping;
pub(crate) mod tickets;
mod tier;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use profile_domain::{EntityKey, TenantId};
use profile_ports::{Cache, cache::Spans};

/// What a cache under test may hold. One that has no bounds of its own takes the spans and the floors.
#[derive(Clone, Copy, Debug)]
pub struct CacheLimits {
    /// Entries of what lives.
    pub entries: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Entries of what isn't there.
    pub absences: usize,
    /// Versions left behind.
    pub floors: usize,
    /// What loads may take and miss.
    pub spans: Spans,
}

/// How much a cache holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheSize {
    /// Entries of what lives.
    pub entries: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Entries of what isn't there.
    pub absences: usize,
}

/// What may lie under a key without having been put there: a right entry but for this.
#[derive(Clone, Debug)]
pub enum Planted {
    /// Of another schema.
    OtherSchema,
    /// It names another tenant.
    OtherTenant(TenantId),
    /// It names another entity.
    OtherKey(EntityKey),
    /// It is nothing that an adapter ever wrote.
    Garbage,
    /// 100 MB.
    Huge,
}

/// A cache of its own, and a look behind its port.
#[async_trait]
pub trait CacheFixture: Sized + Send + Sync + 'static {
    /// Whether it keeps what it is given, at least as long as a test takes.
    const KEEPS: bool = true;

    /// How many random histories it is led through.
    fn schedules() -> u32 {
        crate::scaled(10_000)
    }

    /// Makes an empty cache of its own, of which no part has begun.
    async fn fresh(limits: CacheLimits) -> Self;

    /// The cache under test.
    fn cache(&self) -> Arc<dyn Cache>;

    /// The time by its clock.
    fn now(&self) -> Instant;

    /// Lets so much time pass, or a little more.
    async fn pass(&self, time: Duration);

    /// How much it holds.
    async fn size(&self) -> CacheSize;

    /// Puts something under a key from behind. False if nothing in the world could do that to this cache.
    async fn plant(&self, tenant: &TenantId, key: &EntityKey, planted: Planted) -> bool;

    /// How many entries were counted as not fitting.
    async fn unfit(&self) -> u64;
}

/// Hands the names of all cases to a macro, by kind.
#[doc(hidden)]
#[macro_export]
macro_rules! cache_cases {
    ($then:path [$($with:tt)*]) => {
        $then! {
            [$($with)*]
            always {
                cache_never_goes_back
                cache_tenants_are_apart
            }
            keeping {
                cache_absence_ends_with_creation
                cache_beginning_drops_everything
                cache_beginning_is_quiet
                cache_begins_once
                cache_entries_expire
                cache_equal_versions_are_refreshed
                cache_floors_end
                cache_floors_refuse_what_is_older
                cache_fresh_states_leave_a_floor
                cache_gives_what_was_put
                cache_newer_versions_stay
                cache_overflow_begins_anew
                cache_races_keep_the_newest
                cache_removes_one
                cache_removes_what_does_not_fit
                cache_steps_leave_no_gap
                cache_tickets_end_with_the_longest_load
                cache_tickets_end_with_their_namespace
            }
            bounding {
                cache_absences_displace_nothing
                cache_bytes_are_bounded
                cache_entries_are_bounded
                cache_floors_outlive_evictions
                cache_too_large_leaves_nothing_older
            }
        }
    };
}

/// One test of every case that suits, over a [`CacheFixture`] type: `cache_contract!(Fixture: always keeping bounding)`. The
/// crate that calls it depends on `tokio`.
#[macro_export]
macro_rules! cache_contract {
    ($fixture:ty: $($kinds:tt)*) => {
        $crate::cache_cases! { $crate::cache_test_each [$fixture: $($kinds)*] }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! cache_test_each {
    ([$fixture:ty: always] always { $($a:ident)* } keeping { $($k:ident)* } bounding { $($b:ident)* }) => {
        $crate::cache_test_each! { @ [$fixture] $($a)* }
    };
    ([$fixture:ty: always keeping] always { $($a:ident)* } keeping { $($k:ident)* } bounding { $($b:ident)* }) => {
        $crate::cache_test_each! { @ [$fixture] $($a)* $($k)* }
    };
    ([$fixture:ty: always keeping bounding] always { $($a:ident)* } keeping { $($k:ident)* } bounding { $($b:ident)* }) => {
        $crate::cache_test_each! { @ [$fixture] $($a)* $($k)* $($b)* }
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
