//! What is due, the tenants in turn, and its start.

use std::time::Duration;

use profile_domain::{
    Moment, Reference, TaskId, TaskType, TenantId,
    stored::Malformed,
    task::{ClaimedTask, Run},
};
use profile_ports::{Claim, Claims, Due};
use rusqlite::{Connection, Row};

use super::{read, rows};
use crate::{clock::micros, error::Failure, row};

/// Of one tenant and type, without those that the queue was told of just now.
const DUE: &str = "SELECT id, run_at FROM tasks INDEXED BY tasks_waiting
WHERE tenant = ?1 AND type = ?2 AND status IN ('scheduled', 'queued', 'retrying') AND run_at <= ?3
    AND (status <> 'queued' OR queued_at <= ?4)
ORDER BY run_at, id LIMIT ?5";
const NEXT: &str = "SELECT run_at FROM tasks INDEXED BY tasks_waiting
WHERE tenant = ?1 AND type = ?2 AND status IN ('scheduled', 'queued', 'retrying') AND run_at > ?3
ORDER BY run_at LIMIT 1";
const TYPES: &str = "SELECT type FROM tasks INDEXED BY tasks_waiting
WHERE tenant = ?1 AND status IN ('scheduled', 'queued', 'retrying') AND type > ?2 ORDER BY type LIMIT 1";

/// What is known of a start before this one moves to `earlier`.
const START: &str = "UPDATE tasks SET status = 'running', attempt = attempt + 1, worker = ?4, started_at = ?3, lease_until = ?5,
    ended_at = NULL, error = NULL, queued_at = NULL,
    earlier = CASE attempt WHEN 0 THEN NULL
        ELSE json_insert(coalesce(earlier, '[]'), '$[#]', json_array(attempt, started_at, ended_at, worker, error)) END
WHERE tenant = ?1 AND id = ?2 AND status IN ('scheduled', 'queued', 'retrying') AND run_at <= ?3 AND type = ?6
RETURNING attempt, type, payload, run_at, last_attempt, profile, traceparent";

const QUEUE: &str = "UPDATE tasks SET status = 'queued', queued_at = ?3
WHERE tenant = ?1 AND id = ?2 RETURNING type";

/// A [`Claim`] that can cross to the writer's thread.
#[derive(Clone)]
pub(super) struct Wanted {
    /// `None`: any.
    task_type: Option<TaskType>,
    only: Vec<(TenantId, TaskId)>,
    limit: usize,
    worker: String,
    lease: Duration,
    patience: Duration,
}

pub(super) struct Found {
    pub(super) candidates: Vec<(TenantId, TaskId)>,
    pub(super) next: Option<Duration>,
}

struct Candidate {
    /// How many of its tenant's come before it.
    rank: usize,
    run_at: i64,
    tenant: TenantId,
    id: TaskId,
}

impl Wanted {
    pub(super) fn of(claim: Claim<'_>) -> Self {
        Self {
            task_type: Some(claim.task_type.clone()),
            only: claim.only.to_vec(),
            limit: claim.limit,
            worker: claim.worker.to_owned(),
            lease: claim.lease,
            patience: claim.patience,
        }
    }

    pub(super) fn to_queue(limit: usize, patience: Duration) -> Self {
        Self { task_type: None, only: Vec::new(), limit, worker: String::new(), lease: Duration::ZERO, patience }
    }
}

/// What could be had, each tenant's first before any's second.
pub(super) fn look(connection: &Connection, wanted: &Wanted, now: Moment) -> Result<Found, Failure> {
    if !wanted.only.is_empty() {
        let candidates = wanted.only.iter().take(wanted.limit).cloned().collect();
        return Ok(Found { candidates, next: None });
    }
    let told_before = now.plus_micros(micros(wanted.patience).saturating_neg());
    let mut candidates = Vec::new();
    let mut next: Option<i64> = None;
    for tenant in read::tenants(connection, read::NEXT_WAITING)? {
        let tenant = TenantId::parse(&tenant)?;
        let types = match &wanted.task_type {
            Some(task_type) => vec![task_type.as_str().to_owned()],
            None => types(connection, &tenant)?,
        };
        let mut own = Vec::new();
        for task_type in types {
            let mut due = connection.prepare_cached(DUE)?;
            let params = (tenant.as_str(), &task_type, now.as_micros(), told_before.as_micros(), rows(wanted.limit));
            let mut rows = due.query(params)?;
            while let Some(row) = rows.next()? {
                let id = TaskId::from_bytes(row.get(0)?);
                own.push(Candidate { rank: 0, run_at: row.get(1)?, tenant: tenant.clone(), id });
            }
            let mut later = connection.prepare_cached(NEXT)?;
            let mut rows = later.query((tenant.as_str(), &task_type, now.as_micros()))?;
            if let Some(row) = rows.next()? {
                let at: i64 = row.get(0)?;
                next = Some(next.map_or(at, |next| next.min(at)));
            }
        }
        own.sort_by_key(|candidate| (candidate.run_at, candidate.id));
        own.truncate(wanted.limit);
        own.iter_mut().enumerate().for_each(|(rank, candidate)| candidate.rank = rank);
        candidates.extend(own);
    }
    candidates.sort_by(|one, other| (one.rank, one.run_at, &one.tenant).cmp(&(other.rank, other.run_at, &other.tenant)));
    candidates.truncate(wanted.limit);
    let next = next.map(|at| Duration::from_micros((at - now.as_micros()).try_into().unwrap_or(0)));
    Ok(Found { candidates: candidates.into_iter().map(|candidate| (candidate.tenant, candidate.id)).collect(), next })
}

pub(super) fn claim(connection: &Connection, wanted: &Wanted, now: Moment) -> Result<Claims, Failure> {
    let found = look(connection, wanted, now)?;
    let until = now.plus_micros(micros(wanted.lease)).as_micros();
    let mut start = connection.prepare_cached(START)?;
    let mut tasks = Vec::with_capacity(found.candidates.len());
    for (tenant, id) in found.candidates {
        let task_type = wanted.task_type.as_ref().map(TaskType::as_str);
        let mut rows = start.query((tenant.as_str(), id.0.as_bytes(), now.as_micros(), &wanted.worker, until, task_type))?;
        if let Some(row) = rows.next()? {
            tasks.push(claimed(row, tenant, id, now)?);
        }
        // The statement has done all of its work once it says that there are no more rows.
        while rows.next()?.is_some() {}
    }
    Ok(Claims { tasks, next: found.next })
}

fn claimed(row: &Row<'_>, tenant: TenantId, id: TaskId, started_at: Moment) -> Result<ClaimedTask, Failure> {
    let profile: Option<String> = row.get(5)?;
    Ok(ClaimedTask {
        run: Run { tenant, task: id, attempt: row.get(0)? },
        task_type: TaskType::parse(row::text(row, 1)?)?,
        payload: row::json(row, 2)?,
        run_at: Moment::from_micros(row.get(3)?),
        started_at,
        last_attempt: row.get(4)?,
        profile: profile.map(|profile| Reference::parse(&profile)).transpose()?,
        traceparent: row.get(6)?,
    })
}

pub(super) fn mark_queued(connection: &Connection, wanted: &Wanted, now: Moment) -> Result<Due, Failure> {
    let found = look(connection, wanted, now)?;
    let mut queue = connection.prepare_cached(QUEUE)?;
    let mut tasks = Vec::with_capacity(found.candidates.len());
    for (tenant, id) in found.candidates {
        let task_type: String = queue.query_row((tenant.as_str(), id.0.as_bytes(), now.as_micros()), |row| row.get(0))?;
        tasks.push((tenant, id, TaskType::parse(&task_type).map_err(|_| Malformed("task type"))?));
    }
    Ok(Due { tasks, next: found.next })
}

/// Of which a tenant has something that waits.
fn types(connection: &Connection, tenant: &TenantId) -> Result<Vec<String>, Failure> {
    let mut types: Vec<String> = Vec::new();
    let mut statement = connection.prepare_cached(TYPES)?;
    loop {
        let last = types.last().map_or("", String::as_str);
        let mut rows = statement.query((tenant.as_str(), last))?;
        let Some(row) = rows.next()? else { return Ok(types) };
        let next = row.get(0)?;
        drop(rows);
        types.push(next);
    }
}
