//! The contract of [`profile_ports::Queue`].
//!
//! An adapter implements [`QueueFixture`] and calls [`crate::queue_contract!`].

pub(crate) mod giving;
mod line;
pub(crate) mod room;
pub(crate) mod waiting;

use std::sync::Arc;

use async_trait::async_trait;
use profile_domain::TaskType;
use profile_ports::Queue;

/// A queue of its own, and another way to it.
#[async_trait]
pub trait QueueFixture: Sized + Send + Sync + 'static {
    /// Makes an empty queue of its own for these types, with room for so many messages of each, or a few more.
    async fn fresh(types: &[TaskType], room: usize) -> Self;

    /// The queue under test.
    fn queue(&self) -> Arc<dyn Queue>;

    /// The same queue as another process sees it. `None` if there is nothing that another process could see.
    async fn elsewhere(&self) -> Option<Arc<dyn Queue>>;
}

/// Hands the names of all cases to a macro.
#[doc(hidden)]
#[macro_export]
macro_rules! queue_cases {
    ($then:path [$($with:tt)*]) => {
        $then! {
            [$($with)*]
            queue_closing_ends_every_wait
            queue_gives_acknowledged_never_again
            queue_gives_back_what_a_consumer_held
            queue_gives_each_to_one
            queue_gives_what_was_published
            queue_keeps_what_nobody_consumes
            queue_pauses_a_type
            queue_prefetch_is_a_bound
            queue_refuses_what_does_not_fit
            queue_refuses_what_has_no_queue
            queue_takes_back_what_was_dropped
            queue_waits_may_be_dropped
        }
    };
}

/// One test of every case, over a [`QueueFixture`] type. The crate that calls it depends on `tokio`.
#[macro_export]
macro_rules! queue_contract {
    ($fixture:ty) => {
        $crate::queue_cases! { $crate::queue_test_each [$fixture] }
    };
    ($fixture:ty: together in $test:ident) => {
        $crate::queue_cases! { $crate::queue_test_together [$fixture, $test] }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! queue_test_each {
    ([$fixture:ty] $($case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::cases::$case::<$fixture>().await;
            }
        )*
    };
}

/// One test of all cases, side by side, for servers that take longer to start than a case to run.
#[doc(hidden)]
#[macro_export]
macro_rules! queue_test_together {
    ([$fixture:ty, $test:ident] $($case:ident)*) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            let mut failed = Vec::new();
            $(let $case = tokio::spawn($crate::cases::$case::<$fixture>());)*
            $(if $case.await.is_err() { failed.push(stringify!($case)); })*
            assert!(failed.is_empty(), "{failed:?} failed");
        }
    };
}
