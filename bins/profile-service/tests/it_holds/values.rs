//! Values: they round-trip exactly, in any spelling, and what changes nothing writes nothing.

use crate::{
    stores::{Backend, create, on_both_stores, profile},
    support::Server,
};
use reqwest::StatusCode;
use serde_json::{Value, json};

on_both_stores!(
    values_round_trip_exactly_and_another_spelling_is_unchanged,
    what_cannot_be_kept_is_refused_with_field_and_reason,
    what_get_gave_can_be_put_back_and_changes_nothing,
    a_patch_changes_what_it_names,
    explain_shows_the_winner_and_the_rule,
);

async fn put_text(server: &Server, id: &str, body: &str) -> (StatusCode, Value) {
    let request = server.client.put(server.url(&format!("/api/v1/profiles/{id}"))).header("content-type", "application/json");
    let answer = request.body(body.to_owned()).send().await.expect("an answer");
    (answer.status(), answer.json().await.expect("JSON"))
}

fn document(attributes: &str) -> String {
    format!(r#"{{"name":"V","email":"v@example.com","attributes":{attributes}}}"#)
}

async fn values_round_trip_exactly_and_another_spelling_is_unchanged(backend: Backend) {
    let deep = format!("{}{}", "[".repeat(32), "]".repeat(32));
    let cases: Vec<(String, String)> = [
        (
            r#"{"a":9223372036854775807,"b":-9223372036854775808,"c":18446744073709551615}"#,
            r#"{"c":18446744073709551615,"a":9223372036854775807,"b":-9223372036854775808}"#,
        ),
        (r#"{"a":100,"b":-0,"c":1e2}"#, r#"{"a":1e2,"b":0.0,"c":100.0}"#),
        (
            r#"{"a":0.1,"b":1.7976931348623157e308,"c":5e-324,"d":1e300}"#,
            r#"{"d":10e299,"b":1.7976931348623157E+308,"a":1e-1,"c":5E-324}"#,
        ),
        (
            r#"{"a":"e\u0301","b":"é","c":"שלום","d":"👩‍👩‍👧","e":"\u0001"}"#,
            "{\"a\":\"e\u{301}\",\"b\":\"\\u00e9\",\"c\":\"שלום\",\"d\":\"👩‍👩‍👧\",\"e\":\"\\u0001\"}",
        ),
        (r#"{"a":"","b":{},"c":[],"d":{"":{"":""}}}"#, r#"{"d":{"":{"":""}},"c":[ ],"b":{ },"a":""}"#),
        (r#"{"a":{"x":null,"y":[null,true,false]}}"#, r#"{"a":{"y":[null,true,false],"x":null}}"#),
    ]
    .into_iter()
    .map(|(first, second)| (first.to_owned(), second.to_owned()))
    .chain([(format!(r#"{{"a":{deep}}}"#), format!(r#"{{ "a" : {deep} }}"#))])
    .collect();

    let server = backend.start().await;
    for (index, (first, second)) in cases.iter().enumerate() {
        let id = create(&server, &profile("V", &format!("before{index}@example.com"))).await;
        let email = format!("v{index}@example.com");
        let (status, written) = put_text(&server, &id, &document(first).replace("v@example.com", &email)).await;
        assert_eq!(status, StatusCode::OK, "{first}: {written}");
        let read = server.get_json(&format!("/api/v1/profiles/{id}")).await;
        let expected: Value = serde_json::from_str(first).expect("JSON");
        assert!(same(&read["attributes"], &expected), "{first} came back as {}", read["attributes"]);
        let (status, again) = put_text(&server, &id, &document(second).replace("v@example.com", &email)).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(again, written, "{second} changed something");
    }
}

/// Equal as numbers are: `1e2` is `100`.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            left == right || (left.as_f64() == right.as_f64() && (left.is_f64() || right.is_f64()))
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len() && left.iter().all(|(key, value)| right.get(key).is_some_and(|other| same(value, other)))
        }
        _ => left == right,
    }
}

async fn what_cannot_be_kept_is_refused_with_field_and_reason(backend: Backend) {
    let server = backend.start().await;
    let too_deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(33), "]".repeat(33));
    for (attributes, field) in [
        (r#"{"a":18446744073709551616}"#, "attributes.a"),
        (r#"{"a":[1,{"b":-9223372036854775809}]}"#, "attributes.a.1.b"),
        (r#"{"a":1e400}"#, "attributes.a"),
        (r#"{"a":"x\u0000y"}"#, "attributes.a"),
        (too_deep.as_str(), "attributes.a"),
    ] {
        let request = server.client.post(server.url("/api/v1/profiles")).header("content-type", "application/json");
        let answer = request.body(document(attributes)).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY, "{attributes}");
        let problem: Value = answer.json().await.expect("a problem");
        assert_eq!(problem["error"]["fields"][0]["field"], field, "{problem}");
        assert!(problem["error"]["fields"][0]["message"].as_str().is_some_and(|message| message.len() > 10), "{problem}");
    }
    assert_eq!(server.get_json("/api/v1/profiles").await["items"], json!([]));
}

async fn what_get_gave_can_be_put_back_and_changes_nothing(backend: Backend) {
    let server = backend.start().await;
    let body = json!({"name": "Ada", "email": "Ada@example.com", "bio": "B", "attributes": {"n": 1, "o": {"p": [1, 2.5]}}});
    let id = create(&server, &body).await;
    let path = format!("/api/v1/profiles/{id}");
    let get = async || server.client.get(server.url(&path)).send().await.expect("an answer").bytes().await.expect("a body");
    let before = get().await;
    let put = server.client.put(server.url(&path)).header("content-type", "application/json").body(before.clone());
    let put = put.send().await.expect("an answer");
    assert_eq!((put.status(), put.headers()["etag"].to_str().expect("text")), (StatusCode::OK, "\"1-1\""));
    let request = server.client.patch(server.url(&path)).json(&json!({"bio": "B", "attributes": {"o": {"p": [1, 2.5]}}}));
    let answer = request.send().await.expect("an answer");
    assert_eq!((answer.status(), answer.headers()["etag"].to_str().expect("text")), (StatusCode::OK, "\"1-1\""));
    // But for where it came from, which may be a cache by now.
    let from_id = |body: &[u8]| String::from_utf8_lossy(body).split_once(',').expect("members").1.to_owned();
    assert_eq!(from_id(&before), from_id(&get().await));
}

async fn a_patch_changes_what_it_names(backend: Backend) {
    let server = backend.start().await;
    let body =
        json!({"name": "Ada", "email": "a@example.com", "bio": "B", "attributes": {"keep": 1, "drop": 2, "o": {"a": 1, "b": 2}}});
    let id = create(&server, &body).await;
    let url = server.url(&format!("/api/v1/profiles/{id}"));
    let patch = json!({"bio": null, "attributes": {"drop": null, "o": {"a": null, "c": 3}}});
    let answer: Value = server.client.patch(&url).json(&patch).send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!(answer["attributes"], json!({"keep": 1, "o": {"b": 2, "c": 3}}));
    assert_eq!((answer.get("bio"), &answer["version"]), (None, &json!(2)));
    let cleared = server.client.patch(&url).json(&json!({"attributes": null})).send().await.expect("an answer");
    let cleared: Value = cleared.json().await.expect("JSON");
    assert_eq!((&cleared["attributes"], &cleared["name"]), (&json!({}), &json!("Ada")));
}

async fn explain_shows_the_winner_and_the_rule(backend: Backend) {
    let server = backend.start().await;
    let id = create(&server, &profile("Ada", "a@example.com")).await;
    let explained = server.get_json(&format!("/api/v1/profiles/{id}?explain=true")).await;
    let name = &explained["explain"]["name"];
    assert_eq!((&name["rule"]["name"], &name["winner"]["source"]), (&json!("newest"), &json!("api")));
    assert_eq!((&name["winner"]["value"], &name["superseded"]), (&json!("Ada"), &json!([])));
}
