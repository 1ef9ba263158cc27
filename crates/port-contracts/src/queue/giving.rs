//! What is published, and who is given it.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use profile_domain::TaskId;
use profile_ports::{Deadline, queue::Message};
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    QueueFixture,
    line::{AMPLE, CEILING, Line, assert_once, drain, echo, export, message, messages, next, prefetch, publish, take},
};
use crate::scaled;

/// Tenant, task and type are what was published, and each type comes to its own consumers.
pub async fn queue_gives_what_was_published<F: QueueFixture>() {
    let line = Line::<F>::fresh(AMPLE).await;
    for task_type in [echo(), export()] {
        publish(&line.queue, &messages(&task_type, 0..5)).await;
    }
    for task_type in [echo(), export()] {
        let mut consumer = line.queue.consume(&task_type, prefetch(10));
        let deliveries = take(&mut *consumer, 5).await;
        let came: HashSet<Message> = deliveries.iter().map(|delivery| delivery.message().clone()).collect();
        assert_eq!(came, messages(&task_type, 0..5).into_iter().collect());
    }
}

/// What was acknowledged is there for whoever comes first, here or elsewhere.
pub async fn queue_keeps_what_nobody_consumes<F: QueueFixture>() {
    let line = Line::<F>::fresh(AMPLE).await;
    let published = messages(&echo(), 0..10);
    publish(&line.queue, &published).await;
    let elsewhere = line.fixture.elsewhere().await;
    if elsewhere.is_some() {
        line.queue.close(Deadline::within(CEILING)).await;
    }
    let mut consumer = elsewhere.as_ref().unwrap_or(&line.queue).consume(&echo(), prefetch(3));
    assert_once(&drain(&mut *consumer, &published).await, &published);
}

/// Several consumers, here and elsewhere, while others publish: every message comes once.
pub async fn queue_gives_each_to_one<F: QueueFixture>() {
    const PUBLISHERS: u32 = 4;
    let line = Line::<F>::fresh(AMPLE).await;
    let each = scaled(1_000).min(2_000);
    let queues: Vec<_> = [Some(Arc::clone(&line.queue)), line.fixture.elsewhere().await].into_iter().flatten().collect();
    let (came, mut coming) = mpsc::unbounded_channel::<TaskId>();
    let mut consumers = JoinSet::new();
    for queue in queues.iter().chain(&queues) {
        let (mut consumer, came) = (queue.consume(&echo(), prefetch(8)), came.clone());
        consumers.spawn(async move {
            while let Some(delivery) = consumer.next().await {
                came.send(delivery.message().task).expect("someone counts");
                delivery.acknowledge();
            }
        });
    }
    let mut publishers = JoinSet::new();
    for publisher in 0..PUBLISHERS {
        let queue = Arc::clone(&queues[publisher as usize % queues.len()]);
        publishers.spawn(async move {
            let published = messages(&echo(), publisher * each..(publisher + 1) * each);
            for batch in published.chunks(7) {
                publish(&queue, batch).await;
            }
        });
    }
    publishers.join_all().await;
    let mut counts: BTreeMap<TaskId, u32> = BTreeMap::new();
    while counts.len() < (PUBLISHERS * each) as usize {
        let task = tokio::time::timeout(CEILING, coming.recv()).await.expect("every message comes");
        *counts.entry(task.expect("consumers live")).or_default() += 1;
    }
    assert_once(&counts, &messages(&echo(), 0..PUBLISHERS * each));
    consumers.shutdown().await;
}

/// Whoever comes later finds what was published later, and nothing of before.
pub async fn queue_gives_acknowledged_never_again<F: QueueFixture>() {
    let line = Line::<F>::fresh(AMPLE).await;
    let early = messages(&echo(), 0..20);
    publish(&line.queue, &early).await;
    let mut consumer = line.queue.consume(&echo(), prefetch(4));
    assert_once(&drain(&mut *consumer, &early).await, &early);
    drop(consumer);
    let mut consumer = line.queue.consume(&echo(), prefetch(4));
    let late = messages(&echo(), 20..40);
    publish(&line.queue, &late).await;
    assert_once(&drain(&mut *consumer, &late).await, &late);
}

/// A consumer that is dropped, and a process that lets go, leave what they held and didn't acknowledge.
pub async fn queue_gives_back_what_a_consumer_held<F: QueueFixture>() {
    let line = Line::<F>::fresh(AMPLE).await;
    let published = messages(&echo(), 0..6);
    publish(&line.queue, &published).await;
    let mut first = line.queue.consume(&echo(), prefetch(4));
    let mut held = take(&mut *first, 2).await;
    let done = held.remove(0);
    let left: Vec<Message> = published.iter().filter(|message| *message != done.message()).cloned().collect();
    done.acknowledge();
    drop(first);
    let mut second = line.queue.consume(&echo(), prefetch(10));
    // What is in a hand stays there as long as the hand is open.
    let here: Vec<Message> = left.iter().filter(|message| *message != held[0].message()).cloned().collect();
    let again = take(&mut *second, here.len()).await;
    drop(held);
    let last = next(&mut *second).await;
    let came: HashSet<&Message> = again.iter().chain([&last]).map(profile_ports::queue::Delivery::message).collect();
    assert_eq!(came, left.iter().collect());

    let Some(elsewhere) = line.fixture.elsewhere().await else { return };
    line.queue.close(Deadline::within(CEILING)).await;
    let mut third = elsewhere.consume(&echo(), prefetch(10));
    assert_once(&drain(&mut *third, &left).await, &left);
}

/// A delivery that is dropped comes again, to the same consumer where there is no other.
pub async fn queue_takes_back_what_was_dropped<F: QueueFixture>() {
    let line = Line::<F>::fresh(AMPLE).await;
    publish(&line.queue, &[message(&echo(), 1)]).await;
    let mut consumer = line.queue.consume(&echo(), prefetch(1));
    for _ in 0..5 {
        let delivery = next(&mut *consumer).await;
        assert_eq!(*delivery.message(), message(&echo(), 1));
        drop(delivery);
    }
    next(&mut *consumer).await.acknowledge();
    publish(&line.queue, &[message(&echo(), 2)]).await;
    assert_eq!(*next(&mut *consumer).await.message(), message(&echo(), 2));
}
