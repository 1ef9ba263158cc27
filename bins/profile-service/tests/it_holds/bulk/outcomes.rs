//! What became of each line, and that the same lines again change nothing.

use serde_json::{Value, json};

use super::{export, import, people};
use crate::stores::{Backend, create, on_both_stores, profile};

on_both_stores!(
    each_line_has_its_outcome,
    lines_of_one_address_meet_in_one_profile,
    an_address_that_several_serve_is_ambiguous,
    the_same_lines_again_change_nothing,
    two_imports_of_the_same_addresses_end_with_one_profile_each,
);

async fn each_line_has_its_outcome(backend: Backend) {
    let server = backend.start().await;
    let ada = create(&server, &profile("Ada", "ada@example.com")).await;
    let lines = [
        format!(r#"{{"id":"{ada}","bio":"B"}}"#),
        r#"{"name":"Ada King","email":"ADA@example.com"}"#.into(),
        r#"{"name":"Grace","email":"grace@example.com"}"#.into(),
        String::new(),
        r#"{"name":"Grace","email":"grace@example.com"}"#.into(),
        r#"{"name":"#.into(),
        r#"{"name":"Eve","email":"eve"}"#.into(),
        format!(r#"{{"id":"{ada}","email":"grace@example.com"}}"#),
        r#"{"id":"0199f3c2-0000-7000-8000-000000000000","bio":"of nobody"}"#.into(),
        format!(r#"{{"id":"{ada}","bio":null}}"#),
    ];
    let (outcomes, summary) = import(&server, "", lines.join("\r\n")).await;
    let seen: Vec<_> = outcomes
        .iter()
        .map(|it| (it["line"].clone(), it["status"].clone(), it["version"].clone(), it["error"]["code"].clone()))
        .collect();
    let none = Value::Null;
    let expected = [
        (1, "updated", json!(2), &none),
        (2, "updated", json!(3), &none),
        (3, "created", json!(1), &none),
        (5, "unchanged", json!(1), &none),
        (6, "refused", json!(null), &json!("INVALID_JSON")),
        (7, "refused", json!(null), &json!("VALIDATION_FAILED")),
        (8, "refused", json!(null), &json!("EMAIL_TAKEN")),
        (9, "refused", json!(null), &json!("NOT_FOUND")),
        (10, "updated", json!(4), &none),
    ];
    let expected: Vec<_> =
        expected.into_iter().map(|(line, status, version, code)| (json!(line), json!(status), version, code.clone())).collect();
    assert_eq!(seen, expected, "{outcomes:?}");
    assert_eq!(outcomes[0]["id"], json!(ada));
    assert_eq!(outcomes[3]["id"], outcomes[2]["id"]);
    assert_eq!(outcomes[5]["error"]["fields"][0]["field"], json!("email"));
    let counts = json!({"lines": 9, "created": 1, "updated": 3, "unchanged": 1, "refused": 4, "complete": true});
    assert_eq!(summary, counts);
    let read = server.get_json(&format!("/api/v1/profiles/{ada}")).await;
    assert_eq!((&read["name"], &read["email"], read.get("bio")), (&json!("Ada King"), &json!("ADA@example.com"), None));
}

async fn lines_of_one_address_meet_in_one_profile(backend: Backend) {
    let server = backend.start().await;
    // More than one changeset, so that they meet across two as well.
    let lines: String = (0..2_500)
        .map(|number| {
            format!("{{\"name\":\"N\",\"email\":\"Meet{}@example.com\",\"attributes\":{{\"n{number}\":1}}}}\n", number % 50)
        })
        .collect::<Vec<_>>()
        .concat();
    let (outcomes, summary) = import(&server, "", lines).await;
    assert_eq!((&summary["created"], &summary["updated"]), (&json!(50), &json!(2_450)));
    for outcome in &outcomes[50..] {
        let first = (outcome["line"].as_u64().expect("a number") - 1) % 50;
        assert_eq!(outcome["id"], outcomes[usize::try_from(first).expect("small")]["id"]);
    }
    let found = server.get_json("/api/v1/profiles?email=meet7@example.com").await;
    assert_eq!(found["items"][0]["attributes"].as_object().map(serde_json::Map::len), Some(50));
}

async fn an_address_that_several_serve_is_ambiguous(backend: Backend) {
    let server = backend.start().await;
    let ids = ["0199f3c2-0000-7000-8000-000000000001", "0199f3c2-0000-7000-8000-000000000002"];
    let lines: String =
        ids.iter().map(|id| format!("{{\"id\":\"{id}\",\"email\":\"both@example.com\"}}\n")).collect::<Vec<_>>().concat();
    let (_, summary) = import(&server, "?source=crm", lines).await;
    assert_eq!(summary["created"], json!(2));
    let line = r#"{"name":"Who","email":"both@example.com"}"#;
    for query in ["", "?source=crm"] {
        let (outcomes, _) = import(&server, query, line.into()).await;
        assert_eq!((&outcomes[0]["error"]["code"], outcomes[0].get("id")), (&json!("EMAIL_AMBIGUOUS"), None), "{query}");
    }
    // Once one of them has reserved it, that one is meant.
    let (outcomes, _) = import(&server, "", format!(r#"{{"id":"{}","name":"Who","email":"Both@example.com"}}"#, ids[1])).await;
    assert_eq!(outcomes[0]["status"], json!("updated"));
    let (outcomes, _) = import(&server, "?source=crm", line.into()).await;
    assert_eq!(outcomes[0]["id"], json!(ids[1]), "{outcomes:?}");
}

async fn the_same_lines_again_change_nothing(backend: Backend) {
    let server = backend.start().await;
    let dated = "?source=crm&reference_date=2026-01-31T12:00:00Z";
    for (query, lines) in [("", people(0..3_000)), (dated, people(5_000..8_000))] {
        let (_, first) = import(&server, query, lines.clone()).await;
        assert_eq!(first["created"], json!(3_000));
        let before = export(&server).await;
        let (_, again) = import(&server, query, lines).await;
        assert_eq!((&again["unchanged"], &again["lines"]), (&json!(3_000), &json!(3_000)), "{query}: {again}");
        assert!(before == export(&server).await, "{query}: the export differs");
    }
}

async fn two_imports_of_the_same_addresses_end_with_one_profile_each(backend: Backend) {
    let server = backend.start().await;
    let forth = people(0..4_000);
    let back: String = forth.lines().rev().flat_map(|line| [line, "\n"]).collect();
    let ((first, _), (second, _)) = tokio::join!(import(&server, "", forth), import(&server, "", back));
    for outcome in first.iter().chain(&second) {
        let fine = ["created", "unchanged", "updated"].iter().any(|status| outcome["status"] == *status);
        assert!(fine || outcome["error"]["code"] == "EMAIL_TAKEN", "{outcome}");
    }
    let created = first.iter().chain(&second).filter(|outcome| outcome["status"] == "created").count();
    assert_eq!(created, 4_000);
    assert_eq!(export(&server).await.lines().count(), 4_000);
}
