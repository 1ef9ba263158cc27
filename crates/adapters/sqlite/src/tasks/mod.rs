//! Tasks. What looks for something to do reads first, so that a poll that finds nothing doesn't trouble the writer.

mod claim;
mod enqueue;
mod read;

use std::time::Duration;

use async_trait::async_trait;
use profile_domain::{
    Fence, Moment, Reference, Task, TaskId, TaskStatus, TenantId,
    task::{Ending, LEASE_ENDED, Run, TaskQuery},
};
use profile_ports::{Claim, Claims, Deadline, Due, Renewal, StoreError, TaskGauges, Tasks};
use rusqlite::{Connection, OptionalExtension as _};

pub(crate) use enqueue::enqueue;

use crate::{SqliteStore, clock::micros, error::Failure};

const RENEW: &str = "UPDATE tasks SET lease_until = ?4
WHERE tenant = ?1 AND id = ?2 AND attempt = ?3 AND status = 'running' RETURNING cancelling";

/// What was to be cancelled is, whatever else ended it, but success.
const END: &str = "UPDATE tasks SET lease_until = NULL, ended_at = ?4, error = ?6,
    status = CASE WHEN cancelling AND ?5 <> 'succeeded' THEN 'cancelled' ELSE ?5 END,
    run_at = coalesce(?7, run_at), last_attempt = last_attempt + ?8
WHERE tenant = ?1 AND id = ?2 AND attempt = ?3 AND status = 'running' RETURNING status";

const CANCEL: &str = "UPDATE tasks SET cancelling = 1,
    status = CASE status WHEN 'running' THEN status ELSE 'cancelled' END,
    ended_at = CASE status WHEN 'running' THEN NULL ELSE ?3 END
WHERE tenant = ?1 AND id = ?2 AND status IN ('scheduled', 'queued', 'retrying', 'running')";

/// The same for all that belongs to a profile, of which nothing stays but that it was.
const CANCEL_OF_PROFILE: &str = "UPDATE tasks SET payload = NULL, unique_key = NULL,
    cancelling = cancelling OR status IN ('scheduled', 'queued', 'retrying', 'running'),
    ended_at = CASE WHEN status IN ('scheduled', 'queued', 'retrying') THEN ?3 ELSE ended_at END,
    status = CASE WHEN status IN ('scheduled', 'queued', 'retrying') THEN 'cancelled' ELSE status END
WHERE tenant = ?1 AND profile = ?2 AND payload IS NOT NULL";

const RETRY: &str = "UPDATE tasks SET status = 'scheduled', run_at = ?3, last_attempt = attempt + max_attempts, queued_at = NULL
WHERE tenant = ?1 AND id = ?2 AND status = 'dead' AND payload IS NOT NULL";

const RESCUE: &str = "UPDATE tasks SET lease_until = NULL, ended_at = ?1, error = ?2, run_at = ?1,
    status = CASE WHEN cancelling THEN 'cancelled' WHEN attempt >= last_attempt THEN 'dead' ELSE 'retrying' END
WHERE (tenant, id) IN (
    SELECT tenant, id FROM tasks INDEXED BY tasks_running WHERE status = 'running' AND lease_until < ?1 LIMIT ?3)";
const ANY_TO_RESCUE: &str =
    "SELECT EXISTS (SELECT 1 FROM tasks INDEXED BY tasks_running WHERE status = 'running' AND lease_until < ?1)";

const END_LEASES: &str = "UPDATE tasks INDEXED BY tasks_running SET lease_until = 0 WHERE status = 'running'";

const PRUNE: &str = "DELETE FROM tasks WHERE (tenant, id) IN (
    SELECT tenant, id FROM tasks INDEXED BY tasks_ended
    WHERE tenant = ?1 AND status IN ('succeeded', 'dead', 'cancelled') AND ended_at < ?2 LIMIT ?3)";

const FENCE: &str = "UPDATE tasks SET status = 'succeeded', lease_until = NULL, ended_at = ?4, error = NULL
WHERE tenant = ?1 AND id = ?2 AND attempt = ?3 AND status = 'running'";

impl SqliteStore {
    /// Moves the clock by which tasks are due: for tests.
    #[doc(hidden)]
    pub fn shift_clock(&self, by: Duration) {
        self.clock.shift(by);
    }

    /// Ends the leases of all runs, so that they are rescued at once: for whoever has just begun to serve the file, when nobody is
    /// left who runs anything. Else a machine's clock that was set back would put off the ends of leases.
    ///
    /// # Errors
    /// As [`profile_ports::Entities::commit`].
    pub async fn end_leases(&self, deadline: Deadline) -> Result<(), StoreError> {
        self.change_tasks(1, deadline, |connection, _| {
            connection.execute(END_LEASES, [])?;
            Ok(())
        })
        .await
    }

    /// Changes tasks, durably.
    async fn change_tasks<T: Send + 'static>(
        &self,
        items: usize,
        deadline: Deadline,
        change: impl FnOnce(&Connection, Moment) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let clock = std::sync::Arc::clone(&self.clock);
        // The time at which it is done, not that at which it was asked for.
        let work = move |connection: &Connection| Ok::<_, StoreError>(change(connection, clock.now())?);
        self.writer.submit(items, deadline, work).await
    }
}

#[async_trait]
impl Tasks for SqliteStore {
    async fn task_clock(&self, _: Deadline) -> Result<Moment, StoreError> {
        Ok(self.clock.now())
    }

    async fn claim(&self, claim: Claim<'_>, deadline: Deadline) -> Result<Claims, StoreError> {
        let claim = claim::Wanted::of(claim);
        let (look, now) = (claim.clone(), self.clock.now());
        let found = self.read_apart("task_look", deadline, move |connection| claim::look(connection, &look, now)).await?;
        if found.candidates.is_empty() {
            return Ok(Claims { tasks: Vec::new(), next: found.next });
        }
        self.change_tasks(found.candidates.len(), deadline, move |connection, now| claim::claim(connection, &claim, now)).await
    }

    async fn renew(&self, runs: &[Run], lease: Duration, deadline: Deadline) -> Result<Vec<Renewal>, StoreError> {
        let runs = runs.to_vec();
        self.change_tasks(runs.len(), deadline, move |connection, now| {
            let mut renew = connection.prepare_cached(RENEW)?;
            let until = now.plus_micros(micros(lease)).as_micros();
            let held = runs.iter().map(|run| {
                let cancelling: Option<bool> = renew
                    .query_row((run.tenant.as_str(), run.task.0.as_bytes(), run.attempt, until), |row| row.get(0))
                    .optional()?;
                Ok(match cancelling {
                    None => Renewal::Lost,
                    Some(true) => Renewal::Cancelling,
                    Some(false) => Renewal::Held,
                })
            });
            held.collect()
        })
        .await
    }

    async fn end(&self, endings: &[(Run, Ending)], deadline: Deadline) -> Result<Vec<Option<TaskStatus>>, StoreError> {
        let endings = endings.to_vec();
        self.change_tasks(endings.len(), deadline, move |connection, now| {
            let mut end = connection.prepare_cached(END)?;
            let ended = endings.iter().map(|(run, ending)| {
                let run_at = match ending {
                    Ending::Retry { wait, .. } => Some(now.plus_micros(*wait).as_micros()),
                    Ending::HandedBack => Some(now.as_micros()),
                    _ => None,
                };
                let params = (
                    run.tenant.as_str(),
                    run.task.0.as_bytes(),
                    run.attempt,
                    now.as_micros(),
                    ending.status().as_str(),
                    ending.error(),
                    run_at,
                    u32::from(*ending == Ending::HandedBack),
                );
                let status: Option<String> = end.query_row(params, |row| row.get(0)).optional()?;
                status.map(|status| read::status(&status)).transpose()
            });
            ended.collect()
        })
        .await
    }

    async fn cancel(&self, tenant: &TenantId, id: TaskId, deadline: Deadline) -> Result<Option<Task>, StoreError> {
        let tenant = tenant.clone();
        self.change_tasks(1, deadline, move |connection, now| {
            connection.prepare_cached(CANCEL)?.execute((tenant.as_str(), id.0.as_bytes(), now.as_micros()))?;
            read::task(connection, &tenant, id)
        })
        .await
    }

    async fn retry(&self, tenant: &TenantId, id: TaskId, deadline: Deadline) -> Result<Option<(Task, bool)>, StoreError> {
        let tenant = tenant.clone();
        self.change_tasks(1, deadline, move |connection, now| {
            let retried = connection.prepare_cached(RETRY)?.execute((tenant.as_str(), id.0.as_bytes(), now.as_micros()))?;
            Ok(read::task(connection, &tenant, id)?.map(|task| (task, retried == 1)))
        })
        .await
    }

    async fn mark_queued(&self, limit: usize, patience: Duration, deadline: Deadline) -> Result<Due, StoreError> {
        let wanted = claim::Wanted::to_queue(limit, patience);
        let (look, now) = (wanted.clone(), self.clock.now());
        let found = self.read_apart("task_look", deadline, move |connection| claim::look(connection, &look, now)).await?;
        if found.candidates.is_empty() {
            return Ok(Due { tasks: Vec::new(), next: found.next });
        }
        self.change_tasks(limit, deadline, move |connection, now| claim::mark_queued(connection, &wanted, now)).await
    }

    async fn rescue(&self, limit: usize, deadline: Deadline) -> Result<usize, StoreError> {
        let now = self.clock.now().as_micros();
        let any = move |connection: &Connection| {
            Ok(connection.prepare_cached(ANY_TO_RESCUE)?.query_row([now], |row| row.get::<_, bool>(0))?)
        };
        if !self.readers.take(deadline).await?.read("task_leases", any)? {
            return Ok(0);
        }
        self.change_tasks(limit, deadline, move |connection, now| {
            Ok(connection.prepare_cached(RESCUE)?.execute((now.as_micros(), LEASE_ENDED, rows(limit)))?)
        })
        .await
    }

    async fn prune(&self, ended: Duration, limit: usize, deadline: Deadline) -> Result<usize, StoreError> {
        self.change_tasks(limit, deadline, move |connection, now| {
            let before = now.plus_micros(micros(ended).saturating_neg()).as_micros();
            let mut pruned = 0;
            for tenant in read::tenants(connection, read::NEXT_ENDED)? {
                let left = rows(limit - pruned);
                pruned += connection.prepare_cached(PRUNE)?.execute((&tenant, before, left))?;
            }
            Ok(pruned)
        })
        .await
    }

    async fn task(&self, tenant: &TenantId, id: TaskId, deadline: Deadline) -> Result<Option<Task>, StoreError> {
        self.readers.take(deadline).await?.read("task", |connection| read::task(connection, tenant, id))
    }

    async fn tasks(&self, tenant: &TenantId, query: &TaskQuery, deadline: Deadline) -> Result<Vec<Task>, StoreError> {
        let (tenant, query) = (tenant.clone(), query.clone());
        self.read_apart("tasks", deadline, move |connection| read::tasks(connection, &tenant, &query)).await
    }

    async fn task_gauges(&self, deadline: Deadline) -> Result<TaskGauges, StoreError> {
        let now = self.clock.now();
        self.read_apart("task_gauges", deadline, move |connection| read::gauges(connection, now)).await
    }
}

/// Within a changeset: makes it the success of the run, if that goes on.
pub(crate) fn pass_fence(connection: &Connection, tenant: &TenantId, fence: Fence, now: Moment) -> Result<bool, Failure> {
    let params = (tenant.as_str(), fence.task.0.as_bytes(), fence.attempt, now.as_micros());
    Ok(connection.prepare_cached(FENCE)?.execute(params)? == 1)
}

/// Within a changeset: cancels what belongs to a profile whose life ends in it.
pub(crate) fn cancel_of_profile(
    connection: &Connection,
    tenant: &TenantId,
    profile: &Reference,
    now: Moment,
) -> Result<(), Failure> {
    let params = (tenant.as_str(), profile.as_str(), now.as_micros());
    connection.prepare_cached(CANCEL_OF_PROFILE)?.execute(params)?;
    Ok(())
}

fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
