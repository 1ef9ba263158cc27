//! `POST /api/v1/tasks/{id}/retry`: a dead task is tried again.

use profile_domain::{Task, TaskId, TaskStatus, TenantId};
use profile_ports::{Deadline, StoreError};
use thiserror::Error;

use crate::App;

/// Why a task is not tried again.
#[derive(Debug, Error)]
pub enum RetryError {
    /// There is none under this id.
    #[error("there is no such task")]
    NotFound,
    /// Only what is dead is tried again.
    #[error("only a dead task can be retried: it is {}", .0.as_str())]
    NotDead(TaskStatus),
    /// Its profile was deleted, and its payload with it.
    #[error("the task's profile was deleted, and what it was to do with it")]
    Forgotten,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl App {
    /// Makes a dead task due now, with as many attempts as it had at first.
    ///
    /// # Errors
    /// See [`RetryError`].
    pub async fn retry_task(&self, tenant: &TenantId, id: TaskId, deadline: Deadline) -> Result<Task, RetryError> {
        let (task, was_dead) = self.store.retry(tenant, id, deadline).await?.ok_or(RetryError::NotFound)?;
        if !was_dead {
            let forgotten = task.status == TaskStatus::Dead && task.payload.is_none();
            return Err(if forgotten { RetryError::Forgotten } else { RetryError::NotDead(task.status) });
        }
        self.work.committed.notify_waiters();
        Ok(task)
    }
}
