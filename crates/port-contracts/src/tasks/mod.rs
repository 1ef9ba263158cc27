//! The contract of [`profile_ports::Tasks`], and of the tasks in a changeset.

pub(crate) mod cancelling;
pub(crate) mod committing;
pub(crate) mod ending;
pub(crate) mod keeping;
pub(crate) mod starting;
pub(crate) mod table;

use std::time::Duration;

use profile_domain::{
    Changeset, NewTask, Receipt, Task, TaskId, TaskReceipt, TaskStatus, TaskType, TenantId,
    task::{ClaimedTask, Due, Ending, OnConflict, Run, Unique},
};
use profile_ports::{Claim, CommitError};
use serde_json::json;
use uuid::Uuid;

use crate::build::{Client, at, changeset, deadline};

/// Longer than any case takes.
pub(crate) const LEASE: Duration = Duration::from_hours(1);
/// For the queue, likewise.
pub(crate) const PATIENCE: Duration = Duration::from_hours(1);

/// The id of this number: the higher, the newer.
pub(crate) fn id(number: u32) -> TaskId {
    TaskId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 | u128::from(number)))
}

pub(crate) fn kind(name: &str) -> TaskType {
    TaskType::parse(name).expect("the case names a valid type")
}

/// An echo, due at once.
pub(crate) fn echo(number: u32) -> NewTask {
    NewTask {
        id: id(number),
        task_type: kind("echo"),
        payload: json!({"number": number}),
        due: Due::After(0),
        max_attempts: 3,
        unique: None,
        profile: None,
        traceparent: None,
    }
}

/// The same, due so many seconds later.
pub(crate) fn later(number: u32, seconds: i64) -> NewTask {
    NewTask { due: Due::After(seconds * 1_000_000), ..echo(number) }
}

/// The same under a unique key.
pub(crate) fn unique(number: u32, key: &str, on_conflict: OnConflict) -> NewTask {
    NewTask { unique: Some(Unique { key: key.into(), on_conflict }), ..later(number, 60) }
}

/// A changeset of tasks alone.
pub(crate) fn only(tasks: impl IntoIterator<Item = NewTask>) -> Changeset {
    Changeset { tasks: tasks.into_iter().collect(), ..changeset(0, []) }
}

impl Client {
    pub(crate) async fn submit(&self, tasks: impl IntoIterator<Item = NewTask>) -> Vec<TaskReceipt> {
        self.receipt(only(tasks)).await.tasks
    }

    /// Claims echoes, whosever they are.
    pub(crate) async fn claim(&self, limit: usize) -> Vec<ClaimedTask> {
        self.claim_with(limit, &[], LEASE).await
    }

    pub(crate) async fn claim_with(&self, limit: usize, only: &[(TenantId, TaskId)], lease: Duration) -> Vec<ClaimedTask> {
        let claim = Claim { task_type: &kind("echo"), only, limit, worker: "w1", lease, patience: PATIENCE };
        self.store.claim(claim, deadline()).await.expect("a claim").tasks
    }

    /// Starts the one task that is due.
    pub(crate) async fn start_one(&self) -> Run {
        let [task] = self.claim(10).await.try_into().expect("one task is due");
        task.run
    }

    pub(crate) async fn end(&self, run: &Run, ending: Ending) -> Option<TaskStatus> {
        let ended = self.store.end(&[(run.clone(), ending)], deadline()).await.expect("an end");
        ended[0]
    }

    pub(crate) async fn task(&self, id: TaskId) -> Option<Task> {
        self.store.task(&self.tenant, id, deadline()).await.expect("a look")
    }

    pub(crate) async fn status(&self, id: TaskId) -> TaskStatus {
        self.task(id).await.expect("the task is there").status
    }

    pub(crate) async fn cancel(&self, id: TaskId) -> Option<Task> {
        self.store.cancel(&self.tenant, id, deadline()).await.expect("an answer")
    }

    /// Commits a patch of a profile as the effect of a run.
    pub(crate) async fn effect(&self, run: &Run, writes: Vec<profile_domain::EntityWrite>) -> Result<Receipt, CommitError> {
        let fence = Some(profile_domain::Fence { task: run.task, attempt: run.attempt });
        self.try_commit(Changeset { fence, ..Changeset::of(at(10), writes) }).await
    }
}

/// It failed, and may start again at once.
pub(crate) fn retry() -> Ending {
    Ending::Retry { error: "no luck".into(), wait: 0 }
}

pub(crate) fn ids(tasks: &[ClaimedTask]) -> Vec<TaskId> {
    tasks.iter().map(|task| task.run.task).collect()
}
