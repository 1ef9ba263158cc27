//! Waits for messages, and what ends them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use profile_ports::{Deadline, QueueError, queue::QueueState};

use super::{
    QueueFixture,
    line::{AMPLE, CEILING, Line, assert_once, drain, echo, export, message, messages, next, outcomes, prefetch, publish, take},
};
use crate::scaled;

/// Whoever asks and walks away takes nothing along.
pub async fn queue_waits_may_be_dropped<F: QueueFixture>() {
    let line = Line::<F>::fresh(AMPLE).await;
    let published = messages(&echo(), 0..scaled(400));
    let mut consumer = line.queue.consume(&echo(), prefetch(5));
    let publishing = tokio::spawn({
        let (queue, published) = (Arc::clone(&line.queue), published.clone());
        async move {
            for message in &published {
                publish(&queue, std::slice::from_ref(message)).await;
            }
        }
    });
    let mut came = std::collections::BTreeMap::new();
    let began = Instant::now();
    let mut patience = 0;
    while came.len() < published.len() {
        assert!(began.elapsed() < CEILING, "{} of {} came", came.len(), published.len());
        // Nothing, a moment, a little longer, and again.
        patience = (patience + 1) % 4;
        let wait = Duration::from_micros([0, 50, 500, 5_000][patience]);
        if let Ok(delivery) = tokio::time::timeout(wait, consumer.next()).await {
            let delivery = delivery.expect("the queue is open");
            *came.entry(delivery.message().task).or_default() += 1;
            delivery.acknowledge();
        }
    }
    publishing.await.expect("everything is published");
    assert_once(&came, &published);
}

/// A pause keeps a type from this process, and from no other; the other types go on; it ends when it is ended.
pub async fn queue_pauses_a_type<F: QueueFixture>() {
    let line = Line::<F>::fresh(AMPLE).await;
    let queue = &line.queue;
    let (mut paused, mut other) = (queue.consume(&echo(), prefetch(10)), queue.consume(&export(), prefetch(10)));
    publish(queue, &messages(&echo(), 0..4)).await;
    let held = next(&mut *paused).await;
    queue.pause(&echo());
    queue.pause(&echo());
    publish(queue, &messages(&echo(), 4..6)).await;
    let others = messages(&export(), 0..20);
    publish(queue, &others).await;
    tokio::select! {
        biased;
        delivery = paused.next() => panic!("{delivery:?} in a pause"),
        came = drain(&mut *other, &others) => assert_once(&came, &others),
    }
    let mut waiting = messages(&echo(), 0..6);
    waiting.retain(|message| message != held.message());
    if let Some(elsewhere) = line.fixture.elsewhere().await {
        let mut there = elsewhere.consume(&echo(), prefetch(10));
        drop(take(&mut *there, waiting.len()).await);
        elsewhere.close(Deadline::within(CEILING)).await;
    }
    held.acknowledge();
    queue.resume(&echo());
    assert_once(&drain(&mut *paused, &waiting).await, &waiting);
}

/// After closing: consumers end, old and new; nothing is published, which is said at once; the state says so to those who wait.
pub async fn queue_closing_ends_every_wait<F: QueueFixture>() {
    let line = Line::<F>::fresh(AMPLE).await;
    let queue = &line.queue;
    assert_eq!(queue.state(), QueueState::Connected);
    let mut consumer = queue.consume(&echo(), prefetch(2));
    publish(queue, &messages(&echo(), 0..1)).await;
    let held = next(&mut *consumer).await;
    let waiting = tokio::spawn(async move { consumer.next().await.is_none() });
    let watching = tokio::spawn({
        let queue = Arc::clone(queue);
        async move { queue.state_after(QueueState::Connected).await }
    });
    queue.close(Deadline::within(CEILING)).await;
    let ended = async {
        assert!(waiting.await.expect("no panic"), "nothing comes after closing");
        assert_eq!(watching.await.expect("no panic"), QueueState::Away);
        assert!(queue.consume(&echo(), prefetch(2)).next().await.is_none(), "nothing comes after closing");
        let outcomes = outcomes(queue, &[message(&echo(), 1), message(&export(), 2)]).await;
        assert!(matches!(outcomes[..], [Err(QueueError::Unavailable(_)), Err(QueueError::Unavailable(_))]), "{outcomes:?}");
    };
    tokio::time::timeout(CEILING / 2, ended).await.expect("closing ends every wait");
    assert_eq!(queue.state(), QueueState::Away);
    held.acknowledge();
}
