//! Many instances at once on an empty database, and on one that has a migration before it.

use futures_util::future::join_all;
use reqwest::StatusCode;

use crate::{
    borrowed,
    rows::Rows,
    support::{
        Ended, Server, folder, fresh_database, run,
        stores::{Backend, create, on_both_stores, profile},
    },
};

const INSTANCES: usize = 10;

on_both_stores!(ten_migrations_at_once_make_one_schema);

async fn ten_migrations_at_once_make_one_schema(backend: Backend) {
    let variables = match &backend {
        Backend::Sqlite(folder) => vec![("DATA_DIR".to_owned(), folder.path().display().to_string())],
        Backend::Postgres(database) => database.variables(),
    };
    let mut migrations = tokio::task::JoinSet::new();
    for _ in 0..INSTANCES {
        let variables = variables.clone();
        migrations.spawn_blocking(move || run(&["migrate"], &borrowed(&variables)));
    }
    for output in migrations.join_all().await {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    is_migrated_once(&Rows::of(&backend)).await;
    let server = backend.start().await;
    create(&server, &profile("First", "first@example.com")).await;
}

async fn is_migrated_once(rows: &Rows) {
    assert_eq!(rows.ask("SELECT count(*) - max(version) FROM refinery_schema_history").await, "0");
    assert_eq!(rows.ask("SELECT count(*) FROM secrets").await, "1", "one secret, made once");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_instances_on_an_empty_postgres_serve_as_one() {
    let database = fresh_database().await;
    let variables = database.variables();
    let variables = borrowed(&variables);
    let servers = join_all((0..INSTANCES).map(|_| Server::start(&variables))).await;
    for (index, server) in servers.iter().enumerate() {
        let id = create(server, &profile("Shared", &format!("shared-{index}@example.com"))).await;
        for other in &servers {
            assert_eq!(other.status(&format!("/api/v1/profiles/{id}")).await, Some(StatusCode::OK));
        }
    }
    // A page of one is continued by the next: all sign with the same secret.
    let mut path = "/api/v1/profiles?limit=1".to_owned();
    for server in &servers {
        let page = server.get_json(&path).await;
        assert_eq!(page["items"].as_array().map(Vec::len), Some(1));
        path = format!("/api/v1/profiles?limit=1&cursor={}", page["next_cursor"].as_str().unwrap_or_default());
    }
    is_migrated_once(&Rows::Postgres(database.url())).await;
    for server in &servers {
        assert!(!server.log().contains("\"ERROR\""), "{}", server.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_ten_instances_on_an_empty_sqlite_one_serves_and_the_others_say_why_not() {
    let data = folder();
    let path = data.path().display().to_string();
    let variables = [("DATA_DIR", path.as_str())];
    let attempts = join_all((0..INSTANCES).map(|_| Server::attempt(&variables))).await;
    let (serving, ended): (Vec<_>, Vec<_>) = attempts.into_iter().partition(Result::is_ok);
    assert_eq!((serving.len(), ended.len()), (1, INSTANCES - 1));
    for Ended { status, log } in ended.into_iter().filter_map(Result::err) {
        assert_eq!(status.code(), Some(2), "{log}");
        assert!(log.contains("is being served by another process") && log.contains("profiles.db"), "{log}");
    }
    let server = serving.into_iter().find_map(Result::ok).expect("one that serves");
    server.wait_for("/readyz", StatusCode::OK).await;
    create(&server, &profile("First", "first@example.com")).await;
    is_migrated_once(&Rows::Sqlite(data.path().join("profiles.db"))).await;
}
