//! The queue: it tells workers which tasks wait. A message is a hint; the row in the store is the truth.
//!
//! **What follows from that.** A message holds nothing that would be missed: whoever gets one claims the row, and where that is
//! refused (it runs, it is over, it is gone) there is nothing to do. So a message may come late, twice, or never: rows that
//! are due are polled as well, and a queue that is absent, down or forgetful costs the time until the next look. It is
//! acknowledged once its row is claimed, not once the work is done; from then on the lease watches over it.
//!
//! **Types.** A queue is told at its beginning which types there are. Each has a room of its own, so that one of which there is
//! too much leaves the others theirs.
//!
//! Deliberately lacking: time, order, priority, payloads, results. They are the store's.

use std::{fmt, num::NonZeroU16};

use async_trait::async_trait;
use profile_domain::{TaskId, TaskType, TenantId};
use thiserror::Error;

use crate::{BoxError, Deadline};

/// That a task waits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub task: TaskId,
    /// Where it goes.
    pub task_type: TaskType,
}

/// Why a message wasn't published. Whatever it was, polling brings the row.
#[derive(Debug, Error)]
pub enum QueueError {
    /// The queue can't be reached, takes nothing for now, or was closed. The message isn't in it.
    #[error("the queue is unavailable")]
    Unavailable(#[source] BoxError),
    /// The queue didn't say in time that it has it, or the connection broke before it could. It may be there all the same.
    #[error("the queue didn't confirm")]
    Unconfirmed,
    /// Its type's room is full.
    #[error("the queue is full")]
    Full,
    /// There is no queue for its type.
    #[error("no queue takes messages of this type")]
    Unroutable,
}

/// How a queue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QueueState {
    /// It takes messages and gives them.
    Connected,
    /// It gives messages and takes none, because it has no memory or disk space left.
    Blocked,
    /// It can't be reached, doesn't answer, or was closed.
    Away,
}

impl QueueState {
    /// For logs, metrics and `/health`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Blocked => "blocked",
            Self::Away => "away",
        }
    }
}

impl fmt::Display for QueueState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What becomes of a message that was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Its row was claimed, or can't be: it never comes again, unless the word of it is lost on its way.
    Done,
    /// It goes back, and comes again, here or elsewhere.
    Back,
}

/// A message that was given to one consumer, and to no other as long as this lives and the queue is in reach.
#[must_use = "dropped, the message goes back and comes again"]
pub struct Delivery {
    message: Message,
    settle: Option<Box<dyn FnOnce(Settled) + Send>>,
}

impl Delivery {
    /// For adapters: `settle` is called once, from anywhere, and must not wait.
    pub fn new(message: Message, settle: impl FnOnce(Settled) + Send + 'static) -> Self {
        Self { message, settle: Some(Box::new(settle)) }
    }

    /// What waits.
    #[must_use]
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// Its row is claimed, or can't be: it is not to come again [`queue_gives_acknowledged_never_again`].
    pub fn acknowledge(mut self) {
        self.settle(Settled::Done);
    }

    fn settle(&mut self, settled: Settled) {
        if let Some(settle) = self.settle.take() {
            settle(settled);
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.settle(Settled::Back);
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Delivery").field(&self.message).finish()
    }
}

/// Takes messages of one type. What it holds goes back when it is dropped
/// [`queue_gives_back_what_a_consumer_held`].
#[async_trait]
pub trait Consumer: Send {
    /// The next message, whenever there is one: it waits over outages, pauses and blockades. `None` once the queue was closed
    /// [`queue_closing_ends_every_wait`]. What it is given and drops before it answers, goes back
    /// [`queue_waits_may_be_dropped`].
    async fn next(&mut self) -> Option<Delivery>;
}

/// A queue.
///
/// What is published comes, whole and under its own type [`queue_gives_what_was_published`], to one consumer at a time
/// [`queue_gives_each_to_one`], in no order that may be relied on.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Publishes, and says of each message, in their order, whether a queue has it. It has: then it waits there until someone
    /// consumes it [`queue_keeps_what_nobody_consumes`] and acknowledges it.
    ///
    /// - **In time**: it answers by the deadline, and long before where it is known that nothing can be published
    ///   [`queue_closing_ends_every_wait`]; so a queue that is away holds nobody up.
    /// - **Bounded**: what finds no room is refused, harms no other type, and is taken again once there is room
    ///   [`queue_refuses_what_does_not_fit`].
    /// - **Of a type that it wasn't told of**: refused, and harms no other message [`queue_refuses_what_has_no_queue`].
    async fn publish(&self, messages: &[Message], deadline: Deadline) -> Vec<Result<(), QueueError>>;

    /// Begins to consume a type. Answers at once, whether there is a queue to consume or not.
    ///
    /// It holds no more than `prefetch` messages at once, counting what it was given and didn't settle; the rest is there for
    /// others [`queue_prefetch_is_a_bound`]. A delivery that is dropped goes back [`queue_takes_back_what_was_dropped`]. Of a
    /// type that it wasn't told of, nothing ever comes.
    fn consume(&self, task_type: &TaskType, prefetch: NonZeroU16) -> Box<dyn Consumer>;

    /// From now on this process is given no messages of the type, and what its consumers hold and haven't handed on goes back for
    /// others [`queue_pauses_a_type`]. Other types aren't touched. As often as you like.
    fn pause(&self, task_type: &TaskType);

    /// Ends a pause [`queue_pauses_a_type`].
    fn resume(&self, task_type: &TaskType);

    /// How it is.
    fn state(&self) -> QueueState;

    /// How it is, as soon as that is something else [`queue_closing_ends_every_wait`].
    async fn state_after(&self, state: QueueState) -> QueueState;

    /// Lets go of everything: consumers end, what they hold goes back, nothing is published any more
    /// [`queue_closing_ends_every_wait`]. Once that is done, or the deadline has passed.
    async fn close(&self, deadline: Deadline);
}
