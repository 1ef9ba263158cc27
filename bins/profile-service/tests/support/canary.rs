//! Requests that carry a person's data in every place where a log could pick it up.

use serde_json::json;

use super::Server;

/// Stands in names, addresses, attributes, paths and query strings, and in no line of a log.
pub(crate) const CANARY: &str = "canary7f3a";

/// Sends them, ends the service, and looks through all it has said.
pub(crate) async fn no_line_tells_of_people(mut server: Server) {
    let body = json!({
        "name": format!("{CANARY} Lovelace"),
        "email": format!("{CANARY}@example.com"),
        "bio": CANARY,
        "attributes": {"plan": CANARY, CANARY: 1},
    });
    let profiles = server.url("/api/v1/profiles");
    let post = || server.client.post(&profiles).header("idempotency-key", "once").header("x-request-id", "request-1");
    let created = post().json(&body).send().await.expect("an answer");
    assert_eq!(created.status(), 201);
    let profile = server.url(created.headers()["location"].to_str().expect("a path"));
    // A taken address, a broken body, refused values, a search, a change, routes and parameters that don't exist.
    let taken = server.client.post(&profiles).json(&body).send().await.expect("an answer");
    assert_eq!(taken.status(), 409);
    let invalid = json!({"name": CANARY, "email": format!("{CANARY} at home")});
    assert_eq!(server.client.post(&profiles).json(&invalid).send().await.expect("an answer").status(), 422);
    let broken = format!("{{\"name\": \"{CANARY}\", ");
    let answer = post().header("content-type", "application/json").body(broken).send().await.expect("an answer");
    assert_eq!(answer.status(), 400);
    for query in ["email={}@example.com", "name={}", "attr.plan={}", "cursor={}", "{}={}"] {
        let url = format!("{profiles}?{}", query.replace("{}", CANARY));
        server.client.get(url).send().await.expect("an answer");
    }
    assert_eq!(server.status(&format!("/{CANARY}?{CANARY}")).await.map(|status| status.as_u16()), Some(404));
    server.client.get(format!("{profiles}/{CANARY}")).send().await.expect("an answer");
    let patched = server.client.patch(&profile).header("content-type", "application/merge-patch+json");
    let patched = patched.body(json!({"attributes": {"city": CANARY}}).to_string()).send().await.expect("an answer");
    assert_eq!(patched.status(), 200);
    assert_eq!(server.client.delete(&profile).send().await.expect("an answer").status(), 204);

    server.signal("TERM");
    assert_eq!(server.ended().await.code(), Some(0), "{}", server.log());
    let log = server.log();
    assert!(log.contains("/api/v1/profiles/{id}"), "requests are logged by pattern: {log}");
    for line in log.lines() {
        assert!(!line.contains(CANARY), "{line}");
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{error} in {line}"));
    }
}
