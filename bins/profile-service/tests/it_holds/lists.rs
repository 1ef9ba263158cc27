//! Lists: walks among writers, and cursors that hold across instances and restarts and nowhere else.

use std::{
    collections::HashMap,
    sync::Arc,
    sync::atomic::{AtomicBool, Ordering},
};

use crate::{
    stores::{Backend, create, on_both_stores, profile},
    support::Server,
};
use reqwest::StatusCode;
use serde_json::{Value, json};

on_both_stores!(
    a_walk_among_writers_meets_each_untouched_profile_once,
    a_cursor_works_after_a_restart_and_for_another_page_size,
    a_cursor_that_was_altered_or_belongs_elsewhere_is_refused,
    filters_find_what_they_say,
);

async fn walk(server: &Server, query: &str) -> Vec<Value> {
    let (mut items, mut cursor) = (Vec::new(), String::new());
    loop {
        let mut page = server.get_json(&format!("/api/v1/profiles?{query}{cursor}")).await;
        items.append(page["items"].as_array_mut().expect("items"));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return items,
        }
    }
}

async fn a_walk_among_writers_meets_each_untouched_profile_once(backend: Backend) {
    let server = Arc::new(backend.start().await);
    let mut untouched = Vec::new();
    let mut touched = Vec::new();
    for index in 0..60 {
        let body = json!({"name": format!("N{:02}", index * 7 % 60), "email": format!("w{index}@example.com"), "attributes": {"plan": "pro"}});
        let id = create(&server, &body).await;
        if index % 3 == 0 { touched.push(id) } else { untouched.push(id) }
    }
    let done = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (server, done) = (Arc::clone(&server), Arc::clone(&done));
        async move {
            let mut round = 0;
            while !done.load(Ordering::Relaxed) {
                let url = server.url(&format!("/api/v1/profiles/{}", touched[round % touched.len()]));
                if round % 5 == 4 {
                    server.client.delete(&url).send().await.expect("an answer");
                } else {
                    let name = json!({"name": format!("N{:02}", round * 11 % 60)});
                    server.client.patch(&url).json(&name).send().await.expect("an answer");
                }
                create(&server, &json!({"name": format!("N{:02}x", round % 60), "email": format!("new{round}@example.com"), "attributes": {"plan": "pro"}})).await;
                round += 1;
            }
        }
    });
    for query in ["limit=7", "limit=7&sort=-created_at", "limit=7&sort=name", "limit=7&name=n", "limit=7&attr.plan=pro"] {
        let mut seen: HashMap<String, usize> = HashMap::new();
        for item in walk(&server, query).await {
            *seen.entry(item["id"].as_str().expect("an id").to_owned()).or_default() += 1;
        }
        for id in &untouched {
            assert_eq!(seen.get(id), Some(&1), "{query}: {id}");
        }
    }
    done.store(true, Ordering::Relaxed);
    writer.await.expect("the writer");
}

async fn a_cursor_works_after_a_restart_and_for_another_page_size(backend: Backend) {
    let server = backend.start().await;
    for index in 0..5 {
        create(&server, &profile(&format!("P{index}"), &format!("p{index}@example.com"))).await;
    }
    let page = server.get_json("/api/v1/profiles?limit=2&sort=name").await;
    let cursor = page["next_cursor"].as_str().expect("a cursor").to_owned();
    server.stop().await;
    let server = backend.start().await;
    let next = server.get_json(&format!("/api/v1/profiles?limit=100&sort=name&cursor={cursor}")).await;
    let names: Vec<&str> = next["items"].as_array().expect("items").iter().filter_map(|item| item["name"].as_str()).collect();
    assert_eq!(names, ["P2", "P3", "P4"]);
    assert_eq!(next["next_cursor"], Value::Null);
}

async fn a_cursor_that_was_altered_or_belongs_elsewhere_is_refused(backend: Backend) {
    let server = backend.start().await;
    for index in 0..3 {
        create(&server, &profile(&format!("P{index}"), &format!("p{index}@example.com"))).await;
    }
    let page = server.get_json("/api/v1/profiles?limit=1&sort=name").await;
    let cursor = page["next_cursor"].as_str().expect("a cursor").to_owned();
    let mut altered = cursor.clone().into_bytes();
    altered[10] = if altered[10] == b'A' { b'B' } else { b'A' };
    let altered = String::from_utf8(altered).expect("ASCII");
    let ask = |tenant: &'static str, query: String| {
        let url = server.url(&format!("/api/v1/profiles?{query}"));
        let request = server.client.get(url).header("x-tenant-id", tenant).header("x-request-id", "same");
        async move {
            let answer = request.send().await.expect("an answer");
            (answer.status(), answer.text().await.expect("a body"))
        }
    };
    let (status, garbage) = ask("default", "sort=name&cursor=garbage".into()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(garbage.contains("INVALID_CURSOR"), "{garbage}");
    for (tenant, query) in [
        ("default", format!("sort=name&cursor={altered}")),
        ("default", format!("sort=created_at&cursor={cursor}")),
        ("default", format!("name=p&cursor={cursor}")),
        ("default", format!("attr.plan=pro&cursor={cursor}")),
        ("b", format!("sort=name&cursor={cursor}")),
    ] {
        assert_eq!(ask(tenant, query.clone()).await, (StatusCode::BAD_REQUEST, garbage.clone()), "{tenant} {query}");
    }
    assert_eq!(ask("default", format!("sort=name&cursor={cursor}")).await.0, StatusCode::OK);
}

async fn filters_find_what_they_say(backend: Backend) {
    let server = backend.start().await;
    let bodies = [
        json!({"name": "Ångström", "email": "A@example.com", "attributes": {"plan": "pro", "age": 42, "vip": true, "address": {"city": "Köln"}}}),
        json!({"name": "ada", "email": "b@example.com", "attributes": {"plan": "pro", "age": "42", "vip": false, "address": {"city": "Bonn"}}}),
        json!({"name": "Ada Lovelace", "email": "c@example.com", "attributes": {"plan": "free", "age": 4.5}}),
    ];
    for body in &bodies {
        create(&server, body).await;
    }
    let expectations: &[(&str, &[usize])] = &[
        ("email=a@EXAMPLE.com", &[0]),
        ("attr.plan=pro", &[0, 1]),
        ("attr.plan=pro&sort=-created_at", &[1, 0]),
        ("attr.age=42", &[0, 1]),
        ("attr.age=4.5", &[2]),
        ("attr.vip=true", &[0]),
        ("attr.address.city=K%C3%B6ln", &[0]),
        ("attr.plan=pro&attr.age=42&attr.vip=false&email=b@example.com", &[1]),
        ("attr.plan=none", &[]),
        ("name=ADA", &[1, 2]),
        ("name=%C3%A5", &[0]),
        ("sort=name", &[1, 2, 0]),
    ];
    for (query, expected) in expectations {
        let page = server.get_json(&format!("/api/v1/profiles?{query}")).await;
        let found: Vec<&str> =
            page["items"].as_array().expect("items").iter().filter_map(|item| item["email"].as_str()).collect();
        let expected: Vec<&str> = expected.iter().filter_map(|index| bodies[*index]["email"].as_str()).collect();
        assert_eq!(found, expected, "{query}");
    }
}
