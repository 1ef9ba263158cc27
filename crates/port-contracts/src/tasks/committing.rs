//! Tasks as a part of changesets.

use std::time::Duration;

use profile_domain::{
    Changeset, Expect, Idempotency, NewTask, Refusal, Rejection, Replay, TaskStatus,
    task::{Due, OnConflict},
};
use profile_ports::CommitError;
use serde_json::json;

use super::{echo, id, ids, kind, later, only, unique};
use crate::{
    Fixture,
    build::{Vary, at, changeset, create, deadline, delete, patch, profile, race, start, version},
    scaled,
};

/// A changeset that is refused leaves no task, and one that isn't has data and task; under an idempotency key both are there once,
/// and the receipt names the task of the first time.
pub async fn tasks_are_committed_with_their_data<F: Fixture>() {
    let (fixture, client) = start::<F>().await;
    let ada = |number: u32| create(&profile(number), json!({"name": "Ada", "email": format!("{number}@example.com")}));
    let before = fixture.dump().await;
    let refused = Changeset { tasks: vec![echo(1)], ..changeset(0, [patch(&profile(9), json!({"name": "Nobody"}))]) };
    let answer = client.try_commit(refused).await;
    assert!(matches!(answer, Err(CommitError::Refused(Refusal { rejection: Rejection::Absent, .. }))), "{answer:?}");
    assert_eq!(fixture.dump().await, before, "a refused changeset left something");

    let both = || Changeset {
        idempotency: Some(Idempotency { route: "POST /x", key: "k".into(), fingerprint: [1; 32] }),
        tasks: vec![NewTask { profile: Some(profile(1).reference), ..echo(2) }, later(3, 60)],
        ..changeset(0, [ada(1)])
    };
    let first = client.receipt(both()).await;
    assert_eq!(first.tasks.iter().map(|task| task.id).collect::<Vec<_>>(), [id(2), id(3)]);
    assert_eq!(client.entity(&profile(1)).await.map(|entity| entity.version), Some(version(1)));
    let again = client.receipt(Changeset { tasks: vec![echo(4), echo(5)], ..both() }).await;
    assert_eq!((again.replay, &again.tasks), (Replay::Yes, &first.tasks));
    assert_eq!((client.task(id(4)).await, ids(&client.claim(10).await)), (None, vec![id(2)]));

    // Fresh, without a key, is another way in.
    let fresh = Changeset { tasks: vec![echo(6)], ..changeset(0, [ada(2).expecting(Expect::Fresh)]) };
    assert_eq!(client.receipt(fresh).await.tasks.len(), 1);
    assert_eq!(ids(&client.claim(10).await), [id(6)]);
    let many = client.try_commit(only((0..101).map(|number| echo(100 + number)))).await;
    assert!(matches!(many, Err(CommitError::TooLarge)), "{many:?}");
}

/// A delay begins when the task is committed, by the store's clock, whatever the changeset says is now.
pub async fn delays_go_by_the_stores_clock<F: Fixture>() {
    let (fixture, client) = start::<F>().await;
    let clock = || async { client.store.task_clock(deadline()).await.expect("a clock") };
    let before = clock().await;
    let changeset = Changeset { now: at(1_000_000_000), ..only([later(1, 90)]) };
    let [task] = client.receipt(changeset).await.tasks.try_into().expect("one task");
    let after = clock().await;
    assert!(before <= task.created_at && task.created_at <= after, "{before} {} {after}", task.created_at);
    assert_eq!(task.run_at, task.created_at.plus_micros(90_000_000));

    fixture.shift_clock(Duration::from_secs(80));
    assert!(clock().await >= after.plus_micros(80_000_000));
    assert!(client.claim(1).await.is_empty(), "it has ten seconds left");
    fixture.shift_clock(Duration::from_secs(10));
    assert_eq!(ids(&client.claim(1).await), [id(1)]);
}

/// `keep` leaves the one that waits as it is, `replace` gives it the other's payload and time; both answer with it. The key is of
/// one type and tenant, and free again with the first start, which a retry doesn't undo, and with a cancellation.
pub async fn unique_keys_hold_until_the_first_start<F: Fixture>() {
    let (fixture, client) = start::<F>().await;
    let first = client.submit([unique(1, "k", OnConflict::Keep)]).await;
    let kept = client.submit([NewTask { due: Due::After(0), ..unique(2, "k", OnConflict::Keep) }]).await;
    assert_eq!(kept, first);
    let task = client.task(id(1)).await.expect("the first");
    assert_eq!((task.payload, task.run_at, client.task(id(2)).await), (Some(json!({"number": 1})), first[0].run_at, None));

    let replaced = client.submit([NewTask { due: Due::After(0), ..unique(3, "k", OnConflict::Replace) }]).await;
    let task = client.task(id(1)).await.expect("the first");
    assert_eq!((replaced[0].id, replaced[0].run_at, replaced[0].created_at), (id(1), task.run_at, first[0].created_at));
    assert_eq!((task.payload, task.unique_key.as_deref()), (Some(json!({"number": 3})), Some("k")));
    assert!(replaced[0].run_at < first[0].run_at);

    // Others have keys of their own.
    let other = NewTask { task_type: kind("other"), ..unique(4, "k", OnConflict::Keep) };
    assert_eq!(client.submit([other]).await[0].id, id(4));
    assert_eq!(client.as_tenant("b").submit([unique(5, "k", OnConflict::Keep)]).await[0].id, id(5));
    assert_eq!(client.submit([unique(6, "l", OnConflict::Keep)]).await[0].id, id(6));

    let run = client.start_one().await;
    assert_eq!(run.task, id(1));
    assert_eq!(client.submit([unique(7, "k", OnConflict::Replace)]).await[0].id, id(7), "it has started");
    client.end(&run, super::retry()).await;
    assert_eq!(client.submit([unique(8, "k", OnConflict::Keep)]).await[0].id, id(7), "a retry doesn't take it back");
    let task = client.task(id(1)).await.expect("the first");
    assert_eq!((task.status, task.payload), (TaskStatus::Retrying, Some(json!({"number": 3}))));
    client.cancel(id(7)).await;
    assert_eq!(client.submit([unique(9, "k", OnConflict::Keep)]).await[0].id, id(9), "it was cancelled");

    // One of which the queue was told waits still.
    fixture.shift_clock(Duration::from_secs(61));
    client.store.mark_queued(100, super::PATIENCE, deadline()).await.expect("what is due");
    assert_eq!(client.status(id(9)).await, TaskStatus::Queued);
    assert_eq!(client.submit([unique(10, "k", OnConflict::Replace)]).await[0].id, id(9));
    assert_eq!(client.status(id(9)).await, TaskStatus::Scheduled, "its time is another one");
}

/// A key that a task of one profile holds is refused to a task of another one, or of none, and to one of a profile that isn't living;
/// the holder stays as it is.
pub async fn unique_keys_are_of_one_profile<F: Fixture>() {
    let (fixture, client) = start::<F>().await;
    let people = [1, 2].map(|number| create(&profile(number), json!({"name": "A", "email": format!("{number}@example.com")})));
    client.commit(0, people).await;
    let of = |task: NewTask, number: u32| NewTask { profile: Some(profile(number).reference), ..task };
    client.submit([of(unique(1, "k", OnConflict::Keep), 1), unique(2, "l", OnConflict::Keep)]).await;
    let before = fixture.dump().await;
    for on_conflict in [OnConflict::Keep, OnConflict::Replace] {
        let [k, l] = ["k", "l"].map(|key| unique(3, key, on_conflict));
        for elsewhere in [of(k.clone(), 2), k.clone(), of(l, 1)] {
            let answer = client.try_commit(only([elsewhere])).await;
            assert!(matches!(answer, Err(CommitError::UniqueElsewhere)), "{answer:?}");
        }
        let answer = client.try_commit(only([of(k, 9)])).await;
        assert!(matches!(answer, Err(CommitError::NoProfile)), "{answer:?}");
    }
    assert_eq!(fixture.dump().await, before, "a refused task left something");

    let replaced = client.submit([of(unique(4, "k", OnConflict::Replace), 1)]).await;
    let task = client.task(id(1)).await.expect("the first");
    assert_eq!((replaced[0].id, task.payload), (id(1), Some(json!({"number": 4}))));
}

/// Of many at once under one key, one is written down, and all are answered with it.
pub async fn unique_submissions_race_to_one<F: Fixture>() {
    let (_fixture, client) = start::<F>().await;
    for round in 0..scaled(10) {
        let key = format!("k{round}");
        let changesets = (0..20).map(|n| {
            let on_conflict = if n % 2 == 0 { OnConflict::Keep } else { OnConflict::Replace };
            only([unique(round * 100 + n, &key, on_conflict)])
        });
        let answers = race(&client, changesets.collect()).await;
        let tasks: Vec<_> = answers.into_iter().map(|answer| answer.expect("a receipt").tasks.remove(0).id).collect();
        assert!(tasks.iter().all(|task| *task == tasks[0]), "round {round}: {tasks:?}");
    }
}

/// The deletion of a profile cancels what waits, tells what runs, and leaves no payload, in the same changeset; a later life has
/// nothing to do with it.
pub async fn deletion_cancels_tasks<F: Fixture>() {
    let (_fixture, client) = start::<F>().await;
    let ada = json!({"name": "Ada", "email": "ada@example.com"});
    client
        .commit(0, [create(&profile(1), ada.clone()), create(&profile(2), json!({"name": "B", "email": "b@example.com"}))])
        .await;
    let of = |task: NewTask, number: u32| NewTask { profile: Some(profile(number).reference), ..task };
    client.submit([of(echo(1), 1)]).await;
    let done = client.start_one().await;
    client.end(&done, profile_domain::task::Ending::Succeeded).await;
    client.submit([of(echo(2), 1)]).await;
    let running = client.start_one().await;
    client.submit([of(unique(3, "k", OnConflict::Keep), 1), of(later(4, 60), 2), later(5, 60)]).await;

    let refused = client.try_commit(changeset(1, [delete(&profile(1)), delete(&profile(9))])).await;
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(client.status(id(3)).await, TaskStatus::Scheduled, "a refused deletion cancels nothing");
    client.commit(2, [delete(&profile(1)), create(&profile(1), ada)]).await;

    let expected = [
        (1, TaskStatus::Succeeded, false, true),
        (2, TaskStatus::Running, true, true),
        (3, TaskStatus::Cancelled, true, true),
        (4, TaskStatus::Scheduled, false, false),
        (5, TaskStatus::Scheduled, false, false),
    ];
    for (number, status, cancelling, blank) in expected {
        let task = client.task(id(number)).await.expect("it is there");
        assert_eq!((task.status, task.cancelling, task.payload.is_none()), (status, cancelling, blank), "task {number}");
    }
    let effect = client.effect(&running, vec![patch(&profile(2), json!({"name": "C"}))]).await;
    assert!(effect.is_ok(), "what ran may still succeed: {effect:?}");
    assert_eq!(client.submit([unique(6, "k", OnConflict::Keep)]).await[0].id, id(6));
}

/// A task for a profile that never was, was deleted, or is another tenant's, is refused with everything else. Of submissions that
/// race with the deletion none is left waiting.
pub async fn tasks_belong_to_the_living<F: Fixture>() {
    let (fixture, client) = start::<F>().await;
    let ada = |seconds: i64, email: &str| changeset(seconds, [create(&profile(1), json!({"name": "Ada", "email": email}))]);
    client.as_tenant("b").receipt(ada(0, "b@example.com")).await;
    let of = |number: u32| NewTask { profile: Some(profile(1).reference), ..echo(number) };
    let before = fixture.dump().await;
    let refused = async |changeset: Changeset| {
        let answer = client.try_commit(changeset).await;
        assert!(matches!(answer, Err(CommitError::NoProfile)), "{answer:?}");
    };
    refused(only([of(1)])).await;
    refused(only([echo(2), of(3)])).await;
    refused(Changeset {
        tasks: vec![of(4)],
        ..changeset(0, [create(&profile(2), json!({"name": "X", "email": "x@example.com"}))])
    })
    .await;
    assert_eq!(fixture.dump().await, before, "a refused changeset left something");

    for round in 0..scaled(20) {
        let base = i64::from(round) * 10;
        client.receipt(ada(base + 1, "a@example.com")).await;
        let submissions = (0..4).map(|n| only([of(10 + round * 10 + n)]));
        let all = submissions.chain([changeset(base + 2, [delete(&profile(1))])]).collect();
        for answer in race(&client, all).await {
            assert!(matches!(answer, Ok(_) | Err(CommitError::NoProfile)), "{answer:?}");
        }
        for n in 0..4 {
            let task = client.task(id(10 + round * 10 + n)).await;
            assert!(task.is_none_or(|task| task.status == TaskStatus::Cancelled), "round {round}: a task outlives its profile");
        }
    }
    refused(only([of(5)])).await;
}
