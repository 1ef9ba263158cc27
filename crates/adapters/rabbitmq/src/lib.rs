//! The work queue in RabbitMQ.
//!
//! It makes no difference to a caller whether RabbitMQ is there, but for time: publishing answers at once where it is known that it
//! can't succeed, and soon where it isn't; consumers wait over outages; connections, queues and consumers come back by themselves.
//!
//! Modules, in the order to read them: `settings`, `topology`, `message`, `link`, `kept`, `publishing`, `consuming`, `metrics`.

mod consuming;
mod kept;
mod link;
mod message;
mod metrics;
mod publishing;
mod settings;
mod topology;

use std::{
    collections::HashMap,
    fmt,
    num::NonZeroU16,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use profile_domain::TaskType;
use profile_ports::{
    Deadline, Queue, QueueError,
    queue::{Consumer, Message, QueueState},
};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, watch},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    consuming::RabbitConsumer,
    kept::{Role, Slot, Standing},
    metrics::Metrics,
    publishing::{LANES, Lanes},
};

pub use settings::{Address, AddressError, PUBLISH_TIMEOUT, RabbitSettings};

/// The queue.
pub struct RabbitQueue {
    shared: Arc<Shared>,
    consuming: AtomicBool,
}

/// What publishing, consuming and the connections know of one another.
struct Shared {
    settings: RabbitSettings,
    metrics: Metrics,
    runtime: Handle,
    publishing: Slot,
    consuming: Slot,
    lanes: Lanes,
    turns: Arc<Semaphore>,
    /// Batches that should have been confirmed by now.
    overdue: AtomicUsize,
    redeclaring: AtomicBool,
    /// Counts how often queues that were gone were declared again.
    renewed: watch::Sender<u64>,
    paused: HashMap<TaskType, watch::Sender<bool>>,
    state: watch::Sender<QueueState>,
    /// Nothing begins any more.
    closing: CancellationToken,
    /// Connections end.
    ending: CancellationToken,
    consumers: TaskTracker,
    tasks: TaskTracker,
}

impl RabbitQueue {
    /// A queue whose connections are made in the background, on this runtime. What it tells about itself is put into the registry.
    ///
    /// # Errors
    /// The registry has such a queue already.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn start(settings: RabbitSettings, registry: &prometheus::Registry) -> Result<Self, prometheus::Error> {
        let paused = settings.types.iter().map(|task_type| (task_type.clone(), watch::channel(false).0)).collect();
        let shared = Arc::new(Shared {
            metrics: Metrics::new(registry)?,
            settings,
            runtime: Handle::current(),
            publishing: Slot::new(),
            consuming: Slot::new(),
            lanes: Lanes::default(),
            turns: Arc::new(Semaphore::new(LANES)),
            overdue: AtomicUsize::new(0),
            redeclaring: AtomicBool::new(false),
            renewed: watch::channel(0).0,
            paused,
            state: watch::channel(QueueState::Away).0,
            closing: CancellationToken::new(),
            ending: CancellationToken::new(),
            consumers: TaskTracker::new(),
            tasks: TaskTracker::new(),
        });
        shared.tasks.spawn(kept::keep(Arc::clone(&shared), Role::Publishing));
        Ok(Self { shared, consuming: AtomicBool::new(false) })
    }
}

impl Shared {
    fn slot(&self, role: Role) -> &Slot {
        match role {
            Role::Publishing => &self.publishing,
            Role::Consuming => &self.consuming,
        }
    }

    fn is_stalled(&self) -> bool {
        self.overdue.load(Ordering::Acquire) > 0
    }

    /// Says how it is, to whoever watches.
    fn show(&self) {
        let state = if self.closing.is_cancelled() {
            QueueState::Away
        } else {
            match (self.publishing.standing(), self.consuming.standing()) {
                (Standing::Unknown | Standing::Away, _) | (_, Standing::Away) => QueueState::Away,
                (Standing::Blocked, _) => QueueState::Blocked,
                (Standing::Connected, _) if self.is_stalled() => QueueState::Away,
                (Standing::Connected, _) => QueueState::Connected,
            }
        };
        self.state.send_if_modified(|shown| {
            let changed = *shown != state;
            *shown = state;
            changed
        });
        self.metrics.show(state);
    }
}

#[async_trait]
impl Queue for RabbitQueue {
    async fn publish(&self, messages: &[Message], deadline: Deadline) -> Vec<Result<(), QueueError>> {
        publishing::publish(&self.shared, messages, deadline).await
    }

    fn consume(&self, task_type: &TaskType, prefetch: NonZeroU16) -> Box<dyn Consumer> {
        if !self.consuming.swap(true, Ordering::AcqRel) {
            self.shared.tasks.spawn_on(kept::keep(Arc::clone(&self.shared), Role::Consuming), &self.shared.runtime);
        }
        Box::new(RabbitConsumer::start(&self.shared, task_type, prefetch))
    }

    fn pause(&self, task_type: &TaskType) {
        if let Some(paused) = self.shared.paused.get(task_type) {
            paused.send_replace(true);
        }
    }

    fn resume(&self, task_type: &TaskType) {
        if let Some(paused) = self.shared.paused.get(task_type) {
            paused.send_replace(false);
        }
    }

    fn state(&self) -> QueueState {
        *self.shared.state.borrow()
    }

    async fn state_after(&self, state: QueueState) -> QueueState {
        let mut states = self.shared.state.subscribe();
        // It can't fail while this is borrowed.
        states.wait_for(|now| *now != state).await.map_or(QueueState::Away, |now| *now)
    }

    async fn close(&self, deadline: Deadline) {
        self.shared.closing.cancel();
        self.shared.show();
        self.shared.consumers.close();
        let ended = async {
            // First these, whose last words go over the connections.
            self.shared.consumers.wait().await;
            self.shared.ending.cancel();
            self.shared.tasks.close();
            self.shared.tasks.wait().await;
        };
        // What hasn't ended by then ends by itself; its waits are bounded.
        let _ = tokio::time::timeout(deadline.remaining(), ended).await;
        self.shared.ending.cancel();
        self.shared.lanes.clear();
    }
}

impl Drop for RabbitQueue {
    fn drop(&mut self) {
        self.shared.closing.cancel();
        self.shared.ending.cancel();
        self.shared.lanes.clear();
    }
}

impl fmt::Debug for RabbitQueue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RabbitQueue").field("address", &self.shared.settings.address).finish_non_exhaustive()
    }
}
