//! Tasks: one file for each operation, and what their answers have in common.

pub(crate) mod cancel;
pub(crate) mod list;
pub(crate) mod read;
pub(crate) mod retry;
pub(crate) mod submit;

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::{StatusCode, header},
};
use profile_application::{CancelError, RetryError, SubmitError, TaskError};
use profile_domain::{Task, TaskId, profile::DocumentError};
use serde_json::{Map, Value, json};

use crate::problem::{Code, Problem};

/// The id in the path. What is no UUID names no task.
fn id(request: &HttpRequest) -> Result<TaskId, Problem> {
    request.match_info().query("id").parse().map_err(|_| not_found())
}

fn not_found() -> Problem {
    Problem::new(Code::TaskNotFound, "there is no task with this id")
}

/// It changes by itself, so nobody keeps it.
fn answer(status: StatusCode) -> HttpResponseBuilder {
    let mut answer = HttpResponse::build(status);
    answer.content_type("application/json").insert_header((header::CACHE_CONTROL, "no-store"));
    answer
}

fn body(task: &Task) -> Value {
    let attempts = task.attempts.iter().map(|attempt| {
        let mut shown = Map::new();
        shown.insert("number".into(), attempt.number.into());
        shown.insert("started_at".into(), attempt.started_at.to_string().into());
        if let Some(ended_at) = attempt.ended_at {
            shown.insert("ended_at".into(), ended_at.to_string().into());
        }
        shown.insert("worker".into(), attempt.worker.as_str().into());
        if let Some(error) = &attempt.error {
            shown.insert("error".into(), error.as_str().into());
        }
        Value::Object(shown)
    });
    let mut shown = json!({
        "id": task.id.to_string(),
        "type": task.task_type.as_str(),
        "status": task.status.as_str(),
        "run_at": task.run_at.to_string(),
        "created_at": task.created_at.to_string(),
        "attempt": task.attempt,
        "max_attempts": task.max_attempts,
        "cancel_requested": task.cancelling,
        "attempts": attempts.collect::<Vec<_>>(),
    });
    let profile = task.profile.as_ref().map(|profile| profile.as_str().into());
    let unique_key = task.unique_key.as_deref().map(Into::into);
    for (member, value) in [("payload", task.payload.clone()), ("profile_id", profile), ("unique_key", unique_key)] {
        if let Some(value) = value {
            shown[member] = value;
        }
    }
    shown
}

/// A submission that is none.
fn refused(error: DocumentError) -> Problem {
    match error {
        DocumentError::NotAnObject => Problem::new(Code::ValidationFailed, "the body must be a JSON object"),
        DocumentError::Invalid(fields) => SubmitError::Invalid(fields).into(),
        DocumentError::UnknownMembers(members) => {
            let known = "a task has type, payload, delay or run_at, max_attempts, unique_key, on_conflict and profile_id";
            let problem = |field| profile_domain::profile::FieldProblem {
                field,
                code: "UNKNOWN_MEMBER",
                message: "is no member of a task".into(),
            };
            Problem::new(Code::UnknownMember, known).with_fields(members.into_iter().map(problem).collect())
        }
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Invalid(fields) => {
                Self::new(Code::ValidationFailed, "error.fields says what is wrong with which member").with_fields(fields)
            }
            SubmitError::KeyReused => profile_application::WriteError::KeyReused.into(),
            SubmitError::InProgress => profile_application::WriteError::InProgress.into(),
            SubmitError::Forgotten => not_found(),
            SubmitError::Store(error) => error.into(),
        }
    }
}

impl From<TaskError> for Problem {
    fn from(error: TaskError) -> Self {
        match error {
            TaskError::NotFound => not_found(),
            TaskError::Store(error) => error.into(),
        }
    }
}

impl From<CancelError> for Problem {
    fn from(error: CancelError) -> Self {
        match error {
            CancelError::NotFound => not_found(),
            CancelError::Ended(_) => Self::new(Code::TaskEnded, error.to_string()),
            CancelError::Store(error) => error.into(),
        }
    }
}

impl From<RetryError> for Problem {
    fn from(error: RetryError) -> Self {
        match error {
            RetryError::NotFound => not_found(),
            RetryError::NotDead(_) | RetryError::Forgotten => Self::new(Code::TaskNotDead, error.to_string()),
            RetryError::Store(error) => error.into(),
        }
    }
}
