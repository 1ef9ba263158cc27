//! What README shows is run, as it stands there.

mod support;

use std::{fs, path::PathBuf, process::Command};

use serde_json::Value;
use support::{Server, folder, run};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).expect("README.md")
}

/// What stands between ```` ```language ```` and ```` ``` ````.
fn blocks<'t>(text: &'t str, language: &str) -> Vec<&'t str> {
    text.split(&format!("```{language}\n")).skip(1).map(|rest| rest.split("```").next().expect("a part")).collect()
}

#[tokio::test]
async fn first_calls_do_what_they_show() {
    let server = Server::start(&[]).await;
    let text = readme();
    let calls = text.split("<!-- commands:begin -->").nth(1).and_then(|rest| rest.split("<!-- commands:end -->").next());
    let calls: Vec<String> = blocks(calls.expect("README marks its calls"), "sh").concat().lines().map(str::to_owned).collect();
    assert!(calls.len() >= 5, "{calls:?}");
    let address = server.base_url.trim_start_matches("http://");
    for call in calls {
        assert!(call.contains("localhost:8080"), "{call}");
        let output = Command::new("sh").arg("-c").arg(call.replace("localhost:8080", address)).output().expect("sh runs");
        assert!(output.status.success(), "{call}: {output:?}");
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{call}: {error}: {output:?}"));
        assert!(answer.get("error").is_none(), "{call}: {answer}");
        let found = if call.contains("/health") {
            answer["status"] == "ok"
        } else if call.contains("/tasks") {
            answer["status"] == "scheduled"
        } else if call.contains("POST") {
            answer["name"] == "Ada Lovelace"
        } else {
            answer["items"][0]["name"] == "Ada Lovelace"
        };
        assert!(found, "{call}: {answer}");
    }
}

#[test]
fn the_example_of_a_file_is_accepted() {
    let folder = folder();
    let file = folder.path().join("profile.toml");
    fs::write(&file, blocks(&readme(), "toml").concat()).expect("a file");
    let output = run(&["config", "--config", file.to_str().expect("a path")], &[("CRM_TOKEN", "secret")]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    assert!(text.ends_with("survivorship.fields.email=priority(crm, api)\n"), "{text}");
}

#[test]
fn every_make_target_that_is_named_exists() {
    let help = Command::new("make").arg("help").current_dir(root()).output().expect("make runs");
    let help = String::from_utf8(help.stdout).expect("text");
    let targets: Vec<&str> = help.lines().filter_map(|line| line.strip_prefix("make ")?.split(' ').next()).collect();
    assert!(targets.contains(&"run"), "{help}");
    for file in ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"] {
        let text = fs::read_to_string(root().join(file)).expect(file);
        let inline = text.split("`make ").skip(1).filter_map(|rest| rest.split(['`', ' ']).next());
        let alone = text.lines().filter_map(|line| line.strip_prefix("make ")?.split(' ').next());
        for target in inline.chain(alone) {
            assert!(targets.contains(&target), "{file} names `make {target}`, which isn't there");
        }
    }
}
