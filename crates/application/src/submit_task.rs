//! `POST /api/v1/tasks/delayed`: work for later.

use profile_domain::{
    Changeset, Idempotency, NewTask, Replay, TaskId, TaskReceipt, TaskType, TenantId,
    json::canonical,
    profile::FieldProblem,
    task::{Due, MAX_DELAY, Submission},
};
use profile_ports::{CommitError, Deadline, StoreError};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::{
    App, OnceKey,
    tasks::kind::{Kind, Payload},
};

/// The route under which idempotency keys of this use case are kept.
const ROUTE: &str = "POST /api/v1/tasks/delayed";
/// A delay after which the worker has looked by itself.
const NEXT_LOOK: i64 = 1_000_000;
/// How far beyond a year a time may lie, because the clocks of this process and of the store are two.
const LEEWAY: i64 = 24 * 3_600 * 1_000_000;

/// A task that was accepted, by this request or by an earlier one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// The task that there is.
    pub task: TaskReceipt,
    /// What sort of work.
    pub task_type: &'static str,
}

/// Why a task was not accepted. Nothing was written, except perhaps under [`StoreError::OutcomeUnknown`].
#[derive(Debug, Error)]
pub enum SubmitError {
    /// What is wrong with which member.
    #[error("some members are invalid")]
    Invalid(Vec<FieldProblem>),
    /// The idempotency key was used for another request.
    #[error("the idempotency key belongs to another request")]
    KeyReused,
    /// A request with the same idempotency key is still being worked on.
    #[error("a request with the same idempotency key is in progress")]
    InProgress,
    /// It was accepted before under this idempotency key, and its profile was deleted since.
    #[error("the task's profile was deleted since")]
    Forgotten,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl App {
    /// Accepts a task: once this returns it is committed, and it will run.
    ///
    /// With an idempotency key it is made once, and a repetition gives the same answer.
    ///
    /// # Errors
    /// See [`SubmitError`].
    pub async fn submit_task(
        &self,
        tenant: &TenantId,
        submission: Submission,
        once: Option<OnceKey>,
        traceparent: Option<String>,
        deadline: Deadline,
    ) -> Result<Submitted, SubmitError> {
        let kind = self.check_submission(&submission)?;
        let idempotency = once.map(|once| Idempotency { route: ROUTE, key: once.0, fingerprint: fingerprint(&submission) });
        let task_type = TaskType::parse(kind.name).map_err(|error| StoreError::Corrupt(error.into()))?;
        let Submission { payload, due, max_attempts, unique, profile, .. } = submission;
        let id = TaskId((self.environment.new_id)());
        let task = NewTask { id, task_type, payload, due, max_attempts, unique, profile, traceparent };
        let changeset = Changeset { idempotency, tasks: vec![task], ..Changeset::of((self.environment.now)(), Vec::new()) };
        let mut receipt = self.store.commit(tenant, changeset, deadline).await.map_err(SubmitError::from)?;
        if receipt.replay == Replay::Forgotten {
            return Err(SubmitError::Forgotten);
        }
        let task = receipt.tasks.pop().ok_or_else(|| StoreError::Corrupt("a receipt without its task".into()))?;
        if receipt.replay == Replay::No {
            self.work.measures.submitted(kind.name);
            // Whoever looks for what is due looks at least that often.
            if !matches!(due, Due::After(NEXT_LOOK..)) {
                self.work.committed.notify_waiters();
            }
        }
        Ok(Submitted { task, task_type: kind.name })
    }

    fn check_submission(&self, submission: &Submission) -> Result<&'static Kind, SubmitError> {
        let refuse =
            |field: &str, code, message| Err(SubmitError::Invalid(vec![FieldProblem { field: field.into(), code, message }]));
        let Some(kind) = Kind::of(&submission.task_type) else {
            return refuse("type", "UNKNOWN_TYPE", format!("must be one of {}", Kind::names()));
        };
        let latest = (self.environment.now)().plus_micros(MAX_DELAY + LEEWAY);
        if let Due::At(at) = submission.due
            && at > latest
        {
            return refuse("run_at", "OUT_OF_RANGE", "must lie within a year from now".into());
        }
        let mut problems = (kind.check)(&Payload(&submission.payload));
        if kind.needs_profile && submission.profile.is_none() {
            let message = format!("is required where type is {}", kind.name);
            problems.push(FieldProblem { field: "profile_id".into(), code: "REQUIRED", message });
        }
        if problems.is_empty() { Ok(kind) } else { Err(SubmitError::Invalid(problems)) }
    }
}

/// Of everything that was asked for.
fn fingerprint(submission: &Submission) -> [u8; 32] {
    let due = match submission.due {
        Due::After(micros) => json!(["after", micros]),
        Due::At(at) => json!(["at", at.as_micros()]),
    };
    let unique = submission.unique.as_ref().map(|unique| format!("{:?} {}", unique.on_conflict, unique.key));
    let profile = submission.profile.as_ref().map(profile_domain::Reference::as_str);
    let all: Value = json!([submission.task_type, submission.payload, due, submission.max_attempts, unique, profile]);
    Sha256::digest(canonical(&all).as_bytes()).into()
}

impl From<CommitError> for SubmitError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::NoProfile => Self::Invalid(vec![FieldProblem {
                field: "profile_id".into(),
                code: "NOT_FOUND",
                message: "must name a profile that there is".into(),
            }]),
            CommitError::UniqueElsewhere => Self::Invalid(vec![FieldProblem {
                field: "unique_key".into(),
                code: "CONFLICTING",
                message: "is held by a task that waits and has another profile_id".into(),
            }]),
            CommitError::KeyReused => Self::KeyReused,
            CommitError::InProgress => Self::InProgress,
            CommitError::Store(error) => Self::Store(error),
            error @ (CommitError::Refused(_) | CommitError::TooLarge | CommitError::Fenced) => {
                Self::Store(StoreError::Unavailable(error.into()))
            }
        }
    }
}
