//! Tasks: work for later, run at least once, its effect recorded once.
//!
//! ```text
//! scheduled → queued → running → succeeded
//!      ↑         ↑        ├────→ retrying → (queued →) running → …
//!      └─ nobody is told: a worker that finds it due runs it from here, too
//!                         ├────→ dead → (somebody asks for it) → scheduled
//! scheduled, queued, retrying, running → cancelled
//! ```
//!
//! Every start raises `attempt`, before the run, so that a task that takes its process along ends in [`TaskStatus::Dead`] as well.
//! Whatever ends a run names the attempt that it ends. This module decides; the store's clock says when.

mod backoff;
mod delay;
mod submission;

use std::{fmt, str::FromStr};

use serde_json::Value;
use uuid::Uuid;

use crate::{
    key::{NameError, Reference, TenantId},
    moment::Moment,
};

pub use backoff::{Backoff, MAX_WAIT};
pub use delay::{DelayError, MAX_DELAY, parse_delay};
pub use submission::{Submission, parse_submission};

/// Bytes of a payload in canonical JSON.
pub const MAX_PAYLOAD_BYTES: usize = 64 * 1024;
/// Starts that fail until a task is dead, where nothing else is said.
pub const DEFAULT_ATTEMPTS: u32 = 5;
/// The most of them that can be asked for.
pub const MAX_ATTEMPTS: u32 = 25;
/// Bytes of a unique key.
pub const MAX_UNIQUE_KEY_BYTES: usize = 255;
/// Characters that are kept of what a run says about its failure.
pub const MAX_ERROR_CHARS: usize = 500;
/// Tasks in one changeset, at most.
pub const MAX_TASKS: usize = 100;

/// The id of a task: a UUID of version 7, so that ids are in the order of their making.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub Uuid);

impl TaskId {
    /// From its 16 bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(formatter)
    }
}

impl FromStr for TaskId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Uuid::try_parse(text).map(Self).map_err(|_| NameError { what: "task id", allowed: "a UUID" })
    }
}

/// What sort of work, such as `profile.patch`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskType(Box<str>);

impl TaskType {
    /// Checks the name.
    ///
    /// # Errors
    /// [`NameError`] says what is allowed.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
        let valid = (1..=63).contains(&text.len()) && text.as_bytes()[0].is_ascii_lowercase() && text.bytes().all(plain);
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(NameError { what: "task type", allowed: "1–63 of a–z, 0–9, ., _ and -, beginning with a letter" })
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TaskType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Where a task is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TaskStatus {
    /// Its time has not come, or nobody was told yet that it has.
    Scheduled,
    /// It is due, and the queue was told.
    Queued,
    /// A worker has it, until its lease ends.
    Running,
    /// Done. Final.
    Succeeded,
    /// Its last start failed, and it will be started again.
    Retrying,
    /// It failed as often as it may. Final, until somebody asks for it.
    Dead,
    /// Nobody wants it any more. Final.
    Cancelled,
}

impl TaskStatus {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Scheduled, Self::Queued, Self::Running, Self::Succeeded, Self::Retrying, Self::Dead, Self::Cancelled];

    /// As stored and served.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Retrying => "retrying",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }

    /// From what is stored, or asked for.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Whether it waits for a start.
    #[must_use]
    pub fn is_waiting(self) -> bool {
        matches!(self, Self::Scheduled | Self::Queued | Self::Retrying)
    }

    /// Whether nothing happens to it by itself any more.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Dead | Self::Cancelled)
    }
}

/// When a task is to start at the earliest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Due {
    /// So many microseconds after its commit, by the store's clock.
    After(i64),
    /// At this moment, by the store's clock.
    At(Moment),
}

/// Of several tasks of one type with one key, only one waits for its first start.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Unique {
    /// As the client names it.
    pub key: String,
    /// What becomes of the one that waits already.
    pub on_conflict: OnConflict,
}

/// What becomes of a task that waits for its first start when another of the same key is submitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnConflict {
    /// It stays as it is, and the other is not made.
    #[default]
    Keep,
    /// It takes over the other's payload and time.
    Replace,
}

/// A task to be written down.
#[derive(Clone, Debug, PartialEq)]
pub struct NewTask {
    /// Made just now.
    pub id: TaskId,
    /// What sort of work.
    pub task_type: TaskType,
    /// What the work is about; checked by its type.
    pub payload: Value,
    /// When.
    pub due: Due,
    /// Starts that fail until it is dead: 1–[`MAX_ATTEMPTS`].
    pub max_attempts: u32,
    /// Its claim to be the only one.
    pub unique: Option<Unique>,
    /// The profile that it belongs to, which must be living: with its deletion the task is cancelled and its payload gone.
    pub profile: Option<Reference>,
    /// The trace that it was submitted in, as in W3C's header of this name.
    pub traceparent: Option<String>,
}

/// What became of a task in a changeset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskReceipt {
    /// The task that there is now: the new one, or the one that was there under the unique key.
    pub id: TaskId,
    /// Where it is.
    pub status: TaskStatus,
    /// When it is to start.
    pub run_at: Moment,
    /// When it was written down first.
    pub created_at: Moment,
}

/// A start of a task: what a worker that has it is known by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Run {
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub task: TaskId,
    /// Which start, counted from 1. One that isn't the last changes nothing any more.
    pub attempt: u32,
}

/// What lets a changeset happen only while a run goes on, and makes it the run's success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fence {
    /// Which task.
    pub task: TaskId,
    /// Which start of it.
    pub attempt: u32,
}

/// How a run ended, without an effect in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Well.
    Succeeded,
    /// It failed, and starts again after so many microseconds.
    Retry {
        /// What went wrong.
        error: String,
        /// How long to wait.
        wait: i64,
    },
    /// It failed, and won't start again.
    Dead {
        /// What went wrong.
        error: String,
    },
    /// It was given up because it was to be cancelled.
    Cancelled,
    /// The worker stops: it starts again at once, on another one, and this start doesn't count.
    HandedBack,
}

impl Ending {
    /// What a failure leads to.
    #[must_use]
    pub fn of_failure(error: &str, may_help: Again, attempt: u32, last_attempt: u32, wait: i64) -> Self {
        let error = error.chars().filter(|character| !character.is_control()).take(MAX_ERROR_CHARS).collect();
        match may_help {
            Again::Maybe if attempt < last_attempt => Self::Retry { error, wait },
            Again::Maybe | Again::Never => Self::Dead { error },
        }
    }

    /// Where the task is then, unless it was to be cancelled: then that is what becomes of all but success.
    #[must_use]
    pub fn status(&self) -> TaskStatus {
        match self {
            Self::Succeeded => TaskStatus::Succeeded,
            Self::Retry { .. } | Self::HandedBack => TaskStatus::Retrying,
            Self::Dead { .. } => TaskStatus::Dead,
            Self::Cancelled => TaskStatus::Cancelled,
        }
    }

    /// What is kept about it.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        match self {
            Self::Retry { error, .. } | Self::Dead { error } => Some(error),
            Self::HandedBack => Some(HANDED_BACK),
            Self::Succeeded | Self::Cancelled => None,
        }
    }
}

/// What is kept about a run whose worker stopped.
pub const HANDED_BACK: &str = "the worker was stopped and handed it back";
/// What is kept about a run that was not heard of until its lease ended.
pub const LEASE_ENDED: &str = "the worker was not heard of until the lease ended";

/// Whether a failed run may fare better another time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// It may.
    Maybe,
    /// It can't: what was asked for is wrong.
    Never,
}

/// A task as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Which.
    pub id: TaskId,
    /// What sort of work.
    pub task_type: TaskType,
    /// Where it is.
    pub status: TaskStatus,
    /// What the work is about; `None` once its profile was deleted.
    pub payload: Option<Value>,
    /// When it is to start, or was to start last.
    pub run_at: Moment,
    /// When it was written down.
    pub created_at: Moment,
    /// Starts so far.
    pub attempt: u32,
    /// As it was submitted.
    pub max_attempts: u32,
    /// The start after whose failure it is dead.
    pub last_attempt: u32,
    /// Its claim to be the only one of its type that waits for a first start.
    pub unique_key: Option<String>,
    /// The profile that it belongs to.
    pub profile: Option<Reference>,
    /// Whether it is to be cancelled, which its run was or will be told.
    pub cancelling: bool,
    /// Its starts, the last at the end.
    pub attempts: Vec<Attempt>,
}

/// One start of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Counted from 1.
    pub number: u32,
    /// When.
    pub started_at: Moment,
    /// `None` while it runs.
    pub ended_at: Option<Moment>,
    /// Who had it.
    pub worker: String,
    /// What went wrong, if it did.
    pub error: Option<String>,
}

/// A task that a worker may run now.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimedTask {
    /// What the worker has.
    pub run: Run,
    /// What sort of work.
    pub task_type: TaskType,
    /// What the work is about. `None`: its profile was deleted just now.
    pub payload: Option<Value>,
    /// When it was to start.
    pub run_at: Moment,
    /// When it did.
    pub started_at: Moment,
    /// The start after whose failure it is dead.
    pub last_attempt: u32,
    /// The profile that it belongs to.
    pub profile: Option<Reference>,
    /// The trace that it was submitted in.
    pub traceparent: Option<String>,
}

/// Which tasks to list, the newest first.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TaskQuery {
    /// Only those that are here.
    pub status: Option<TaskStatus>,
    /// Only those of this type.
    pub task_type: Option<TaskType>,
    /// Only those of this profile.
    pub profile: Option<Reference>,
    /// Only those written down at this time or later.
    pub created_from: Option<Moment>,
    /// Only those written down before this time.
    pub created_before: Option<Moment>,
    /// Only those after this one, in the order of the list.
    pub after: Option<TaskId>,
    /// At most so many.
    pub limit: usize,
}
