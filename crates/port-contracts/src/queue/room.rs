//! How much a queue takes, and how much it gives at once.

use std::sync::Arc;

use profile_domain::TaskType;
use profile_ports::{Queue, QueueError, queue::Message};

use super::{
    QueueFixture,
    line::{
        AMPLE, CEILING, Line, POLL, assert_once, drain, echo, export, message, messages, next, outcomes, prefetch, publish, take,
    },
};

/// Who holds as many as it may is given no more, whatever it asks, until it settles one; the rest goes to others.
pub async fn queue_prefetch_is_a_bound<F: QueueFixture>() {
    let line = Line::<F>::fresh(AMPLE).await;
    publish(&line.queue, &messages(&echo(), 0..10)).await;
    let mut bounded = line.queue.consume(&echo(), prefetch(2));
    let mut held = take(&mut *bounded, 2).await;
    let mut other = line.queue.consume(&echo(), prefetch(20));
    let rest = tokio::select! {
        biased;
        delivery = bounded.next() => panic!("{delivery:?} beyond what it may hold"),
        rest = take(&mut *other, 8) => rest,
    };
    assert_eq!(rest.len(), 8);
    drop(other);
    drop(rest);
    held.pop().expect("it holds two").acknowledge();
    let third = next(&mut *bounded).await;
    assert_ne!(third.message(), held[0].message(), "what is held isn't given twice");
}

/// Publishes one after the other until one is refused; gives those that were taken.
async fn fill(queue: &Arc<dyn Queue>, task_type: &TaskType) -> Vec<Message> {
    // A queue that lives elsewhere may notice a little late.
    for number in 0..10_000 {
        match outcomes(queue, &[message(task_type, number)]).await.remove(0) {
            Ok(()) => {}
            Err(QueueError::Full) => return messages(task_type, 0..number),
            Err(other) => panic!("{other}"),
        }
    }
    panic!("it takes 10,000 messages where it has room for {ROOM}")
}

const ROOM: usize = 8;

/// A full type refuses; another takes; once consumed, the first takes again. What was refused never comes.
pub async fn queue_refuses_what_does_not_fit<F: QueueFixture>() {
    let line = Line::<F>::fresh(ROOM).await;
    let taken = fill(&line.queue, &echo()).await;
    assert!(taken.len() >= ROOM, "only {} of {ROOM} were taken", taken.len());
    publish(&line.queue, &messages(&export(), 0..5)).await;
    let mut consumer = line.queue.consume(&echo(), prefetch(4));
    assert_once(&drain(&mut *consumer, &taken).await, &taken);
    let late = message(&echo(), 20_000);
    let again = async {
        while outcomes(&line.queue, std::slice::from_ref(&late)).await.remove(0).is_err() {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(CEILING, again).await.expect("what there is room for is taken");
    assert_eq!(*next(&mut *consumer).await.message(), late);
}

/// Of a type that it wasn't told of: refused; what is published with it is taken.
pub async fn queue_refuses_what_has_no_queue<F: QueueFixture>() {
    let line = Line::<F>::fresh(AMPLE).await;
    let unknown = TaskType::parse("unheard-of").expect("a type");
    let published = [message(&echo(), 1), message(&unknown, 2), message(&echo(), 3)];
    let outcomes = outcomes(&line.queue, &published).await;
    assert!(matches!(outcomes[..], [Ok(()), Err(QueueError::Unroutable), Ok(())]), "{outcomes:?}");
    let mut consumer = line.queue.consume(&echo(), prefetch(4));
    let known = [published[0].clone(), published[2].clone()];
    assert_once(&drain(&mut *consumer, &known).await, &known);
}
