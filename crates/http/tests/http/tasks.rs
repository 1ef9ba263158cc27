//! Tasks over HTTP, each answer checked against its description.

use actix_web::test::TestRequest;
use serde_json::{Value, json};

use crate::support::{Answer, Api, Trouble};

async fn submit(api: &Api, body: &Value) -> Answer {
    api.call(TestRequest::post().uri("/api/v1/tasks/delayed").set_json(body)).await
}

async fn submitted(api: &Api, body: &Value) -> String {
    let answer = submit(api, body).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.header("location").expect("a path").to_owned()
}

#[actix_web::test]
async fn a_task_is_shown_as_it_was_submitted() {
    let api = Api::new();
    let profile = api.create(json!({"name": "Ada", "email": "ada@example.com"})).await;
    let profile = profile.rsplit('/').next().expect("an id");
    let body = json!({
        "type": "profile.patch", "payload": {"patch": {"bio": null}}, "delay": "15m", "max_attempts": 3, "unique_key": "k",
        "on_conflict": "replace", "profile_id": profile
    });
    let path = submitted(&api, &body).await;
    let shown = api.call(TestRequest::get().uri(&path)).await;
    assert_eq!((shown.status, shown.header("cache-control")), (200, Some("no-store")));
    let shown = shown.json();
    for member in ["type", "payload", "max_attempts", "unique_key", "profile_id"] {
        assert_eq!(shown[member], body[member], "{member}");
    }
    assert_eq!((&shown["status"], &shown["attempt"], &shown["attempts"]), (&json!("scheduled"), &json!(0), &json!([])));

    let list = api.call(TestRequest::get().uri("/api/v1/tasks?status=scheduled&type=profile.patch&limit=1")).await.json();
    assert_eq!((&list["items"][0], &list["next_cursor"]), (&shown, &Value::Null));
    assert_eq!(api.call(TestRequest::delete().uri(&path)).await.json()["status"], "cancelled");
    let refused = api.call(TestRequest::post().uri(&format!("{path}/retry"))).await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (409, &json!("TASK_NOT_DEAD")));
}

#[actix_web::test]
async fn pages_follow_each_other_by_their_cursors() {
    let api = Api::new();
    let mut paths = Vec::new();
    for _ in 0..5 {
        paths.push(submitted(&api, &json!({"type": "echo", "delay": 60})).await);
    }
    paths.reverse();
    let (mut seen, mut query) = (Vec::new(), String::new());
    loop {
        let page = api.call(TestRequest::get().uri(&format!("/api/v1/tasks?limit=2{query}"))).await.json();
        let items = page["items"].as_array().expect("items").iter();
        seen.extend(items.map(|task| format!("/api/v1/tasks/{}", task["id"].as_str().expect("an id"))));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        query = format!("&cursor={cursor}");
        let other = api.call(TestRequest::get().uri(&format!("/api/v1/tasks?status=dead{query}"))).await;
        assert_eq!((other.status, &other.json()["error"]["code"]), (400, &json!("INVALID_CURSOR")));
    }
    assert_eq!(seen, paths);
}

#[actix_web::test]
async fn what_is_wrong_is_said() {
    let api = Api::new();
    for (body, status, code) in [
        (json!([]), 422, "VALIDATION_FAILED"),
        (json!({"type": "echo", "colour": 1}), 400, "UNKNOWN_MEMBER"),
        (json!({"type": "echo", "payload": {"colour": 1}}), 422, "VALIDATION_FAILED"),
        (json!({"type": "echo", "delay": 1, "run_at": "2026-01-31T12:00:00Z"}), 422, "VALIDATION_FAILED"),
        (json!({"type": "webhook", "payload": {"url": "ftp://example.com", "body": {}}}), 422, "VALIDATION_FAILED"),
        (json!({"type": "cache.warm", "payload": {"ids": ["x"]}}), 422, "VALIDATION_FAILED"),
    ] {
        let answer = submit(&api, &body).await;
        assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (status, Some(code)), "{body}");
    }
    for path in ["/api/v1/tasks/x", "/api/v1/tasks/0199f3c2-6f0e-7cc3-98a2-4f3b1c0d9e8f"] {
        assert_eq!(api.call(TestRequest::get().uri(path)).await.json()["error"]["code"], "TASK_NOT_FOUND");
        assert_eq!(api.call(TestRequest::delete().uri(path)).await.status, 404);
        assert_eq!(api.call(TestRequest::post().uri(&format!("{path}/retry"))).await.status, 404);
    }
    for query in ["wait=31", "wait=-1", "wait=", "other=1"] {
        assert_eq!(api.call(TestRequest::get().uri(&format!("/api/v1/tasks/x?{query}"))).await.status, 400, "{query}");
    }
    for query in ["status=done", "type=Echo", "profile_id=x", "created_from=now", "limit=0", "cursor=x"] {
        assert_eq!(api.call(TestRequest::get().uri(&format!("/api/v1/tasks?{query}"))).await.status, 400, "{query}");
    }
    api.trouble(Trouble::OutcomeUnknown);
    assert_eq!(submit(&api, &json!({"type": "echo"})).await.json()["error"]["code"], "COMMIT_UNKNOWN");
}

#[actix_web::test]
async fn a_key_makes_a_submission_happen_once() {
    let api = Api::new();
    let keyed = async |body: Value| {
        let request = TestRequest::post().uri("/api/v1/tasks/delayed").insert_header(("idempotency-key", "k")).set_json(body);
        api.call(request).await
    };
    let first = keyed(json!({"type": "echo", "delay": "1h"})).await;
    let again = keyed(json!({"delay": "1h", "type": "echo", "payload": {}})).await;
    assert_eq!((again.status, again.json()), (202, first.json()));
    let other = keyed(json!({"type": "echo", "delay": "2h"})).await;
    assert_eq!((other.status, &other.json()["error"]["code"]), (422, &json!("IDEMPOTENCY_KEY_REUSED")));
    assert_eq!(api.call(TestRequest::get().uri("/api/v1/tasks")).await.json()["items"].as_array().map(Vec::len), Some(1));
}

#[test]
fn every_kind_is_described_with_its_payload() {
    let document = serde_json::to_value(profile_http::openapi()).expect("JSON");
    let kinds = document["components"]["schemas"]["NewTask"]["oneOf"].as_array().expect("one alternative for each").clone();
    let names: Vec<&str> = kinds.iter().filter_map(|kind| kind["properties"]["type"]["enum"][0].as_str()).collect();
    assert_eq!(names, ["echo", "profile.patch", "profile.export", "webhook", "cache.warm"]);
    for kind in profile_application::task_kinds() {
        let described = kinds.iter().find(|it| it["title"] == kind.name).expect("it is there");
        assert_eq!(described["properties"]["payload"]["type"], kind.payload["type"], "{}", kind.name);
        assert_eq!(described["example"]["payload"], kind.example);
    }
}
