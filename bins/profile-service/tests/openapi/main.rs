//! What is served is what `/openapi.json` says. Schemathesis makes requests up from the document, valid and invalid ones, and
//! judges every answer by it: no 5xx, no status, media type, header or body that is not described.
//!
//! `schemathesis.toml` says how much is tried, and with which seed; `lines.py` what it has to know of lines of JSON.

#[path = "../support/mod.rs"]
mod support;

use std::{fs, path::Path};

use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{
    Server,
    stores::{Backend, create, on_both_stores, profile},
};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/openapi");
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/schemathesis");

on_both_stores!(every_answer_is_described);

/// Each by itself, because ids that one gave are tried on all that take an `id`: those of a profile would hardly be tried on profiles.
const PARTS: &[&str] = &["/api/v1/profiles", "/api/v1/tasks", ""];

async fn every_answer_is_described(backend: Backend) {
    let server = backend.start().await;
    let whole = server.get_json("/openapi.json").await;
    for (number, part) in PARTS.iter().enumerate() {
        let mut document = whole.clone();
        let paths = document["paths"].as_object_mut().expect("paths");
        paths.retain(|path, _| path.starts_with(part) && !PARTS[..number].iter().any(|earlier| path.starts_with(earlier)));
        assert!(!paths.is_empty(), "{part}");
        let (passed, said) = judge(&server, &document, &[]).await;
        assert!(passed, "{said}");
    }

    let answers = answers(&server.log());
    eprintln!("{} answers", answers.len());
    for (operation, success) in [
        ("POST /api/v1/profiles", 201),
        ("GET /api/v1/profiles", 200),
        ("POST /api/v1/profiles/import", 200),
        ("GET /api/v1/profiles/export", 200),
        ("GET /api/v1/profiles/{id}", 200),
        ("PATCH /api/v1/profiles/{id}", 200),
        ("DELETE /api/v1/profiles/{id}", 204),
        ("POST /api/v1/tasks/delayed", 202),
        ("GET /api/v1/tasks", 200),
        ("GET /api/v1/tasks/{id}", 200),
        ("DELETE /api/v1/tasks/{id}", 200),
    ] {
        let of_it: Vec<i64> = answers.iter().filter(|(which, _)| which == operation).map(|(_, status)| *status).collect();
        assert!(of_it.contains(&success) && of_it.len() >= 25, "{operation} was hardly tried: {of_it:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_described_is_noticed() {
    let said = said_of("createProfile", |document| {
        let answers = &mut document["paths"]["/api/v1/profiles"]["post"]["responses"];
        answers.as_object_mut().expect("an object").remove("409").expect("the address is taken");
    });
    let said = said.await;
    assert!(said.contains("Undocumented HTTP status code") && said.contains("[409]"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_not_described_is_noticed() {
    let said = said_of("importProfiles", |document| {
        document["components"]["schemas"]["ImportOutcome"]["properties"]["summary"] = json!({"type": "string"});
    });
    let said = said.await;
    assert!(said.contains("Response violates schema") && said.contains("\"summary\""), "{said}");
}

/// What is found wrong with an operation by a document that is not the served one.
async fn said_of(operation: &str, change: impl FnOnce(&mut Value)) -> String {
    let server = Backend::sqlite().start().await;
    create(&server, &profile("Ada", "ada@example.com")).await;
    let mut document = server.get_json("/openapi.json").await;
    change(&mut document);
    let only = ["--include-operation-id", operation, "--phases", "examples"];
    let (passed, said) = judge(&server, &document, &only).await;
    assert!(!passed, "{said}");
    said
}

/// Whether every answer is right by a document, and what there is to say.
async fn judge(server: &Server, document: &Value, arguments: &[&str]) -> (bool, String) {
    let file = server.folder().join("openapi.json");
    fs::write(&file, document.to_string()).expect("a file of one's own");
    let inside = |name| Path::new(FOLDER).join(name);
    let mut command = Command::new(SCRIPT);
    command.arg("--config-file").arg(inside("schemathesis.toml")).args(["run", "--no-color"]).arg(&file);
    command.args(["--url", &server.base_url]).args(arguments);
    command.env("SCHEMATHESIS_HOOKS", inside("lines.py")).env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONHASHSEED", "0");
    // It writes beside where it runs.
    let output = command.current_dir(server.folder()).output().await.expect("the script runs");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.success(), said)
}

/// What was asked and how it was answered, by the log.
fn answers(log: &str) -> Vec<(String, i64)> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let requests = lines.filter(|line| line["message"] == "request");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let answer = |line: Value| {
        (format!("{} {}", text(&line["http.method"]), text(&line["http.route"])), line["http.status"].as_i64().expect("a status"))
    };
    requests.map(answer).collect()
}
