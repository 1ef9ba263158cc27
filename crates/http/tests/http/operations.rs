//! Probes, metrics, request ids, and the description of all this.

use std::{collections::BTreeSet, sync::atomic::Ordering};

use actix_web::test::TestRequest;
use serde_json::{Value, json};

use crate::support::{Answer, Api, Trouble};

async fn get(api: &Api, path: &str) -> Answer {
    api.call(TestRequest::get().uri(path)).await
}

#[actix_web::test]
async fn ready_is_started_not_draining_and_a_store_that_answers() {
    let api = Api::new();
    let not_ready = |answer: &Answer, why: &str| {
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
        let body = answer.json();
        assert_eq!((&body["error"]["code"], &body["detail"]), (&json!("NOT_READY"), &json!(why)));
    };
    not_ready(&get(&api, "/readyz").await, "the service is starting");
    api.service.operations.set_started();
    assert_eq!(get(&api, "/readyz").await.status, 200);
    api.service.operations.set_draining();
    not_ready(&get(&api, "/readyz").await, "the service is stopping");

    let api = Api::new();
    api.service.operations.set_started();
    api.trouble(Trouble::Unavailable);
    not_ready(&get(&api, "/readyz").await, "the store doesn't answer");
    assert_eq!(get(&api, "/livez").await.status, 200);
}

#[actix_web::test]
async fn health_is_200_whatever_it_says() {
    let api = Api::new();
    let health = |status: &str, phase: &str, store: &str| json!({"status": status, "phase": phase, "checks": {"store": {"status": store, "kind": "fake"}, "caches": {}}, "version": "1.2.3"});
    let answer = get(&api, "/health").await;
    assert_eq!((answer.status, answer.json()), (200, health("degraded", "starting", "ok")));
    api.service.operations.set_started();
    assert_eq!(get(&api, "/health").await.json(), health("ok", "serving", "ok"));
    assert_eq!(api.store.pings.load(Ordering::Relaxed), 1, "one question to the store for probes within a second");

    let api = Api::new();
    api.service.operations.set_started();
    api.trouble(Trouble::Unavailable);
    let answer = get(&api, "/health").await;
    assert_eq!((answer.status, answer.json()), (200, health("down", "serving", "down")));
}

#[actix_web::test]
async fn metrics_know_patterns_and_nothing_that_clients_make_up() {
    let api = Api::new();
    get(&api, "/api/v1/profiles/someone?explain=true").await;
    get(&api, "/nothing/someone").await;
    let method = actix_web::http::Method::from_bytes(b"BREW").unwrap();
    api.call(TestRequest::default().method(method).uri("/livez")).await;
    let answer = get(&api, "/metrics").await;
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4"));
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    for line in [
        r#"http_requests_total{method="GET",route="/api/v1/profiles/{id}",status="404"} 1"#,
        r#"http_requests_total{method="GET",route="unmatched",status="404"} 1"#,
        r#"http_requests_total{method="OTHER",route="/livez",status="405"} 1"#,
        r#"http_request_duration_seconds_count{method="GET",route="/api/v1/profiles/{id}"} 1"#,
        "http_requests_in_flight 1",
        r#"build_info{commit="abc",version="1.2.3"} 1"#,
    ] {
        assert!(text.lines().any(|known| known == line), "{line} is missing in\n{text}");
    }
    assert!(text.contains("process_resident_memory_bytes"));
    assert!(!text.contains("someone") && !text.contains("BREW"));
}

#[actix_web::test]
async fn request_ids_are_taken_or_made() {
    let api = Api::new();
    for path in ["/livez", "/nothing", "/api/v1/profiles?limit=0"] {
        let answer = api.call(TestRequest::get().uri(path).insert_header(("X-Request-ID", "Az09._-"))).await;
        assert_eq!(answer.header("x-request-id"), Some("Az09._-"));
        for malformed in ["", "a b", "a/b", "ä", &"a".repeat(129)] {
            let answer = api.call(TestRequest::get().uri(path).insert_header(("X-Request-ID", malformed))).await;
            let made = answer.header("x-request-id").unwrap();
            assert!(uuid::Uuid::try_parse(made).is_ok(), "{made}");
        }
    }
}

#[actix_web::test]
async fn the_description_has_every_route_and_only_resolvable_references() {
    let answer = get(&Api::new(), "/openapi.json").await;
    let document = answer.json();
    assert_eq!(document["openapi"], "3.1.0");
    let mut operations = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            operations.insert(format!("{} {path}", method.to_uppercase()));
            assert!(operation["operationId"].is_string() && operation["summary"].is_string(), "{method} {path}");
        }
    }
    let expected = [
        "DELETE /api/v1/profiles/{id}",
        "DELETE /api/v1/tasks/{id}",
        "GET /aggregated-data",
        "GET /api/v1/exports/{id}",
        "GET /api/v1/profiles",
        "GET /api/v1/profiles/export",
        "GET /api/v1/profiles/{id}",
        "GET /api/v1/tasks",
        "GET /api/v1/tasks/{id}",
        "GET /health",
        "GET /livez",
        "GET /metrics",
        "GET /openapi.json",
        "GET /profile",
        "GET /profile/{id}",
        "GET /readyz",
        "HEAD /aggregated-data",
        "HEAD /api/v1/exports/{id}",
        "HEAD /api/v1/profiles",
        "HEAD /api/v1/profiles/export",
        "HEAD /api/v1/profiles/{id}",
        "HEAD /api/v1/tasks",
        "HEAD /api/v1/tasks/{id}",
        "HEAD /health",
        "HEAD /livez",
        "HEAD /metrics",
        "HEAD /openapi.json",
        "HEAD /profile",
        "HEAD /profile/{id}",
        "HEAD /readyz",
        "PATCH /api/v1/profiles/{id}",
        "POST /api/v1/profiles",
        "POST /api/v1/profiles/import",
        "POST /api/v1/tasks/delayed",
        "POST /api/v1/tasks/{id}/retry",
        "PUT /api/v1/profiles/{id}",
    ];
    assert_eq!(operations.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    check_references(&document, &document);
    let ids = document["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values());
    let ids: Vec<_> = ids.map(|operation| operation["operationId"].as_str().unwrap()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "operation ids are unique");
    let limit = document["paths"]["/api/v1/profiles"]["get"]["parameters"].as_array().unwrap();
    let limit = limit.iter().find(|parameter| parameter["name"] == "limit").unwrap();
    assert_eq!((&limit["schema"]["minimum"], &limit["schema"]["maximum"]), (&json!(1), &json!(200)));
    assert_eq!(document["components"]["schemas"]["NewProfile"]["additionalProperties"], false);
}

fn check_references(document: &Value, value: &Value) {
    match value {
        Value::Object(members) => {
            if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
                assert!(document.pointer(&reference[1..]).is_some(), "{reference} leads nowhere");
            }
            members.values().for_each(|member| check_references(document, member));
        }
        Value::Array(items) => items.iter().for_each(|item| check_references(document, item)),
        _ => {}
    }
}

#[actix_web::test]
async fn the_docs_need_no_other_host() {
    let api = Api::new();
    let redirect = get(&api, "/docs").await;
    assert_eq!((redirect.status, redirect.header("location")), (308, Some("/docs/")));
    let page = get(&api, "/docs/").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html")));
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'; script-src 'self'"));
    let html = String::from_utf8(page.body.to_vec()).unwrap();
    assert!(!html.contains("http://") && !html.contains("https://") && !html.contains("\"//"), "{html}");
    assert!(!html.contains("<script>"), "inline scripts are forbidden by the policy: {html}");
    let files = html.split("=\"./").skip(1).map(|rest| rest.split('"').next().unwrap());
    let files: Vec<&str> = files.collect();
    assert!(files.contains(&"swagger-ui-bundle.js"), "{files:?}");
    for file in files {
        assert_eq!(get(&api, &format!("/docs/{file}")).await.status, 200, "{file}");
    }
    let initializer = get(&api, "/docs/swagger-initializer.js").await;
    let script = String::from_utf8(initializer.body.to_vec()).unwrap();
    assert!(script.contains("\"/openapi.json\"") && script.contains("\"validatorUrl\": \"none\""), "{script}");
}
