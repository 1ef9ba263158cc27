//! Requests that are none.

use futures_util::future::join_all;

use crate::{
    catalogue::{self, Hostile},
    raw::{exchange, hurried, is_unharmed, statuses},
    support::canary::CANARY,
};

/// Passed over by the service, as RFC 9112 (section 2.2) allows.
const GOOD: &str = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn each_is_refused_or_its_connection_closed() {
    let server = hurried(&[]).await;
    let address = server.address();
    // As the first of a connection, and after another one.
    for before in ["", GOOD] {
        let exchanges = catalogue::all(CANARY).into_iter().map(|Hostile { name, bytes }| async move {
            let answers = exchange(address, [before.as_bytes(), &bytes].concat()).await;
            (name, answers)
        });
        for (name, answers) in join_all(exchanges).await {
            let mut statuses = statuses(&answers);
            if !before.is_empty() {
                assert_eq!(statuses.first(), Some(&200), "{name}: {answers}");
                statuses.remove(0);
            }
            assert!(statuses.len() <= 1, "{name} was taken for more than one request: {answers}");
            assert!(statuses.iter().all(|status| (400..500).contains(status)), "{name}: {answers}");
        }
    }
    assert_eq!(server.get_json("/api/v1/profiles").await["items"], serde_json::json!([]), "nothing of it was kept");
    is_unharmed(&server).await;
}

/// That a limit refuses it, and not something behind the limit that costs more.
#[tokio::test(flavor = "multi_thread")]
async fn limits_are_found_where_they_are() {
    let server = hurried(&[]).await;
    let address = server.address();
    let get = |line: &str, headers: &str| format!("GET {line} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
    let post = |path: &str, kind: &str, headers: &str, body: &str| {
        let length = body.len();
        format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
    };
    let profile = |headers: &str, body: &str| post("/api/v1/profiles", "application/json", headers, body);
    let import = |headers: &str, body: &str| post("/api/v1/profiles/import", "application/x-ndjson", headers, body);
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    let long = "x".repeat(1_000_000);
    let chunked =
        "POST /api/v1/profiles HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let requests = [
        ("a target of 60 KB", get(&format!("/{}", &long[..60_000]), ""), "431"),
        ("a header of 60 KB", get("/livez", &format!("X-A: {}\r\n", &long[..60_000])), "431"),
        ("headers of 1 KB each", get("/livez", &format!("X: {}\r\n", &long[..1_000]).repeat(50)), "431"),
        ("a gzip bomb", profile("Content-Encoding: gzip\r\n", "\u{1f}"), "415"),
        ("a gzip bomb of lines", import("Content-Encoding: gzip\r\n", "\u{1f}"), "415"),
        ("a string of 1 MB", profile("", &format!("{{\"name\":\"{long}\"}}")), "413"),
        ("chunks and then silence", format!("{chunked}1\r\n \r\n"), "408"),
        ("chunks of 1 MB", format!("{chunked}f4240\r\n{long}"), "413"),
        ("depth 10,000", profile("", &deep), "JSON_TOO_DEEP"),
        ("depth 10,000 in a line", import("", &(deep.clone() + "\n")), "JSON_TOO_DEEP"),
        ("a line of 1 MB", import("", &format!("{{\"name\":\"{long}\"}}\n")), "\"refused\":1"),
        ("a name of 100 KB", profile("", &format!("{{\"name\":\"{}\",\"email\":\"a@b.example\"}}", &long[..100_000])), "422"),
    ];
    let exchanges = requests.map(|(name, request, expected)| async move {
        let answer = exchange(address, request.into_bytes()).await;
        assert!(answer.contains(expected), "{name}: not {expected} but {answer}");
    });
    join_all(exchanges).await;
    is_unharmed(&server).await;
}
