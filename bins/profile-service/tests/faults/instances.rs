//! Many instances at once on an empty database, and on one that has a migration before it.

use std::time::Instant;

use futures_util::future::join_all;
use reqwest::StatusCode;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_postgres::NoTls;

use crate::{
    PAUSE, borrowed,
    rows::Rows,
    support::{
        CEILING, Ended, Server, folder, fresh_database, run,
        stores::{Backend, create, on_both_stores, profile},
    },
    writers::{Load, Writer},
};

const INSTANCES: usize = 10;

on_both_stores!(ten_migrations_at_once_make_one_schema);

async fn ten_migrations_at_once_make_one_schema(backend: Backend) {
    migrate_at_once(&backend, &["migrate"]).await;
    is_migrated_once(&Rows::of(&backend)).await;
    let server = backend.start().await;
    create(&server, &profile("First", "first@example.com")).await;
}

async fn migrate_at_once(backend: &Backend, arguments: &[&str]) {
    let mut migrations = JoinSet::new();
    for _ in 0..INSTANCES {
        let (variables, arguments) = (backend.variables(), arguments.iter().map(ToString::to_string).collect::<Vec<_>>());
        migrations.spawn_blocking(move || run(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), &borrowed(&variables)));
    }
    for output in migrations.join_all().await {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
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

/// Where the migrations of the next version are.
fn next_version(migration: &str) -> (TempDir, String) {
    let folder = folder();
    std::fs::write(folder.path().join("V3__add_a_note.sql"), migration).expect("a migration");
    let path = folder.path().display().to_string();
    (folder, path)
}

#[tokio::test(flavor = "multi_thread")]
async fn older_instances_serve_while_ten_newer_ones_migrate_postgres() {
    let database = fresh_database().await;
    let variables = database.variables();
    let variables = borrowed(&variables);
    let older = Server::start(&variables).await;
    let mut other = Server::start(&variables).await;
    // The test holds the migration up for as long as it likes.
    let (holder, connection) = tokio_postgres::connect(&database.url(), NoTls).await.expect("the server answers");
    tokio::spawn(connection);
    holder.batch_execute("SELECT pg_advisory_lock(1)").await.expect("a lock");
    let migration = "SELECT pg_advisory_xact_lock(1); ALTER TABLE entities ADD COLUMN note text;
        CREATE INDEX entities_by_note ON entities (tenant, note)";
    let (_folder, path) = next_version(migration);

    let mut load = Load::begin(Writer::several(8), &older);
    load.acknowledges(40).await;
    let arguments = ["serve", "--further-migrations", &path];
    let newer = join_all((0..INSTANCES).map(|_| Server::command(&arguments, &variables))).await;
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'";
    let rows = Rows::Postgres(database.url());
    let began = Instant::now();
    while rows.ask(waits).await != INSTANCES.to_string() {
        assert!(began.elapsed() < CEILING, "not all wait for the one that migrates");
        tokio::time::sleep(PAUSE).await;
    }
    for server in &newer {
        assert_eq!(server.status("/readyz").await, Some(StatusCode::SERVICE_UNAVAILABLE), "before its migration");
    }
    load.acknowledges(100).await;
    assert_eq!(load.failures(), (0, 0), "older instances serve while a migration is pending");
    holder.batch_execute("SELECT pg_advisory_unlock(1)").await.expect("the lock");
    for server in &newer {
        server.wait_for("/readyz", StatusCode::OK).await;
    }
    load.acknowledges(100).await;
    eprintln!("503s while the table was altered: {:?}", load.failures());
    other.restart_after("TERM").await;
    let mut writers = load.end().await;
    for server in newer.iter().chain([&older, &other]) {
        for writer in &mut writers {
            writer.find_all_acknowledged(server).await;
        }
        create(server, &profile("Any", &format!("{}@example.com", server.address().port()))).await;
    }
    is_migrated_once(&rows).await;
    rows.are_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_instance_serves_while_ten_migrate_sqlite() {
    let backend = Backend::sqlite();
    let mut server = backend.start().await;
    let (_folder, path) =
        next_version("ALTER TABLE entities ADD COLUMN note TEXT; CREATE INDEX entities_by_note ON entities (tenant, note)");
    let mut load = Load::begin(Writer::several(8), &server);
    load.acknowledges(40).await;
    migrate_at_once(&backend, &["migrate", "--further-migrations", &path]).await;
    load.acknowledges(100).await;
    eprintln!("503s while the table was altered: {:?}", load.failures());
    let mut writers = load.end().await;
    // Also one that starts on the newer schema, as after an upgrade that is taken back.
    for _ in 0..2 {
        for writer in &mut writers {
            writer.find_all_acknowledged(&server).await;
        }
        server.restart_after("TERM").await;
    }
    let rows = Rows::of(&backend);
    is_migrated_once(&rows).await;
    rows.are_whole().await;
}
