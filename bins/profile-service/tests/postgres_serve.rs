//! `serve` over PostgreSQL, as a process.

mod support;

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use support::{CEILING, Database, PrivatePostgres, Server, canary, folder, fresh_database, proxy_on_unix_socket, run};

fn with<'v>(variables: &'v [(String, String)], more: &[(&'v str, &'v str)]) -> Vec<(&'v str, &'v str)> {
    variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(more.iter().copied()).collect()
}

async fn start(database: &Database, more: &[(&str, &str)]) -> Server {
    Server::start(&with(&database.variables(), more)).await
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart() {
    let database = fresh_database().await;
    let mut server = start(&database, &[]).await;
    let body = json!({"name": "Ada Lovelace", "email": "ada@example.com"});
    let answer = server.client.post(server.url("/api/v1/profiles")).json(&body).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::CREATED);
    let path = answer.headers()["location"].to_str().expect("a path").to_owned();
    let written: Value = answer.json().await.expect("JSON");
    server.restart_after("TERM").await;
    let read = server.client.get(server.url(&path)).send().await.expect("an answer");
    let mut read: Value = read.json().await.expect("JSON");
    read.as_object_mut().expect("an object").remove("source");
    assert_eq!(read, written);
}

#[tokio::test]
async fn a_server_that_does_not_sync_is_complained_about() {
    const COMPLAINT: &str = "PostgreSQL runs with fsync=off";
    let postgres = PrivatePostgres::start().await;
    let mut server = Server::start(&with(&postgres.variables(), &[])).await;
    server.restart_after("TERM").await;
    let log = server.log();
    assert!(!log.contains(COMPLAINT), "{log}");
    postgres.set("fsync", "off").await;
    server.restart_after("TERM").await;
    let began = Instant::now();
    while !server.log().contains(COMPLAINT) {
        assert!(began.elapsed() < CEILING, "{}", server.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.signal("TERM");
    server.ended().await;
    let log = server.log();
    assert_eq!(log.matches(COMPLAINT).count(), 1, "once, however often readiness is asked for: {log}");
    assert!(log.contains(r#""level":"ERROR""#), "{log}");
}

#[tokio::test]
async fn it_becomes_ready_by_itself_when_its_database_appears() {
    let database = fresh_database().await;
    let folder = folder();
    let socket = folder.path().display().to_string();
    let variables = database.variables();
    let server = Server::listening(&with(&variables, &[("DB_HOST", &socket), ("DB_PORT", "5432"), ("DB_TLS", "off")])).await;
    assert_eq!(server.status("/livez").await, Some(StatusCode::OK));
    assert_eq!(server.status("/readyz").await, Some(StatusCode::SERVICE_UNAVAILABLE));
    let _proxy = proxy_on_unix_socket(&database, folder.path());
    server.wait_for("/readyz", StatusCode::OK).await;
    let body = json!({"name": "Ada", "email": "ada@example.com"});
    let answer = server.client.post(server.url("/api/v1/profiles")).json(&body).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn instances_that_start_at_once_agree() {
    let database = fresh_database().await;
    let mut servers = Vec::new();
    let variables = database.variables();
    let variables = with(&variables, &[("DB_POOL_SIZE", "2")]);
    for _ in 0..4 {
        servers.push(Server::listening(&variables).await);
    }
    for server in &servers {
        server.wait_for("/readyz", StatusCode::OK).await;
    }
    for number in 0..3 {
        let body = json!({"name": "Ada", "email": format!("{number}@example.com")});
        let answer = servers[0].client.post(servers[0].url("/api/v1/profiles")).json(&body).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::CREATED);
    }
    // A cursor that one gave is valid at the others: they share the secrets that one of them made.
    let first = servers[0].client.get(servers[0].url("/api/v1/profiles?limit=1")).send().await.expect("an answer");
    let first: Value = first.json().await.expect("JSON");
    let cursor = first["next_cursor"].as_str().expect("there are more");
    for server in &servers {
        let next = server.status(&format!("/api/v1/profiles?limit=1&cursor={cursor}")).await;
        assert_eq!(next, Some(StatusCode::OK));
    }
}

#[tokio::test]
async fn migrate_prepares_an_empty_database_and_may_be_repeated() {
    let database = fresh_database().await;
    let variables = database.variables();
    for _ in 0..2 {
        let output = run(&["migrate"], &with(&variables, &[]));
        assert!(output.status.success(), "{output:?}");
    }
    let server = start(&database, &[]).await;
    assert_eq!(server.status("/api/v1/profiles").await, Some(StatusCode::OK));
}

#[tokio::test]
async fn logs_tell_nothing_of_people() {
    let database = fresh_database().await;
    canary::no_line_tells_of_people(start(&database, &[("LOG_LEVEL", "trace")]).await).await;
}
