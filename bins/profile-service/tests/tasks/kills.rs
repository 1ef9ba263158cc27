//! Workers that are killed in the middle.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use profile_port_contracts::scaled;
use serde_json::{Value, json};

use crate::{
    client::{echo, is_final, submit, task, until, until_status, with},
    stores::{Backend, create, on_both_stores, profile},
    support::{CEILING, Server},
};

on_both_stores!(killed_workers_lose_and_repeat_nothing, what_takes_its_process_along_ends_dead);

/// Each task changes a profile of its own, which is then at its second version, however often the task was started.
async fn killed_workers_lose_and_repeat_nothing(backend: Backend) {
    let variables = backend.variables();
    let settings = [("TASK_LEASE", "2s"), ("TASK_BACKOFF", "0s"), ("TASK_CONCURRENCY", "4")];
    let mut server = Server::start(&with(&variables, &settings)).await;
    let count = scaled(100).max(20);
    let mut tasks = Vec::new();
    for number in 0..count {
        let id = create(&server, &profile("Ada", &format!("{number}@example.com"))).await;
        let patch = json!({"attributes": {"number": number}});
        let delay = f64::from(number) * 0.05;
        let body =
            json!({"type": "profile.patch", "payload": {"patch": patch}, "profile_id": id, "delay": delay, "max_attempts": 25});
        tasks.push((id, submit(&server, &body).await));
        let slow = json!({"type": "echo", "payload": {"sleep": 0.2}, "delay": delay, "max_attempts": 25});
        tasks.push((String::new(), submit(&server, &slow).await));
    }
    for _ in 0..scaled(10).max(3) {
        until(&server, &tasks[1].1, |_| true).await;
        let began = Instant::now();
        // Something runs, or all is done.
        while server.get_json("/api/v1/tasks?status=running&limit=1").await["items"] == json!([]) {
            if began.elapsed() > Duration::from_secs(3) {
                break;
            }
        }
        server.restart_after("KILL").await;
    }
    let began = Instant::now();
    for (profile, id) in &tasks {
        let done = until(&server, id, is_final).await;
        assert_eq!(done["status"], "succeeded", "{done}");
        if !profile.is_empty() {
            let shown = server.get_json(&format!("/api/v1/profiles/{profile}")).await;
            assert_eq!(shown["version"], 2, "one effect each: {done}");
        }
    }
    assert!(began.elapsed() < CEILING * 2, "{:?}", began.elapsed());
}

/// A task whose every start ends with its process is dead after its attempts, because starts are counted before they begin; the
/// others succeed.
async fn what_takes_its_process_along_ends_dead(backend: Backend) {
    let variables = backend.variables();
    let mut server = Server::start(&with(&variables, &[("TASK_LEASE", "1s"), ("TASK_BACKOFF", "0s")])).await;
    let good = join_all((0..20).map(|n| {
        let (server, body) = (&server, json!({"type": "echo", "delay": f64::from(n) * 0.1, "max_attempts": 25}));
        async move { submit(server, &body).await }
    }))
    .await;
    let poison = submit(&server, &json!({"type": "echo", "payload": {"sleep": 600}, "max_attempts": 2})).await;
    for attempt in 1..=2 {
        until(&server, &poison, |task| task["status"] == "running" && task["attempt"] == attempt).await;
        server.restart_after("KILL").await;
    }
    let dead = until_status(&server, &poison, "dead").await;
    let errors: Vec<&Value> = dead["attempts"].as_array().expect("attempts").iter().map(|attempt| &attempt["error"]).collect();
    assert_eq!(errors, [&json!("the worker was not heard of until the lease ended"); 2]);
    for id in &good {
        until_status(&server, id, "succeeded").await;
    }
}

/// One that panics, among many that don't: it is dead after its attempts and harms nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_panic_ends_nothing_but_its_own_run() {
    let server = Server::start(&[("TASK_BACKOFF", "0s")]).await;
    let poison = submit(&server, &json!({"type": "echo", "payload": {"panic": true}, "max_attempts": 3})).await;
    let good = join_all((0..scaled(1_000).max(50)).map(|_| submit(&server, &GOOD))).await;
    let dead = until_status(&server, &poison, "dead").await;
    assert_eq!((&dead["attempt"], &dead["attempts"][2]["error"]), (&json!(3), &json!("it panicked")));
    for id in &good {
        let done = until_status(&server, id, "succeeded").await;
        let at = |member: &Value| member.as_str().expect("a time").parse::<jiff::Timestamp>().expect("a time");
        let late = at(&done["attempts"][0]["started_at"]).duration_since(at(&done["run_at"]));
        assert!(late < jiff::SignedDuration::from_secs(10), "{late:?}");
    }
    assert_eq!(task(&server, &poison).await["status"], "dead");
}

static GOOD: std::sync::LazyLock<Value> = std::sync::LazyLock::new(|| echo(&json!({})));
