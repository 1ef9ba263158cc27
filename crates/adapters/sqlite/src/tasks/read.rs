//! Tasks as they are kept.

use std::time::Duration;

use profile_domain::{
    Moment, Reference, Task, TaskId, TaskStatus, TaskType, TenantId,
    stored::Malformed,
    task::{Attempt, TaskQuery},
};
use profile_ports::{TaskDepth, TaskGauges};
use rusqlite::{Connection, Row, types::Value};
use serde_json::Value as Json;

use super::rows;
use crate::{error::Failure, row};

/// The tenant after one of those that have something waiting: so all of them are found without looking at their tasks.
pub(super) const NEXT_WAITING: &str = "SELECT tenant FROM tasks INDEXED BY tasks_waiting
WHERE status IN ('scheduled', 'queued', 'retrying') AND tenant > ?1 ORDER BY tenant LIMIT 1";
/// The same for those that have something that ended.
pub(super) const NEXT_ENDED: &str = "SELECT tenant FROM tasks INDEXED BY tasks_ended
WHERE status IN ('succeeded', 'dead', 'cancelled') AND tenant > ?1 ORDER BY tenant LIMIT 1";

/// Number, start, end, worker, error.
type Earlier = (u32, i64, Option<i64>, String, Option<String>);

const COLUMNS: &str = "id, type, status, payload, run_at, created_at, attempt, max_attempts, last_attempt, unique_key, profile,
    cancelling, worker, started_at, ended_at, error, earlier";

const COUNT: &str = "SELECT type, status, count(*) FROM tasks
WHERE status IN ('scheduled', 'queued', 'retrying') GROUP BY type, status
UNION ALL SELECT type, status, count(*) FROM tasks WHERE status = 'running' GROUP BY type, status";
const OLDEST: &str = "SELECT min(run_at) FROM tasks INDEXED BY tasks_waiting
WHERE tenant = ?1 AND status IN ('scheduled', 'queued', 'retrying') AND run_at <= ?2";

pub(super) fn task(connection: &Connection, tenant: &TenantId, id: TaskId) -> Result<Option<Task>, Failure> {
    let sql = format!("SELECT {COLUMNS} FROM tasks WHERE tenant = ?1 AND id = ?2");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query((tenant.as_str(), id.0.as_bytes()))?;
    rows.next()?.map(of_row).transpose()
}

/// Ids are in the order of their making, so a time is an id, too.
pub(super) fn tasks(connection: &Connection, tenant: &TenantId, query: &TaskQuery) -> Result<Vec<Task>, Failure> {
    let mut sql = format!("SELECT {COLUMNS} FROM tasks WHERE tenant = ?");
    let mut params: Vec<Value> = vec![tenant.as_str().to_owned().into()];
    let mut and = |condition: &str, value: Value| {
        sql.push_str(" AND ");
        sql.push_str(condition);
        params.push(value);
    };
    if let Some(after) = query.after {
        and("id < ?", after.0.as_bytes().to_vec().into());
    }
    if let Some(profile) = &query.profile {
        and("profile = ?", profile.as_str().to_owned().into());
    }
    if let Some(status) = query.status {
        and("status = ?", status.as_str().to_owned().into());
    }
    if let Some(task_type) = &query.task_type {
        and("type = ?", task_type.as_str().to_owned().into());
    }
    if let Some(from) = query.created_from {
        and("created_at >= ?", from.as_micros().into());
    }
    if let Some(before) = query.created_before {
        and("created_at < ?", before.as_micros().into());
    }
    sql.push_str(" ORDER BY id DESC LIMIT ?");
    params.push(rows(query.limit).into());
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(rusqlite::params_from_iter(params))?;
    let mut tasks = Vec::new();
    while let Some(row) = rows.next()? {
        tasks.push(of_row(row)?);
    }
    Ok(tasks)
}

pub(super) fn gauges(connection: &Connection, now: Moment) -> Result<TaskGauges, Failure> {
    let mut gauges = TaskGauges::default();
    let mut count = connection.prepare_cached(COUNT)?;
    let mut rows = count.query([])?;
    while let Some(row) = rows.next()? {
        let (task_type, status) = (TaskType::parse(row::text(row, 0)?)?, status(row::text(row, 1)?)?);
        gauges.depths.push(TaskDepth { task_type, status, count: row.get::<_, i64>(2)?.unsigned_abs() });
    }
    for tenant in tenants(connection, NEXT_WAITING)? {
        let mut oldest = connection.prepare_cached(OLDEST)?;
        let oldest: Option<i64> = oldest.query_row((&tenant, now.as_micros()), |row| row.get(0))?;
        if let Some(oldest) = oldest {
            let waited = Duration::from_micros((now.as_micros() - oldest).try_into().unwrap_or(0));
            gauges.oldest_waiting = gauges.oldest_waiting.max(Some(waited));
        }
    }
    Ok(gauges)
}

/// Walks from one tenant to the next.
pub(super) fn tenants(connection: &Connection, next: &str) -> Result<Vec<String>, Failure> {
    let mut tenants: Vec<String> = Vec::new();
    let mut statement = connection.prepare_cached(next)?;
    loop {
        let last = tenants.last().map_or("", String::as_str);
        let mut rows = statement.query([last])?;
        let Some(row) = rows.next()? else { return Ok(tenants) };
        let next = row.get(0)?;
        drop(rows);
        tenants.push(next);
    }
}

pub(super) fn status(text: &str) -> Result<TaskStatus, Failure> {
    Ok(TaskStatus::parse(text).ok_or(Malformed("task status"))?)
}

fn of_row(row: &Row<'_>) -> Result<Task, Failure> {
    const EARLIER: Malformed = Malformed("attempts");
    let (attempt, started_at): (u32, Option<i64>) = (row.get(6)?, row.get(13)?);
    let earlier: Option<Vec<Earlier>> =
        row::json::<Json>(row, 16)?.map(serde_json::from_value).transpose().map_err(|_| EARLIER)?;
    let of = |(number, started_at, ended_at, worker, error): Earlier| Attempt {
        number,
        started_at: Moment::from_micros(started_at),
        ended_at: ended_at.map(Moment::from_micros),
        worker,
        error,
    };
    let mut attempts: Vec<Attempt> = earlier.into_iter().flatten().map(of).collect();
    if let Some(started_at) = started_at {
        let worker: Option<String> = row.get(12)?;
        attempts.push(of((attempt, started_at, row.get(14)?, worker.unwrap_or_default(), row.get(15)?)));
    }
    let profile: Option<String> = row.get(10)?;
    Ok(Task {
        id: TaskId::from_bytes(row.get(0)?),
        task_type: TaskType::parse(row::text(row, 1)?)?,
        status: status(row::text(row, 2)?)?,
        payload: row::json(row, 3)?,
        run_at: Moment::from_micros(row.get(4)?),
        created_at: Moment::from_micros(row.get(5)?),
        attempt,
        max_attempts: row.get(7)?,
        last_attempt: row.get(8)?,
        unique_key: row.get(9)?,
        profile: profile.map(|profile| Reference::parse(&profile)).transpose()?,
        cancelling: row.get(11)?,
        attempts,
    })
}
