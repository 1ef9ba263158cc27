//! Tenants, and configuration that changes while requests come.

use std::fs;

use crate::{
    support::{Server, run},
    upstream::{Service, Upstream, id},
};

const CONFIGURATION: &str = r#"
[sources.ours]
url = "http://ADDRESS/ours/{id}"
private_addresses = true
headers = { x-key = "${OUR_KEY}" }
[sources.theirs]
url = "http://ADDRESS/theirs/{id}?for={tenant}"
private_addresses = true
headers = { x-key = "${THEIR_KEY}" }
[views.profile.tenants.a]
sources = ["ours"]
[views.profile.tenants.b]
sources = ["theirs"]
"#;
const KEYS: [(&str, &str); 2] = [("OUR_KEY", "key-of-a"), ("THEIR_KEY", "key-of-b")];

#[tokio::test]
async fn tenants_share_neither_sources_nor_headers_nor_what_is_kept() {
    let upstream = Upstream::start().await;
    let service = Service::start(&upstream, CONFIGURATION, &KEYS).await;
    let path = format!("/profile/{}", id(1));
    for turn in 0..3 {
        for (tenant, source) in [("a", "ours"), ("b", "theirs")] {
            let answer = service.get(&path, tenant).await;
            assert_eq!((answer.status, answer.json()["name"].as_str()), (200, Some(source)), "{answer:?}");
            assert_eq!(answer.is_kept_as_complete(), turn > 0, "{answer:?}");
        }
        assert_eq!(service.get(&path, "c").await.json()["error"]["code"], "VIEW_NOT_CONFIGURED");
    }
    let heads = upstream.heads();
    assert_eq!(heads.len(), 2, "{heads:?}");
    assert!(heads[0].starts_with("GET /ours/") && heads[0].contains("x-key: key-of-a\r\n"), "{heads:?}");
    assert!(
        heads[1].starts_with(&format!("GET /theirs/{}?for=b ", id(1))) && heads[1].contains("x-key: key-of-b\r\n"),
        "{heads:?}"
    );
    assert!(!heads[0].contains("key-of-b") && !heads[1].contains("key-of-a"), "{heads:?}");
    assert!(!service.server.log().contains("key-of-"), "a secret is in the log");
}

#[tokio::test]
async fn a_change_is_served_at_once_and_a_wrong_one_changes_nothing() {
    let upstream = Upstream::start().await;
    let service = Service::start(&upstream, CONFIGURATION, &KEYS).await;
    let path = format!("/profile/{}", id(1));
    let name = async |tenant: &str| service.get(&path, tenant).await.json()["name"].as_str().map(str::to_owned);
    assert_eq!(name("a").await.as_deref(), Some("ours"));
    assert_eq!(name("a").await.as_deref(), Some("ours"));
    let before = fs::read_to_string(&service.file).expect("a file");

    fs::write(&service.file, before.replace("/ours/{id}", "/others/{id}")).expect("a file");
    service.server.signal("HUP");
    service.logged("sources and views were read anew", 1).await;
    assert_eq!(name("a").await.as_deref(), Some("others"), "what was kept before the change");

    let path_of_file = service.file.display().to_string();
    let wrong = before.replace("[\"theirs\"]", "[\"thiers\"]");
    let line = wrong.lines().position(|line| line.contains("thiers")).expect("a line") + 1;
    let said = format!("views.profile.tenants.b.sources in {path_of_file} line {line} is ");
    fs::write(&service.file, &wrong).expect("a file");
    service.server.signal("HUP");
    service.logged("sources and views stay as they were", 1).await;
    assert!(service.server.log().contains(&said), "{said}: {}", service.server.log());
    assert_eq!(name("a").await.as_deref(), Some("others"));
    assert_eq!(name("b").await.as_deref(), Some("theirs"));
}

#[tokio::test]
async fn rules_that_stay_as_they_were_leave_what_is_kept() {
    let upstream = Upstream::start().await;
    let service = Service::start(&upstream, CONFIGURATION, &KEYS).await;
    let path = format!("/profile/{}", id(1));
    assert!(!service.get(&path, "a").await.is_kept_as_complete());
    let before = fs::read_to_string(&service.file).expect("a file");
    let rules = "[survivorship]\nrevision = 1\ndefault = \"newest\"\n";
    fs::write(&service.file, format!("{rules}{before}")).expect("a file");
    service.server.signal("HUP");
    service.logged("sources and views were read anew", 1).await;
    assert!(service.get(&path, "a").await.is_kept_as_complete(), "answers are the same as before");
}

#[tokio::test]
async fn a_wrong_file_stops_the_start_with_its_line() {
    let good = "[sources.crm]\nurl = \"https://crm.example.com/{id}\"\n";
    let pointer = "a JSON pointer (RFC 6901): empty, or / before each step, such as \"/contact/email\"";
    for (file, said) in [
        (format!("{good}timeout = \"soon\""), "sources.crm.timeout in FILE line 3 is \"soon\"; allowed is a duration from 1ms to 60s, such as \"200ms\"".to_owned()),
        (format!("{good}fields = {{ email = \"mail\" }}"), format!("sources.crm.fields.email in FILE line 3 is \"mail\"; allowed is {pointer}")),
        (format!("{good}rule = \"loudest\""), "sources.crm.rule in FILE line 3 is no setting; [sources.crm] may hold kind, url, method, body, headers, timeout, retries, concurrency, max_bytes, private_addresses, fields, reference_date, priority".into()),
        (format!("{good}priority = {{ email = -1 }}"), "sources.crm.priority.email in FILE line 3 is -1; allowed is a number from 0, which is believed most, to 1000".into()),
        (format!("{good}headers = {{ authorization = \"Bearer ${{CRM_TOKEN}}\" }}"), "sources.crm.headers.authorization in FILE line 3 needs CRM_TOKEN in the environment, which isn't set; allowed are variables that are".into()),
        ("[sources.crm]\nurl = \"http://127.0.0.1/{id}\"".into(), "sources.crm.url in FILE line 2 is \"http://127.0.0.1/{id}\"; allowed is a URL that may be called: the address 127.0.0.1 may not be connected to; private addresses may with private_addresses = true".into()),
        ("[sources.crm]\nurl = \"https://me:hunter2@crm.example.com/{id}\"".into(), "sources.crm.url in FILE line 2 isn't shown, as it may hold a password; allowed is a URL that may be called: a URL must not hold a name or a password; private addresses may with private_addresses = true".into()),
        (format!("{good}headers = {{ authorization = [\"hunter2\"] }}"), "sources.crm.headers.authorization in FILE line 3 isn't shown, as it may be a secret; allowed is a string".into()),
        ("[sources.crm]\nurl = \"https://crm.example.com/\"".into(), "sources.crm.url in FILE line 2 is \"https://crm.example.com/\"; allowed is a URL with {id} in its path or query".into()),
        ("[sources.crm]\nkind = \"ftp\"".into(), "sources.crm.kind in FILE line 2 is \"ftp\"; allowed is \"http\" or \"store\"".into()),
        ("[sources.crm]\n".into(), "sources.crm in FILE line 1 lacks url; allowed is a URL such as \"https://crm.example.com/people/{id}\"".into()),
        (format!("{good}[views.profile]\nsources = [\"crm\", \"crm\"]"), "views.profile.sources in FILE line 4 is \"crm\"; allowed is each source once in sources".into()),
        (format!("{good}[views.profile]\nsources = [\"cmr\"]"), "views.profile.sources in FILE line 4 is \"cmr\"; allowed is one of crm, store".into()),
        (format!("{good}[views.people]\nsources = [\"crm\"]"), "views.people in FILE line 3 is no setting; [views] may hold profile, customer".into()),
        ("[survivorship]\nrevision = 1\ndefault = \"loudest\"".into(), "survivorship.default in FILE is \"loudest\"; allowed is \"newest\" or \"priority\"".into()),
    ] {
        let folder = crate::support::folder();
        let path = folder.path().join("views.toml");
        fs::write(&path, &file).expect("a file");
        let path = path.to_str().expect("a path");
        let output = run(&["serve", "--config", path], &[("SERVER_PORT", "0")]);
        let line = String::from_utf8_lossy(&output.stderr).replace(path, "FILE");
        assert_eq!((output.status.code(), line.trim_end()), (Some(2), format!("profile-service: {said}").as_str()), "{file}");
    }
}

#[tokio::test]
async fn without_a_file_the_view_is_what_is_stored() {
    let server = Server::start(&[]).await;
    let body = serde_json::json!({"name": "Ada", "email": "ada@example.com", "attributes": {"plan": "pro"}});
    let created = server.client.post(server.url("/api/v1/profiles")).json(&body).send().await.expect("an answer");
    let location = created.headers()["location"].to_str().expect("text").to_owned();
    let id = location.rsplit('/').next().expect("an id");
    for path in [format!("/profile/{id}"), format!("/profile?id={}", id.to_uppercase())] {
        let answer = server.client.get(server.url(&path)).send().await.expect("an answer").text().await.expect("text");
        assert_eq!(answer, format!(r#"{{"email":"ada@example.com","id":"{id}","name":"Ada","plan":"pro"}}"#));
    }
    let none = server.client.get(server.url("/aggregated-data?customer_id=1")).send().await.expect("an answer");
    assert_eq!(none.status(), 404);
}
