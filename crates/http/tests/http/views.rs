//! Views where nothing is configured: what is stored, as if a source had said it.

use actix_web::test::TestRequest;
use serde_json::{Value, json};

use crate::support::{Answer, Api, Trouble};

async fn get(api: &Api, uri: &str) -> Answer {
    api.call(TestRequest::get().uri(uri)).await
}

fn code(answer: &Answer) -> (u16, Value) {
    (answer.status, answer.json()["error"]["code"].clone())
}

#[actix_web::test]
async fn a_stored_profile_is_a_view() {
    let api = Api::new();
    let stored = api.create(json!({"name": "Ada", "email": "ada@example.com", "attributes": {"plan": "pro"}})).await;
    let id = stored.rsplit('/').next().unwrap();
    let answer = get(&api, &format!("/profile/{id}")).await;
    assert_eq!(answer.body, format!(r#"{{"email":"ada@example.com","id":"{id}","name":"Ada","plan":"pro"}}"#));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-status"), Some("profile-service; fwd=miss"));
    assert_eq!(answer.header("x-unavailable-sources"), None);
    assert_eq!(get(&api, &format!("/profile?id={id}")).await.body, answer.body);

    let explained = get(&api, &format!("/profile/{id}?explain=true")).await.json();
    let winner = &explained["explain"]["fields"]["plan"]["winner"];
    assert_eq!((&winner["source"], &winner["value"]), (&json!("store"), &json!("pro")));
    assert_eq!(explained["explain"]["fields"]["plan"]["rule"], json!({"name": "newest"}));
    assert_eq!(explained["explain"]["sources"]["store"]["status"], "known");
}

#[actix_web::test]
async fn what_is_no_view_is_a_problem() {
    let api = Api::new();
    let unknown = "0199f3c2-0000-7000-8000-000000000000";
    for (uri, expected) in [
        (format!("/profile/{unknown}"), (404, json!("NOT_FOUND"))),
        ("/profile/7".into(), (400, json!("INVALID_ID"))),
        ("/profile".into(), (400, json!("INVALID_PARAMETER"))),
        ("/profile?id=7".into(), (400, json!("INVALID_ID"))),
        (format!("/profile?id={unknown}&id={unknown}"), (400, json!("INVALID_PARAMETER"))),
        (format!("/profile/{unknown}?explain=maybe"), (400, json!("INVALID_PARAMETER"))),
        ("/aggregated-data".into(), (400, json!("INVALID_PARAMETER"))),
        ("/aggregated-data?customer_id=7".into(), (404, json!("VIEW_NOT_CONFIGURED"))),
    ] {
        assert_eq!(code(&get(&api, &uri).await), expected, "{uri}");
    }
    api.trouble(Trouble::Unavailable);
    let away = get(&api, &format!("/profile/{unknown}")).await;
    assert_eq!(code(&away), (503, json!("SOURCES_UNAVAILABLE")));
    assert_eq!((away.header("retry-after"), away.header("x-unavailable-sources")), (Some("1"), Some("store")));
}
