//! `DELETE /api/v1/tasks/{id}`: nobody wants it any more.

use profile_domain::{Task, TaskId, TaskStatus, TenantId};
use profile_ports::{Deadline, StoreError};
use thiserror::Error;

use crate::App;

/// Why a task was not cancelled.
#[derive(Debug, Error)]
pub enum CancelError {
    /// There is none under this id.
    #[error("there is no such task")]
    NotFound,
    /// It has ended already, and so it stays.
    #[error("the task has ended: it is {}", .0.as_str())]
    Ended(TaskStatus),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl App {
    /// Cancels a task that waits. One that runs is told to end; it is cancelled once it does, unless it succeeds before. The task as
    /// it is then.
    ///
    /// # Errors
    /// See [`CancelError`].
    pub async fn cancel_task(&self, tenant: &TenantId, id: TaskId, deadline: Deadline) -> Result<Task, CancelError> {
        let task = self.store.cancel(tenant, id, deadline).await?.ok_or(CancelError::NotFound)?;
        match task.status {
            TaskStatus::Running => self.work.running.cancel(tenant, id),
            TaskStatus::Succeeded | TaskStatus::Dead => return Err(CancelError::Ended(task.status)),
            _ => {}
        }
        Ok(task)
    }
}
