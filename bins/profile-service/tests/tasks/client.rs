//! What a client of tasks does.

use std::time::Instant;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{CEILING, Server};

pub(crate) const SUBMIT: &str = "/api/v1/tasks/delayed";

/// For stores that start servers with settings of a test's own.
pub(crate) fn with<'v>(variables: &'v [(String, String)], more: &[(&'v str, &'v str)]) -> Vec<(&'v str, &'v str)> {
    let mut all: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    all.extend(more);
    all
}

pub(crate) async fn post(server: &Server, path: &str, body: &Value) -> (StatusCode, Value) {
    let answer = server.client.post(server.url(path)).json(body).send().await.expect("an answer");
    (answer.status(), answer.json().await.expect("JSON"))
}

/// Submits what must be accepted; its id.
pub(crate) async fn submit(server: &Server, body: &Value) -> String {
    let (status, task) = post(server, SUBMIT, body).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{task}");
    task["id"].as_str().expect("an id").to_owned()
}

pub(crate) async fn task(server: &Server, id: &str) -> Value {
    server.get_json(&format!("/api/v1/tasks/{id}")).await
}

/// Waits until a task is as it should be; whoever answers.
pub(crate) async fn until(server: &Server, id: &str, right: impl Fn(&Value) -> bool) -> Value {
    let began = Instant::now();
    loop {
        let task = server.get_json(&format!("/api/v1/tasks/{id}?wait=1")).await;
        if right(&task) {
            return task;
        }
        assert!(began.elapsed() < CEILING * 2, "the task stays {task}: {}", server.log());
    }
}

pub(crate) async fn until_status(server: &Server, id: &str, status: &str) -> Value {
    let task = until(server, id, |task| task["status"] == status || is_final(task)).await;
    assert_eq!(task["status"], status, "{task}");
    task
}

pub(crate) fn is_final(task: &Value) -> bool {
    ["succeeded", "dead", "cancelled"].iter().any(|status| task["status"] == *status)
}

pub(crate) fn echo(payload: &Value) -> Value {
    json!({"type": "echo", "payload": payload})
}

/// A metric without labels, or the first whose line begins like this.
pub(crate) async fn metric(server: &Server, begins: &str) -> f64 {
    let text = server.client.get(server.url("/metrics")).send().await.expect("an answer").text().await.expect("text");
    let line = text.lines().find(|line| line.starts_with(begins));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
}
