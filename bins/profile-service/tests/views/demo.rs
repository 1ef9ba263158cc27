//! The demonstration: what it promises, and the calls that README shows.

use std::{fs, path::PathBuf, process::Command};

use reqwest::StatusCode;

use crate::support::Server;

const ID: &str = "550e8400-e29b-41d4-a716-446655440000";
const WHOLE: &str = r#"{"avatar_url":"https://i.pravatar.cc/300","email":"test@test.com","id":"550e8400-e29b-41d4-a716-446655440000","name":"John Foo","unknown":"alien"}"#;

async fn demo() -> (Server, String) {
    let server = Server::command(&["demo", "--profiles", "3"], &[]).await;
    server.wait_for("/readyz", StatusCode::OK).await;
    let log = server.log();
    let sources = log.split("http://").find_map(|rest| rest.split_once("/sources/")).expect("the sources are named").0;
    (server, sources.to_owned())
}

#[tokio::test]
async fn four_sources_are_one_profile() {
    let (server, _) = demo().await;
    for path in [format!("/profile/{ID}"), format!("/profile?id={ID}")] {
        let answer = server.client.get(server.url(&path)).send().await.expect("an answer");
        assert_eq!(answer.headers()["content-type"], "application/json");
        assert_eq!(answer.text().await.expect("text"), WHOLE);
    }
    assert_eq!(server.status("/profile/550e8400-e29b-41d4-a716-446655440001").await, Some(StatusCode::NOT_FOUND));
    assert_eq!(server.status("/profile/550e8400").await, Some(StatusCode::BAD_REQUEST));
    assert_eq!(server.status("/profile").await, Some(StatusCode::BAD_REQUEST));
}

/// In their order: the profile, its explanation, a slow source, a broken one, a lying one, the customer.
#[tokio::test]
async fn the_calls_in_readme_do_what_they_show() {
    let (server, sources) = demo().await;
    let readme = fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../README.md")).expect("README.md");
    let shown = readme.split("<!-- demo:begin -->").nth(1).and_then(|rest| rest.split("<!-- demo:end -->").next());
    let calls: Vec<&str> = shown.expect("README marks its calls").lines().filter(|line| line.starts_with("curl ")).collect();
    let mut answers = Vec::new();
    for call in calls {
        let call =
            call.replace("localhost:8080", server.base_url.trim_start_matches("http://")).replace("localhost:8082", &sources);
        let output = Command::new("sh").arg("-c").arg(&call).output().expect("sh runs");
        assert!(output.status.success(), "{call}: {output:?}");
        answers.push(String::from_utf8(output.stdout).expect("text"));
    }
    let [whole, explained, _, slow, _, broken, _, lied, customer] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!(whole, WHOLE);
    assert!(explained.contains(r#""winner":{"reference_date":null,"source":"mail","value":"test@test.com"}"#), "{explained}");
    assert!(slow.contains("x-unavailable-sources: mail\r\n") && slow.contains("foo@old.example.com"), "{slow}");
    assert!(broken.contains("x-unavailable-sources: avatars, mail\r\n") && !broken.contains("avatar_url"), "{broken}");
    assert!(lied.contains(r#""name":"Jane Bar""#), "{lied}");
    assert!(customer.starts_with(r#"{"customer_info":{"customer_id":"550e8400-"#) && !customer.contains("error"), "{customer}");
}
