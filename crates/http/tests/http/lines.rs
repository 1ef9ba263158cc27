//! Imports and exports: lines in, lines out.

use actix_web::test::TestRequest;
use serde_json::{Value, json};

use crate::support::{Answer, Api, Trouble};

const IMPORT: &str = "/api/v1/profiles/import";
const EXPORT: &str = "/api/v1/profiles/export";

fn post(lines: impl Into<String>) -> TestRequest {
    TestRequest::post().uri(IMPORT).insert_header(("Content-Type", "application/x-ndjson")).set_payload(lines.into())
}

fn lines(answer: &Answer) -> Vec<Value> {
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/x-ndjson")), "{answer:?}");
    assert!(answer.body.ends_with(b"\n"));
    let lines = answer.body.strip_suffix(b"\n").unwrap().split(|byte| *byte == b'\n');
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

/// An import that is answered with outcomes, and its summary.
async fn import(api: &Api, text: impl Into<String>) -> (Vec<Value>, Value) {
    let mut outcomes = lines(&api.call(post(text)).await);
    let mut last = outcomes.pop().unwrap();
    (outcomes, last["summary"].take())
}

fn code(answer: &Answer) -> String {
    answer.json()["error"]["code"].as_str().unwrap().to_owned()
}

#[actix_web::test]
async fn outcomes_come_in_order_and_a_summary_last() {
    let api = Api::new();
    let path = api.create(json!({"name": "Ada", "email": "ada@example.com"})).await;
    let id = path.rsplit('/').next().unwrap();
    let text = format!(
        "{{\"id\":\"{id}\",\"bio\":\"B\"}}\r\n\n  \r\n{{\"name\":\"G\",\"email\":\"g@example.com\"}}\n{{}}\n[\n{{\"name\":\"X\",\"mail\":1}}\n{{\"id\":\"{id}\"}}"
    );
    let (outcomes, summary) = import(&api, text).await;
    assert_eq!(outcomes[0], json!({"line": 1, "status": "updated", "id": id, "version": 2}));
    assert_eq!((&outcomes[1]["line"], &outcomes[1]["status"]), (&json!(4), &json!("created")));
    let refused: Vec<_> = outcomes[2..5].iter().map(|it| (&it["line"], &it["status"], &it["error"]["code"])).collect();
    let expected = [(5, "VALIDATION_FAILED"), (6, "INVALID_JSON"), (7, "UNKNOWN_MEMBER")];
    let expected = expected.map(|(line, code)| (json!(line), json!("refused"), json!(code)));
    assert_eq!(refused, expected.iter().map(|(line, status, code)| (line, status, code)).collect::<Vec<_>>());
    assert_eq!(
        outcomes[2]["error"]["fields"][0],
        json!({"field": "email", "code": "REQUIRED", "message": "is required where there is no id"})
    );
    assert_eq!(outcomes[5], json!({"line": 8, "status": "unchanged", "id": id, "version": 2}));
    assert_eq!(summary, json!({"lines": 6, "created": 1, "updated": 1, "unchanged": 1, "refused": 3, "complete": true}));
}

#[actix_web::test]
async fn nothing_to_import_is_a_summary_alone() {
    for text in ["", "\n", "\r\n \n"] {
        let (outcomes, summary) = import(&Api::new(), text).await;
        assert_eq!(outcomes, [] as [Value; 0]);
        assert_eq!(summary, json!({"lines": 0, "created": 0, "updated": 0, "unchanged": 0, "refused": 0, "complete": true}));
    }
}

#[actix_web::test]
async fn a_line_may_have_a_mebibyte_and_no_more() {
    let line = |bytes: usize| {
        let line = r#"{"name":"N","email":"n@example.com"}"#;
        format!("{line}{}", " ".repeat(bytes - line.len()))
    };
    let (outcomes, _) = import(&Api::new(), format!("{}\n{}\n{}", line(1 << 20), line((1 << 20) + 1), line(100))).await;
    let seen: Vec<_> = outcomes.iter().map(|outcome| (&outcome["line"], &outcome["status"], &outcome["error"]["code"])).collect();
    assert_eq!(seen[0], (&json!(1), &json!("created"), &Value::Null));
    assert_eq!(seen[1], (&json!(2), &json!("refused"), &json!("LINE_TOO_LONG")));
    assert_eq!(seen[2], (&json!(3), &json!("unchanged"), &Value::Null));
    let (outcomes, _) = import(&Api::new(), "x".repeat(3 << 20)).await;
    assert_eq!((outcomes.len(), &outcomes[0]["error"]["code"]), (1, &json!("LINE_TOO_LONG")));
}

#[actix_web::test]
async fn source_and_date_label_what_is_said() {
    let api = Api::new();
    let text = "{\"email\":\"ada@example.com\",\"name\":\"Ada\"}";
    let query = "?source=crm&reference_date=2020-01-31T12:00:00%2B01:00";
    let answer = api.call(post(text).uri(&format!("{IMPORT}{query}"))).await;
    let id = lines(&answer)[0]["id"].as_str().unwrap().to_owned();
    let explained = api.call(TestRequest::get().uri(&format!("/api/v1/profiles/{id}?explain=true"))).await.json();
    let winner = &explained["explain"]["name"]["winner"];
    assert_eq!(winner, &json!({"source": "crm", "reference_date": "2020-01-31T11:00:00Z", "value": "Ada"}));
    // The clock of this test stands in February 2026.
    let ahead = api.call(post(text).uri(&format!("{IMPORT}?reference_date=2027-01-01T00:00:00Z"))).await;
    assert_eq!(lines(&ahead)[0]["error"]["code"], json!("DATED_AHEAD"));
}

#[actix_web::test]
async fn what_is_wrong_with_the_whole_is_a_problem() {
    let api = Api::new();
    let bad = |query: &str| post("{}").uri(&format!("{IMPORT}{query}"));
    for (request, status, expected) in [
        (bad("?source=A"), 400, "INVALID_PARAMETER"),
        (bad("?source="), 400, "INVALID_PARAMETER"),
        (bad("?source=a&source=b"), 400, "INVALID_PARAMETER"),
        (bad("?reference_date=yesterday"), 400, "INVALID_PARAMETER"),
        (bad("?reference_date=2026-01-31"), 400, "INVALID_PARAMETER"),
        (bad("?tenant=a"), 400, "INVALID_PARAMETER"),
        (bad("").insert_header(("X-Tenant-ID", "A b")), 400, "INVALID_TENANT"),
        (bad("").insert_header(("Idempotency-Key", "once")), 400, "INVALID_HEADER"),
        (bad("").insert_header(("Content-Type", "application/json")), 415, "UNSUPPORTED_MEDIA_TYPE"),
        (bad("").insert_header(("Content-Type", "application/x-ndjson; charset=latin1")), 415, "UNSUPPORTED_MEDIA_TYPE"),
        (bad("").insert_header(("Content-Encoding", "gzip")), 415, "UNSUPPORTED_MEDIA_TYPE"),
        (TestRequest::post().uri(IMPORT).set_payload("{}"), 415, "UNSUPPORTED_MEDIA_TYPE"),
        (TestRequest::get().uri(&format!("{EXPORT}?format=csv")), 400, "INVALID_PARAMETER"),
    ] {
        let answer = api.call(request).await;
        assert_eq!((answer.status, code(&answer).as_str()), (status, expected), "{answer:?}");
    }
    for media_type in ["application/x-ndjson", "application/ndjson; charset=utf-8", "application/jsonl"] {
        assert_eq!(lines(&api.call(bad("").insert_header(("Content-Type", media_type))).await).len(), 2, "{media_type}");
    }
}

#[actix_web::test]
async fn they_are_no_ids_and_take_no_other_method() {
    let api = Api::new();
    for (path, allow) in [(IMPORT, "OPTIONS, POST"), (EXPORT, "GET, HEAD, OPTIONS")] {
        for method in ["PUT", "PATCH", "DELETE", if path == IMPORT { "GET" } else { "POST" }] {
            let method = actix_web::http::Method::from_bytes(method.as_bytes()).unwrap();
            let answer = api.call(TestRequest::default().method(method).uri(path)).await;
            assert_eq!((answer.status, answer.header("allow")), (405, Some(allow)), "{path}");
        }
        let options = api.call(TestRequest::default().method(actix_web::http::Method::OPTIONS).uri(path)).await;
        assert_eq!((options.status, options.header("allow")), (204, Some(allow)));
    }
}

#[actix_web::test]
async fn a_store_that_fails_before_the_first_outcome_is_a_problem() {
    for (trouble, status, expected) in [
        (Trouble::Unavailable, 503, "UNAVAILABLE"),
        (Trouble::OutcomeUnknown, 503, "COMMIT_UNKNOWN"),
        (Trouble::Full, 507, "STORAGE_FULL"),
        (Trouble::Corrupt, 500, "INTERNAL"),
    ] {
        let api = Api::new();
        api.trouble(trouble);
        // By id, so that nothing is read before it is written.
        let answer =
            api.call(post("{\"id\":\"0199f3c2-0000-7000-8000-000000000000\",\"name\":\"A\",\"email\":\"a@example.com\"}")).await;
        assert_eq!((answer.status, code(&answer).as_str()), (status, expected), "{answer:?}");
    }
    let api = Api::new();
    api.trouble(Trouble::Unavailable);
    let answer = api.call(TestRequest::get().uri(EXPORT)).await;
    assert_eq!((answer.status, code(&answer).as_str()), (503, "UNAVAILABLE"));
}

#[actix_web::test]
async fn an_export_is_a_file_of_the_tenants_profiles_and_tombstones() {
    let api = Api::new();
    let gone = api.create(json!({"name": "Gone", "email": "gone@example.com"})).await;
    let ada = api.create(json!({"name": "Ada", "email": "Ada@example.com", "attributes": {"n": 1}})).await;
    api.call(TestRequest::delete().uri(&gone)).await;
    let answer = api.call(TestRequest::get().uri(EXPORT)).await;
    assert_eq!(answer.header("content-disposition"), Some("attachment; filename=\"profiles-default.ndjson\""));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let at = "2026-02-02T02:40:00.25Z";
    let fact = |value: Value| json!([{"source": "api", "reference_date": at, "value": value}]);
    let expected = [
        json!({
            "id": ada.rsplit('/').next(), "version": 1, "created_at": at, "updated_at": at, "rules_revision": 0,
            "reserved_email": "ada@example.com",
            "facts": {"name": fact(json!("Ada")), "email": fact(json!("Ada@example.com")), "n": fact(json!(1))},
        }),
        json!({"id": gone.rsplit('/').next(), "version": 2, "deleted": true, "deleted_at": at}),
    ];
    assert_eq!(lines(&answer), expected);
    let other = api.call(TestRequest::get().uri(EXPORT).insert_header(("X-Tenant-ID", "b"))).await;
    assert_eq!((other.status, other.body.len()), (200, 0));
}
