//! The queue in this process: for one that is alone, and for tests.
//!
//! Each type has a room behind a lock of its own. A room is as large as was said, what is in consumers' hands included, so that
//! whatever goes back finds its place. What is in it is gone with the process; the rows aren't.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    num::NonZeroU16,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
};

use async_trait::async_trait;
use parking_lot::Mutex;
use profile_domain::TaskType;
use profile_ports::{
    Deadline, Queue, QueueError,
    queue::{Consumer, Delivery, Message, QueueState, Settled},
};
use tokio::sync::{Notify, watch};

use self::metrics::{Metrics, TypeMetrics};

mod metrics;

/// The queue. It refuses what has no room, and else never fails.
pub struct MemoryQueue {
    rooms: HashMap<TaskType, Arc<Room>>,
    state: watch::Sender<QueueState>,
    metrics: Metrics,
}

struct Room {
    size: usize,
    inside: Mutex<Inside>,
    /// Rung whenever a consumer that waits might no longer have to.
    bell: Notify,
    closed: watch::Receiver<QueueState>,
    metrics: TypeMetrics,
}

#[derive(Default)]
struct Inside {
    waiting: VecDeque<Message>,
    given: usize,
    paused: bool,
}

impl MemoryQueue {
    /// An empty queue for these types, each with room for so many messages. What it tells about itself is put into the registry.
    ///
    /// # Errors
    /// The registry has such a queue already.
    pub fn new(types: &[TaskType], room: usize, registry: &prometheus::Registry) -> Result<Self, prometheus::Error> {
        let metrics = Metrics::new(registry)?;
        let (state, closed) = watch::channel(QueueState::Connected);
        let rooms = types.iter().map(|task_type| {
            let room = Room {
                size: room,
                inside: Mutex::default(),
                bell: Notify::new(),
                closed: closed.clone(),
                metrics: metrics.of(task_type),
            };
            (task_type.clone(), Arc::new(room))
        });
        Ok(Self { rooms: rooms.collect(), state, metrics })
    }

    fn publish_one(&self, message: &Message) -> Result<(), QueueError> {
        if self.state() == QueueState::Away {
            return Err(QueueError::Unavailable("it was closed".into()));
        }
        self.rooms.get(&message.task_type).ok_or(QueueError::Unroutable)?.put(message)
    }
}

impl Room {
    fn put(&self, message: &Message) -> Result<(), QueueError> {
        self.metrics.published.inc();
        {
            let mut inside = self.inside.lock();
            if inside.waiting.len() + inside.given >= self.size {
                return Err(QueueError::Full);
            }
            inside.waiting.push_back(message.clone());
        }
        self.metrics.confirmed.inc();
        self.bell.notify_waiters();
        Ok(())
    }

    fn is_closed(&self) -> bool {
        *self.closed.borrow() == QueueState::Away
    }

    fn settle(&self, message: Message, settled: Settled) {
        {
            let mut inside = self.inside.lock();
            inside.given -= 1;
            if settled == Settled::Back {
                // At the end, so that one which nobody can handle doesn't keep the others waiting.
                inside.waiting.push_back(message);
            }
        }
        if settled == Settled::Done {
            self.metrics.acknowledged.inc();
        }
        self.bell.notify_waiters();
    }
}

#[async_trait]
impl Queue for MemoryQueue {
    async fn publish(&self, messages: &[Message], _: Deadline) -> Vec<Result<(), QueueError>> {
        messages.iter().map(|message| self.publish_one(message)).collect()
    }

    fn consume(&self, task_type: &TaskType, prefetch: NonZeroU16) -> Box<dyn Consumer> {
        let room = self.rooms.get(task_type).cloned();
        Box::new(Taker { room, prefetch: prefetch.get(), held: Arc::default(), closed: self.state.subscribe() })
    }

    fn pause(&self, task_type: &TaskType) {
        if let Some(room) = self.rooms.get(task_type) {
            room.inside.lock().paused = true;
        }
    }

    fn resume(&self, task_type: &TaskType) {
        if let Some(room) = self.rooms.get(task_type) {
            room.inside.lock().paused = false;
            room.bell.notify_waiters();
        }
    }

    fn state(&self) -> QueueState {
        *self.state.borrow()
    }

    async fn state_after(&self, state: QueueState) -> QueueState {
        let mut states = self.state.subscribe();
        // It can't fail while this is borrowed.
        states.wait_for(|now| *now != state).await.map_or(QueueState::Away, |now| *now)
    }

    async fn close(&self, _: Deadline) {
        self.state.send_replace(QueueState::Away);
        self.metrics.closed();
        for room in self.rooms.values() {
            room.bell.notify_waiters();
        }
    }
}

struct Taker {
    room: Option<Arc<Room>>,
    prefetch: u16,
    held: Arc<AtomicU16>,
    closed: watch::Receiver<QueueState>,
}

impl Taker {
    fn take(&self, room: &Arc<Room>) -> Option<Delivery> {
        if self.held.load(Ordering::Acquire) >= self.prefetch {
            return None;
        }
        let message = {
            let mut inside = room.inside.lock();
            if inside.paused {
                return None;
            }
            let message = inside.waiting.pop_front()?;
            inside.given += 1;
            message
        };
        self.held.fetch_add(1, Ordering::AcqRel);
        room.metrics.consumed.inc();
        let (room, held, back) = (Arc::clone(room), Arc::clone(&self.held), message.clone());
        Some(Delivery::new(message, move |settled| {
            // First this, so that whoever hears the bell may take another.
            held.fetch_sub(1, Ordering::AcqRel);
            room.settle(back, settled);
        }))
    }
}

#[async_trait]
impl Consumer for Taker {
    async fn next(&mut self) -> Option<Delivery> {
        let Some(room) = self.room.clone() else {
            // Nothing ever comes; only its end does.
            let _ = self.closed.wait_for(|state| *state == QueueState::Away).await;
            return None;
        };
        loop {
            // From here on it hears the bell, so that nothing is missed between the look and the wait.
            let bell = room.bell.notified();
            if room.is_closed() {
                return None;
            }
            if let Some(delivery) = self.take(&room) {
                return Some(delivery);
            }
            bell.await;
        }
    }
}

impl fmt::Debug for MemoryQueue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("MemoryQueue").field("state", &self.state()).finish_non_exhaustive()
    }
}
