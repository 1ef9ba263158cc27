//! Tasks. Everything goes by `clock_timestamp()` of the server, in microseconds; an offset that tests give is added to it.

mod enqueue;
mod row;

use std::{collections::HashMap, sync::atomic::Ordering, time::Duration};

use async_trait::async_trait;
use futures_util::future::try_join3;
use profile_domain::{
    Moment, Task, TaskId, TaskStatus, TaskType, TenantId,
    task::{ClaimedTask, Ending, LEASE_ENDED, Run, TaskQuery},
};
use profile_ports::{Claim, Claims, Deadline, Due, Renewal, StoreError, TaskDepth, TaskGauges, Tasks};
use tokio_postgres::{
    Row,
    types::{ToSql, Type},
};
use uuid::Uuid;

pub(crate) use enqueue::CANCEL_OF_PROFILES;

use crate::{
    PostgresStore,
    error::{leaves_connection_sound, trouble},
    pool::{LIMITS, bounded},
    row::{corrupt, get, moment},
    statement::{Statement, durably},
};

/// How often a run that isn't found is looked for: somebody may have changed its row between two looks, to cancel it or to renew its
/// lease, while it stayed the current one.
const LOOKS: usize = 3;

macro_rules! returning {
    ($file:literal, $columns:literal) => {
        concat!(include_str!($file), "RETURNING ", $columns)
    };
}

static CLOCK: Statement =
    Statement::new("task_clock", "SELECT clock_timestamp() + $1 * interval '1 microsecond' AS now", &[Type::INT8]);
static CLAIM: Statement = Statement::new(
    "task_claim",
    returning!(
        "../sql/task_claim.sql",
        "tasks.tenant, tasks.id, attempt, type, payload, run_at, started_at, last_attempt, profile, traceparent"
    ),
    &[Type::TEXT, Type::INT8, Type::TEXT, Type::INT8, Type::INT8, Type::INT8],
);
static CLAIM_NAMED: Statement = Statement::new(
    "task_claim_named",
    returning!(
        "../sql/task_claim_named.sql",
        "tasks.tenant, tasks.id, attempt, type, payload, run_at, started_at, last_attempt, profile, traceparent"
    ),
    &[Type::TEXT_ARRAY, Type::UUID_ARRAY, Type::TEXT, Type::INT8, Type::TEXT, Type::INT8],
);
static NEXT: Statement = Statement::new("task_next", include_str!("../sql/task_next.sql"), &[Type::TEXT, Type::INT8]);
static RENEW: Statement = Statement::new(
    "task_renew",
    returning!("../sql/task_renew.sql", "tenant, id, attempt, cancelling"),
    &[Type::TEXT_ARRAY, Type::UUID_ARRAY, Type::INT4_ARRAY, Type::INT8, Type::INT8],
);
static END: Statement = Statement::new(
    "task_end",
    returning!("../sql/task_end.sql", "tasks.tenant, tasks.id, tasks.attempt, tasks.status"),
    &[
        Type::TEXT_ARRAY,
        Type::UUID_ARRAY,
        Type::INT4_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::INT8_ARRAY,
        Type::INT4_ARRAY,
        Type::INT8,
    ],
);
static CANCEL: Statement = Statement::new(
    "task_cancel",
    concat!(
        "UPDATE tasks SET cancelling = true,
             ended_at = CASE status WHEN 'running' THEN NULL ELSE clock_timestamp() + $3 * interval '1 microsecond' END,
             status = CASE status WHEN 'running' THEN status ELSE 'cancelled' END
         WHERE tenant = $1 AND id = $2 AND status IN ('scheduled', 'queued', 'retrying', 'running')
         RETURNING id, ",
        durably!()
    ),
    &[Type::TEXT, Type::UUID, Type::INT8],
);
static RETRY: Statement = Statement::new(
    "task_retry",
    concat!(
        "UPDATE tasks SET status = 'scheduled', run_at = clock_timestamp() + $3 * interval '1 microsecond',
             last_attempt = attempt + max_attempts, queued_at = NULL
         WHERE tenant = $1 AND id = $2 AND status = 'dead' AND payload IS NOT NULL
         RETURNING id, ",
        durably!()
    ),
    &[Type::TEXT, Type::UUID, Type::INT8],
);
static MARK_QUEUED: Statement = Statement::new(
    "task_mark_queued",
    returning!("../sql/task_mark_queued.sql", "tasks.tenant, tasks.id, tasks.type"),
    &[Type::INT8, Type::INT8, Type::INT8],
);
static RESCUE: Statement =
    Statement::new("task_rescue", returning!("../sql/task_rescue.sql", "tasks.id"), &[Type::INT8, Type::TEXT, Type::INT8]);
static PRUNE: Statement =
    Statement::new("task_prune", returning!("../sql/task_prune.sql", "tasks.id"), &[Type::INT8, Type::INT8, Type::INT8]);
static TASK: Statement = Statement::new(
    "task",
    "SELECT id, type, status, payload, run_at, created_at, attempt, max_attempts, last_attempt, unique_key, profile, cancelling,
         worker, started_at, ended_at, error, earlier
     FROM tasks WHERE tenant = $1 AND id = $2",
    &[Type::TEXT, Type::UUID],
);
static LIST: Statement = Statement::new(
    "tasks",
    include_str!("../sql/task_list.sql"),
    &[Type::TEXT, Type::UUID, Type::TEXT, Type::TEXT, Type::TIMESTAMPTZ, Type::TIMESTAMPTZ, Type::INT8],
);
static LIST_OF_PROFILE: Statement = Statement::new(
    "tasks_of_profile",
    include_str!("../sql/task_list_of_profile.sql"),
    &[Type::TEXT, Type::UUID, Type::TEXT, Type::TEXT, Type::TIMESTAMPTZ, Type::TIMESTAMPTZ, Type::INT8, Type::TEXT],
);
static GAUGES: Statement = Statement::new("task_gauges", include_str!("../sql/task_gauges.sql"), &[Type::INT8]);

impl PostgresStore {
    /// Moves the clock by which tasks are due, as this process sees it: for tests.
    #[doc(hidden)]
    pub fn shift_clock(&self, by: Duration) {
        self.clock_offset.fetch_add(micros(by), Ordering::Relaxed);
    }

    /// What tests have added to the server's clock, in microseconds.
    pub(crate) fn clock_offset(&self) -> i64 {
        self.clock_offset.load(Ordering::Relaxed)
    }

    /// Runs one statement in a transaction, in one round trip: its plan is made once, without compiling and without scans.
    async fn in_one_flight(
        &self,
        statement: &Statement,
        params: &[&(dyn ToSql + Sync)],
        deadline: Deadline,
    ) -> Result<Vec<Row>, StoreError> {
        bounded(deadline, async {
            let lease = self.pool.lease().await?;
            lease.prepare(&[&LIMITS, statement]).await.map_err(|error| StoreError::from(trouble(error)))?;
            let commit = lease.batch("commit", "COMMIT");
            match try_join3(lease.begin(deadline), lease.query(statement, params), commit).await {
                Ok(((), rows, ())) => {
                    lease.keep();
                    Ok(rows)
                }
                Err(error) => {
                    if leaves_connection_sound(&error) {
                        lease.roll_back().await;
                    }
                    Err(trouble(error).into())
                }
            }
        })
        .await
    }

    async fn end_once(&self, endings: &[&(Run, Ending)], deadline: Deadline) -> Result<Vec<Option<TaskStatus>>, StoreError> {
        let (tenants, ids, attempts) = columns(endings.iter().map(|(run, _)| run));
        let statuses: Vec<&str> = endings.iter().map(|(_, ending)| ending.status().as_str()).collect();
        let errors: Vec<Option<&str>> = endings.iter().map(|(_, ending)| ending.error()).collect();
        let wait = |ending: &Ending| match ending {
            Ending::Retry { wait, .. } => Some(*wait),
            Ending::HandedBack => Some(0),
            _ => None,
        };
        let waits: Vec<Option<i64>> = endings.iter().map(|(_, ending)| wait(ending)).collect();
        let given_back: Vec<i32> = endings.iter().map(|(_, ending)| i32::from(*ending == Ending::HandedBack)).collect();
        let params: [&(dyn ToSql + Sync); 8] =
            [&tenants, &ids, &attempts, &statuses, &errors, &waits, &given_back, &self.clock_offset()];
        let rows = self.in_one_flight(&END, &params, deadline).await?;
        let mut ended = HashMap::new();
        for row in &rows {
            ended.insert(attempt_of(row)?, row::status(row)?);
        }
        let of = |(run, _): &&(Run, Ending)| ended.get(&attempt(run)).copied();
        Ok(endings.iter().map(of).collect())
    }

    /// In how long something is due.
    async fn next_due(&self, task_type: Option<&TaskType>, deadline: Deadline) -> Result<Option<Duration>, StoreError> {
        let task_type = task_type.map(TaskType::as_str);
        let rows = self.in_one_flight(&NEXT, &[&task_type, &self.clock_offset()], deadline).await?;
        let wait: Option<i64> = rows.first().map(|row| get(row, "wait")).transpose()?.flatten();
        Ok(wait.map(|wait| Duration::from_micros(wait.try_into().unwrap_or(0))))
    }
}

#[async_trait]
impl Tasks for PostgresStore {
    async fn task_clock(&self, deadline: Deadline) -> Result<Moment, StoreError> {
        let rows = self.pool.run(&CLOCK, &[&self.clock_offset()], deadline).await?;
        moment(rows.first().ok_or_else(|| corrupt("the clock gave no row"))?, "now")
    }

    async fn claim(&self, claim: Claim<'_>, deadline: Deadline) -> Result<Claims, StoreError> {
        let (task_type, offset, lease) = (claim.task_type.as_str(), self.clock_offset(), micros(claim.lease));
        if !claim.only.is_empty() {
            let named = &claim.only[..claim.only.len().min(claim.limit)];
            let (tenants, ids): (Vec<&str>, Vec<Uuid>) = named.iter().map(|(tenant, id)| (tenant.as_str(), id.0)).unzip();
            let params: [&(dyn ToSql + Sync); 6] = [&tenants, &ids, &claim.worker, &lease, &task_type, &offset];
            let rows = self.in_one_flight(&CLAIM_NAMED, &params, deadline).await?;
            return Ok(Claims { tasks: claimed(&rows)?, next: None });
        }
        let (limit, patience) = (rows_of(claim.limit), micros(claim.patience));
        let rows = self.in_one_flight(&CLAIM, &[&task_type, &limit, &claim.worker, &lease, &patience, &offset], deadline).await?;
        let tasks = claimed(&rows)?;
        // Whoever got all that was wanted comes back at once.
        let next = if tasks.len() < claim.limit { self.next_due(Some(claim.task_type), deadline).await? } else { None };
        Ok(Claims { tasks, next })
    }

    async fn renew(&self, runs: &[Run], lease: Duration, deadline: Deadline) -> Result<Vec<Renewal>, StoreError> {
        let mut renewals = vec![Renewal::Lost; runs.len()];
        for _ in 0..LOOKS {
            let missing: Vec<usize> = (0..runs.len()).filter(|index| renewals[*index] == Renewal::Lost).collect();
            if missing.is_empty() {
                break;
            }
            let (tenants, ids, attempts) = columns(missing.iter().map(|index| &runs[*index]));
            let params: [&(dyn ToSql + Sync); 5] = [&tenants, &ids, &attempts, &micros(lease), &self.clock_offset()];
            let rows = self.in_one_flight(&RENEW, &params, deadline).await?;
            let mut held = HashMap::new();
            for row in &rows {
                held.insert(attempt_of(row)?, if get(row, "cancelling")? { Renewal::Cancelling } else { Renewal::Held });
            }
            for index in missing {
                renewals[index] = held.get(&attempt(&runs[index])).copied().unwrap_or(Renewal::Lost);
            }
        }
        Ok(renewals)
    }

    async fn end(&self, endings: &[(Run, Ending)], deadline: Deadline) -> Result<Vec<Option<TaskStatus>>, StoreError> {
        let mut statuses = vec![None; endings.len()];
        for _ in 0..LOOKS {
            let missing: Vec<usize> = (0..endings.len()).filter(|index| statuses[*index].is_none()).collect();
            if missing.is_empty() {
                break;
            }
            let some: Vec<&(Run, Ending)> = missing.iter().map(|index| &endings[*index]).collect();
            let ended = self.end_once(&some, deadline).await?;
            for (index, status) in missing.into_iter().zip(ended) {
                statuses[index] = status;
            }
        }
        Ok(statuses)
    }

    async fn cancel(&self, tenant: &TenantId, id: TaskId, deadline: Deadline) -> Result<Option<Task>, StoreError> {
        self.pool.run(&CANCEL, &[&tenant.as_str(), &id.0, &self.clock_offset()], deadline).await?;
        self.task(tenant, id, deadline).await
    }

    async fn retry(&self, tenant: &TenantId, id: TaskId, deadline: Deadline) -> Result<Option<(Task, bool)>, StoreError> {
        let retried = self.pool.run(&RETRY, &[&tenant.as_str(), &id.0, &self.clock_offset()], deadline).await?;
        Ok(self.task(tenant, id, deadline).await?.map(|task| (task, !retried.is_empty())))
    }

    async fn mark_queued(&self, limit: usize, patience: Duration, deadline: Deadline) -> Result<Due, StoreError> {
        let params: [&(dyn ToSql + Sync); 3] = [&rows_of(limit), &micros(patience), &self.clock_offset()];
        let rows = self.in_one_flight(&MARK_QUEUED, &params, deadline).await?;
        let task = |row| Ok((row::tenant(row)?, TaskId(get(row, "id")?), row::task_type(row)?));
        let tasks: Vec<_> = rows.iter().map(task).collect::<Result<_, StoreError>>()?;
        let next = if tasks.len() < limit { self.next_due(None, deadline).await? } else { None };
        Ok(Due { tasks, next })
    }

    async fn rescue(&self, limit: usize, deadline: Deadline) -> Result<usize, StoreError> {
        let rows = self.in_one_flight(&RESCUE, &[&rows_of(limit), &LEASE_ENDED, &self.clock_offset()], deadline).await?;
        Ok(rows.len())
    }

    async fn prune(&self, ended: Duration, limit: usize, deadline: Deadline) -> Result<usize, StoreError> {
        let rows = self.in_one_flight(&PRUNE, &[&micros(ended), &rows_of(limit), &self.clock_offset()], deadline).await?;
        Ok(rows.len())
    }

    async fn task(&self, tenant: &TenantId, id: TaskId, deadline: Deadline) -> Result<Option<Task>, StoreError> {
        let rows = self.pool.read(&TASK, &[&tenant.as_str(), &id.0], deadline).await?;
        rows.first().map(row::task).transpose()
    }

    async fn tasks(&self, tenant: &TenantId, query: &TaskQuery, deadline: Deadline) -> Result<Vec<Task>, StoreError> {
        let after = query.after.map_or(Uuid::max(), |after| after.0);
        let status = query.status.map(TaskStatus::as_str);
        let task_type = query.task_type.as_ref().map(TaskType::as_str);
        let [from, before] = [query.created_from, query.created_before].map(|at| at.map(jiff::Timestamp::from));
        let (tenant, limit) = (tenant.as_str(), rows_of(query.limit));
        let mut params: Vec<&(dyn ToSql + Sync)> = vec![&tenant, &after, &status, &task_type, &from, &before, &limit];
        let profile = query.profile.as_ref().map(profile_domain::Reference::as_str);
        let statement = if profile.is_some() {
            params.push(&profile);
            &LIST_OF_PROFILE
        } else {
            &LIST
        };
        let rows = self.pool.run(statement, &params, deadline).await?;
        rows.iter().map(row::task).collect()
    }

    async fn task_gauges(&self, deadline: Deadline) -> Result<TaskGauges, StoreError> {
        let rows = self.pool.run(&GAUGES, &[&self.clock_offset()], deadline).await?;
        let mut gauges = TaskGauges::default();
        for row in &rows {
            let (count, waited): (i64, Option<i64>) = (get(row, "count")?, get(row, "waited")?);
            gauges.depths.push(TaskDepth {
                task_type: row::task_type(row)?,
                status: row::status(row)?,
                count: count.unsigned_abs(),
            });
            let waited = waited.and_then(|micros| u64::try_from(micros).ok()).map(Duration::from_micros);
            gauges.oldest_waiting = gauges.oldest_waiting.max(waited);
        }
        Ok(gauges)
    }
}

fn claimed(rows: &[Row]) -> Result<Vec<ClaimedTask>, StoreError> {
    rows.iter().map(row::claimed).collect()
}

fn columns<'r>(runs: impl Iterator<Item = &'r Run>) -> (Vec<&'r str>, Vec<Uuid>, Vec<i32>) {
    let (mut tenants, mut ids, mut attempts) = (Vec::new(), Vec::new(), Vec::new());
    for (tenant, id, attempt) in runs.map(attempt) {
        tenants.push(tenant);
        ids.push(id);
        attempts.push(attempt);
    }
    (tenants, ids, attempts)
}

/// What tells a run from others, also from those of the same task.
fn attempt(run: &Run) -> (&str, Uuid, i32) {
    (run.tenant.as_str(), run.task.0, i32::try_from(run.attempt).unwrap_or(i32::MAX))
}

fn attempt_of(row: &Row) -> Result<(&str, Uuid, i32), StoreError> {
    Ok((get(row, "tenant")?, get(row, "id")?, get(row, "attempt")?))
}

fn rows_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// As many microseconds.
fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}
