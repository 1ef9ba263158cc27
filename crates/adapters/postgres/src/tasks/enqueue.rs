//! Tasks of a changeset, and the run that it is the effect of.
//!
//! Both come after the locks on entities, like everything that locks a task: the deletion of a profile takes the profile first and
//! then its tasks.

use std::sync::atomic::Ordering;

use profile_domain::{NewTask, Receipt, TaskReceipt, task::Due, task::OnConflict};
use profile_ports::{CommitError, StoreError};
use tokio_postgres::{
    Error, Row,
    types::{Json, ToSql, Type},
};
use uuid::Uuid;

use super::row;
use crate::{
    commit::{Commit, Setback},
    error::leaves_connection_sound,
    pool::Lease,
    row::get,
    statement::{Statement, durably},
};

/// How often a task is tried again whose unique key was held when it was inserted and free when the holder was looked for.
const MAX_MISSES: usize = 20;

static INSERT: Statement = Statement::new(
    "task_insert",
    concat!(include_str!("../sql/task_insert.sql"), ", ", durably!()),
    &[
        Type::TEXT,
        Type::UUID,
        Type::TEXT,
        Type::JSON,
        Type::TIMESTAMPTZ,
        Type::INT8,
        Type::INT4,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::BOOL,
        Type::INT8,
    ],
);
static HOLDER: Statement = Statement::new("task_holder", include_str!("../sql/task_holder.sql"), &[Type::TEXT; 4]);

/// Makes the changeset the success of a run, if that goes on.
static FENCE: Statement = Statement::new(
    "task_fence",
    "UPDATE tasks SET status = 'succeeded', lease_until = NULL, error = NULL,
         ended_at = clock_timestamp() + $4 * interval '1 microsecond'
     WHERE tenant = $1 AND id = $2 AND attempt = $3 AND status = 'running'
     RETURNING id",
    &[Type::TEXT, Type::UUID, Type::INT4, Type::INT8],
);

pub(crate) static CANCEL_OF_PROFILES: Statement = Statement::new(
    "task_cancel_of_profiles",
    include_str!("../sql/task_cancel_of_profiles.sql"),
    &[Type::TEXT, Type::TEXT_ARRAY, Type::INT8],
);

impl Commit<'_> {
    /// One task and nothing else: one statement, which commits by itself.
    pub(crate) async fn enqueue_alone(&self, mut receipt: Receipt) -> Result<Receipt, Setback> {
        let [task] = self.changeset.tasks.as_slice() else { return Ok(receipt) };
        let lease = self.pool.lease().await.map_err(|error| Setback::Broken(error.into()))?;
        lease.prepare(&[&INSERT]).await.map_err(|error| self.setback(error))?;
        self.sent.store(true, Ordering::Relaxed);
        match self.enqueue(&lease, task).await {
            Ok(task) => {
                lease.keep();
                receipt.tasks.push(task);
                Ok(receipt)
            }
            Err(Refused::Sql(error)) => {
                if leaves_connection_sound(&error) {
                    lease.keep();
                }
                Err(self.setback(error))
            }
            Err(Refused::For(error)) => {
                lease.keep();
                Err(Setback::Ended(error))
            }
        }
    }

    /// Within the transaction, after everything else is written.
    pub(crate) async fn enqueue_all(&self, lease: &Lease<'_>) -> Result<Vec<TaskReceipt>, Setback> {
        let mut receipts = Vec::with_capacity(self.changeset.tasks.len());
        for task in &self.changeset.tasks {
            receipts.push(self.enqueue(lease, task).await.map_err(|refused| match refused {
                Refused::Sql(error) => self.setback(error),
                Refused::For(error) => Setback::Ended(error),
            })?);
        }
        Ok(receipts)
    }

    /// Ends the run that the changeset is the effect of, once the entities are locked.
    pub(crate) async fn pass_fence(&self, lease: &Lease<'_>) -> Result<(), Setback> {
        let Some(fence) = self.changeset.fence else { return Ok(()) };
        let attempt = i32::try_from(fence.attempt).unwrap_or(i32::MAX);
        let params: [&(dyn ToSql + Sync); 4] = [&self.tenant.as_str(), &fence.task.0, &attempt, &self.clock_offset];
        let rows = lease.query(&FENCE, &params).await.map_err(|error| self.setback(error))?;
        if rows.is_empty() { Err(Setback::Ended(CommitError::Fenced)) } else { Ok(()) }
    }

    async fn enqueue(&self, lease: &Lease<'_>, task: &NewTask) -> Result<TaskReceipt, Refused> {
        for _ in 0..MAX_MISSES {
            if let Some(row) = self.insert(lease, task).await?.first() {
                return Ok(row::receipt(row)?);
            }
            let Some(unique) = &task.unique else { break };
            let profile = task.profile.as_ref().map(profile_domain::Reference::as_str);
            let params: [&(dyn ToSql + Sync); 4] = [&self.tenant.as_str(), &task.task_type.as_str(), &unique.key, &profile];
            let rows = lease.query(&HOLDER, &params).await?;
            let Some(row) = rows.first() else { break };
            if !get::<bool>(row, "lives")? {
                break;
            }
            if get::<Option<Uuid>>(row, "id")?.is_none() {
                // It has started meanwhile.
                continue;
            }
            if !get::<bool>(row, "same")? {
                return Err(Refused::For(CommitError::UniqueElsewhere));
            }
            if unique.on_conflict == OnConflict::Keep {
                return Ok(row::receipt(row)?);
            }
        }
        Err(Refused::For(CommitError::NoProfile))
    }

    async fn insert(&self, lease: &Lease<'_>, task: &NewTask) -> Result<Vec<Row>, Error> {
        let (run_at, delay) = match task.due {
            Due::At(at) => (Some(jiff::Timestamp::from(at)), 0),
            Due::After(micros) => (None, micros),
        };
        let unique = task.unique.as_ref();
        let params: [&(dyn ToSql + Sync); 12] = [
            &self.tenant.as_str(),
            &task.id.0,
            &task.task_type.as_str(),
            &Json(&task.payload),
            &run_at,
            &delay,
            &i32::try_from(task.max_attempts).unwrap_or(i32::MAX),
            &unique.map(|unique| unique.key.as_str()),
            &task.profile.as_ref().map(profile_domain::Reference::as_str),
            &task.traceparent,
            &unique.is_some_and(|unique| unique.on_conflict == OnConflict::Replace),
            &self.clock_offset,
        ];
        lease.query(&INSERT, &params).await
    }
}

/// Why a task was not written down.
enum Refused {
    Sql(Error),
    For(CommitError),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::For(error.into())
    }
}
