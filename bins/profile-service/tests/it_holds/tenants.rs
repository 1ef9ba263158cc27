//! Tenants: what belongs to another looks exactly like what never existed.

use std::collections::BTreeSet;

use crate::{
    stores::{Backend, create, on_both_stores, profile},
    support::Server,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

on_both_stores!(
    another_tenants_profile_is_byte_for_byte_one_that_never_existed,
    tenants_share_addresses_and_keys_without_meeting
);

const UNKNOWN: &str = "0190a0a0-0000-7000-8000-000000000000";

/// Status, headers but the date, and body. The order of headers is random from answer to answer, and tells nothing.
async fn answer(
    server: &Server,
    method: &Method,
    id: &str,
    if_match: Option<&str>,
    body: Option<&Value>,
) -> (StatusCode, BTreeSet<(String, String)>, String) {
    let mut request = server.client.request(method.clone(), server.url(&format!("/api/v1/profiles/{id}")));
    request = request.header("x-tenant-id", "b").header("x-request-id", "same");
    if let Some(etag) = if_match {
        request = request.header("if-match", etag);
    }
    if let Some(body) = body {
        request = request.json(body);
    }
    let answer = request.send().await.expect("an answer");
    let headers = answer.headers().iter().filter(|(name, _)| *name != "date");
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().expect("text").to_owned())).collect();
    (answer.status(), headers, answer.text().await.expect("a body").replace(id, "ID"))
}

async fn another_tenants_profile_is_byte_for_byte_one_that_never_existed(backend: Backend) {
    let server = backend.start().await;
    let theirs = {
        let request = server.client.post(server.url("/api/v1/profiles")).header("x-tenant-id", "a");
        let created = request.json(&profile("Ada", "ada@example.com")).send().await.expect("an answer");
        created.json::<Value>().await.expect("JSON")["id"].as_str().expect("an id").to_owned()
    };
    let document = profile("Eve", "eve@example.com");
    let patch = json!({"name": "Eve"});
    for (method, if_match, body) in [
        (Method::GET, None, None),
        (Method::HEAD, None, None),
        (Method::PUT, None, Some(&document)),
        (Method::PUT, Some("\"1-1\""), Some(&document)),
        (Method::PATCH, None, Some(&patch)),
        (Method::DELETE, None, None),
        (Method::DELETE, Some("\"1-1\""), None),
    ] {
        let foreign = answer(&server, &method, &theirs, if_match, body).await;
        assert_eq!(foreign, answer(&server, &method, UNKNOWN, if_match, body).await, "{method}");
        assert_eq!(foreign.0, StatusCode::NOT_FOUND);
    }
    let read = server.client.get(server.url(&format!("/api/v1/profiles/{theirs}"))).header("x-tenant-id", "a");
    assert_eq!(read.send().await.expect("an answer").status(), StatusCode::OK);
}

async fn tenants_share_addresses_and_keys_without_meeting(backend: Backend) {
    let server = backend.start().await;
    create(&server, &profile("Ada", "ada@example.com")).await;
    for tenant in ["a", "b"] {
        let request =
            server.client.post(server.url("/api/v1/profiles")).header("x-tenant-id", tenant).header("idempotency-key", "k");
        let created = request.json(&profile("Ada", "ada@example.com")).send().await.expect("an answer");
        assert_eq!(created.status(), StatusCode::CREATED);
        for query in ["", "?email=ada@example.com", "?name=a", "?sort=name"] {
            let list = server.client.get(server.url(&format!("/api/v1/profiles{query}"))).header("x-tenant-id", tenant);
            let list: Value = list.send().await.expect("an answer").json().await.expect("JSON");
            assert_eq!(list["items"].as_array().expect("items").len(), 1, "{tenant} {query}");
        }
    }
}
