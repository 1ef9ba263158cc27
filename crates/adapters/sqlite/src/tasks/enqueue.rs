//! Tasks of a changeset, within its savepoint.

use profile_domain::{
    Moment, NewTask, TaskId, TaskReceipt, TenantId,
    json::canonical,
    task::{Due, OnConflict, TaskStatus},
};
use rusqlite::{Connection, OptionalExtension as _};

use super::read;
use crate::{commit::Stop, error::Failure};

const INSERT: &str = "INSERT INTO tasks (tenant, id, type, status, payload, run_at, created_at, max_attempts, last_attempt,
    unique_key, profile, traceparent)
VALUES (?1, ?2, ?3, 'scheduled', ?4, ?5, ?6, ?7, ?7, ?8, ?9, ?10)";
/// As the index `tasks_unique` has it.
const HOLDER: &str = "SELECT id, status, run_at, created_at, profile IS ?4 FROM tasks
WHERE tenant = ?1 AND type = ?2 AND unique_key = ?3 AND attempt = 0 AND status IN ('scheduled', 'queued')";
const REPLACE: &str = "UPDATE tasks SET payload = ?3, run_at = ?4, status = 'scheduled', queued_at = NULL
WHERE tenant = ?1 AND id = ?2";
const LIVES: &str = "SELECT EXISTS (SELECT 1 FROM entities
    WHERE tenant = ?1 AND type = 'profile' AND reference = ?2 AND id IS NOT NULL)";

/// Writes a task down, or finds the one that holds its unique key.
pub(crate) fn enqueue(connection: &Connection, tenant: &TenantId, task: &NewTask, now: Moment) -> Result<TaskReceipt, Stop> {
    let tenant = tenant.as_str();
    if let Some(profile) = &task.profile
        && !connection.prepare_cached(LIVES)?.query_row((tenant, profile.as_str()), |row| row.get::<_, bool>(0))?
    {
        return Err(Stop::NoProfile);
    }
    let run_at = match task.due {
        Due::After(micros) => now.plus_micros(micros),
        Due::At(at) => at,
    };
    let payload = canonical(&task.payload);
    if let Some(unique) = &task.unique
        && let Some((holder, same_profile)) = holder(connection, tenant, task, &unique.key)?
    {
        if !same_profile {
            return Err(Stop::UniqueElsewhere);
        }
        if unique.on_conflict == OnConflict::Keep {
            return Ok(holder);
        }
        let params = (tenant, holder.id.0.as_bytes(), payload, run_at.as_micros());
        connection.prepare_cached(REPLACE)?.execute(params)?;
        return Ok(TaskReceipt { run_at, status: TaskStatus::Scheduled, ..holder });
    }
    connection.prepare_cached(INSERT)?.execute((
        tenant,
        task.id.0.as_bytes(),
        task.task_type.as_str(),
        payload,
        run_at.as_micros(),
        now.as_micros(),
        task.max_attempts,
        task.unique.as_ref().map(|unique| &unique.key),
        task.profile.as_ref().map(profile_domain::Reference::as_str),
        &task.traceparent,
    ))?;
    Ok(TaskReceipt { id: task.id, status: TaskStatus::Scheduled, run_at, created_at: now })
}

/// The task that holds a unique key, and whether it belongs to the same profile, or to none either.
fn holder(connection: &Connection, tenant: &str, task: &NewTask, key: &str) -> Result<Option<(TaskReceipt, bool)>, Failure> {
    let profile = task.profile.as_ref().map(profile_domain::Reference::as_str);
    let mut statement = connection.prepare_cached(HOLDER)?;
    let found = statement
        .query_row((tenant, task.task_type.as_str(), key, profile), |row| {
            Ok((row.get::<_, [u8; 16]>(0)?, row.get::<_, String>(1)?, row.get(2)?, row.get(3)?, row.get::<_, bool>(4)?))
        })
        .optional()?;
    let Some((id, status, run_at, created_at, same_profile)) = found else { return Ok(None) };
    let [run_at, created_at] = [run_at, created_at].map(Moment::from_micros);
    Ok(Some((TaskReceipt { id: TaskId::from_bytes(id), status: read::status(&status)?, run_at, created_at }, same_profile)))
}
