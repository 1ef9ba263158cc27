//! `GET /api/v1/tasks/{id}`: how a task goes, and how it went once it has ended.

use std::time::Duration;

use profile_domain::{Task, TaskId, TenantId};
use profile_ports::{Deadline, StoreError};
use thiserror::Error;

use crate::App;

/// The time between two looks of one who waits, at first and at last: so an end is seen within half a second of it, whoever ran the
/// task.
const LOOKS: (Duration, Duration) = (Duration::from_millis(25), Duration::from_millis(400));

/// Why a task can't be shown.
#[derive(Debug, Error)]
pub enum TaskError {
    /// There is none under this id: never was, was forgotten, or is another tenant's.
    #[error("there is no such task")]
    NotFound,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl App {
    /// A task as it is.
    ///
    /// # Errors
    /// See [`TaskError`].
    pub async fn read_task(&self, tenant: &TenantId, id: TaskId, deadline: Deadline) -> Result<Task, TaskError> {
        self.store.task(tenant, id, deadline).await?.ok_or(TaskError::NotFound)
    }

    /// A task as soon as it has ended, or as it is when the wait is over or this process stops. Each look may take `step`.
    ///
    /// # Errors
    /// See [`TaskError`].
    pub async fn wait_for_task(&self, tenant: &TenantId, id: TaskId, wait: Deadline, step: Duration) -> Result<Task, TaskError> {
        let mut pause = LOOKS.0;
        loop {
            let task = self.read_task(tenant, id, Deadline::within(step)).await?;
            if task.status.is_final() || wait.remaining().is_zero() || self.work.is_stopping() {
                return Ok(task);
            }
            tokio::select! {
                () = tokio::time::sleep(pause.min(wait.remaining())) => {}
                () = self.work.stopped() => {}
            }
            pause = (pause * 2).min(LOOKS.1);
        }
    }
}
