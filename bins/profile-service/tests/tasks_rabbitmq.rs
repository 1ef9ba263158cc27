//! Tasks through RabbitMQ, whatever becomes of it: everything is accepted, runs, and runs once.

mod support;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use profile_port_contracts::rabbitmq::RabbitServer;
use reqwest::StatusCode;
use serde_json::{Value, json};
use support::{
    Server,
    stores::{Backend, on_both_stores},
};
use tokio::{task::JoinSet, time::interval};

/// How long anything may take that has to do with a server that comes back; the requirement for tasks is as long.
const CEILING: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(50);
/// Two hundred a second.
const PACE: Duration = Duration::from_millis(5);
/// What the slowest submission may take; the 99th percentile belongs to benchmarks.
const SOON: Duration = Duration::from_secs(10);

async fn json(server: &Server, path: &str) -> Value {
    server.client.get(server.url(path)).send().await.expect("an answer").json().await.expect("JSON")
}

/// Waits until `/health` says so of the queue.
async fn until_queue_is(server: &Server, state: &str) {
    let began = Instant::now();
    loop {
        let health = json(server, "/health").await;
        if health["checks"]["queue"] == state {
            return;
        }
        assert!(began.elapsed() < CEILING, "never {state}: {health} {}", server.log());
        tokio::time::sleep(POLL).await;
    }
}

/// Submits so many tasks at that pace, and gives how long the slowest took. None is refused.
async fn submit(server: &Server, count: u32) -> Duration {
    let (mut tick, mut submissions) = (interval(PACE), JoinSet::new());
    let slowest = Arc::new(Mutex::new(Duration::ZERO));
    for _ in 0..count {
        tick.tick().await;
        let request = server.client.post(server.url("/api/v1/tasks/delayed")).json(&json!({"type": "echo", "payload": {}}));
        let slowest = Arc::clone(&slowest);
        submissions.spawn(async move {
            let began = Instant::now();
            let answer = request.send().await.expect("an answer");
            assert_eq!(answer.status(), StatusCode::ACCEPTED, "{:?}", answer.text().await);
            let mut slowest = slowest.lock().expect("no panic");
            *slowest = slowest.max(began.elapsed());
        });
    }
    submissions.join_all().await;
    let slowest = slowest.lock().expect("no panic");
    assert!(*slowest < SOON, "the slowest submission took {slowest:?}");
    *slowest
}

/// Waits until all tasks that were ever submitted have succeeded, at their first start.
async fn until_all_ran_once(server: &Server, count: u32) {
    let began = Instant::now();
    loop {
        let (mut succeeded, mut cursor) = (0, String::new());
        loop {
            let page = json(server, &format!("/api/v1/tasks?limit=200&status=succeeded{cursor}")).await;
            for task in page["items"].as_array().expect("tasks") {
                assert_eq!(task["attempt"], 1, "{task}");
                succeeded += 1;
            }
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        if succeeded == count {
            return;
        }
        assert!(began.elapsed() < CEILING, "{succeeded} of {count} have succeeded: {}", server.log());
        tokio::time::sleep(POLL).await;
    }
}

/// A counter of `/metrics`, over all its labels.
async fn metric(server: &Server, name: &str) -> u64 {
    let text = server.client.get(server.url("/metrics")).send().await.expect("an answer").text().await.expect("text");
    let lines = text.lines().filter(|line| line.starts_with(&format!("{name}{{")));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

async fn tasks_run_once_whatever_rabbitmq_does(backend: Backend) {
    let mut rabbit = RabbitServer::start().await;
    let (uri, variables) = (rabbit.uri(), backend.variables());
    let variables = variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let variables: Vec<(&str, &str)> = variables.chain([("QUEUE_URI", uri.as_str())]).collect();
    let server = Server::start(&variables).await;
    until_queue_is(&server, "connected").await;
    let mut submitted = 200;
    submit(&server, 200).await;
    until_all_ran_once(&server, submitted).await;
    for name in ["queue_published_total", "queue_confirmed_total", "queue_consumed_total", "queue_acknowledged_total"] {
        assert!(metric(&server, name).await > 0, "{name}");
    }

    // Killed, and back with what it had.
    rabbit.write_down().await;
    rabbit.kill().await;
    submit(&server, 200).await;
    until_queue_is(&server, "away").await;
    submit(&server, 200).await;
    rabbit.start_again().await;
    until_queue_is(&server, "connected").await;
    submit(&server, 100).await;
    submitted += 500;
    until_all_ran_once(&server, submitted).await;

    // Stopped: it takes connections and answers nothing.
    rabbit.stop();
    submit(&server, 400).await;
    until_queue_is(&server, "away").await;
    rabbit.go_on();
    until_queue_is(&server, "connected").await;
    submit(&server, 100).await;
    submitted += 500;
    until_all_ran_once(&server, submitted).await;

    // Its queue deleted.
    rabbit.control(&["delete_queue", "profile.tasks.echo.v1"]).await;
    submit(&server, 300).await;
    submitted += 300;
    until_all_ran_once(&server, submitted).await;

    // Without memory.
    rabbit.starve().await;
    submit(&server, 400).await;
    until_queue_is(&server, "blocked").await;
    submit(&server, 100).await;
    submitted += 500;
    until_all_ran_once(&server, submitted).await;
    rabbit.feed().await;
    until_queue_is(&server, "connected").await;
    submit(&server, 100).await;
    submitted += 100;
    until_all_ran_once(&server, submitted).await;
    assert!(!server.log().contains("guest"), "neither user nor password is in the log");
}

on_both_stores!(tasks_run_once_whatever_rabbitmq_does);
