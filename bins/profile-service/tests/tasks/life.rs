//! One task at a time, as a client sees it.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::{
    client::{SUBMIT, echo, post, submit, task, until, until_status, with},
    stores::{Backend, create, on_both_stores, profile},
    support::run,
};

on_both_stores!(
    cancelled_and_retried,
    exports_are_fetched_by_their_link,
    patches_come_when_they_are_due,
    refused_submissions_say_what_is_allowed,
    submitted_run_and_shown,
);

async fn submitted_run_and_shown(backend: Backend) {
    let server = backend.start().await;
    let body = json!({"type": "echo", "payload": {"message": "hi", "sleep": 0.5}, "delay": "1s", "unique_key": "k"});
    let answer = server.client.post(server.url(SUBMIT)).json(&body).send().await.expect("an answer");
    let location = answer.headers()["location"].to_str().expect("text").to_owned();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let accepted: Value = answer.json().await.expect("JSON");
    assert_eq!((&accepted["status"], &accepted["type"]), (&json!("scheduled"), &json!("echo")));
    assert_eq!(location, format!("/api/v1/tasks/{}", accepted["id"].as_str().expect("an id")));

    let began = Instant::now();
    let done = server.get_json(&format!("{location}?wait=20")).await;
    assert_eq!(done["status"], "succeeded", "{done}");
    assert!(began.elapsed() < Duration::from_secs(15), "it took 1.5 s, and the wait for it {:?}", began.elapsed());
    assert_eq!((&done["payload"], &done["attempt"]), (&body["payload"], &json!(1)));
    let attempt = &done["attempts"][0];
    let at = |member: &Value| member.as_str().expect("a time").parse::<jiff::Timestamp>().expect("a time");
    assert!(at(&attempt["started_at"]) >= at(&accepted["run_at"]), "early: {done}");
    assert!(at(&accepted["run_at"]) >= at(&accepted["created_at"]) + Duration::from_secs(1));
    assert!(at(&attempt["ended_at"]) >= at(&attempt["started_at"]) + Duration::from_millis(500));

    // What is another tenant's is as if it had never been.
    for (method, path) in [("GET", location.clone()), ("DELETE", location.clone()), ("POST", format!("{location}/retry"))] {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let foreign = server.client.request(method, server.url(&path)).header("x-tenant-id", "other").send().await;
        let foreign = foreign.expect("an answer");
        assert_eq!(foreign.status(), StatusCode::NOT_FOUND);
        assert_eq!(foreign.json::<Value>().await.expect("JSON")["error"]["code"], "TASK_NOT_FOUND");
    }
    let keyed = async || {
        let request = server.client.post(server.url(SUBMIT)).header("idempotency-key", "once").json(&echo(&json!({})));
        request.send().await.expect("an answer").json::<Value>().await.expect("JSON")
    };
    let first = keyed().await;
    assert_eq!(keyed().await, first, "the same answer, though the task has moved on");
    assert_eq!(server.get_json("/api/v1/tasks?type=echo&limit=1").await["items"][0]["id"], first["id"]);
}

async fn refused_submissions_say_what_is_allowed(backend: Backend) {
    let server = backend.start().await;
    for (body, field, code) in [
        (json!({}), "type", "REQUIRED"),
        (json!({"type": "nope"}), "type", "UNKNOWN_TYPE"),
        (json!({"type": "echo", "delay": "soon"}), "delay", "INVALID_DELAY"),
        (json!({"type": "echo", "delay": "366d"}), "delay", "INVALID_DELAY"),
        (json!({"type": "echo", "run_at": "tomorrow"}), "run_at", "INVALID_TIME"),
        (json!({"type": "echo", "run_at": "2999-01-01T00:00:00Z"}), "run_at", "OUT_OF_RANGE"),
        (json!({"type": "echo", "payload": {"sleep": -1}}), "payload.sleep", "OUT_OF_RANGE"),
        (json!({"type": "echo", "payload": {"message": "x".repeat(70_000)}}), "payload", "TOO_LARGE"),
        (json!({"type": "echo", "on_conflict": "keep"}), "on_conflict", "CONFLICTING"),
        (json!({"type": "profile.patch", "payload": {"patch": {}}}), "profile_id", "REQUIRED"),
        (json!({"type": "profile.patch", "payload": {"patch": {"email": "no"}}}), "payload.patch.email", "INVALID_EMAIL"),
        (json!({"type": "echo", "profile_id": "0199f3c2-6f0e-7cc3-98a2-4f3b1c0d9e8f"}), "profile_id", "NOT_FOUND"),
    ] {
        let (status, problem) = post(&server, SUBMIT, &body).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
        let fields = problem["error"]["fields"].as_array().expect("fields");
        assert!(fields.iter().any(|it| it["field"] == field && it["code"] == code), "{field} {code}: {problem}");
    }
    assert_eq!(server.get_json("/api/v1/tasks").await["items"], json!([]));
}

async fn patches_come_when_they_are_due(backend: Backend) {
    let server = backend.start().await;
    let id = create(&server, &profile("Ada", "ada@example.com")).await;
    let patch =
        |plan: &str| json!({"type": "profile.patch", "payload": {"patch": {"attributes": {"plan": plan}}}, "profile_id": id});
    let now = submit(&server, &patch("free")).await;
    until_status(&server, &now, "succeeded").await;
    let shown = server.get_json(&format!("/api/v1/profiles/{id}")).await;
    assert_eq!((&shown["attributes"]["plan"], &shown["version"]), (&json!("free"), &json!(2)));

    let mut later = patch("pro");
    later["delay"] = "1h".into();
    let later = submit(&server, &later).await;
    let deleted = server.client.delete(server.url(&format!("/api/v1/profiles/{id}"))).send().await.expect("an answer");
    assert_eq!(deleted.status(), StatusCode::NO_CONTENT);
    let cancelled = task(&server, &later).await;
    assert_eq!((&cancelled["status"], cancelled.get("payload")), (&json!("cancelled"), None));
}

async fn cancelled_and_retried(backend: Backend) {
    let variables = backend.variables();
    let server = crate::support::Server::start(&with(&variables, &[("TASK_BACKOFF", "0s")])).await;
    let delete = async |id: &str| {
        let answer = server.client.delete(server.url(&format!("/api/v1/tasks/{id}"))).send().await.expect("an answer");
        (answer.status(), answer.json::<Value>().await.expect("JSON"))
    };
    let waiting = submit(&server, &json!({"type": "echo", "delay": "1h"})).await;
    assert_eq!(delete(&waiting).await.0, StatusCode::OK);
    assert_eq!(delete(&waiting).await.1["status"], "cancelled", "once more");

    let running = submit(&server, &echo(&json!({"sleep": 600}))).await;
    until_status(&server, &running, "running").await;
    assert_eq!(delete(&running).await.0, StatusCode::ACCEPTED);
    until_status(&server, &running, "cancelled").await;

    let (status, problem) = post(&server, &format!("/api/v1/tasks/{waiting}/retry"), &json!({})).await;
    assert_eq!((status, &problem["error"]["code"]), (StatusCode::CONFLICT, &json!("TASK_NOT_DEAD")));
    let failing = submit(&server, &json!({"type": "echo", "payload": {"fail": true}, "max_attempts": 2})).await;
    let dead = until_status(&server, &failing, "dead").await;
    assert_eq!(dead["attempts"].as_array().map(Vec::len), Some(2));
    assert_eq!(dead["attempts"][1]["error"], "it was told to fail");
    let (status, problem) = delete(&failing).await;
    assert_eq!((status, &problem["error"]["code"]), (StatusCode::CONFLICT, &json!("TASK_ENDED")));
    assert_eq!(post(&server, &format!("/api/v1/tasks/{failing}/retry"), &json!({})).await.0, StatusCode::ACCEPTED);
    let dead = until(&server, &failing, |task| task["attempt"] == 4 && task["status"] == "dead").await;
    assert_eq!(dead["attempts"].as_array().map(Vec::len), Some(4));
}

async fn exports_are_fetched_by_their_link(backend: Backend) {
    let server = backend.start().await;
    let id = create(&server, &profile("Ada", "ada@example.com")).await;
    let export = submit(&server, &json!({"type": "profile.export"})).await;
    let done = until_status(&server, &export, "succeeded").await;
    let url = done["result"]["url"].as_str().expect("a link").to_owned();
    let fetch = async |url: &str| server.client.get(server.url(url)).send().await.expect("an answer");
    let answer = fetch(&url).await;
    assert_eq!(
        (answer.status(), &answer.headers()["content-type"]),
        (StatusCode::OK, &"application/x-ndjson".parse().expect("a value"))
    );
    let lines = answer.text().await.expect("text");
    assert_eq!(lines.lines().count(), 1);
    assert!(lines.contains(&id) && lines.ends_with('\n'), "{lines}");

    let (path, query) = url.split_once('?').expect("a query");
    let (expires, signature) = query.split_once('&').expect("two parameters");
    let sooner: i64 = expires.trim_start_matches("expires=").parse().expect("a number");
    let other = submit(&server, &echo(&json!({}))).await;
    for wrong in [
        format!("{path}?expires={}&{signature}", sooner - 10_000),
        format!("{path}?expires={}&{signature}", sooner + 1),
        format!("{path}?{expires}&sig=AAAA"),
        format!("/api/v1/exports/{other}?{query}"),
    ] {
        let answer = fetch(&wrong).await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{wrong}");
    }
}

#[test]
fn roles_need_a_store_that_processes_share() {
    for role in ["api", "worker"] {
        let ended = run(&["serve", "--role", role], &[("SERVER_PORT", "0")]);
        assert_eq!(ended.status.code(), Some(2));
        let line = String::from_utf8_lossy(&ended.stderr);
        assert!(line.contains("need PostgreSQL") && line.contains("an embedded store belongs to one process"), "{line}");
    }
}
