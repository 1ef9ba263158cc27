//! The answer to a COMMIT is lost, or the COMMIT itself: the client is told that nobody knows, and may repeat.

use std::time::Duration;

use reqwest::{RequestBuilder, StatusCode, header::HeaderMap};
use serde_json::{Value, json};

use crate::{
    borrowed,
    proxy::{Proxy, Trap},
    rows::Rows,
    support::{
        Database, Server, fresh_database,
        stores::{create, profile},
    },
};

/// A service with one connection, which leads through a proxy, and nothing but requests that use it: tasks are others' work.
async fn start() -> (Database, Proxy, Server) {
    let database = fresh_database().await;
    let proxy = Proxy::before(database.address(), Duration::ZERO).await;
    let mut variables = database.variables();
    let port = proxy.address.port().to_string();
    for (name, value) in
        [("DB_HOST", "127.0.0.1"), ("DB_PORT", &port), ("DB_TLS", "off"), ("DB_POOL_SIZE", "1"), ("CACHE", "off")]
    {
        variables.push((name.to_owned(), value.to_owned()));
    }
    let server = Server::command(&["serve", "--role", "api"], &borrowed(&variables)).await;
    server.wait_for("/readyz", StatusCode::OK).await;
    (database, proxy, server)
}

async fn send(request: RequestBuilder) -> (StatusCode, HeaderMap, Value) {
    let answer = request.send().await.expect("an answer");
    let (status, headers) = (answer.status(), answer.headers().clone());
    let body = answer.bytes().await.expect("a body");
    (status, headers, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

/// Sends a request into the trap.
async fn lost(proxy: &Proxy, trap: Trap, request: RequestBuilder) {
    proxy.set(trap);
    let (status, headers, body) = send(request).await;
    assert!(proxy.has_sprung(), "{trap:?}: {body}");
    assert_eq!((status, &body["error"]["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("COMMIT_UNKNOWN")), "{trap:?}: {body}");
    assert!(headers.contains_key("retry-after"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_whose_answer_postgres_lost_happens_once_under_its_key() {
    let (database, proxy, server) = start().await;
    for (trap, happened) in [(Trap::AnswerToCommit, 1), (Trap::Commit, 0)] {
        let email = format!("lost-{happened}@example.com");
        let post = || {
            let request = server.client.post(server.url("/api/v1/profiles")).header("idempotency-key", &email);
            request.json(&profile("Lost", &email))
        };
        lost(&proxy, trap, post()).await;
        let list = server.get_json(&format!("/api/v1/profiles?email={email}")).await;
        let found = list["items"].as_array().expect("items").clone();
        assert_eq!(found.len(), happened, "{trap:?}");

        let (status, headers, body) = send(post()).await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
        assert_eq!(headers["location"], format!("/api/v1/profiles/{}", body["id"].as_str().expect("an id")));
        if let Some(found) = found.first() {
            assert_eq!(*found, body, "the repetition answers with what the first has done");
        }
        let list = server.get_json(&format!("/api/v1/profiles?email={email}")).await;
        assert_eq!(list["items"], json!([body]));
    }
    Rows::Postgres(database.url()).are_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conditional_writes_whose_answer_postgres_lost_happen_once() {
    let (database, proxy, server) = start().await;
    let id = create(&server, &profile("First", "first@example.com")).await;
    let url = server.url(&format!("/api/v1/profiles/{id}"));
    let mut version = 1;
    for (trap, happened) in [(Trap::AnswerToCommit, true), (Trap::Commit, false)] {
        for step in 0..4 {
            let name = format!("{trap:?} {step}");
            let write = || {
                let (method, media_type) = [("PUT", "application/json"), ("PATCH", "application/merge-patch+json")][step % 2];
                let request = server.client.request(method.parse().expect("a method"), &url);
                let request = request.header("if-match", format!("\"1-{version}\"")).header("content-type", media_type);
                request.body(profile(&name, "first@example.com").to_string())
            };
            lost(&proxy, trap, write()).await;
            let (status, _, body) = send(write()).await;
            assert_eq!(status, if happened { StatusCode::PRECONDITION_FAILED } else { StatusCode::OK }, "{body}");
            version += 1;
            let found = server.get_json(&format!("/api/v1/profiles/{id}")).await;
            assert_eq!((&found["name"], &found["version"]), (&json!(name), &json!(version)));
        }
    }
    let delete = || server.client.delete(&url).header("if-match", format!("\"1-{version}\""));
    lost(&proxy, Trap::AnswerToCommit, delete()).await;
    assert_eq!(send(delete()).await.0, StatusCode::NOT_FOUND);
    Rows::Postgres(database.url()).are_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_without_a_key_whose_answer_postgres_lost_says_so() {
    let (database, proxy, server) = start().await;
    // The statement that commits by itself is prepared on the one connection from here on.
    create(&server, &profile("First", "first@example.com")).await;
    let post = || server.client.post(server.url("/api/v1/profiles")).json(&profile("Second", "second@example.com"));
    lost(&proxy, Trap::AnswerToAnything, post()).await;
    let (status, _, body) = send(post()).await;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::CONFLICT, &json!("EMAIL_TAKEN")));
    Rows::Postgres(database.url()).are_whole().await;
}
