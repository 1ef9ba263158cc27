//! What is kept of tasks, shown, counted and forgotten.

use std::time::Duration;

use profile_domain::{
    NewTask, Reference, Task, TaskStatus,
    task::{Due, Ending, OnConflict, TaskQuery, Unique},
};
use profile_ports::Claim;
use serde_json::json;

use super::{LEASE, PATIENCE, echo, id, kind, later, retry};
use crate::{
    Fixture,
    build::{at, create, deadline, profile, start},
};

/// Every value comes back as it was submitted, to whoever looks and to whoever starts it; every attempt with its start, end, worker
/// and error.
pub async fn tasks_come_back_whole<F: Fixture>() {
    let (fixture, client) = start::<F>().await;
    client.commit(0, [create(&profile(1), json!({"name": "Ada", "email": "a@example.com"}))]).await;
    let payload = json!({"ä": [1.5, -0.25, 18_446_744_073_709_551_615_u64, null], "nested": {"deep": "\u{1F600}\"\\"}});
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let new = NewTask {
        id: id(1),
        task_type: kind("a.b_c-d"),
        payload: payload.clone(),
        due: Due::At(at(90)),
        max_attempts: 7,
        unique: Some(Unique { key: "ünique".into(), on_conflict: OnConflict::Keep }),
        profile: Some(profile(1).reference),
        traceparent: Some(traceparent.into()),
    };
    let [receipt] = client.submit([new]).await.try_into().expect("one task");
    assert_eq!((receipt.status, receipt.run_at), (TaskStatus::Scheduled, at(90)));
    let mut expected = Task {
        id: id(1),
        task_type: kind("a.b_c-d"),
        status: TaskStatus::Scheduled,
        payload: Some(payload.clone()),
        run_at: at(90),
        created_at: receipt.created_at,
        attempt: 0,
        max_attempts: 7,
        last_attempt: 7,
        unique_key: Some("ünique".into()),
        profile: Some(profile(1).reference),
        cancelling: false,
        attempts: Vec::new(),
    };
    assert_eq!(client.task(id(1)).await, Some(expected.clone()));

    let task_type = kind("a.b_c-d");
    let claim = |worker| Claim { task_type: &task_type, only: &[], limit: 1, worker, lease: LEASE, patience: PATIENCE };
    let claims = client.store.claim(claim("worker one"), deadline()).await.expect("a claim");
    let [claimed] = claims.tasks.try_into().expect("it is due");
    assert_eq!((claimed.payload, claimed.run_at, claimed.last_attempt), (Some(payload), at(90), 7));
    assert_eq!((claimed.profile, claimed.traceparent.as_deref()), (Some(profile(1).reference), Some(traceparent)));
    fixture.shift_clock(Duration::from_secs(5));
    client.end(&claimed.run, Ending::Retry { error: "schön \"falsch\"".into(), wait: 0 }).await;
    let claims = client.store.claim(claim("worker two"), deadline()).await.expect("a claim");
    let [second] = claims.tasks.try_into().expect("it is due");

    let task = client.task(id(1)).await.expect("the task");
    let [one, two] = task.attempts.as_slice() else { panic!("two attempts: {task:?}") };
    assert_eq!((one.number, one.started_at, one.worker.as_str()), (1, claimed.started_at, "worker one"));
    assert_eq!(one.error.as_deref(), Some("schön \"falsch\""));
    let took = one.ended_at.expect("it ended").as_micros() - one.started_at.as_micros();
    assert!((5_000_000..65_000_000).contains(&took), "{took}");
    assert_eq!((two.number, two.started_at, two.ended_at, two.error.clone()), (2, second.started_at, None, None));
    (expected.status, expected.attempt) = (TaskStatus::Running, 2);
    (expected.run_at, expected.attempts) = (task.run_at, task.attempts.clone());
    assert_eq!(task, expected);
}

/// The newest first, in pages, with all filters together; nothing of another tenant.
pub async fn tasks_are_listed<F: Fixture>() {
    let (fixture, client) = start::<F>().await;
    client.commit(0, [create(&profile(1), json!({"name": "Ada", "email": "a@example.com"}))]).await;
    let mut middle = None;
    for number in 0..10 {
        if number == 5 {
            fixture.shift_clock(Duration::from_mins(1));
            middle = Some(client.store.task_clock(deadline()).await.expect("a clock"));
        }
        let task_type = kind(if number % 3 == 0 { "other" } else { "echo" });
        let profile = (number % 2 == 0).then(|| profile(1).reference);
        client.submit([NewTask { task_type, profile, ..later(number, 600) }]).await;
    }
    client.as_tenant("b").submit([later(100, 60)]).await;
    client.cancel(id(4)).await;
    client.cancel(id(7)).await;

    let all = TaskQuery { limit: 100, ..TaskQuery::default() };
    let list = async |query: &TaskQuery| -> Vec<u32> {
        let tasks = client.store.tasks(&client.tenant, query, deadline()).await.expect("a list");
        let number = |task: &Task| u32::try_from(task.id.0.as_u128() & 0xffff).expect("a small number");
        tasks.iter().map(number).collect()
    };
    assert_eq!(list(&all).await, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
    assert_eq!(list(&TaskQuery { limit: 3, after: Some(id(6)), ..all.clone() }).await, [5, 4, 3]);
    assert_eq!(list(&TaskQuery { status: Some(TaskStatus::Cancelled), ..all.clone() }).await, [7, 4]);
    assert_eq!(list(&TaskQuery { task_type: Some(kind("other")), ..all.clone() }).await, [9, 6, 3, 0]);
    let of_profile = TaskQuery { profile: Some(profile(1).reference), ..all.clone() };
    assert_eq!(list(&of_profile).await, [8, 6, 4, 2, 0]);
    assert_eq!(list(&TaskQuery { created_from: middle, ..all.clone() }).await, [9, 8, 7, 6, 5]);
    assert_eq!(list(&TaskQuery { created_before: middle, ..of_profile.clone() }).await, [4, 2, 0]);
    let together = TaskQuery { task_type: Some(kind("echo")), status: Some(TaskStatus::Scheduled), ..of_profile };
    assert_eq!(list(&together).await, [8, 2]);
    let nobody = Some(Reference::parse("nobody").expect("a reference"));
    assert_eq!(list(&TaskQuery { profile: nobody, ..all }).await, [0; 0]);
}

/// Another tenant's task can't be seen, listed or changed, though its id is known.
pub async fn tasks_of_tenants_are_apart<F: Fixture>() {
    let (fixture, client) = start::<F>().await;
    client.submit([later(1, 60)]).await;
    let other = client.as_tenant("b");
    let before = fixture.dump().await;
    assert_eq!((other.task(id(1)).await, other.cancel(id(1)).await), (None, None));
    let all = TaskQuery { limit: 10, ..TaskQuery::default() };
    assert_eq!(other.store.tasks(&other.tenant, &all, deadline()).await.expect("a list"), []);
    assert_eq!(fixture.dump().await, before);
    // The same id is another task there.
    other.submit([NewTask { payload: json!({"own": true}), ..later(1, 60) }]).await;
    assert_eq!(client.task(id(1)).await.and_then(|task| task.payload), Some(json!({"number": 1})));
    assert_eq!(other.task(id(1)).await.and_then(|task| task.payload), Some(json!({"own": true})));
}

/// What ended long ago is forgotten, a little at a time and of every tenant; what waits or runs never is.
pub async fn ended_tasks_are_pruned<F: Fixture>() {
    let (fixture, client) = start::<F>().await;
    let kept = Duration::from_mins(1);
    let prune = async |limit: usize| client.store.prune(kept, limit, deadline()).await.expect("a number");
    client.submit((0..6).map(echo)).await;
    client.as_tenant("b").submit([echo(10)]).await;
    for task in client.claim(7).await {
        let ending = match task.run.task {
            ending if ending == id(0) => Ending::Dead { error: "x".into() },
            ending if ending == id(1) => retry(),
            ending if ending == id(2) => continue,
            _ => Ending::Succeeded,
        };
        client.end(&task.run, ending).await;
    }
    client.submit([later(6, 10_000)]).await;
    client.cancel(id(6)).await;
    assert_eq!(prune(100).await, 0, "they ended just now");
    fixture.shift_clock(kept * 2);
    client.submit([later(7, 10_000)]).await;
    client.cancel(id(7)).await;
    assert_eq!((prune(2).await, prune(100).await, prune(100).await), (2, 4, 0));
    let all = TaskQuery { limit: 10, ..TaskQuery::default() };
    let left = client.store.tasks(&client.tenant, &all, deadline()).await.expect("a list");
    assert_eq!(left.iter().map(|task| task.id).collect::<Vec<_>>(), [id(7), id(2), id(1)]);
}

/// What waits and runs is counted by type and state, and how long the oldest that is due has waited.
pub async fn waiting_tasks_are_counted<F: Fixture>() {
    let (fixture, client) = start::<F>().await;
    let gauges = async || client.store.task_gauges(deadline()).await.expect("gauges");
    assert_eq!(gauges().await, profile_ports::TaskGauges::default());
    client.submit([later(1, 600), later(2, 600), NewTask { task_type: kind("other"), ..later(3, 600) }]).await;
    client.as_tenant("b").submit([echo(4)]).await;
    client.start_one().await;
    let now = gauges().await;
    let mut counts: Vec<_> = now.depths.iter().map(|depth| (depth.task_type.to_string(), depth.status, depth.count)).collect();
    counts.sort();
    assert_eq!(
        counts,
        [
            ("echo".into(), TaskStatus::Scheduled, 2),
            ("echo".into(), TaskStatus::Running, 1),
            ("other".into(), TaskStatus::Scheduled, 1),
        ]
    );
    assert_eq!(now.oldest_waiting, None, "none is due");
    fixture.shift_clock(Duration::from_secs(700));
    let waited = gauges().await.oldest_waiting.expect("three are due");
    assert!((Duration::from_secs(100)..Duration::from_secs(200)).contains(&waited), "{waited:?}");
}
