//! Cancelling, and asking for what is dead.

use profile_domain::{TaskStatus, task::Ending};

use super::{echo, id, later, retry};
use crate::{
    Fixture,
    build::{deadline, start},
    scaled,
};

/// What was cancelled before its start never starts, in whatever race; of cancelling and starting one comes first.
pub async fn cancelled_tasks_never_start<F: Fixture>() {
    let (_fixture, client) = start::<F>().await;
    client.submit([later(1, 60)]).await;
    let task = client.cancel(id(1)).await.expect("a task");
    assert_eq!((task.status, task.cancelling), (TaskStatus::Cancelled, true));
    assert_eq!(client.cancel(id(1)).await.map(|task| task.status), Some(TaskStatus::Cancelled), "once more");
    assert_eq!((client.cancel(id(9)).await, client.as_tenant("b").cancel(id(1)).await), (None, None));

    for round in 0..scaled(200) {
        let number = 10 + round;
        client.submit([echo(number)]).await;
        let (started, cancelled) = tokio::join!(client.claim(1), client.cancel(id(number)));
        let cancelled = cancelled.expect("a task");
        match started.as_slice() {
            [] => {
                assert_eq!((cancelled.status, cancelled.attempt), (TaskStatus::Cancelled, 0), "round {round}");
                assert!(client.claim(1).await.is_empty(), "round {round}");
            }
            [task] => {
                assert_eq!((task.run.task, client.status(id(number)).await), (id(number), TaskStatus::Running));
                assert_eq!(client.end(&task.run, Ending::Cancelled).await, Some(TaskStatus::Cancelled));
            }
            more => panic!("{more:?}"),
        }
    }
}

/// A run that is cancelled goes on until it ends, and whatever ends it but success makes it cancelled. What has ended stays as it is.
pub async fn cancelling_a_run_lets_success_stand<F: Fixture>() {
    let (fixture, client) = start::<F>().await;
    let endings = [
        (Ending::Succeeded, TaskStatus::Succeeded),
        (Ending::Cancelled, TaskStatus::Cancelled),
        (retry(), TaskStatus::Cancelled),
        (Ending::Dead { error: "x".into() }, TaskStatus::Cancelled),
        (Ending::HandedBack, TaskStatus::Cancelled),
    ];
    for (number, (ending, status)) in (0..).zip(endings) {
        client.submit([echo(number)]).await;
        let run = client.start_one().await;
        let task = client.cancel(id(number)).await.expect("a task");
        assert_eq!((task.status, task.cancelling), (TaskStatus::Running, true));
        assert_eq!(client.end(&run, ending).await, Some(status));
        assert_eq!(client.cancel(id(number)).await.map(|task| task.status), Some(status));
        assert!(client.claim(1).await.is_empty());
    }
    // Whoever comes first, a success counts.
    for round in 0..scaled(200) {
        let number = 1_000 + round;
        client.submit([echo(number)]).await;
        let run = client.start_one().await;
        let (ended, cancelled) = tokio::join!(client.end(&run, Ending::Succeeded), client.cancel(id(number)));
        assert_eq!(ended, Some(TaskStatus::Succeeded), "round {round}");
        let seen = cancelled.map(|task| task.status);
        assert!(matches!(seen, Some(TaskStatus::Running | TaskStatus::Succeeded)), "round {round}: {seen:?}");
        assert_eq!(client.status(id(number)).await, TaskStatus::Succeeded, "round {round}");
    }
    client.submit([echo(10)]).await;
    let lease = std::time::Duration::from_secs(30);
    client.claim_with(1, &[], lease).await;
    client.cancel(id(10)).await;
    fixture.shift_clock(lease * 2);
    assert_eq!(client.store.rescue(10, deadline()).await.expect("a sweep"), 1);
    assert_eq!(client.status(id(10)).await, TaskStatus::Cancelled);
}

/// A dead task is due at once and has its attempts anew; any other stays as it is.
pub async fn the_dead_are_retried<F: Fixture>() {
    let (_fixture, client) = start::<F>().await;
    client.submit([echo(1), later(2, 60)]).await;
    let run = client.start_one().await;
    assert_eq!(client.end(&run, Ending::Dead { error: "x".into() }).await, Some(TaskStatus::Dead));
    let again = async |number: u32| client.store.retry(&client.tenant, id(number), deadline()).await.expect("an answer");
    let (task, was_dead) = again(1).await.expect("a task");
    assert_eq!((task.status, was_dead, task.attempt, task.last_attempt), (TaskStatus::Scheduled, true, 1, 4));
    assert_eq!(client.start_one().await.attempt, 2);
    let untouched = again(1).await.map(|(task, was_dead)| (task.status, was_dead));
    assert_eq!(untouched, Some((TaskStatus::Running, false)));
    let untouched = again(2).await.map(|(task, was_dead)| (task.status, was_dead));
    assert_eq!(untouched, Some((TaskStatus::Scheduled, false)));
    assert_eq!(again(9).await, None);
    assert_eq!(client.store.retry(&crate::build::tenant("b"), id(1), deadline()).await.expect("an answer"), None);
}
