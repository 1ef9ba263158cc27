//! Queues over a server, and what tests say to them.

use std::{
    num::NonZeroU16,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use profile_domain::{TaskId, TaskType, TenantId};
use profile_port_contracts::rabbitmq::RabbitServer;
use profile_ports::{
    Deadline, Queue as _, QueueError,
    queue::{Consumer, Delivery, Message, QueueState},
};
use profile_rabbitmq::{Address, RabbitQueue, RabbitSettings};
use prometheus::Registry;
use uuid::Uuid;

/// Longer than anything takes on a busy machine.
pub(crate) const CEILING: Duration = Duration::from_mins(1);
pub(crate) const POLL: Duration = Duration::from_millis(10);

/// Each has names of its own.
static NEXT: AtomicU32 = AtomicU32::new(0);

pub(crate) fn echo() -> TaskType {
    TaskType::parse("echo").expect("a type")
}

pub(crate) fn message(number: u32) -> Message {
    Message { tenant: TenantId::default_tenant(), task: TaskId(Uuid::from_u128(number.into())), task_type: echo() }
}

/// Names that nobody else has on this server.
pub(crate) fn settings(server: &RabbitServer, types: &[TaskType]) -> RabbitSettings {
    let address = Address::parse(&server.uri()).expect("an address");
    let exchange = format!("test-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    RabbitSettings { exchange, ..RabbitSettings::new(address, types.to_vec()) }
}

pub(crate) async fn connected(settings: RabbitSettings) -> (Arc<RabbitQueue>, Registry) {
    let registry = Registry::new();
    let queue = Arc::new(RabbitQueue::start(settings, &registry).expect("an empty registry"));
    until_connected(&queue).await;
    (queue, registry)
}

pub(crate) async fn until_connected(queue: &RabbitQueue) {
    let mut state = queue.state();
    let coming = async {
        while state != QueueState::Connected {
            state = queue.state_after(state).await;
        }
    };
    tokio::time::timeout(CEILING, coming).await.expect("it connects");
}

/// One publication, and how long it took.
pub(crate) async fn publish(queue: &RabbitQueue, number: u32) -> (Result<(), QueueError>, Duration) {
    let began = Instant::now();
    let outcome = queue.publish(&[message(number)], Deadline::within(CEILING)).await.remove(0);
    (outcome, began.elapsed())
}

/// Publishes the same again until it is taken.
pub(crate) async fn publish_until_taken(queue: &RabbitQueue, number: u32) {
    let began = Instant::now();
    loop {
        let (outcome, _) = publish(queue, number).await;
        let Err(error) = outcome else { return };
        assert!(began.elapsed() < CEILING, "still {error:?}");
        tokio::time::sleep(POLL).await;
    }
}

pub(crate) fn consume(queue: &RabbitQueue, prefetch: u16) -> Box<dyn Consumer> {
    queue.consume(&echo(), NonZeroU16::new(prefetch).expect("at least one"))
}

pub(crate) async fn next(consumer: &mut dyn Consumer) -> Delivery {
    tokio::time::timeout(CEILING, consumer.next()).await.expect("a message comes").expect("the queue is open")
}

/// Takes and acknowledges until this one has come; others may come before.
pub(crate) async fn acknowledge_until(consumer: &mut dyn Consumer, number: u32) {
    loop {
        let delivery = next(consumer).await;
        let found = *delivery.message() == message(number);
        delivery.acknowledge();
        if found {
            return;
        }
    }
}

/// A counter's value for `echo`, or of the whole where it has no types.
pub(crate) fn count(registry: &Registry, name: &str) -> u64 {
    let families = registry.gather();
    let family = families.iter().find(|family| family.name() == name).unwrap_or_else(|| panic!("no {name}"));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    family.get_metric().iter().map(|metric| metric.get_counter().get_value() as u64).sum()
}
