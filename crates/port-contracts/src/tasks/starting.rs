//! What starts, when, and in whose turn.

use std::{collections::BTreeSet, time::Duration};

use profile_domain::{NewTask, TaskStatus, TenantId};
use profile_ports::Claim;
use tokio::task::JoinSet;

use super::{LEASE, PATIENCE, echo, id, ids, kind, later};
use crate::{
    Fixture,
    build::{deadline, start},
    scaled,
};

/// Many who claim at once get each task once; what runs is given to nobody.
pub async fn claims_are_exclusive<F: Fixture>() {
    let (_fixture, client) = start::<F>().await;
    let tasks = scaled(400).max(40);
    for from in (0..tasks).step_by(50) {
        client.submit((from..tasks.min(from + 50)).map(echo)).await;
    }
    let mut claimers = JoinSet::new();
    for _ in 0..8 {
        let client = client.clone();
        claimers.spawn(async move {
            let mut mine = Vec::new();
            // Somebody else may be starting what one looks at, so nothing isn't the end.
            for _ in 0..200 {
                mine.extend(ids(&client.claim(3).await));
            }
            mine
        });
    }
    let mut all = claimers.join_all().await.concat();
    all.extend(ids(&client.claim(1_000).await));
    all.sort_unstable();
    assert_eq!(all, (0..tasks).map(id).collect::<Vec<_>>(), "each once");
    assert!(client.claim(10).await.is_empty());
}

/// Whatever is asked for, nothing starts before its time, by the store's clock; the wait for the next is told.
pub async fn nothing_is_claimed_early<F: Fixture>() {
    let (fixture, client) = start::<F>().await;
    client.submit([later(1, 50), later(2, 100), NewTask { task_type: kind("other"), ..later(3, 1) }]).await;
    let named = [(client.tenant.clone(), id(1))];
    assert!(client.claim_with(10, &named, LEASE).await.is_empty(), "named, and early");
    let echo = kind("echo");
    let claim = || Claim { task_type: &echo, only: &[], limit: 10, worker: "w", lease: LEASE, patience: PATIENCE };
    let claims = client.store.claim(claim(), deadline()).await.expect("a claim");
    assert!(claims.tasks.is_empty(), "{claims:?}");
    let next = claims.next.expect("one waits");
    assert!((Duration::from_secs(10)..=Duration::from_secs(50)).contains(&next), "{next:?}");
    let due = client.store.mark_queued(10, PATIENCE, deadline()).await.expect("what is due");
    let next = due.next.expect("one waits");
    assert!(due.tasks.is_empty() && next <= Duration::from_secs(1), "{due:?}");

    fixture.shift_clock(Duration::from_secs(51));
    let claims = client.store.claim(claim(), deadline()).await.expect("a claim");
    assert_eq!(ids(&claims.tasks), [id(1)]);
    assert!(claims.tasks[0].started_at >= claims.tasks[0].run_at);
    assert!(claims.next.is_some_and(|next| next <= Duration::from_secs(49)), "{:?}", claims.next);
}

/// A tenant with very many that are due gets no more than others with few.
pub async fn tenants_take_turns<F: Fixture>() {
    let (_fixture, client) = start::<F>().await;
    client.submit((0..60).map(echo)).await;
    let (b, c) = (client.as_tenant("b"), client.as_tenant("c"));
    b.submit([echo(100), echo(101)]).await;
    c.submit([echo(102)]).await;
    let of = |tasks: &[profile_domain::task::ClaimedTask]| -> BTreeSet<(TenantId, profile_domain::TaskId)> {
        tasks.iter().map(|task| (task.run.tenant.clone(), task.run.task)).collect()
    };
    let (a, b, c) = (client.tenant.clone(), b.tenant, c.tenant);
    let first = of(&client.claim(3).await);
    assert_eq!(first, BTreeSet::from([(a.clone(), id(0)), (b.clone(), id(100)), (c, id(102))]));
    let second = of(&client.claim(3).await);
    assert_eq!(second, BTreeSet::from([(a.clone(), id(1)), (a.clone(), id(2)), (b, id(101))]));
    assert_eq!(client.claim(100).await.len(), 57);
}

/// What the queue named is started if it is due, and passed over if it runs, has ended, or is another tenant's.
pub async fn named_tasks_are_claimed<F: Fixture>() {
    let (_fixture, client) = start::<F>().await;
    client.submit([echo(1), echo(2), echo(3), later(4, 60), NewTask { task_type: kind("other"), ..echo(5) }]).await;
    client.store.mark_queued(10, PATIENCE, deadline()).await.expect("what is due");
    assert!(client.claim(10).await.is_empty(), "they are left to whom the queue tells");
    let named = |numbers: &[u32]| -> Vec<_> { numbers.iter().map(|number| (client.tenant.clone(), id(*number))).collect() };
    assert_eq!(ids(&client.claim_with(10, &named(&[2]), LEASE).await), [id(2)]);
    client.cancel(id(3)).await;
    let mut rest = named(&[1, 2, 3, 4, 5, 9]);
    rest.push((crate::build::tenant("b"), id(1)));
    assert_eq!(ids(&client.claim_with(10, &rest, LEASE).await), [id(1)]);
}

/// What is due is told to the queue once, the tenants in turn, and once more when nobody has started it for long; then anybody may.
pub async fn due_tasks_are_queued_once<F: Fixture>() {
    let (fixture, client) = start::<F>().await;
    client.submit((0..30).map(echo).chain([later(40, 60)])).await;
    client.as_tenant("b").submit([echo(50)]).await;
    let mark = async |limit: usize| {
        let due = client.store.mark_queued(limit, Duration::from_secs(30), deadline()).await.expect("what is due");
        due.tasks.into_iter().map(|(tenant, id, kind)| (tenant.to_string(), id, kind.to_string())).collect::<Vec<_>>()
    };
    let mut first = mark(2).await;
    first.sort();
    assert_eq!(first, [("a".into(), id(0), "echo".into()), ("b".into(), id(50), "echo".into())]);
    let (one, other) = tokio::join!(mark(100), mark(100));
    let rest = if one.is_empty() && other.is_empty() { mark(100).await } else { [one, other].concat() };
    assert_eq!(rest.iter().map(|(_, id, _)| *id).collect::<BTreeSet<_>>().len(), rest.len(), "each once");
    assert_eq!((rest.len(), mark(100).await.len()), (29, 0));
    assert_eq!(client.status(id(7)).await, TaskStatus::Queued);

    fixture.shift_clock(Duration::from_secs(31));
    assert_eq!(mark(100).await.len(), 31, "all once more");
    let claim =
        Claim { task_type: &kind("echo"), only: &[], limit: 100, worker: "w", lease: LEASE, patience: Duration::from_secs(10) };
    assert!(client.store.claim(claim, deadline()).await.expect("a claim").tasks.is_empty());
    fixture.shift_clock(Duration::from_secs(11));
    assert_eq!(client.store.claim(claim, deadline()).await.expect("a claim").tasks.len(), 31);
}
