//! `import`, `export`, `reresolve` from the command line.

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::time::sleep;

use super::{any_command, command, export, import};
use crate::{
    stores::{Backend, create, on_both_stores, profile},
    support::{CEILING, folder, fresh_database},
};

on_both_stores!(
    the_commands_do_what_the_routes_do,
    a_restore_takes_all_or_nothing_and_only_where_nothing_is,
    all_tenants_go_out_and_in,
    rules_that_changed_take_effect_when_resolved_anew,
);

fn path(folder: &tempfile::TempDir, name: &str, content: &str) -> String {
    let path = folder.path().join(name);
    fs::write(&path, content).expect("a file");
    path.display().to_string()
}

/// Profiles with all that can be kept of one: three sources, losers, nulls, a tombstone, one that lives again.
async fn fill(backend: &Backend) -> String {
    let server = backend.start().await;
    let ada = create(&server, &profile("Ada", "ada@example.com")).await;
    let gone = create(&server, &profile("Gone", "gone@example.com")).await;
    let back = create(&server, &profile("Back", "back@example.com")).await;
    for (query, lines) in [
        (
            "?source=crm&reference_date=2026-01-31T12:00:00.123456Z",
            format!(
                "{{\"id\":\"{ada}\",\"name\":\"A. L.\",\"bio\":\"old\",\"attributes\":{{\"plan\":\"pro\",\"n\":1e2,\"o\":{{\"b\":1,\"a\":[null,0.1]}}}}}}\n{{\"email\":\"Known@example.com\"}}"
            ),
        ),
        (
            "?source=shop.eu",
            format!(
                "{{\"id\":\"{ada}\",\"name\":\"Lovelace\",\"bio\":null,\"attributes\":{{\"plan\":null,\"é\":\"\\u0001👩\"}}}}"
            ),
        ),
        ("", format!("{{\"id\":\"{ada}\",\"attributes\":{{\"n\":null,\"big\":18446744073709551615}}}}")),
    ] {
        let (outcomes, summary) = import(&server, query, lines).await;
        assert_eq!(summary["refused"], json!(0), "{outcomes:?}");
    }
    for id in [&gone, &back] {
        let answer = server.client.delete(server.url(&format!("/api/v1/profiles/{id}"))).send().await.expect("an answer");
        assert_eq!(answer.status(), 204);
    }
    let (outcomes, _) = import(&server, "?source=crm", format!("{{\"id\":\"{back}\",\"name\":\"Again\"}}")).await;
    assert_eq!((&outcomes[0]["status"], &outcomes[0]["version"]), (&json!("created"), &json!(3)));
    let lines = export(&server).await;
    server.stop().await;
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_from_sqlite_into_postgres_and_back_exports_equal_bytes() {
    let (sqlite, postgres, again, folder) = (Backend::sqlite(), Backend::postgres().await, Backend::sqlite(), folder());
    let lines = fill(&sqlite).await;
    let export: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(export.len(), 4);
    assert!(export.iter().any(|line| line["facts"]["name"].as_array().is_some_and(|facts| facts.len() == 3)), "{lines}");
    assert!(export.iter().any(|line| line["deleted"] == json!(true)), "{lines}");
    assert!(export.iter().any(|line| line["deleted_at"].is_string() && line["facts"].is_object()), "{lines}");
    let file = path(&folder, "lines.ndjson", &lines);
    for backend in [&postgres, &again] {
        command(backend, &["import", "--restore", &file]);
        assert_eq!(command(backend, &["export"]), lines);
    }
    // What was restored is served, found, reserved, and goes on.
    let server = postgres.start().await;
    let found = server.get_json("/api/v1/profiles?email=ada@example.com").await;
    assert_eq!(found["items"][0]["name"], json!("Lovelace"));
    let (outcomes, _) = import(&server, "", r#"{"name":"Ada","email":"ADA@example.com","bio":"new"}"#.into()).await;
    assert_eq!((&outcomes[0]["status"], &outcomes[0]["id"]), (&json!("updated"), &found["items"][0]["id"]));
}

async fn the_commands_do_what_the_routes_do(backend: Backend) {
    let (server, folder) = (backend.start().await, folder());
    let lines = "{\"name\":\"Ada\",\"email\":\"ada@example.com\"}\n{\"name\":\n\n{\"name\":\"G\",\"email\":\"g@example.com\"}";
    let file = path(&folder, "lines.ndjson", lines);
    let output = any_command(&backend, &["import", &file]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "3 lines: 2 created, 0 updated, 0 unchanged, 1 refused\n");
    let refused: Value = serde_json::from_slice(&output.stderr).expect("one line of JSON");
    assert_eq!((&refused["line"], &refused["error"]["code"]), (&json!(2), &json!("INVALID_JSON")));

    let good = path(&folder, "good.ndjson", &lines.replace("{\"name\":\n", ""));
    let options = ["--source", "crm", "--reference-date", "2020-01-01T00:00:00Z"];
    let said = command(&backend, &[&["import", &good], options.as_slice()].concat());
    assert_eq!(said, "2 lines: 0 created, 2 updated, 0 unchanged, 0 refused\n");
    let out = folder.path().join("out.ndjson").display().to_string();
    assert_eq!(command(&backend, &["export", &out]), "2 profiles, those that were deleted included, of 1 tenants\n");
    let exported = fs::read_to_string(&out).expect("a file");
    assert_eq!(exported, export(&server).await);
    assert_eq!(exported, command(&backend, &["export"]));
    assert_eq!(command(&backend, &["export", "--tenant", "other"]), "");

    for (arguments, said) in [
        (["import", "/nothing/there"].as_slice(), "can't read /nothing/there"),
        (&["import", &good, "--tenant", "A b"], "must be 1–63 of a–z"),
        (&["import", &good, "--reference-date", "yesterday"], "is not an RFC 3339 time"),
        (&["export", "/nothing/there"], "can't write /nothing/there"),
    ] {
        let output = any_command(&backend, arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(said), "{arguments:?}: {text}");
    }
}

async fn a_restore_takes_all_or_nothing_and_only_where_nothing_is(backend: Backend) {
    let folder = folder();
    let lines = fill(&Backend::sqlite()).await;
    let refused = |file: &str, said: &str| {
        let output = any_command(&backend, &["import", "--restore", file]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(said) && text.lines().count() == 1, "{text}");
        assert!(output.stdout.is_empty());
    };
    let first = lines.lines().next().expect("a line");
    for (broken, said) in [
        (format!("{lines}{{\"id\":"), "line 5: "),
        (format!("{lines}\n{first}"), "line 6: "),
        (lines.replace("\"version\":", "\"edition\":"), "line 1: edition is no member of an exported profile"),
        (format!("{{\"tenant\":\"a\"}}\n{lines}"), "line 1: the file has tenants; give --all-tenants"),
    ] {
        refused(&path(&folder, "broken.ndjson", &broken), said);
        assert_eq!(command(&backend, &["export"]), "");
    }
    let file = path(&folder, "lines.ndjson", &lines);
    assert!(command(&backend, &["import", "--restore", &file]).starts_with("4 profiles restored"));
    refused(&file, "the tenant is not empty");
    assert!(command(&backend, &["import", "--restore", &file, "--tenant", "other"]).starts_with("4 profiles restored"));
}

/// So that nothing that was made from the feed before, in a cache that outlived what the store lost, is believed.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_begins_another_incarnation_of_the_feed() {
    let (database, folder) = (fresh_database().await, folder());
    let file = path(&folder, "lines.ndjson", &fill(&Backend::sqlite()).await);
    let (client, connection) = tokio_postgres::connect(&database.url(), tokio_postgres::NoTls).await.expect("a connection");
    tokio::spawn(connection);
    let backend = Backend::Postgres(Box::new(database));
    command(&backend, &["migrate"]);
    let incarnation =
        async || client.query_one("SELECT incarnation FROM feed_identity", &[]).await.expect("a feed").get::<_, Vec<u8>>(0);
    let before = incarnation().await;
    command(&backend, &["export"]);
    assert_eq!(incarnation().await, before);
    command(&backend, &["import", "--restore", &file]);
    assert_ne!(incarnation().await, before);
}

async fn all_tenants_go_out_and_in(backend: Backend) {
    let (server, folder) = (backend.start().await, folder());
    for tenant in ["b", "a"] {
        let lines = path(&folder, "lines", &format!("{{\"name\":\"{tenant}\",\"email\":\"one@example.com\"}}"));
        command(&backend, &["import", &lines, "--tenant", tenant]);
    }
    server.stop().await;
    let all = command(&backend, &["export", "--all-tenants"]);
    let heads: Vec<&str> = all.lines().filter(|line| line.contains("\"tenant\"")).collect();
    assert_eq!(heads, [r#"{"tenant":"a"}"#, r#"{"tenant":"b"}"#]);
    assert_eq!(all.lines().count(), 4);
    let (other, file) = (Backend::sqlite(), path(&folder, "all", &all));
    assert_eq!(
        command(&other, &["import", "--restore", "--all-tenants", &file]),
        "2 profiles restored, those that were deleted included, of 2 tenants\n"
    );
    assert_eq!(command(&other, &["export", "--all-tenants"]), all);
}

async fn rules_that_changed_take_effect_when_resolved_anew(backend: Backend) {
    let (server, folder) = (backend.start().await, folder());
    let profiles: String = (0..1_500)
        .map(|number| format!("{{\"name\":\"Api\",\"email\":\"p{number}@example.com\"}}\n"))
        .collect::<Vec<_>>()
        .concat();
    let (outcomes, _) = import(&server, "", profiles).await;
    let id = outcomes[1_200]["id"].as_str().expect("an id").to_owned();
    let other = outcomes[0]["id"].as_str().expect("an id").to_owned();
    // Half of them are known to another source as well, which says so of the past and loses.
    let known: String = outcomes[750..]
        .iter()
        .map(|outcome| format!("{{\"id\":{},\"name\":\"Crm\"}}\n", outcome["id"]))
        .collect::<Vec<_>>()
        .concat();
    import(&server, "?source=crm&reference_date=2020-01-01T00:00:00Z", known).await;
    let read = async |id: &str| {
        let profile = server.get_json(&format!("/api/v1/profiles/{id}")).await;
        (profile["name"].clone(), profile["version"].clone())
    };
    assert_eq!(read(&id).await, (json!("Api"), json!(2)));
    assert_eq!(command(&backend, &["reresolve"]), "0 looked at, 0 changed\n");

    let rules = "[survivorship]\nrevision = 1\n[survivorship.fields.name]\nrule = \"priority\"\nsources = [\"crm\"]\n";
    let rules = path(&folder, "rules.toml", rules);
    assert_eq!(command(&backend, &["reresolve", "--config", &rules, "--tenant", "other"]), "0 looked at, 0 changed\n");
    let said = command(&backend, &["reresolve", "--config", &rules]);
    assert!(said.ends_with(" looked at, 750 changed\n"), "{said}");
    // Another process changed it: a cached profile is shown for 2 seconds at most.
    let asked = Instant::now();
    while read(&id).await != (json!("Crm"), json!(3)) {
        assert!(asked.elapsed() < CEILING, "{:?}", read(&id).await);
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(read(&other).await, (json!("Api"), json!(1)));
    let before = export(&server).await;
    assert!(command(&backend, &["reresolve", "--config", &rules]).ends_with(" looked at, 0 changed\n"));
    assert!(before == export(&server).await, "the second time changed something");
}
