//! Workers that are stopped, continued, and told to end.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    client::{echo, metric, submit, task, until, until_status, with},
    stores::{Backend, on_both_stores},
    support::{CEILING, Server},
};

on_both_stores!(a_stop_lets_tasks_end_or_hands_them_back);

/// What ends in time ends; what doesn't is given back and starts again elsewhere, with no attempt lost; those who wait are answered.
async fn a_stop_lets_tasks_end_or_hands_them_back(backend: Backend) {
    let variables = backend.variables();
    let mut server = Server::start(&with(&variables, &[])).await;
    let short = submit(&server, &echo(&json!({"sleep": 2}))).await;
    let long = submit(&server, &json!({"type": "echo", "payload": {"sleep": 20}, "max_attempts": 1})).await;
    until_status(&server, &short, "running").await;
    until_status(&server, &long, "running").await;
    let waiter = server.client.get(server.url(&format!("/api/v1/tasks/{long}?wait=25"))).send();
    let waiter = tokio::spawn(waiter);
    tokio::task::yield_now().await;
    let began = Instant::now();
    server.signal("TERM");
    assert!(server.ended().await.success(), "{}", server.log());
    assert!(began.elapsed() < CEILING, "{:?}", began.elapsed());
    // Whether it came before the end of the listener or not, it ended with the process and not after its time.
    drop(waiter.await);

    server.restart().await;
    let done = task(&server, &short).await;
    assert_eq!((&done["status"], &done["attempt"]), (&json!("succeeded"), &json!(1)), "{done}");
    let again = until(&server, &long, |task| task["attempt"] == 2).await;
    assert_eq!(again["attempts"][0]["error"], "the worker was stopped and handed it back");
    let deleted = server.client.delete(server.url(&format!("/api/v1/tasks/{long}"))).send().await.expect("an answer");
    assert!(deleted.status().is_success());
    until_status(&server, &long, "cancelled").await;
}

/// A worker that is stopped past its lease finds, when it goes on, that its task was another's: its result changes nothing, and
/// its log says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_worker_on_postgres_comes_too_late() {
    let backend = Backend::postgres().await;
    let variables = backend.variables();
    let lease = [("TASK_LEASE", "2s")];
    let stopped = Server::start(&with(&variables, &lease)).await;
    let id = submit(&stopped, &echo(&json!({"sleep": 4}))).await;
    until_status(&stopped, &id, "running").await;
    stopped.signal("STOP");
    let other = Server::start(&with(&variables, &lease)).await;
    let done = until_status(&other, &id, "succeeded").await;
    assert_eq!(done["attempt"], 2, "{done}");
    stopped.signal("CONT");
    let began = Instant::now();
    while metric(&stopped, "tasks_fenced_total").await < 1.0 {
        assert!(began.elapsed() < CEILING, "{}", stopped.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(stopped.log().contains("came after its lease had ended, and changed nothing"), "{}", stopped.log());
    assert_eq!(task(&other, &id).await, done);
    assert!(metric(&other, "tasks_rescued_total").await >= 1.0);
}

/// Tasks go on while two workers are restarted one after the other, under the roles that share a database.
#[tokio::test(flavor = "multi_thread")]
async fn workers_on_postgres_are_restarted_in_turn() {
    let backend = Backend::postgres().await;
    let variables = backend.variables();
    let variables = with(&variables, &[]);
    let api = Server::command(&["serve", "--role", "api"], &variables).await;
    api.wait_for("/readyz", reqwest::StatusCode::OK).await;
    let worker = async || {
        let worker = Server::command(&["serve", "--role", "worker"], &variables).await;
        worker.wait_for("/readyz", reqwest::StatusCode::OK).await;
        worker
    };
    let (one, two) = tokio::join!(worker(), worker());
    assert_eq!(one.status("/api/v1/tasks").await, Some(reqwest::StatusCode::NOT_FOUND), "a worker shows no data");
    let mut ids = Vec::new();
    for _ in 0..30 {
        ids.push(submit(&api, &json!({"type": "echo", "payload": {"sleep": 0.3}, "delay": 0.5})).await);
    }
    one.stop().await;
    let three = worker().await;
    for _ in 0..30 {
        ids.push(submit(&api, &echo(&json!({"sleep": 0.1}))).await);
    }
    two.stop().await;
    for id in &ids {
        let done = until_status(&api, id, "succeeded").await;
        assert_eq!(done["attempt"], 1, "nothing is repeated: {done}");
    }
    three.stop().await;
}
