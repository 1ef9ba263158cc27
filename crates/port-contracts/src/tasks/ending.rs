//! How runs end, and whose word counts.

use std::time::Duration;

use profile_domain::{
    Expect, TaskStatus,
    task::{Ending, HANDED_BACK, LEASE_ENDED, Run},
};
use profile_ports::{CommitError, Renewal};
use serde_json::json;

use super::{LEASE, echo, id, retry};
use crate::{
    Fixture,
    build::{Vary, create, deadline, delete, patch, profile, put, start, version},
    scaled,
};

/// A changeset with a fence is the success of the run, and nothing of it happens where the run isn't the current one: it ended,
/// another one has begun, or it never was. An effect that changes nothing ends the run as well.
pub async fn effects_are_fenced<F: Fixture>() {
    let (fixture, client) = start::<F>().await;
    client.commit(0, [create(&profile(1), json!({"name": "Ada", "email": "a@example.com"}))]).await;
    let rename = |name: &str| vec![patch(&profile(1), json!({"name": name}))];
    client.submit([echo(1)]).await;
    let run = client.start_one().await;
    let refused = client.effect(&run, vec![patch(&profile(9), json!({"name": "X"}))]).await;
    assert!(matches!(refused, Err(CommitError::Refused(_))), "{refused:?}");
    assert_eq!(client.status(id(1)).await, TaskStatus::Running, "a refused effect ends nothing");
    assert!(client.end(&run, retry()).await.is_some());
    let second = client.start_one().await;

    let before = fixture.dump().await;
    let elsewhere = [run.clone(), Run { attempt: 7, ..run.clone() }, Run { task: id(9), ..run.clone() }];
    for stale in &elsewhere {
        let answer = client.effect(stale, rename("Late")).await;
        assert!(matches!(answer, Err(CommitError::Fenced)), "{answer:?}");
    }
    let answer = client.as_tenant("b").effect(&second, vec![]).await;
    assert!(matches!(answer, Err(CommitError::Fenced)), "{answer:?}");
    let fresh = create(&profile(3), json!({"name": "Late", "email": "c@example.com"})).expecting(Expect::Fresh);
    let answer = client.effect(&run, vec![fresh]).await;
    assert!(matches!(answer, Err(CommitError::Fenced)), "{answer:?}");
    assert_eq!(fixture.dump().await, before, "a late effect left something");

    client.effect(&second, rename("Bea")).await.expect("the effect of the current run");
    let task = client.task(id(1)).await.expect("the task");
    assert_eq!((task.status, task.attempt, task.attempts.len()), (TaskStatus::Succeeded, 2, 2));
    assert!(task.attempts.iter().all(|attempt| attempt.ended_at.is_some()));
    let again = client.effect(&second, rename("Once more")).await;
    assert!(matches!(again, Err(CommitError::Fenced)), "{again:?}");
    assert_eq!(client.served(&profile(1)).await["name"], "Bea");

    client.submit([echo(2)]).await;
    let run = client.start_one().await;
    client.effect(&run, rename("Bea")).await.expect("an effect that changes nothing");
    assert_eq!(client.status(id(2)).await, TaskStatus::Succeeded);
    assert_eq!(client.entity(&profile(1)).await.map(|entity| entity.version), Some(version(2)));

    // An effect may delete the profile that the task belongs to.
    client.submit([profile_domain::NewTask { profile: Some(profile(1).reference), ..echo(3) }]).await;
    let run = client.start_one().await;
    client.effect(&run, vec![delete(&profile(1))]).await.expect("a deletion");
    assert_eq!(client.status(id(3)).await, TaskStatus::Succeeded);
}

/// Of the same effect many times at once, and of endings beside it, one counts.
pub async fn one_of_many_effects_counts<F: Fixture>() {
    let (_fixture, client) = start::<F>().await;
    client.commit(0, [create(&profile(1), json!({"name": "0", "email": "a@example.com"}))]).await;
    for round in 0..scaled(20) {
        client.submit([echo(round)]).await;
        let run = client.start_one().await;
        let mut effects = tokio::task::JoinSet::new();
        for n in 0..6 {
            let (client, run) = (client.clone(), run.clone());
            effects.spawn(async move {
                if n == 0 {
                    return client.end(&run, Ending::Dead { error: "x".into() }).await.is_some();
                }
                let document = json!({"name": format!("{round} {n}"), "email": "a@example.com"});
                match client.effect(&run, vec![put(&profile(1), document)]).await {
                    Ok(_) => true,
                    Err(CommitError::Fenced) => false,
                    Err(error) => panic!("{error:?}"),
                }
            });
        }
        let counted = effects.join_all().await.into_iter().filter(|counted| *counted).count();
        assert_eq!(counted, 1, "round {round}");
    }
}

/// An ending of an attempt that isn't the current one, or that has ended, changes nothing; the others of the same call do.
pub async fn endings_are_fenced<F: Fixture>() {
    let (fixture, client) = start::<F>().await;
    client.submit([echo(1), echo(2), echo(3)]).await;
    let runs: Vec<Run> = client.claim(10).await.into_iter().map(|task| task.run).collect();
    let [first, second, third] = runs.as_slice() else { panic!("three were due: {runs:?}") };
    let stale = Run { attempt: 2, ..first.clone() };
    let foreign = Run { tenant: crate::build::tenant("b"), ..second.clone() };
    let endings = [
        (stale, Ending::Succeeded),
        (foreign, Ending::Succeeded),
        (second.clone(), Ending::Retry { error: "no luck".into(), wait: 60_000_000 }),
        (third.clone(), Ending::HandedBack),
    ];
    let ended = client.store.end(&endings, deadline()).await.expect("ends");
    assert_eq!(ended, [None, None, Some(TaskStatus::Retrying), Some(TaskStatus::Retrying)]);
    assert_eq!(client.status(id(1)).await, TaskStatus::Running);

    let failed = client.task(id(2)).await.expect("a task");
    assert_eq!(failed.attempts[0].error.as_deref(), Some("no luck"));
    let handed_back = client.task(id(3)).await.expect("a task");
    assert_eq!(handed_back.attempts[0].error.as_deref(), Some(HANDED_BACK));
    assert_eq!((handed_back.attempt, handed_back.max_attempts, handed_back.last_attempt), (1, 3, 4), "it doesn't count");
    assert_eq!(client.start_one().await, Run { attempt: 2, ..third.clone() }, "at once");
    assert_eq!(client.end(third, Ending::Succeeded).await, None, "the attempt before");
    fixture.shift_clock(Duration::from_secs(61));
    assert_eq!(client.start_one().await, Run { attempt: 2, ..second.clone() }, "after its wait");

    assert_eq!(client.end(first, Ending::Succeeded).await, Some(TaskStatus::Succeeded));
    assert_eq!(client.end(first, Ending::Dead { error: "x".into() }).await, None, "it has ended");
    let task = client.task(id(1)).await.expect("a task");
    assert_eq!((task.status, task.attempts[0].error.clone()), (TaskStatus::Succeeded, None));
}

/// Of several attempts of one task in one call only the current one counts, wherever in the call it is.
pub async fn attempts_of_one_call_are_told_apart<F: Fixture>() {
    let (_fixture, client) = start::<F>().await;
    let late = Ending::Dead { error: "late".into() };
    for number in 1..=2 {
        client.submit([echo(number)]).await;
        let stale = client.start_one().await;
        assert!(client.end(&stale, retry()).await.is_some());
        let current = client.start_one().await;
        assert_eq!(current.attempt, 2);

        let mut runs = [(stale, late.clone(), Renewal::Lost, None)].to_vec();
        runs.push((current, Ending::Succeeded, Renewal::Held, Some(TaskStatus::Succeeded)));
        if number == 2 {
            runs.reverse();
        }
        let names: Vec<Run> = runs.iter().map(|(run, ..)| run.clone()).collect();
        let renewals = client.store.renew(&names, LEASE, deadline()).await.expect("an answer");
        assert_eq!(renewals, runs.iter().map(|(_, _, renewal, _)| *renewal).collect::<Vec<_>>());
        let endings: Vec<(Run, Ending)> = runs.iter().map(|(run, ending, ..)| (run.clone(), ending.clone())).collect();
        let ended = client.store.end(&endings, deadline()).await.expect("ends");
        assert_eq!(ended, runs.iter().map(|(.., status)| *status).collect::<Vec<_>>());
        let task = client.task(id(number)).await.expect("a task");
        assert_eq!((task.status, task.attempts[1].error.as_deref()), (TaskStatus::Succeeded, None));
    }
}

/// A lease is put off while the run is the current one, also after it should have ended, if nobody has noticed.
pub async fn leases_are_renewed_while_they_last<F: Fixture>() {
    let (fixture, client) = start::<F>().await;
    client.submit([echo(1), echo(2)]).await;
    let lease = Duration::from_secs(30);
    let runs: Vec<Run> = client.claim_with(10, &[], lease).await.into_iter().map(|task| task.run).collect();
    let renew = async |runs: &[Run]| client.store.renew(runs, lease, deadline()).await.expect("an answer");
    fixture.shift_clock(Duration::from_secs(20));
    assert_eq!(renew(&runs[..1]).await, [Renewal::Held]);
    fixture.shift_clock(Duration::from_secs(20));
    assert_eq!(client.store.rescue(10, deadline()).await.expect("a sweep"), 1, "the second's has ended");
    assert_eq!(renew(&runs).await, [Renewal::Held, Renewal::Lost]);
    client.cancel(runs[0].task).await;
    assert_eq!(renew(&runs).await, [Renewal::Cancelling, Renewal::Lost]);
    let foreign = Run { tenant: crate::build::tenant("b"), ..runs[0].clone() };
    assert_eq!(renew(&[foreign, Run { attempt: 2, ..runs[0].clone() }]).await, [Renewal::Lost; 2]);
}

/// A run whose lease has ended is due at once, and dead after its last attempt; its late result changes nothing.
pub async fn ended_leases_are_rescued<F: Fixture>() {
    let (fixture, client) = start::<F>().await;
    client.submit([profile_domain::NewTask { max_attempts: 2, ..echo(1) }]).await;
    let lease = Duration::from_secs(30);
    for attempt in 1..=2 {
        let run = client.claim_with(10, &[], lease).await.remove(0).run;
        assert_eq!(run.attempt, attempt);
        fixture.shift_clock(Duration::from_secs(20));
        assert_eq!(client.store.rescue(10, deadline()).await.expect("a sweep"), 0);
        fixture.shift_clock(Duration::from_secs(11));
        assert_eq!(client.store.rescue(10, deadline()).await.expect("a sweep"), 1);
        let task = client.task(id(1)).await.expect("a task");
        assert_eq!(task.status, if attempt == 1 { TaskStatus::Retrying } else { TaskStatus::Dead });
        assert_eq!(task.attempts.last().and_then(|last| last.error.as_deref()), Some(LEASE_ENDED));
        assert_eq!(client.end(&run, Ending::Succeeded).await, None);
        let late = client.effect(&run, vec![]).await;
        assert!(matches!(late, Err(CommitError::Fenced)), "{late:?}");
    }
    assert_eq!(client.store.rescue(10, deadline()).await.expect("a sweep"), 0);
    assert!(client.claim_with(10, &[], LEASE).await.is_empty());
}
