//! What is sent and shown of tasks. The payloads are described by their kinds.

use profile_application::task_kinds;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{
    IntoParams, ToSchema,
    openapi::{RefOr, Schema},
};
use uuid::Uuid;

/// Work for later.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTask {
    r#type: String,
    /// What the work is about, as its type says; at most 64 KiB.
    #[schema(required = false, nullable = false)]
    payload: Value,
    /// How long after it is accepted it is to start: seconds, or a number with s, m, h or d; at most a year. At once if there is
    /// neither this nor `run_at`.
    #[schema(required = false, nullable = false)]
    delay: Value,
    /// When it is to start, within a year. Not together with `delay`.
    #[schema(required = false, nullable = false, format = DateTime)]
    run_at: String,
    /// How often it may start and fail until it is dead.
    #[schema(required = false, nullable = false, minimum = 1, maximum = 25, default = 5)]
    max_attempts: u32,
    /// Of those of one type with one key, one waits for its first start.
    #[schema(required = false, nullable = false, min_length = 1, max_length = 255)]
    unique_key: String,
    /// What becomes of the one that waits already.
    #[schema(required = false, nullable = false, inline)]
    on_conflict: OnConflict,
    /// The profile that it belongs to: the task is cancelled when that is deleted.
    #[schema(required = false, nullable = false)]
    profile_id: Uuid,
}

/// `keep`: it stays as it is. `replace`: it takes over payload and time.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(default = "keep")]
pub(crate) enum OnConflict {
    Keep,
    Replace,
}

/// A task that was accepted.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({
    "id": "0199f3c2-6f0e-7cc3-98a2-4f3b1c0d9e8f", "type": "echo", "status": "scheduled",
    "run_at": "2026-01-31T12:15:00Z", "created_at": "2026-01-31T12:00:00Z"
}))]
pub(crate) struct SubmittedTask {
    id: Uuid,
    r#type: String,
    status: TaskStatus,
    #[schema(format = DateTime)]
    run_at: String,
    #[schema(format = DateTime)]
    created_at: String,
}

/// Where a task is in its life. `succeeded`, `dead` and `cancelled` are final.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TaskStatus {
    Scheduled,
    Queued,
    Running,
    Succeeded,
    Retrying,
    Dead,
    Cancelled,
}

/// A task.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({
    "id": "0199f3c2-6f0e-7cc3-98a2-4f3b1c0d9e8f", "type": "echo", "status": "succeeded", "payload": {"message": "hello"},
    "run_at": "2026-01-31T12:15:00Z", "created_at": "2026-01-31T12:00:00Z", "attempt": 1, "max_attempts": 5,
    "cancel_requested": false, "attempts": [{
        "number": 1, "started_at": "2026-01-31T12:15:00.004Z", "ended_at": "2026-01-31T12:15:00.006Z", "worker": "worker-1"
    }]
}))]
pub(crate) struct Task {
    id: Uuid,
    r#type: String,
    status: TaskStatus,
    /// As it was submitted; gone once its profile was deleted.
    #[schema(required = false, nullable = false)]
    payload: Value,
    /// When it is to start, or was to start last.
    #[schema(format = DateTime)]
    run_at: String,
    #[schema(format = DateTime)]
    created_at: String,
    /// Starts so far.
    #[schema(minimum = 0)]
    attempt: u32,
    #[schema(minimum = 1)]
    max_attempts: u32,
    /// Whether somebody wants it cancelled. It is as soon as it has ended, unless it succeeded.
    cancel_requested: bool,
    #[schema(required = false, nullable = false)]
    unique_key: String,
    #[schema(required = false, nullable = false)]
    profile_id: Uuid,
    attempts: Vec<TaskAttempt>,
    /// What it has written, if it has.
    #[schema(required = false, nullable = false)]
    result: TaskResult,
}

/// Where to fetch what a task has written.
#[derive(Deserialize, ToSchema)]
pub(crate) struct TaskResult {
    /// A path that needs nothing else, for an hour.
    #[schema(format = "uri-reference")]
    url: String,
    #[schema(format = DateTime)]
    expires_at: String,
}

/// One start of a task.
#[derive(Deserialize, ToSchema)]
pub(crate) struct TaskAttempt {
    /// Counted from 1.
    #[schema(minimum = 1)]
    number: u32,
    #[schema(format = DateTime)]
    started_at: String,
    #[schema(required = false, nullable = false, format = DateTime)]
    ended_at: String,
    /// The process that ran it.
    worker: String,
    /// What went wrong.
    #[schema(required = false, nullable = false)]
    error: String,
}

/// One page of tasks.
#[derive(Deserialize, ToSchema)]
pub(crate) struct TaskPage {
    items: Vec<Task>,
    /// The `cursor` of the next page; null on the last one.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct TaskPath {
    /// The task's id.
    id: Uuid,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct WaitParameter {
    /// Seconds for which the answer may wait for the task's end.
    #[param(required = false, nullable = false, minimum = 0, maximum = 30)]
    wait: u32,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct TaskListParameters {
    /// Tasks on one page.
    #[param(required = false, nullable = false, minimum = 1, maximum = 200, default = 50)]
    limit: u32,
    /// The `next_cursor` of the page before, with the same filters.
    #[param(required = false, nullable = false, max_length = 4096, pattern = "^[A-Za-z0-9_-]+$")]
    cursor: String,
    /// Those that are here.
    #[param(required = false, nullable = false)]
    status: TaskStatus,
    /// Those of this type.
    #[param(required = false, nullable = false, min_length = 1, max_length = 63, pattern = "^[a-z][a-z0-9._-]*$")]
    r#type: String,
    /// Those that belong to this profile.
    #[param(required = false, nullable = false)]
    profile_id: Uuid,
    /// Those submitted at this time or later.
    #[param(required = false, nullable = false, format = DateTime)]
    created_from: String,
    /// Those submitted before this time.
    #[param(required = false, nullable = false, format = DateTime)]
    created_before: String,
}

/// One alternative for each kind of task, with its payload. What a delay may be, the derive has no words for.
pub(crate) fn with_kinds(new_task: RefOr<Schema>) -> RefOr<Schema> {
    let mut base = serde_json::to_value(&new_task).unwrap_or_default();
    base["properties"]["delay"]["oneOf"] = json!([
        {"type": "number", "minimum": 0, "maximum": 31_536_000},
        {"type": "string", "pattern": "^([0-9]{1,7}s|[0-9]{1,5}m|[0-9]{1,3}h|[0-9]{1,2}d)$"}
    ]);
    let alternatives = task_kinds().into_iter().map(|kind| {
        let mut schema = base.clone();
        schema["title"] = kind.name.into();
        schema["description"] = kind.does.into();
        schema["properties"]["type"] = json!({"type": "string", "enum": [kind.name]});
        schema["properties"]["payload"] = kind.payload;
        let required: &[&str] = if kind.needs_profile { &["type", "payload", "profile_id"] } else { &["type"] };
        schema["required"] = json!(required);
        schema["example"] = json!({"type": kind.name, "payload": kind.example, "delay": "15m"});
        if kind.needs_profile {
            schema["example"]["profile_id"] = "0199f3c2-6f0e-7cc3-98a2-4f3b1c0d9e8f".into();
        }
        schema
    });
    let schema = json!({"oneOf": alternatives.collect::<Vec<_>>()});
    serde_json::from_value(schema).unwrap_or(new_task)
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExportParameters {
    /// Seconds since 1970, as the link has it.
    expires: i64,
    /// As the link has it.
    #[param(min_length = 1, max_length = 256, pattern = "^[A-Za-z0-9_-]+$")]
    sig: String,
}
