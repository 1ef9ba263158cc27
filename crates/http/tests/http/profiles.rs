//! Creating, reading, listing, changing and deleting.

use actix_web::test::TestRequest;
use serde_json::{Value, json};

use crate::support::{Answer, Api};

fn ada() -> Value {
    json!({"name": "Ada Lovelace", "email": "ada@example.com", "bio": "Wrote the first program.", "attributes": {"plan": "pro"}})
}

fn get(path: &str) -> TestRequest {
    TestRequest::get().uri(path)
}

fn code(answer: &Answer) -> String {
    answer.json()["error"]["code"].as_str().unwrap().to_owned()
}

#[actix_web::test]
async fn create_answers_with_the_profile_its_place_and_its_tag() {
    let api = Api::new();
    let answer = api.call(TestRequest::post().uri("/api/v1/profiles").set_json(ada())).await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.header("etag"), Some("\"1-1\""));
    assert_eq!(answer.header("cache-control"), Some("private, no-cache"));
    let mut body = answer.json();
    let id = body["id"].as_str().unwrap().to_owned();
    assert_eq!(answer.header("location"), Some(&*format!("/api/v1/profiles/{id}")));
    body["id"] = json!("…");
    let expected = json!({
        "id": "…", "name": "Ada Lovelace", "email": "ada@example.com", "bio": "Wrote the first program.",
        "attributes": {"plan": "pro"}, "images": [], "version": 1,
        "created_at": "2026-02-02T02:40:00.25Z", "updated_at": "2026-02-02T02:40:00.25Z",
    });
    assert_eq!(body, expected);
}

#[actix_web::test]
async fn read_says_where_the_values_come_from_first() {
    let api = Api::new();
    let path = api.create(ada()).await;
    let answer = api.call(get(&path)).await;
    assert_eq!((answer.status, answer.header("etag")), (200, Some("\"1-1\"")));
    assert!(answer.body.starts_with(br#"{"source":"database","id":"#), "{answer:?}");
    assert_eq!(answer.json()["attributes"], json!({"plan": "pro"}));
}

#[actix_web::test]
async fn read_again_is_not_modified_until_it_is() {
    let api = Api::new();
    let path = api.create(ada()).await;
    for same in ["\"1-1\"", "W/\"1-1\"", "\"x\", \"1-1\"", "*"] {
        let answer = api.call(get(&path).insert_header(("If-None-Match", same))).await;
        assert_eq!((answer.status, answer.header("etag"), answer.body.len()), (304, Some("\"1-1\""), 0), "{same}");
        assert_eq!(answer.header("cache-control"), Some("private, no-cache"));
    }
    for other in ["\"1-2\"", "\"0-1\"", "\"1-01\""] {
        assert_eq!(api.call(get(&path).insert_header(("If-None-Match", other))).await.status, 200, "{other}");
    }
    let answer = api.call(get(&path).insert_header(("If-Match", "\"1-7\""))).await;
    assert_eq!((answer.status, answer.header("etag")), (412, Some("\"1-1\"")));
}

#[actix_web::test]
async fn head_is_get_without_a_body() {
    let api = Api::new();
    let path = api.create(ada()).await;
    let answer = api.call(TestRequest::default().method(actix_web::http::Method::HEAD).uri(&path)).await;
    assert_eq!((answer.status, answer.header("etag")), (200, Some("\"1-1\"")));
}

#[actix_web::test]
async fn explain_shows_the_facts_and_has_no_tag() {
    let api = Api::new();
    let path = api.create(ada()).await;
    let answer = api.call(get(&format!("{path}?explain=true")).insert_header(("If-None-Match", "*"))).await;
    assert_eq!((answer.status, answer.header("etag"), answer.header("cache-control")), (200, None, Some("no-store")));
    let expected = json!({
        "rule": {"name": "newest"},
        "winner": {"source": "api", "reference_date": "2026-02-02T02:40:00.25Z", "value": "pro"},
        "superseded": [],
    });
    assert_eq!(answer.json()["explain"]["attributes.plan"], expected);
    let plain = api.call(get(&format!("{path}?explain=false"))).await;
    assert_eq!((plain.header("etag"), &plain.json()["explain"]), (Some("\"1-1\""), &Value::Null));
}

#[actix_web::test]
async fn put_replaces_and_what_get_gave_can_be_put_back() {
    let api = Api::new();
    let path = api.create(ada()).await;
    let new = json!({"name": "Ada King", "email": "ada@example.com"});
    let answer = api.call(TestRequest::put().uri(&path).set_json(&new).insert_header(("If-Match", "W/\"1-1\""))).await;
    assert_eq!((answer.status, answer.header("etag")), (200, Some("\"1-2\"")));
    let body = answer.json();
    assert_eq!((&body["name"], &body["bio"], &body["attributes"]), (&json!("Ada King"), &Value::Null, &json!({})));
    assert_eq!(body["source"], Value::Null);

    let seen = api.call(get(&path)).await.json();
    let again = api.call(TestRequest::put().uri(&path).set_json(&seen)).await;
    assert_eq!((again.status, again.header("etag")), (200, Some("\"1-2\"")));
}

#[actix_web::test]
async fn patch_merges() {
    let api = Api::new();
    let path = api.create(ada()).await;
    let patch = r#"{"bio": null, "attributes": {"plan": null, "seats": 3}}"#;
    for media_type in ["application/merge-patch+json", "application/json; charset=UTF-8", "application/vnd.x+json"] {
        let request = TestRequest::patch().uri(&path).set_payload(patch).insert_header(("Content-Type", media_type));
        let answer = api.call(request).await;
        assert_eq!((answer.status, answer.header("etag")), (200, Some("\"1-2\"")), "{media_type}");
        let body = answer.json();
        assert_eq!((&body["name"], &body["bio"]), (&json!("Ada Lovelace"), &Value::Null));
        assert_eq!(body["attributes"], json!({"seats": 3}));
    }
}

#[actix_web::test]
async fn delete_leaves_nothing() {
    let api = Api::new();
    let path = api.create(ada()).await;
    let wrong = api.call(TestRequest::delete().uri(&path).insert_header(("If-Match", "\"1-9\""))).await;
    assert_eq!((wrong.status, code(&wrong).as_str()), (412, "VERSION_CONFLICT"));
    let answer = api.call(TestRequest::delete().uri(&path).insert_header(("If-Match", "\"1-1\""))).await;
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    let gone = [
        api.call(get(&path)).await,
        api.call(TestRequest::put().uri(&path).set_json(ada())).await,
        api.call(TestRequest::patch().uri(&path).set_json(json!({}))).await,
        api.call(TestRequest::delete().uri(&path)).await,
    ];
    for answer in gone {
        assert_eq!((answer.status, code(&answer).as_str()), (404, "NOT_FOUND"));
    }
}

#[actix_web::test]
async fn versions_that_do_not_match_are_refused_with_the_one_there_is() {
    let api = Api::new();
    let path = api.create(ada()).await;
    for tags in ["\"1-2\"", "\"2-1\"", "\"abc\", W/\"1-3\""] {
        let answer = api.call(TestRequest::put().uri(&path).set_json(ada()).insert_header(("If-Match", tags))).await;
        assert_eq!((answer.status, code(&answer).as_str()), (412, "VERSION_CONFLICT"), "{tags}");
        assert_eq!(answer.header("etag"), Some("\"1-1\""));
    }
    for tags in ["*", "\"1-1\"", "\"1-9\" , W/\"1-1\""] {
        let answer = api.call(TestRequest::put().uri(&path).set_json(ada()).insert_header(("If-Match", tags))).await;
        assert_eq!((answer.status, answer.header("etag")), (200, Some("\"1-1\"")), "{tags}");
    }
    let split = TestRequest::put().uri(&path).set_json(ada());
    let split = split.append_header(("If-Match", "\"1-9\"")).append_header(("If-Match", "\"1-1\""));
    assert_eq!(api.call(split).await.status, 200);
}

#[actix_web::test]
async fn a_write_that_expects_none_fails_either_way() {
    let api = Api::new();
    let path = api.create(ada()).await;
    let absent = "/api/v1/profiles/0199f3c2-0000-7000-8000-000000000000";
    for make in [TestRequest::put as fn() -> TestRequest, TestRequest::patch, TestRequest::delete] {
        let expecting_none = |path: &str| make().uri(path).set_json(ada()).insert_header(("If-None-Match", "*"));
        let there = api.call(expecting_none(&path)).await;
        assert_eq!((there.status, code(&there).as_str()), (412, "PRECONDITION_FAILED"));
        assert_eq!(there.header("etag"), Some("\"1-1\""));
        let not_there = api.call(expecting_none(absent)).await;
        assert_eq!((not_there.status, code(&not_there).as_str()), (404, "NOT_FOUND"));
    }
}

#[actix_web::test]
async fn an_idempotency_key_makes_it_happen_once() {
    let api = Api::new();
    let post = |body: Value| TestRequest::post().uri("/api/v1/profiles").set_json(body).insert_header(("Idempotency-Key", "k-1"));
    let first = api.call(post(ada())).await;
    let again = api.call(post(ada())).await;
    assert_eq!((first.status, again.status, &first.body), (201, 201, &again.body));
    assert_eq!((first.header("location"), first.header("etag")), (again.header("location"), again.header("etag")));
    let other = api.call(post(json!({"name": "Grace", "email": "grace@example.com"}))).await;
    assert_eq!((other.status, code(&other).as_str()), (422, "IDEMPOTENCY_KEY_REUSED"));
    let tenant = api.call(post(ada()).insert_header(("X-Tenant-ID", "b"))).await;
    assert_eq!(tenant.status, 201);
    assert_ne!(tenant.header("location"), first.header("location"));
    api.call(TestRequest::delete().uri(first.header("location").unwrap())).await;
    let forgotten = api.call(post(ada())).await;
    assert_eq!((forgotten.status, code(&forgotten).as_str()), (404, "NOT_FOUND"));
}

#[actix_web::test]
async fn another_tenants_profile_is_as_if_it_never_was() {
    let api = Api::new();
    let path = api.create(ada()).await;
    let foreign = api.call(get(&path).insert_header(("X-Tenant-ID", "b"))).await;
    let unknown = api.call(get("/api/v1/profiles/0199f3c2-0000-7000-8000-000000000000")).await;
    let malformed = api.call(get("/api/v1/profiles/not-a-uuid")).await;
    assert_eq!(foreign.status, 404);
    for same in [unknown, malformed] {
        assert_eq!((foreign.status, &foreign.body), (same.status, &same.body));
    }
    let list = api.call(get("/api/v1/profiles").insert_header(("X-Tenant-ID", "b"))).await;
    assert_eq!(list.json(), json!({"items": [], "next_cursor": null}));
}

#[actix_web::test]
async fn lists_page_filter_and_sort() {
    let api = Api::new();
    for (name, plan) in [("Cy", "pro"), ("ada", "free"), ("Bo", "pro")] {
        let email = format!("{name}@example.com");
        api.create(json!({"name": name, "email": email, "attributes": {"plan": plan, "at": {"city": "Bern"}}})).await;
    }
    let names = |answer: &Answer| -> Vec<String> {
        assert_eq!(answer.status, 200, "{answer:?}");
        let body = answer.json();
        body["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    };
    for (query, expected) in [
        ("", vec!["Cy", "ada", "Bo"]),
        ("?sort=created_at", vec!["Cy", "ada", "Bo"]),
        ("?sort=-created_at", vec!["Bo", "ada", "Cy"]),
        ("?sort=name", vec!["ada", "Bo", "Cy"]),
        ("?name=AD", vec!["ada"]),
        ("?name=", vec!["ada", "Bo", "Cy"]),
        ("?email=BO%40example.com", vec!["Bo"]),
        ("?attr.plan=pro", vec!["Cy", "Bo"]),
        ("?attr.plan=pro&attr.at.city=Bern&sort=-created_at&limit=200", vec!["Bo", "Cy"]),
        ("?attr.plan=nothing", vec![]),
    ] {
        assert_eq!(names(&api.call(get(&format!("/api/v1/profiles{query}"))).await), expected, "{query}");
    }

    let mut walked = Vec::new();
    let mut query = "?limit=1&sort=name".to_owned();
    loop {
        let page = api.call(get(&format!("/api/v1/profiles{query}"))).await;
        walked.extend(names(&page));
        assert!(page.json()["items"][0].get("source").is_none());
        let Some(cursor) = page.json()["next_cursor"].as_str().map(str::to_owned) else { break };
        let elsewhere = api.call(get(&format!("/api/v1/profiles?cursor={cursor}"))).await;
        assert_eq!((elsewhere.status, code(&elsewhere).as_str()), (400, "INVALID_CURSOR"));
        query = format!("?limit=1&sort=name&cursor={cursor}");
    }
    assert_eq!(walked, ["ada", "Bo", "Cy"]);
}
