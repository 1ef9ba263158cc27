//! Many clients at once: conditional writes, idempotency keys, unique addresses.

use std::{collections::HashSet, sync::Arc};

use crate::stores::{Backend, create, on_both_stores, profile};
use profile_port_contracts::scaled;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::{sync::Barrier, task::JoinSet};

on_both_stores!(
    fifty_clients_increment_one_attribute_and_the_counter_equals_the_successes,
    a_hundred_posts_with_one_key_make_one_profile_and_equal_answers,
    another_body_under_a_key_is_refused_and_another_tenants_same_key_is_another,
    a_refused_post_leaves_no_key_behind,
    two_creations_of_one_address_in_different_case_let_one_through,
    crossing_changes_of_address_end_with_nothing_but_email_taken,
    a_replay_after_the_deletion_is_not_found_and_creates_nothing,
);

async fn fifty_clients_increment_one_attribute_and_the_counter_equals_the_successes(backend: Backend) {
    let server = backend.start().await;
    let id = create(&server, &json!({"name": "Counter", "email": "c@example.com", "attributes": {"n": 0}})).await;
    let url = server.url(&format!("/api/v1/profiles/{id}"));
    let barrier = Arc::new(Barrier::new(50));
    let mut clients = JoinSet::new();
    for _ in 0..50 {
        let (url, barrier, client) = (url.clone(), Arc::clone(&barrier), server.client.clone());
        clients.spawn(async move {
            barrier.wait().await;
            let mut counted = (0, 0);
            for _ in 0..4 {
                let read = client.get(&url).send().await.expect("a read");
                assert_eq!(read.status(), StatusCode::OK);
                let etag = read.headers()["etag"].clone();
                let mut body: Value = read.json().await.expect("a profile");
                body["attributes"]["n"] = json!(body["attributes"]["n"].as_i64().expect("a number") + 1);
                let written = client.put(&url).header("if-match", etag).json(&body).send().await.expect("a write");
                match written.status() {
                    StatusCode::OK => counted.0 += 1,
                    StatusCode::PRECONDITION_FAILED => counted.1 += 1,
                    other => panic!("{other}: {}", written.text().await.unwrap_or_default()),
                }
            }
            counted
        });
    }
    let counted = clients.join_all().await;
    let successes: i64 = counted.iter().map(|counted| counted.0).sum();
    let conflicts: i64 = counted.iter().map(|counted| counted.1).sum();
    let last: Value = server.get_json(&format!("/api/v1/profiles/{id}")).await;
    assert_eq!(successes + conflicts, 200);
    assert!(successes >= 1);
    assert_eq!(last["attributes"]["n"], json!(successes));
    assert_eq!(last["version"], json!(successes + 1));
}

async fn a_hundred_posts_with_one_key_make_one_profile_and_equal_answers(backend: Backend) {
    let server = backend.start().await;
    let body = json!({"name": "Once", "email": "once@example.com", "attributes": {"n": 1.0}});
    let barrier = Arc::new(Barrier::new(100));
    let mut clients = JoinSet::new();
    for _ in 0..100 {
        let (url, body, client, barrier) =
            (server.url("/api/v1/profiles"), body.clone(), server.client.clone(), Arc::clone(&barrier));
        clients.spawn(async move {
            barrier.wait().await;
            loop {
                let answer = client.post(&url).header("idempotency-key", "one").json(&body).send().await.expect("an answer");
                match answer.status() {
                    StatusCode::CREATED => {
                        let headers = (answer.headers()["location"].clone(), answer.headers()["etag"].clone());
                        return (headers, answer.text().await.expect("a body"));
                    }
                    // It was waited for until the deadline: the client repeats, as the answer says.
                    StatusCode::CONFLICT | StatusCode::SERVICE_UNAVAILABLE => {
                        assert!(answer.headers().contains_key("retry-after"));
                    }
                    other => panic!("{other}: {}", answer.text().await.unwrap_or_default()),
                }
            }
        });
    }
    let answers: HashSet<_> = clients.join_all().await.into_iter().collect();
    assert_eq!(answers.len(), 1, "{answers:?}");
    let list = server.get_json("/api/v1/profiles").await;
    assert_eq!(list["items"].as_array().expect("items").len(), 1);
}

async fn another_body_under_a_key_is_refused_and_another_tenants_same_key_is_another(backend: Backend) {
    let server = backend.start().await;
    let post = |tenant: &'static str, name: &'static str| {
        let request = server.client.post(server.url("/api/v1/profiles")).header("x-tenant-id", tenant);
        request.header("idempotency-key", "k").json(&profile(name, "k@example.com")).send()
    };
    let first = post("a", "Ada").await.expect("an answer");
    assert_eq!(first.status(), StatusCode::CREATED);
    let other_body = post("a", "Eve").await.expect("an answer");
    assert_eq!(other_body.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let problem: Value = other_body.json().await.expect("a problem");
    assert_eq!(problem["error"]["code"], "IDEMPOTENCY_KEY_REUSED");
    let other_tenant = post("b", "Ada").await.expect("an answer");
    assert_eq!(other_tenant.status(), StatusCode::CREATED);
    assert_ne!(first.headers()["location"], other_tenant.headers()["location"]);
    // Spelled in another way it is the same body.
    let spelled = r#"{ "email":"k\u0040example.com","name":"Ada"}"#;
    let request = server.client.post(server.url("/api/v1/profiles")).header("x-tenant-id", "a").header("idempotency-key", "k");
    let again = request.header("content-type", "application/json").body(spelled).send().await.expect("an answer");
    assert_eq!(again.status(), StatusCode::CREATED);
    assert_eq!(again.headers()["location"], first.headers()["location"]);
}

async fn a_refused_post_leaves_no_key_behind(backend: Backend) {
    let server = backend.start().await;
    create(&server, &profile("Ada", "taken@example.com")).await;
    let post = |email: &'static str| {
        let request = server.client.post(server.url("/api/v1/profiles")).header("idempotency-key", "k");
        request.json(&profile("Bob", email)).send()
    };
    assert_eq!(post("TAKEN@example.com").await.expect("an answer").status(), StatusCode::CONFLICT);
    // Had the refused request left its key, this other body would be refused for it.
    assert_eq!(post("free@example.com").await.expect("an answer").status(), StatusCode::CREATED);
}

async fn two_creations_of_one_address_in_different_case_let_one_through(backend: Backend) {
    let server = backend.start().await;
    for round in 0..scaled(1_000) {
        let barrier = Arc::new(Barrier::new(2));
        let mut clients = JoinSet::new();
        for email in [format!("Race-{round}@Example.com"), format!("race-{round}@example.COM")] {
            let (url, client, barrier) = (server.url("/api/v1/profiles"), server.client.clone(), Arc::clone(&barrier));
            clients.spawn(async move {
                barrier.wait().await;
                client.post(&url).json(&profile("Racer", &email)).send().await.expect("an answer").status()
            });
        }
        let mut statuses = clients.join_all().await;
        statuses.sort();
        assert_eq!(statuses, [StatusCode::CREATED, StatusCode::CONFLICT], "round {round}");
    }
}

async fn crossing_changes_of_address_end_with_nothing_but_email_taken(backend: Backend) {
    let server = backend.start().await;
    let mut ids = Vec::new();
    for index in 0..20 {
        ids.push(create(&server, &profile("Crosser", &format!("cross-{index}@example.com"))).await);
    }
    let barrier = Arc::new(Barrier::new(20));
    let mut clients = JoinSet::new();
    for (index, id) in ids.into_iter().enumerate() {
        let (url, client, barrier) = (server.url(&format!("/api/v1/profiles/{id}")), server.client.clone(), Arc::clone(&barrier));
        clients.spawn(async move {
            barrier.wait().await;
            for step in 0..scaled(200) {
                let email = format!("cross-{}@example.com", (index * 7 + step as usize * 3) % 20);
                let answer = client.patch(&url).json(&json!({"email": email})).send().await.expect("an answer");
                let status = answer.status();
                let body: Value = answer.json().await.expect("JSON");
                match status {
                    StatusCode::OK => assert_eq!(body["email"], json!(email)),
                    StatusCode::CONFLICT => assert_eq!(body["error"]["code"], "EMAIL_TAKEN"),
                    other => panic!("{other}: {body}"),
                }
            }
        });
    }
    clients.join_all().await;
    let list = server.get_json("/api/v1/profiles?limit=200").await;
    let items = list["items"].as_array().expect("items");
    let emails: HashSet<&str> = items.iter().filter_map(|item| item["email"].as_str()).collect();
    assert_eq!((items.len(), emails.len()), (20, 20));
}

async fn a_replay_after_the_deletion_is_not_found_and_creates_nothing(backend: Backend) {
    let server = backend.start().await;
    let post = || {
        let request = server.client.post(server.url("/api/v1/profiles")).header("idempotency-key", "gone");
        request.json(&profile("Ada", "ada@example.com")).send()
    };
    let created = post().await.expect("an answer");
    let location = created.headers()["location"].to_str().expect("text").to_owned();
    let deleted = server.client.delete(server.url(&location)).send().await.expect("an answer");
    assert_eq!(deleted.status(), StatusCode::NO_CONTENT);
    assert_eq!(post().await.expect("an answer").status(), StatusCode::NOT_FOUND);
    assert_eq!(server.get_json("/api/v1/profiles").await["items"], json!([]));
}
