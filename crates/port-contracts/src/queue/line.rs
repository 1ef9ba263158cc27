//! How the cases speak to a queue.

use std::{collections::BTreeMap, num::NonZeroU16, sync::Arc, time::Duration};

use profile_domain::{TaskId, TaskType, TenantId};
use profile_ports::{
    Deadline, Queue, QueueError,
    queue::{Consumer, Delivery, Message},
};
use uuid::Uuid;

use super::QueueFixture;

/// Longer than anything takes on a busy machine.
pub(super) const CEILING: Duration = Duration::from_mins(1);
pub(super) const POLL: Duration = Duration::from_millis(10);

/// Room for whatever a case publishes.
pub(super) const AMPLE: usize = 10_000;

pub(super) struct Line<F> {
    pub(super) fixture: F,
    pub(super) queue: Arc<dyn Queue>,
}

pub(super) fn echo() -> TaskType {
    TaskType::parse("echo").expect("a type")
}

/// With all that a type's name may have.
pub(super) fn export() -> TaskType {
    TaskType::parse("profile.export-2_x").expect("a type")
}

pub(super) fn message(task_type: &TaskType, number: u32) -> Message {
    let tenant = TenantId::parse(if number.is_multiple_of(2) { "default" } else { "other-1" }).expect("a tenant");
    Message { tenant, task: TaskId(Uuid::from_u128(u128::from(number) << 64 | 7)), task_type: task_type.clone() }
}

pub(super) fn messages(task_type: &TaskType, numbers: std::ops::Range<u32>) -> Vec<Message> {
    numbers.map(|number| message(task_type, number)).collect()
}

pub(super) fn prefetch(count: u16) -> NonZeroU16 {
    NonZeroU16::new(count).expect("at least one")
}

impl<F: QueueFixture> Line<F> {
    /// A queue of two types.
    pub(super) async fn fresh(room: usize) -> Self {
        let fixture = F::fresh(&[echo(), export()], room).await;
        Self { queue: fixture.queue(), fixture }
    }
}

pub(super) async fn outcomes(queue: &Arc<dyn Queue>, messages: &[Message]) -> Vec<Result<(), QueueError>> {
    let outcomes = queue.publish(messages, Deadline::within(CEILING)).await;
    assert_eq!(outcomes.len(), messages.len(), "one outcome for each message");
    outcomes
}

/// Publishes what must be taken.
pub(super) async fn publish(queue: &Arc<dyn Queue>, messages: &[Message]) {
    for (message, outcome) in messages.iter().zip(outcomes(queue, messages).await) {
        outcome.unwrap_or_else(|error| panic!("{message:?}: {error}"));
    }
}

/// The next delivery, which must come.
pub(super) async fn next(consumer: &mut dyn Consumer) -> Delivery {
    let delivery = tokio::time::timeout(CEILING, consumer.next()).await.expect("a message comes");
    delivery.expect("the queue is open")
}

/// So many deliveries, none of them settled.
pub(super) async fn take(consumer: &mut dyn Consumer, count: usize) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    for _ in 0..count {
        deliveries.push(next(consumer).await);
    }
    deliveries
}

/// Takes and acknowledges until every one of these has come. How often each came.
pub(super) async fn drain(consumer: &mut dyn Consumer, expected: &[Message]) -> BTreeMap<TaskId, u32> {
    let mut came: BTreeMap<TaskId, u32> = BTreeMap::new();
    while !expected.iter().all(|message| came.contains_key(&message.task)) {
        let delivery = next(consumer).await;
        *came.entry(delivery.message().task).or_default() += 1;
        delivery.acknowledge();
    }
    came
}

/// Each of these came once, and nothing else did.
pub(super) fn assert_once(came: &BTreeMap<TaskId, u32>, expected: &[Message]) {
    let once: BTreeMap<TaskId, u32> = expected.iter().map(|message| (message.task, 1)).collect();
    assert_eq!(*came, once);
}
