//! Sections about a customer: what is asked for, what fails, what nobody knows.

use serde_json::{Value, json};

use crate::{
    cached::admin,
    upstream::{Behaviour, Service, Upstream, raw},
};

const CONFIGURATION: &str = r#"
[sources.customers]
url = "http://ADDRESS/customers/{id}"
private_addresses = true
fields = { name = "/full_name" }
[sources.catalog]
url = "http://ADDRESS/catalog/{id}"
private_addresses = true
[sources.ledger]
url = "http://ADDRESS/ledger/{id}?at={timestamp}"
private_addresses = true
[views.customer]
customer = ["customers"]
master = ["catalog"]
transaction = ["ledger"]
"#;

fn says(body: &Value) -> Behaviour {
    Behaviour::Raw(raw("200 OK", body.to_string().as_bytes()))
}

async fn service() -> (Upstream, Service) {
    let upstream = Upstream::start().await;
    upstream.set("customers", says(&json!({"full_name": "Ada", "email": "ada@example.com", "preferences": {"language": "en"}})));
    upstream.set("catalog", says(&json!({"products": [{"product_id": "p", "name": "Lamp", "price": 9.5}]})));
    upstream.set(
        "ledger",
        says(&json!({"transactions": [
            {"transaction_id": "t1", "amount": 1, "date": "2026-01-31T12:00:00Z", "status": "paid"},
            {"transaction_id": "t2", "amount": 2, "date": "2026-02-01", "status": "open"},
        ]})),
    );
    let service = Service::start(&upstream, CONFIGURATION, &[]).await;
    (upstream, service)
}

#[tokio::test]
async fn sections_that_are_asked_for_are_there_and_no_others() {
    let (upstream, service) = service().await;
    let get = async |query: &str| service.get(&format!("/aggregated-data?{query}"), "default").await;
    let info = json!({"customer_id": "c 1/é", "name": "Ada", "email": "ada@example.com", "preferences": {"language": "en", "currency": null}});
    let master = json!({"products": [{"product_id": "p", "name": "Lamp", "price": 9.5}], "categories": []});
    let first = json!({"transaction_id": "t1", "amount": 1, "date": "2026-01-31T12:00:00Z", "status": "paid"});
    let second = json!({"transaction_id": "t2", "amount": 2, "date": "2026-02-01", "status": "open"});
    let customer = "customer_id=c%201%2F%C3%A9";
    for all in [customer.to_owned(), format!("{customer}&data_type=all")] {
        let answer = get(&all).await;
        let expected =
            json!({"customer_info": info, "master_data": master, "transaction_data": {"transactions": [first, second]}});
        assert_eq!((answer.status, answer.json()), (200, expected));
    }
    assert_eq!(get(&format!("{customer}&data_type=customer")).await.json(), json!({"customer_info": info}));
    assert_eq!(get(&format!("{customer}&data_type=master")).await.json(), json!({"master_data": master}));
    assert!(get(customer).await.is_kept_as_complete());

    let of = async |timestamp: &str| get(&format!("{customer}&data_type=transaction&timestamp={timestamp}")).await;
    let instant = of("2026-01-31T13:00:00%2B01:00").await;
    assert_eq!(instant.json(), json!({"transaction_data": {"transactions": [first]}}), "up to and including");
    let interval = of("2026-01-31T12:00:01Z/2026-02-01T00:00:00Z").await;
    assert_eq!(interval.json(), json!({"transaction_data": {"transactions": [second]}}));
    for _ in 0..2 {
        assert!(!of("2026-01-31T12:00:00Z").await.is_kept_as_complete(), "answers about a time are not kept");
    }
    let heads = upstream.heads();
    let asked = |line: &str| heads.iter().any(|head| head.starts_with(line));
    assert!(asked("GET /ledger/c%201%2F%C3%A9?at= "), "{heads:?}");
    assert!(asked("GET /ledger/c%201%2F%C3%A9?at=2026-01-31T12%3A00%3A00Z "), "{heads:?}");
    assert!(asked("GET /ledger/c%201%2F%C3%A9?at=2026-01-31T12%3A00%3A01Z%2F2026-02-01T00%3A00%3A00Z "), "{heads:?}");
}

#[tokio::test]
async fn a_section_that_failed_is_null_and_said_so() {
    let (upstream, service) = service().await;
    let get = async |id: &str| service.get(&format!("/aggregated-data?customer_id={id}"), "default").await;
    upstream.set("catalog", Behaviour::Resets);
    let partly = get("1").await;
    let error = partly.json()["error"].clone();
    assert_eq!((partly.status, partly.unavailable.as_str()), (200, "catalog"), "{partly:?}");
    assert_eq!(partly.json()["master_data"], Value::Null);
    assert_eq!(partly.json()["customer_info"]["name"], "Ada");
    assert_eq!(error["code"], "PARTIAL_DATA_FETCH");
    assert_eq!(error["available_services"], json!(["customer", "transaction"]));
    assert_eq!(error["retry_after"], 1);
    assert!(!get("1").await.is_kept_as_complete());

    upstream.set("customers", says(&json!({"full_name": ["not", "a", "name"]})));
    upstream.set("ledger", Behaviour::Raw(raw("500 Internal Server Error", b"")));
    let none = get("2").await;
    let error = none.json()["error"].clone();
    assert_eq!((none.status, none.unavailable.as_str()), (503, "catalog, customers, ledger"), "{none:?}");
    assert_eq!(
        (&error["code"], &error["available_services"], &error["retry_after"]),
        (&json!("PARTIAL_DATA_FETCH"), &json!([]), &json!(1))
    );

    for source in ["customers", "catalog", "ledger"] {
        upstream.set(source, Behaviour::Raw(raw("404 Not Found", b"")));
    }
    let unknown = get("3").await;
    assert_eq!((unknown.status, unknown.json()["error"]["code"].as_str()), (404, Some("CUSTOMER_NOT_FOUND")), "{unknown:?}");
}

#[tokio::test]
async fn what_is_asked_must_make_sense() {
    let (_upstream, service) = service().await;
    for (query, parameter) in [
        ("", "customer_id"),
        ("?customer_id=", "customer_id"),
        ("?customer_id=1&customer_id=2", "customer_id"),
        ("?customer_id=1&data_type=everything", "data_type"),
        ("?customer_id=1&timestamp=yesterday", "timestamp"),
        ("?customer_id=1&timestamp=2026-02-01T00:00:00Z/2026-01-01T00:00:00Z", "timestamp"),
        ("?customer_id=1&page=2", "page"),
    ] {
        let answer = service.get(&format!("/aggregated-data{query}"), "default").await;
        let error = answer.json()["error"].clone();
        assert_eq!((answer.status, error["code"].as_str()), (400, Some("INVALID_PARAMETER")), "{query}: {answer:?}");
        assert!(error["message"].as_str().is_some_and(|message| message.contains(parameter)), "{error}");
    }
}

#[tokio::test]
async fn a_token_must_be_one_of_ours() {
    let (_upstream, service) = service().await;
    for id in ["1", "550e8400-e29b-41d4-a716-446655440000"] {
        let request = service.server.client.get(service.server.url(&format!("/aggregated-data?customer_id={id}")));
        let answer = request.header("X-Consistency-Token", "made up").send().await.expect("an answer");
        let (status, body) = (answer.status().as_u16(), answer.json::<Value>().await.expect("JSON"));
        assert_eq!((status, body["error"]["code"].as_str()), (400, Some("INVALID_TOKEN")), "{id}: {body}");
    }
}

#[tokio::test]
async fn operators_drop_an_id_that_is_no_part_of_a_path_as_it_is() {
    let (_upstream, service) = service().await;
    let id = "c%201%2F%C3%A9%25";
    let kept = async || service.get(&format!("/aggregated-data?customer_id={id}"), "default").await.is_kept_as_complete();
    assert!(!kept().await);
    assert!(kept().await);
    let path = admin(&service, &format!("/cache/views/customer/{id}"));
    assert_eq!(service.server.client.delete(path).send().await.expect("an answer").status(), 204);
    assert!(!kept().await);
}

#[tokio::test]
async fn a_trace_is_passed_on() {
    let (upstream, service) = service().await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for given in [trace, "made up"] {
        let request = service
            .server
            .client
            .get(service.server.url("/aggregated-data?customer_id=1&data_type=customer&timestamp=2026-01-01T00:00:00Z"));
        assert_eq!(request.header("traceparent", given).send().await.expect("an answer").status(), 200);
    }
    let passed = |head: &String| head.lines().find_map(|line| line.strip_prefix("traceparent: ").map(str::to_owned));
    assert_eq!(upstream.heads().iter().map(passed).collect::<Vec<_>>(), [Some(trace.to_owned()), None]);
}
