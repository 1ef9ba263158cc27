//! Rows of tasks as what the domain knows.

use profile_domain::{
    Moment, Reference, Task, TaskId, TaskStatus, TaskType, TenantId,
    task::{Attempt, ClaimedTask, Run, TaskReceipt},
};
use profile_ports::StoreError;
use serde_json::Value;
use tokio_postgres::{Row, types::Json};

use crate::row::{corrupt, get, moment};

/// Number, start, end, worker, error.
type Earlier = (u32, i64, Option<i64>, String, Option<String>);

pub(super) fn tenant(row: &Row) -> Result<TenantId, StoreError> {
    TenantId::parse(get(row, "tenant")?).map_err(corrupt)
}

pub(super) fn task_type(row: &Row) -> Result<TaskType, StoreError> {
    TaskType::parse(get(row, "type")?).map_err(corrupt)
}

pub(super) fn status(row: &Row) -> Result<TaskStatus, StoreError> {
    TaskStatus::parse(get(row, "status")?).ok_or_else(|| corrupt("a task's status is unknown"))
}

fn number(row: &Row, column: &str) -> Result<u32, StoreError> {
    u32::try_from(get::<i32>(row, column)?).map_err(corrupt)
}

fn profile(row: &Row) -> Result<Option<Reference>, StoreError> {
    get::<Option<&str>>(row, "profile")?.map(Reference::parse).transpose().map_err(corrupt)
}

fn payload(row: &Row) -> Result<Option<Value>, StoreError> {
    Ok(get::<Option<Json<Value>>>(row, "payload")?.map(|Json(payload)| payload))
}

pub(super) fn receipt(row: &Row) -> Result<TaskReceipt, StoreError> {
    Ok(TaskReceipt {
        id: TaskId(get(row, "id")?),
        status: status(row)?,
        run_at: moment(row, "run_at")?,
        created_at: moment(row, "created_at")?,
    })
}

pub(super) fn claimed(row: &Row) -> Result<ClaimedTask, StoreError> {
    Ok(ClaimedTask {
        run: Run { tenant: tenant(row)?, task: TaskId(get(row, "id")?), attempt: number(row, "attempt")? },
        task_type: task_type(row)?,
        payload: payload(row)?,
        run_at: moment(row, "run_at")?,
        started_at: moment(row, "started_at")?,
        last_attempt: number(row, "last_attempt")?,
        profile: profile(row)?,
        traceparent: get(row, "traceparent")?,
    })
}

pub(super) fn task(row: &Row) -> Result<Task, StoreError> {
    let attempt = number(row, "attempt")?;
    let earlier: Option<Json<Vec<Earlier>>> = get(row, "earlier")?;
    let of = |(number, started_at, ended_at, worker, error): Earlier| Attempt {
        number,
        started_at: Moment::from_micros(started_at),
        ended_at: ended_at.map(Moment::from_micros),
        worker,
        error,
    };
    let mut attempts: Vec<Attempt> = earlier.into_iter().flat_map(|Json(earlier)| earlier).map(of).collect();
    if let Some(started_at) = get::<Option<jiff::Timestamp>>(row, "started_at")? {
        attempts.push(Attempt {
            number: attempt,
            started_at: started_at.into(),
            ended_at: get::<Option<jiff::Timestamp>>(row, "ended_at")?.map(Moment::from),
            worker: get::<Option<String>>(row, "worker")?.unwrap_or_default(),
            error: get(row, "error")?,
        });
    }
    Ok(Task {
        id: TaskId(get(row, "id")?),
        task_type: task_type(row)?,
        status: status(row)?,
        payload: payload(row)?,
        run_at: moment(row, "run_at")?,
        created_at: moment(row, "created_at")?,
        attempt,
        max_attempts: number(row, "max_attempts")?,
        last_attempt: number(row, "last_attempt")?,
        unique_key: get(row, "unique_key")?,
        profile: profile(row)?,
        cancelling: get(row, "cancelling")?,
        attempts,
    })
}
