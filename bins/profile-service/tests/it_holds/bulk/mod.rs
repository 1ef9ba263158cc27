//! Many profiles at once: imports, exports, restores, rules that changed.

mod clients;
mod commands;
mod outcomes;
mod snapshot;

use std::process::Output;

use reqwest::StatusCode;
use serde_json::Value;

use crate::{
    stores::Backend,
    support::{Server, run},
};

/// What an import answered: an outcome for each line, and the summary.
pub(crate) async fn import(server: &Server, query: &str, lines: String) -> (Vec<Value>, Value) {
    let request = server.client.post(server.url(&format!("/api/v1/profiles/import{query}")));
    let answer = request.header("content-type", "application/x-ndjson").body(lines).send().await.expect("an answer");
    let status = answer.status();
    let text = answer.text().await.expect("a whole body");
    assert_eq!(status, StatusCode::OK, "{text}");
    let mut outcomes: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let last = outcomes.pop().expect("a summary");
    (outcomes, last["summary"].clone())
}

/// The export of the tenant `default`.
pub(crate) async fn export(server: &Server) -> String {
    let answer = server.client.get(server.url("/api/v1/profiles/export")).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    answer.text().await.expect("a whole body")
}

/// One profile to a line.
pub(crate) fn people(numbers: std::ops::Range<u32>) -> String {
    let line =
        |number| format!("{{\"name\":\"P {number}\",\"email\":\"p{number}@example.com\",\"attributes\":{{\"n\":{number}}}}}\n");
    numbers.map(line).collect()
}

/// A command on the same store; it must succeed.
pub(crate) fn command(backend: &Backend, arguments: &[&str]) -> String {
    let output = any_command(backend, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

pub(crate) fn any_command(backend: &Backend, arguments: &[&str]) -> Output {
    let variables = backend.variables();
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    run(arguments, &variables)
}
