//! What people are called and what they send is in no line of a log and in no metric, whatever goes wrong.

use futures_util::future::join_all;
use serde_json::json;

use crate::{
    raw::{exchange, hurried, is_unharmed, tells_nothing},
    support::{PrivatePostgres, Server, canary::CANARY},
};

fn person(number: usize) -> serde_json::Value {
    json!({"name": CANARY, "email": format!("{CANARY}{number}@example.com"), CANARY: CANARY, "attributes": {CANARY: CANARY}})
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_paths_nor_headers_nor_lines_are_told() {
    let server = hurried(&[]).await;
    let address = server.address();
    let requests = [
        format!("GET /{CANARY}?{CANARY}={CANARY} HTTP/1.1"),
        format!("GET /api/v1/profiles/{CANARY} HTTP/1.1"),
        format!("DELETE /api/v1/profiles/{CANARY}%00%ff HTTP/1.1"),
        format!("GET /docs/{CANARY} HTTP/1.1"),
        format!("GET /docs/../{CANARY} HTTP/1.1"),
        format!("GET http://{CANARY}/livez HTTP/1.1"),
        format!("{CANARY} /livez HTTP/1.1"),
        format!("CONNECT {CANARY}:80 HTTP/1.1"),
        format!("GET /api/v1/profiles?cursor={CANARY} HTTP/1.1"),
        "GET /api/v1/profiles HTTP/1.1".to_owned(),
    ];
    let headers = [
        "X-Tenant-ID",
        "X-Request-ID",
        "Authorization",
        "Cookie",
        "Host",
        "If-Match",
        "If-None-Match",
        "Content-Type",
        "Accept",
        "Idempotency-Key",
        "Expect",
        "Upgrade",
        "Connection",
        "Transfer-Encoding",
        "Content-Encoding",
        "Content-Length",
        CANARY,
    ];
    // A request id is told because it is the client's for that; one that is malformed isn't.
    let heads = requests.iter().flat_map(|line| headers.map(|name| format!("{line}\r\n{name}: {CANARY} {CANARY}\r\n")));
    let exchanges = heads.map(|head| {
        let host = if head.contains("\nHost:") { "" } else { "Host: x\r\n" };
        exchange(address, format!("{head}{host}\r\n").into_bytes())
    });
    join_all(exchanges).await;

    let good = (0..100).map(|number| person(number).to_string() + "\n");
    let bad = [
        format!("{CANARY}\n"),
        format!("{{\"name\":\"{CANARY}\",\"name\":\"{CANARY}\"}}\n"),
        format!("{{\"name\":\"{CANARY}\",\"email\":\"{CANARY} at home\"}}\n"),
        format!("{{\"id\":\"{CANARY}\",\"version\":\"{CANARY}\"}}\n"),
        format!("{{\"name\":\"{CANARY}"),
    ];
    for query in [String::new(), format!("?source={CANARY}+{CANARY}"), format!("?reference_date={CANARY}")] {
        let url = server.url(&format!("/api/v1/profiles/import{query}"));
        let import = server.client.post(url).header("content-type", "application/x-ndjson");
        let lines: String = good.clone().chain(bad.iter().cloned()).collect();
        import.body(lines).send().await.expect("an answer").text().await.expect("a whole answer");
    }
    is_unharmed(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_postgres_tells_nothing() {
    let postgres = PrivatePostgres::start().await;
    let variables = postgres.variables();
    let mut variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    variables.push(("LOG_LEVEL", "trace"));
    let server = Server::start(&variables).await;
    let statuses = join_all((0..200).map(|number| {
        let (server, postgres) = (&server, &postgres);
        async move {
            if number == 50 {
                postgres.kill().await;
            }
            let body = json!({"name": CANARY, "email": format!("{CANARY}{number}@example.com"), "bio": CANARY});
            let answer = server.client.post(server.url("/api/v1/profiles")).json(&body).send().await.expect("an answer");
            answer.status().as_u16()
        }
    }))
    .await;
    assert!(statuses.contains(&503), "{statuses:?}");
    assert!(server.log().contains("\"cause\""), "what failed is told: {}", server.log());
    postgres.start_again().await;
    server.wait_for("/readyz", reqwest::StatusCode::OK).await;
    tells_nothing(&server).await;
}
