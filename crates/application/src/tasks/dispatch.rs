//! Telling the queue what is due. Several processes share this without a leader: what one takes, the others pass over.

use std::time::Duration;

use profile_domain::TaskType;
use profile_ports::{
    Deadline, Queue, causes,
    queue::{Message, QueueState},
};

use super::{
    kinds,
    worker::{GATHER, POLL},
};
use crate::App;

/// Rows that are taken at once.
const BATCH: usize = 500;
/// How long a step of the store, and of the queue, may take.
const STEP: Duration = Duration::from_secs(5);
/// After which the queue is told once more. Workers look for themselves long before.
const AGAIN: Duration = Duration::from_mins(1);

/// Every type, for a queue that must know them at its beginning.
#[must_use]
pub fn task_types() -> Vec<TaskType> {
    kinds::ALL.iter().filter_map(|kind| TaskType::parse(kind.name).ok()).collect()
}

impl App {
    /// How the queue is, if there is one: for `/health`.
    #[must_use]
    pub fn queue_state(&self) -> Option<QueueState> {
        self.work.queue.as_ref().map(|queue| queue.state())
    }

    /// Tells the queue of what is due, if there is a queue, until it is dropped. While the queue is away nothing is told, and workers
    /// find what is due by looking.
    pub async fn dispatch_tasks(&self) {
        let Some(queue) = &self.work.queue else { return };
        loop {
            let committed = self.work.committed.notified();
            let wait = match queue.state() {
                QueueState::Connected => self.dispatch_once(&**queue).await,
                QueueState::Blocked | QueueState::Away => POLL,
            };
            if wait.is_zero() {
                continue;
            }
            tokio::select! {
                () = committed => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Takes what is due and publishes it; how long until there may be more.
    async fn dispatch_once(&self, queue: &dyn Queue) -> Duration {
        let due = match self.store.mark_queued(BATCH, AGAIN, Deadline::within(STEP)).await {
            Ok(due) => due,
            Err(error) => {
                self.work.trouble(&error);
                return POLL;
            }
        };
        let message = |(tenant, task, task_type)| Message { tenant, task, task_type };
        let messages: Vec<Message> = due.tasks.into_iter().map(message).collect();
        if !messages.is_empty() {
            let published = queue.publish(&messages, Deadline::within(STEP)).await;
            let refused = published.iter().filter_map(|result| result.as_ref().err()).collect::<Vec<_>>();
            if let Some(first) = refused.first() {
                tracing::warn!(
                    tasks = refused.len(),
                    cause = causes(*first),
                    "the queue didn't take all; workers will find them"
                );
            }
        }
        if messages.len() == BATCH { Duration::ZERO } else { due.next.map_or(POLL, |next| next.clamp(GATHER, POLL)) }
    }
}
