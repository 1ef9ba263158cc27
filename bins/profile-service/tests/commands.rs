//! Every command but `serve`, as a process.

mod support;

use std::{collections::BTreeMap, process::Output};

use reqwest::StatusCode;
use serde_json::{Value, json};
use support::{Server, folder, run};

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    String::from_utf8(output.stdout.clone()).expect("text")
}

#[test]
fn a_wrong_setting_is_one_line_and_exit_code_2() {
    for command in ["serve", "migrate", "config", "demo", "rotate-secret"] {
        let output = run(&[command], &[("SERVER_PORT", "http")]);
        assert_eq!(output.status.code(), Some(2), "{command}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{command}");
        assert_eq!(
            String::from_utf8_lossy(&output.stderr),
            "profile-service: SERVER_PORT is \"http\"; allowed is a port from 0 to 65535\n",
            "{command}"
        );
    }
}

#[test]
fn off_loopback_someone_must_accept_that_all_may_call() {
    let output = run(&[], &[("SERVER_HOST", "0.0.0.0"), ("SERVER_PORT", "0")]);
    assert_eq!(output.status.code(), Some(2));
    let line = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(line.contains("AUTH_MODE=none") && line.ends_with('\n') && line.lines().count() == 1, "{line}");
}

#[tokio::test]
async fn off_loopback_it_warns_once() {
    let mut server = Server::listening(&[("SERVER_HOST", "0.0.0.0"), ("AUTH_MODE", "none"), ("SHUTDOWN_GRACE", "0s")]).await;
    server.signal("TERM");
    server.ended().await;
    let log = server.log();
    assert_eq!(log.lines().filter(|line| line.contains("\"WARN\"")).count(), 1, "{log}");
}

#[test]
fn config_shows_what_is_in_force_and_no_secret() {
    let folder = folder();
    let file = folder.path().join("profile.toml");
    std::fs::write(&file, "[server]\nworkers = 3\nport = 1\n").expect("a file");
    let canary = "canary-canary-canary-canary-canary-canary";
    let output = run(
        &["config", "--config", file.to_str().expect("a path")],
        &[("SERVER_PORT", "2"), ("DB_PASSWORD", canary), ("SECRET_KEY", canary)],
    );
    let text = stdout(&output);
    let shown: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
    assert_eq!((shown["SERVER_PORT"], shown["SERVER_WORKERS"], shown["DB_NAME"]), ("2", "3", "profiles"));
    assert_eq!((shown["DB_PASSWORD"], shown["SECRET_KEY"]), ("(hidden)", "(hidden)"));
    assert!(!text.contains("canary"), "{text}");
}

#[test]
fn openapi_prints_the_document() {
    let document: Value = serde_json::from_str(&stdout(&run(&["openapi"], &[]))).expect("JSON");
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")), "{}", document["openapi"]);
    for (path, method) in [
        ("/api/v1/profiles", "post"),
        ("/api/v1/profiles", "get"),
        ("/api/v1/profiles/{id}", "patch"),
        ("/health", "get"),
        ("/metrics", "get"),
    ] {
        assert!(document["paths"][path][method].is_object(), "{method} {path}");
    }
}

#[test]
fn version_names_the_program() {
    assert_eq!(stdout(&run(&["--version"], &[])), format!("profile-service {}\n", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn healthcheck_asks_the_service_on_this_machine() {
    let server = Server::start(&[]).await;
    let port = server.base_url.rsplit(':').next().expect("a port");
    // A service that listens everywhere is found on loopback; what else is configured doesn't matter.
    let variables = [("SERVER_PORT", port), ("SERVER_HOST", "0.0.0.0")];
    stdout(&run(&["healthcheck"], &variables));
    stdout(&run(&["healthcheck", "--ready"], &variables));

    // Nothing listens on port 1.
    let output = run(&["healthcheck"], &[("SERVER_PORT", "1")]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "profile-service: nothing answers on 127.0.0.1:1: Connection refused (os error 111)\n"
    );
}

#[tokio::test]
async fn healthcheck_tells_alive_from_ready() {
    let server = Server::listening(&[("DB_HOST", "127.0.0.1"), ("DB_PORT", "1")]).await;
    let port = server.base_url.rsplit(':').next().expect("a port");
    stdout(&run(&["healthcheck"], &[("SERVER_PORT", port)]));
    let output = run(&["healthcheck", "--ready"], &[("SERVER_PORT", port)]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "profile-service: /readyz answered 503\n");
}

#[tokio::test]
async fn migrate_and_rotate_secret_run_beside_a_server() {
    let mut server = Server::start(&[]).await;
    let data = server.data_dir().display().to_string();
    stdout(&run(&["migrate"], &[("DATA_DIR", &data)]));
    for number in 0..3 {
        let body = json!({"name": "Ada", "email": format!("{number}@example.com")});
        let answer = server.client.post(server.url("/api/v1/profiles")).json(&body).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::CREATED);
    }
    let list = async |server: &Server, cursor: &str| {
        let url = server.url(&format!("/api/v1/profiles?limit=1{cursor}"));
        let answer = server.client.get(url).send().await.expect("an answer");
        (answer.status(), answer.json::<Value>().await.expect("JSON"))
    };
    let (_, first) = list(&server, "").await;
    let cursor = format!("&cursor={}", first["next_cursor"].as_str().expect("there are more"));

    // What was signed before is valid after one rotation, and no longer after two.
    for expected in [StatusCode::OK, StatusCode::BAD_REQUEST] {
        stdout(&run(&["rotate-secret"], &[("DATA_DIR", &data)]));
        server.restart_after("TERM").await;
        assert_eq!(list(&server, &cursor).await.0, expected);
    }
}

#[test]
fn rotate_secret_leaves_configured_keys_to_who_configures_them() {
    let output = run(&["rotate-secret"], &[("SECRET_KEY", "0123456789abcdef0123456789abcdef")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("put the new key before the old one"));
}

#[tokio::test]
async fn demo_prints_calls_that_find_something_and_leaves_nothing() {
    let mut server = Server::command(&["demo", "--profiles", "60"], &[]).await;
    server.wait_for("/readyz", StatusCode::OK).await;
    let log = server.log();
    let calls: Vec<&str> = log.lines().filter_map(|line| line.strip_prefix("curl -s '")?.strip_suffix('\'')).collect();
    assert_eq!(calls.len(), 5, "{log}");
    for call in calls {
        let answer = server.client.get(call).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK, "{call}");
        let found: Value = answer.json().await.expect("JSON");
        let list = call.contains("/api/v1/profiles");
        assert!(
            if list { found["items"].as_array().is_some_and(|items| !items.is_empty()) } else { found.is_object() },
            "{call}"
        );
    }
    let metrics = server.client.get(server.url("/api/v1/profiles?limit=200")).send().await.expect("an answer");
    let all: Value = metrics.json().await.expect("JSON");
    assert_eq!(all["items"].as_array().map(Vec::len), Some(60));
    server.signal("INT");
    assert_eq!(server.ended().await.code(), Some(0));
    let left: Vec<_> = std::fs::read_dir(server.folder().join("tmp")).expect("a folder").collect();
    assert!(left.is_empty(), "{left:?}");
}
