//! Very many at once.

use std::{collections::BTreeSet, time::Instant};

use futures_util::future::join_all;
use profile_port_contracts::scaled;
use serde_json::{Value, json};

use crate::{
    client::{SUBMIT, echo, submit},
    stores::{Backend, on_both_stores},
    support::CEILING,
};

on_both_stores!(one_unique_key_is_one_task);

/// On PostgreSQL from two processes.
async fn one_unique_key_is_one_task(backend: Backend) {
    let first = backend.start().await;
    let second = match &backend {
        Backend::Postgres(_) => Some(backend.start().await),
        Backend::Sqlite(_) => None,
    };
    let mut holder = None;
    for on_conflict in ["keep", "replace"] {
        let bodies = (0..200).map(|number| {
            let server = if number % 2 == 0 { &first } else { second.as_ref().unwrap_or(&first) };
            let body = json!({
                "type": "echo", "payload": {"message": number}, "delay": "1h", "unique_key": "k", "on_conflict": on_conflict
            });
            async move { submit(server, &body).await }
        });
        let ids: BTreeSet<String> = join_all(bodies).await.into_iter().collect();
        assert_eq!(ids.len(), 1, "{on_conflict}: {ids:?}");
        assert_eq!(*holder.get_or_insert_with(|| ids.clone()), ids);
        let tasks = first.get_json("/api/v1/tasks").await;
        assert_eq!(tasks["items"].as_array().map(Vec::len), Some(1));
        let kept = submit_message(&first, on_conflict).await;
        assert_eq!(kept == json!("last"), on_conflict == "replace", "{kept}");
    }
}

/// Submits once more, and gives the payload that is there then.
async fn submit_message(server: &crate::support::Server, on_conflict: &str) -> Value {
    let body =
        json!({"type": "echo", "payload": {"message": "last"}, "delay": "1h", "unique_key": "k", "on_conflict": on_conflict});
    let id = submit(server, &body).await;
    crate::client::task(server, &id).await["payload"]["message"].clone()
}

/// However many of one tenant are due, another's task starts soon.
#[tokio::test(flavor = "multi_thread")]
async fn no_tenant_on_postgres_waits_for_all_of_anothers() {
    let backend = Backend::postgres().await;
    let server = backend.start().await;
    let Backend::Postgres(database) = &backend else { unreachable!("it was made so") };
    let crowd = scaled(100_000).max(10_000);
    database
        .execute(&format!(
            "INSERT INTO tasks (tenant, id, type, status, payload, run_at, created_at, max_attempts, last_attempt)
             SELECT 'crowd', gen_random_uuid(), 'echo', 'scheduled', '{{\"sleep\":0.02}}', now() - interval '1 hour', now(), 1, 1
             FROM generate_series(1, {crowd})"
        ))
        .await;
    let began = Instant::now();
    let request = server.client.post(server.url(SUBMIT)).header("x-tenant-id", "other").json(&echo(&json!({})));
    let id = request.send().await.expect("an answer").json::<Value>().await.expect("JSON")["id"].clone();
    let path = format!("/api/v1/tasks/{}?wait=20", id.as_str().expect("an id"));
    let done = server.client.get(server.url(&path)).header("x-tenant-id", "other").send().await.expect("an answer");
    let done: Value = done.json().await.expect("JSON");
    assert_eq!(done["status"], "succeeded", "{done}");
    let at = |member: &Value| member.as_str().expect("a time").parse::<jiff::Timestamp>().expect("a time");
    let late = at(&done["attempts"][0]["started_at"]).duration_since(at(&done["run_at"]));
    assert!(late < jiff::SignedDuration::from_secs(10), "{late:?}");
    assert!(began.elapsed() < CEILING);
    let left = crate::stores::ask(&database.url(), "SELECT count(*) FROM tasks WHERE status <> 'succeeded'").await;
    assert!(left.parse::<u64>().expect("a number") > 0, "the crowd was gone before: it proves nothing");
}
