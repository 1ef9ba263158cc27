//! Tasks as this process does them: what kinds there are, and the worker.
//!
//! The rows in the store are the truth. A worker claims what is due, of each kind as much as it has room for, runs it, and ends the
//! run: a result that is written goes through `commit` with the run as its fence, everything else through the store's own
//! transitions. Whoever commits a task in this process nudges the worker; what others commit is found within [`worker::POLL`].

mod consume;
mod dispatch;
mod ending;
pub(crate) mod kind;
mod kinds;
mod measures;
mod running;
mod worker;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use profile_domain::task::Backoff;
use profile_ports::{Objects, Queue, StoreError, causes, webhooks::Webhooks};
use serde_json::Value;
use tokio::sync::{Notify, watch};

pub use dispatch::task_types;
pub(crate) use kinds::is_export;

use self::{measures::Measures, running::Running};

/// How tasks are worked on here.
#[derive(Clone, Debug)]
pub struct WorkSettings {
    /// By what this process is known in attempts.
    pub worker: String,
    /// How long a task is this process' without a sign of life.
    pub lease: Duration,
    /// The longest wait after a first failure.
    pub backoff: Duration,
    /// How long what has ended is kept.
    pub retention: Duration,
    /// Tasks of one kind at once.
    pub concurrency: usize,
    /// How long those that run may still take when the process stops; then they are handed back.
    pub drain: Duration,
}

impl Default for WorkSettings {
    fn default() -> Self {
        Self {
            worker: "worker".to_owned(),
            lease: Duration::from_secs(30),
            backoff: Duration::from_secs(30),
            retention: Duration::from_hours(7 * 24),
            concurrency: 64,
            drain: Duration::from_secs(8),
        }
    }
}

/// A kind of task for the documentation.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskKind {
    /// As `type` names it.
    pub name: &'static str,
    /// What it does.
    pub does: &'static str,
    /// JSON Schema of its payload.
    pub payload: Value,
    /// A payload that it takes.
    pub example: Value,
    /// Whether it must belong to a profile.
    pub needs_profile: bool,
}

/// Every kind, in the order of registration.
#[must_use]
pub fn task_kinds() -> Vec<TaskKind> {
    let kind = |kind: &&kind::Kind| TaskKind {
        name: kind.name,
        does: kind.does,
        payload: (kind.schema)(),
        example: (kind.example)(),
        needs_profile: kind.needs_profile,
    };
    kinds::ALL.iter().map(kind).collect()
}

/// What work on tasks may use beside the store. Without a queue workers look at the rows alone.
#[derive(Clone, Default)]
pub struct WorkTools {
    /// Tells workers, of whatever process, what is due.
    pub queue: Option<Arc<dyn Queue>>,
    /// Where results go that are too large for rows.
    pub objects: Option<Arc<dyn Objects>>,
    /// Calls others.
    pub webhooks: Option<Arc<dyn Webhooks>>,
}

/// What all who have to do with tasks share in this process.
pub(crate) struct Work {
    pub(crate) settings: WorkSettings,
    pub(crate) queue: Option<Arc<dyn Queue>>,
    pub(crate) objects: Option<Arc<dyn Objects>>,
    pub(crate) webhooks: Option<Arc<dyn Webhooks>>,
    /// A task was committed here that may be due.
    pub(crate) committed: Notify,
    /// Whether this process stops.
    pub(crate) stopping: watch::Sender<bool>,
    pub(crate) running: Running,
    pub(crate) measures: Measures,
    /// Whether it was said that the store can't be asked.
    said: AtomicBool,
}

impl Work {
    pub(crate) fn new(settings: WorkSettings, tools: WorkTools) -> Arc<Self> {
        Arc::new(Self {
            settings,
            queue: tools.queue,
            objects: tools.objects,
            webhooks: tools.webhooks,
            committed: Notify::new(),
            stopping: watch::Sender::new(false),
            running: Running::default(),
            measures: Measures::new(),
            said: AtomicBool::new(false),
        })
    }

    pub(crate) fn backoff(&self) -> Backoff {
        Backoff { base: i64::try_from(self.settings.backoff.as_micros()).unwrap_or(i64::MAX) }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Says that the store can't be asked: once, until it can be again.
    pub(crate) fn trouble(&self, error: &StoreError) {
        if !self.said.swap(true, Ordering::Relaxed) {
            tracing::warn!(cause = causes(error), "tasks can't be worked on for now; it is tried again every second");
        }
    }

    /// The store has answered.
    pub(crate) fn no_trouble(&self) {
        if self.said.load(Ordering::Relaxed) && self.said.swap(false, Ordering::Relaxed) {
            tracing::info!("tasks are worked on again");
        }
    }

    /// Ends when the process stops.
    pub(crate) async fn stopped(&self) {
        let mut stopping = self.stopping.subscribe();
        // The sender lives as long as this does.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }
}
