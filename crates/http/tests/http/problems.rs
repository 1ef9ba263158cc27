//! Every way to fail, and that all of them look alike.

use actix_web::{http::Method, test::TestRequest};
use serde_json::{Value, json};

use crate::support::{Answer, Api, Trouble};

const PROFILES: &str = "/api/v1/profiles";
const UNKNOWN: &str = "/api/v1/profiles/0199f3c2-0000-7000-8000-000000000000";

fn post(body: impl Into<Vec<u8>>) -> TestRequest {
    TestRequest::post().uri(PROFILES).set_payload(body.into()).insert_header(("Content-Type", "application/json"))
}

/// The shape that every failure has; gives `error`.
fn problem(answer: &Answer, status: u16, code: &str) -> Value {
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let body = answer.json();
    assert_eq!((answer.status, body["error"]["code"].as_str()), (status, Some(code)), "{body}");
    assert_eq!(body["status"], status);
    assert_eq!(body["type"], format!("/problems/{}", code.to_lowercase().replace('_', "-")));
    assert_eq!(body["detail"], body["error"]["message"]);
    for text in [&body["title"], &body["detail"]] {
        assert!(text.as_str().is_some_and(|text| text.len() > 10), "{body}");
    }
    assert!(!body.to_string().contains("secret"), "{body}");
    let retry_after = answer.header("retry-after").map(|seconds| seconds.parse::<u64>().unwrap());
    assert_eq!(body["error"]["retry_after"].as_u64(), retry_after);
    body["error"].clone()
}

async fn refused(request: TestRequest, status: u16, code: &str) -> Value {
    problem(&Api::new().call(request).await, status, code)
}

#[actix_web::test]
async fn routes_and_methods() {
    for path in ["/", "/nothing", "/api/v1/profiles/", "/api/v1/profiles/a/b", "/api/v1/%FF", "/docs/nothing.js"] {
        refused(TestRequest::get().uri(path), 404, "ROUTE_NOT_FOUND").await;
    }
    let cases = [
        (PROFILES, Method::PUT, "GET, HEAD, OPTIONS, POST"),
        (PROFILES, Method::TRACE, "GET, HEAD, OPTIONS, POST"),
        (UNKNOWN, Method::POST, "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"),
        (UNKNOWN, Method::from_bytes(b"BREW").unwrap(), "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"),
        ("/health", Method::POST, "GET, HEAD, OPTIONS"),
    ];
    for (path, method, allow) in cases {
        let answer = Api::new().call(TestRequest::default().method(method).uri(path)).await;
        problem(&answer, 405, "METHOD_NOT_ALLOWED");
        assert_eq!(answer.header("allow"), Some(allow));
        let options = Api::new().call(TestRequest::default().method(Method::OPTIONS).uri(path)).await;
        assert_eq!((options.status, options.header("allow")), (204, Some(allow)));
    }
}

#[actix_web::test]
async fn tenants_and_headers() {
    for tenant in ["", "A", "a_b", "a b", &"a".repeat(64), "ä"] {
        refused(TestRequest::get().uri(PROFILES).insert_header(("X-Tenant-ID", tenant)), 400, "INVALID_TENANT").await;
    }
    let twice = TestRequest::get().uri(PROFILES).append_header(("X-Tenant-ID", "a")).append_header(("X-Tenant-ID", "a"));
    refused(twice, 400, "INVALID_TENANT").await;

    for tags in ["", "1-3", "\"1-3", "\"1-3\" \"1-4\"", "*, \"1-3\"", "w/\"1-3\""] {
        refused(TestRequest::delete().uri(UNKNOWN).insert_header(("If-Match", tags)), 400, "INVALID_HEADER").await;
        refused(TestRequest::get().uri(UNKNOWN).insert_header(("If-None-Match", tags)), 400, "INVALID_HEADER").await;
    }
    refused(TestRequest::delete().uri(UNKNOWN).insert_header(("If-None-Match", "\"1-3\"")), 400, "INVALID_HEADER").await;

    let body = json!({"name": "Ada", "email": "ada@example.com"}).to_string();
    for key in ["", "a b", "ä", &"k".repeat(256)] {
        refused(post(body.clone()).insert_header(("Idempotency-Key", key)), 400, "INVALID_HEADER").await;
    }
    let twice = post(body).append_header(("Idempotency-Key", "a")).append_header(("Idempotency-Key", "b"));
    refused(twice, 400, "INVALID_HEADER").await;
}

#[actix_web::test]
async fn query_parameters() {
    for (query, message) in [
        ("limit=0", "the query parameter limit must be a number from 1 to 200"),
        ("limit=201", "the query parameter limit must be a number from 1 to 200"),
        ("limit=x", "the query parameter limit must be a number from 1 to 200"),
        ("limit=%2B5", "the query parameter limit must be a number from 1 to 200"),
        ("limit=", "the query parameter limit must be a number from 1 to 200"),
        ("limit=99999999999999999999999", "the query parameter limit must be a number from 1 to 200"),
        ("limit=5&limit=5", "the query parameter limit is given twice"),
        ("offset=5", "the query parameter offset is unknown here"),
        ("explain=true", "the query parameter explain is unknown here"),
        ("sort=email", "the query parameter sort must be created_at, -created_at or name"),
        ("email=nobody", "the query parameter email must be an e-mail address, such as ada@example.com"),
        ("attr.=x", "the query parameter attr must name an attribute, as in attr.plan=pro"),
        ("attr.name=x", "the query parameter attr must name an attribute, as in attr.plan=pro"),
        ("attr.a=x&attr.a=y", "the query parameter attr.a is given twice"),
        (
            "attr.a=1&attr.b=1&attr.c=1&attr.d=1&email=a@b.c",
            "the query parameter attr may be used at most 4 times, email included",
        ),
        (
            "sort=name&attr.a=1",
            "the query parameter sort can't be name, which name= implies, together with email or attr filters",
        ),
        ("name=a&sort=created_at", "the query parameter sort must be name, or left out, where name is given"),
        ("name=%00", "the query parameter name must not contain the character U+0000"),
    ] {
        let error = refused(TestRequest::get().uri(&format!("{PROFILES}?{query}")), 400, "INVALID_PARAMETER").await;
        assert_eq!(error["message"], message, "{query}");
    }
    let long = format!("{PROFILES}?name={}", "n".repeat(201));
    refused(TestRequest::get().uri(&long), 400, "INVALID_PARAMETER").await;
    let long = format!("{PROFILES}?attr.plan={}", "n".repeat(257));
    refused(TestRequest::get().uri(&long), 400, "INVALID_PARAMETER").await;
    for cursor in ["", "x", "AAAA", &"A".repeat(5_000)] {
        let path = format!("{PROFILES}?cursor={cursor}");
        refused(TestRequest::get().uri(&path), 400, "INVALID_CURSOR").await;
    }
    for query in ["explain=1", "explain=", "explain=true&explain=true", "limit=1"] {
        refused(TestRequest::get().uri(&format!("{UNKNOWN}?{query}")), 400, "INVALID_PARAMETER").await;
    }
    refused(TestRequest::delete().uri(&format!("{UNKNOWN}?x=1")), 400, "INVALID_PARAMETER").await;
}

#[actix_web::test]
async fn media_types() {
    for media_type in ["text/plain", "application/xml", "application/json; charset=latin1", "json", "text/json"] {
        let api = Api::new();
        let answer = api.call(post("{}").insert_header(("Content-Type", media_type))).await;
        problem(&answer, 415, "UNSUPPORTED_MEDIA_TYPE");
        assert_eq!(answer.header("accept"), Some("application/json"), "{media_type}");
    }
    refused(TestRequest::post().uri(PROFILES).set_payload("{}"), 415, "UNSUPPORTED_MEDIA_TYPE").await;
    let coded = Api::new().call(post("{}").insert_header(("Content-Encoding", "gzip"))).await;
    problem(&coded, 415, "UNSUPPORTED_MEDIA_TYPE");
    assert_eq!(coded.header("accept-encoding"), Some("identity"));
    let patch = TestRequest::patch().uri(UNKNOWN).set_payload("[]");
    let answer = Api::new().call(patch.insert_header(("Content-Type", "application/json-patch+json"))).await;
    problem(&answer, 415, "UNSUPPORTED_MEDIA_TYPE");
    assert_eq!(answer.header("accept-patch"), Some("application/merge-patch+json, application/json"));
}

#[actix_web::test]
async fn bodies_that_are_no_json() {
    refused(post(""), 400, "MISSING_BODY").await;
    refused(TestRequest::put().uri(UNKNOWN), 400, "MISSING_BODY").await;
    let error = refused(post("{\n  \"name\": }"), 400, "INVALID_JSON").await;
    assert_eq!(error["message"], "expected value at line 2 column 11");
    for broken in ["{", "{} {}", "nul", "{\"a\":1,}", "{'a':1}", "\"\\ud800\"", "[01]", "\u{feff}{}"] {
        refused(post(broken), 400, "INVALID_JSON").await;
    }
    let error = refused(post(*b"{\"name\":\"\xff\"}"), 400, "INVALID_JSON").await;
    assert_eq!(error["message"], "the body is not UTF-8 at byte 9");
    let error = refused(post(r#"{"attributes":{"a":{"b":1,"b":2}}}"#), 400, "DUPLICATE_MEMBER").await;
    assert_eq!(error["message"], "the member attributes.a.b is given twice");
    refused(post(format!("{}{}", "[".repeat(65), "]".repeat(65))), 400, "JSON_TOO_DEEP").await;
    let error = refused(post(vec![b' '; 256 * 1024 + 1]), 413, "BODY_TOO_LARGE").await;
    assert_eq!(error["message"], "the body may have at most 262144 bytes");
}

#[actix_web::test]
async fn bodies_that_are_no_profile() {
    let field = |field, code, message: &str| json!([{"field": field, "code": code, "message": message}]);
    let error = refused(post("[]"), 422, "VALIDATION_FAILED").await;
    assert_eq!(error["message"], "the body must be a JSON object");
    let body = r#"{"name":"Ada","email":"ada@example.com","attributes":{"n":18446744073709551616}}"#;
    let error = refused(post(body), 422, "VALIDATION_FAILED").await;
    let why = "integers must lie between -9223372036854775808 and 18446744073709551615; send larger ones as strings";
    assert_eq!(error["fields"], field("attributes.n", "INEXACT", why));
    let error = refused(post(r#"{"name":"a\u0000b"}"#), 422, "VALIDATION_FAILED").await;
    assert_eq!(error["fields"], field("name", "INEXACT", "text must not contain the character U+0000"));
    let error = refused(post(r#"{"name":"Ada","email":"nobody"}"#), 422, "VALIDATION_FAILED").await;
    assert_eq!(error["fields"], field("email", "INVALID_EMAIL", "must be an e-mail address in ASCII, such as ada@example.com"));
    let error = refused(post(r#"{"name":"Ada","email":"ada@example.com","id":"x","plan":1}"#), 400, "UNKNOWN_MEMBER").await;
    let unknown: Vec<_> = error["fields"].as_array().unwrap().iter().map(|field| field["field"].as_str().unwrap()).collect();
    assert_eq!(unknown, ["id", "plan"]);
}

#[actix_web::test]
async fn addresses_that_are_taken() {
    let api = Api::new();
    api.create(json!({"name": "Ada", "email": "ada@example.com"})).await;
    let answer = api.call(post(r#"{"name":"Eve","email":"ADA@example.com"}"#)).await;
    let error = problem(&answer, 409, "EMAIL_TAKEN");
    assert_eq!(error["fields"][0]["field"], "email");
    assert!(!error.to_string().to_lowercase().contains("ada@"), "{error}");
}

#[actix_web::test]
async fn stores_in_trouble() {
    let body = json!({"name": "Ada", "email": "ada@example.com"}).to_string();
    for (trouble, status, code) in [
        (Trouble::Unavailable, 503, "UNAVAILABLE"),
        (Trouble::OutcomeUnknown, 503, "COMMIT_UNKNOWN"),
        (Trouble::Full, 507, "STORAGE_FULL"),
        (Trouble::Corrupt, 500, "INTERNAL"),
        (Trouble::InProgress, 409, "IDEMPOTENCY_IN_PROGRESS"),
        (Trouble::Panic, 500, "INTERNAL"),
    ] {
        let api = Api::new();
        api.trouble(trouble);
        let error = problem(&api.call(post(body.clone())).await, status, code);
        let retry = matches!(code, "UNAVAILABLE" | "COMMIT_UNKNOWN" | "IDEMPOTENCY_IN_PROGRESS");
        assert_eq!(error["retry_after"], if retry { json!(1) } else { Value::Null }, "{trouble:?}");
    }
    for (trouble, status, code) in
        [(Trouble::Unavailable, 503, "UNAVAILABLE"), (Trouble::Corrupt, 500, "INTERNAL"), (Trouble::Panic, 500, "INTERNAL")]
    {
        let api = Api::new();
        api.trouble(trouble);
        for path in [PROFILES, UNKNOWN, &format!("{UNKNOWN}?explain=true")] {
            problem(&api.call(TestRequest::get().uri(path)).await, status, code);
        }
    }
}
