//! Tasks: what becomes of those that were committed. The way in is [`crate::Entities::commit`], and so is the effect of a run; here
//! is all else that changes a task, each by its state or the attempt that it ends.
//!
//! Deliberately lacking: what a task does, retries' waits, who works where. Those are the application's.

use std::time::Duration;

use async_trait::async_trait;
use profile_domain::{
    Moment, Task, TaskId, TaskStatus, TaskType, TenantId,
    task::{ClaimedTask, Ending, Run, TaskQuery},
};

use crate::{Deadline, StoreError};

/// Who wants tasks, and which.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// Of this type.
    pub task_type: &'a TaskType,
    /// Only these, whoever's; any, where there are none.
    pub only: &'a [(TenantId, TaskId)],
    /// At most so many.
    pub limit: usize,
    /// By what the worker is known.
    pub worker: &'a str,
    /// How long they are the worker's, unless it renews.
    pub lease: Duration,
    /// How long one that the queue was told of is left to whoever hears of it there. Only where none are named.
    pub patience: Duration,
}

/// What there was.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Claims {
    /// The worker's now.
    pub tasks: Vec<ClaimedTask>,
    /// In how long the next of the type is due, if one waits: not after those claimed, but after none are left. Only where none
    /// are named.
    pub next: Option<Duration>,
}

/// What is due and should be told to the queue.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Due {
    /// Each has become [`TaskStatus::Queued`].
    pub tasks: Vec<(TenantId, TaskId, TaskType)>,
    /// As [`Claims::next`], of whatever type.
    pub next: Option<Duration>,
}

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// It is the worker's for another lease.
    Held,
    /// So it is, and somebody wants it cancelled.
    Cancelling,
    /// It has ended, or another worker has it.
    Lost,
}

/// How many tasks of a type are in a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskDepth {
    /// The type.
    pub task_type: TaskType,
    /// The state.
    pub status: TaskStatus,
    /// How many.
    pub count: u64,
}

/// For those who run the service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskGauges {
    /// Those that wait or run; a type and state without any may be left out.
    pub depths: Vec<TaskDepth>,
    /// For how long the one that has been due for longest has waited.
    pub oldest_waiting: Option<Duration>,
}

/// Tasks of all tenants. Times are by the store's clock, whatever the caller's says [`delays_go_by_the_stores_clock`]; what
/// belongs to another tenant is as if it had never existed [`tasks_of_tenants_are_apart`].
#[async_trait]
pub trait Tasks: Send + Sync {
    /// The store's clock.
    ///
    /// # Errors
    /// As [`crate::Entities::view`].
    async fn task_clock(&self, deadline: Deadline) -> Result<Moment, StoreError>;

    /// Starts tasks: raises their attempt, and makes them the worker's until the lease ends.
    ///
    /// - **Once**: of many who claim at once one gets a task, and nobody else does until it ends or its lease does
    ///   [`claims_are_exclusive`].
    /// - **Never early** [`nothing_is_claimed_early`].
    /// - **In turn**: the tenants' oldest first, then their second oldest, and so on [`tenants_take_turns`].
    /// - Those that are named are claimed if they are due, however long ago the queue was told [`named_tasks_are_claimed`].
    ///
    /// # Errors
    /// As [`crate::Entities::commit`].
    async fn claim(&self, claim: Claim<'_>, deadline: Deadline) -> Result<Claims, StoreError>;

    /// Puts off the end of leases; tells how each run stands, in order [`leases_are_renewed_while_they_last`], each by itself, also
    /// where a call has several attempts of one task [`attempts_of_one_call_are_told_apart`].
    ///
    /// # Errors
    /// As [`crate::Entities::commit`].
    async fn renew(&self, runs: &[Run], lease: Duration, deadline: Deadline) -> Result<Vec<Renewal>, StoreError>;

    /// Ends runs without an effect in the store; where each task is then, in order, or `None` where the run was not the current
    /// one any more, and nothing changed [`endings_are_fenced`], also where the current one is in the same call
    /// [`attempts_of_one_call_are_told_apart`]. What was to be cancelled is then cancelled, unless it succeeded
    /// [`cancelling_a_run_lets_success_stand`].
    ///
    /// # Errors
    /// As [`crate::Entities::commit`].
    async fn end(&self, endings: &[(Run, Ending)], deadline: Deadline) -> Result<Vec<Option<TaskStatus>>, StoreError>;

    /// Cancels a task that waits, for good [`cancelled_tasks_never_start`]; a run is told to end
    /// [`cancelling_a_run_lets_success_stand`]; what has ended stays as it is. The task as it is then; `None` if there is none.
    ///
    /// # Errors
    /// As [`crate::Entities::commit`].
    async fn cancel(&self, tenant: &TenantId, id: TaskId, deadline: Deadline) -> Result<Option<Task>, StoreError>;

    /// Makes a dead task due now, with as many attempts as it had at first; any other stays as it is [`the_dead_are_retried`]. The
    /// task as it is then, and whether it was dead; `None` if there is none.
    ///
    /// # Errors
    /// As [`crate::Entities::commit`].
    async fn retry(&self, tenant: &TenantId, id: TaskId, deadline: Deadline) -> Result<Option<(Task, bool)>, StoreError>;

    /// Takes what is due and nobody was told of, the tenants in turn, at most `limit`: once each, of many who ask at once. One of
    /// which the queue was told longer than `patience` ago is given once more [`due_tasks_are_queued_once`].
    ///
    /// # Errors
    /// As [`crate::Entities::commit`].
    async fn mark_queued(&self, limit: usize, patience: Duration, deadline: Deadline) -> Result<Due, StoreError>;

    /// Ends runs whose lease has ended, at most `limit`: they are due at once, or dead after their last attempt
    /// [`ended_leases_are_rescued`]. How many.
    ///
    /// # Errors
    /// As [`crate::Entities::commit`].
    async fn rescue(&self, limit: usize, deadline: Deadline) -> Result<usize, StoreError>;

    /// Forgets what ended longer ago than this, at most `limit`; how many [`ended_tasks_are_pruned`].
    ///
    /// # Errors
    /// As [`crate::Entities::commit`].
    async fn prune(&self, ended: Duration, limit: usize, deadline: Deadline) -> Result<usize, StoreError>;

    /// One task, with every value as it was submitted [`tasks_come_back_whole`].
    ///
    /// # Errors
    /// As [`crate::Entities::view`].
    async fn task(&self, tenant: &TenantId, id: TaskId, deadline: Deadline) -> Result<Option<Task>, StoreError>;

    /// One page, the newest first [`tasks_are_listed`].
    ///
    /// # Errors
    /// As [`crate::Entities::view`].
    async fn tasks(&self, tenant: &TenantId, query: &TaskQuery, deadline: Deadline) -> Result<Vec<Task>, StoreError>;

    /// What waits and runs [`waiting_tasks_are_counted`].
    ///
    /// # Errors
    /// As [`crate::Entities::view`].
    async fn task_gauges(&self, deadline: Deadline) -> Result<TaskGauges, StoreError>;
}
