//! Disks that are full, or that don't sync: no write is acknowledged that isn't there, reads go on, and so do writes as soon as
//! they can, by themselves.
//!
//! The disk is one of [`profile_port_contracts::disk`], so the driver meets `ENOSPC` and `EIO` where it would really meet them.

use std::time::{Duration, Instant};

use profile_port_contracts::{
    disk::{Disk, Fault},
    scaled,
};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    borrowed, report,
    rows::Rows,
    support::{
        Server, folder,
        stores::{Backend, create, profile},
    },
    writers::{Load, Writer},
};

const PROFILES: &str = "/api/v1/profiles";

/// A service with its data on a disk.
struct Bench {
    server: Server,
    disk: Disk,
    rows: Rows,
    /// Removed after the test.
    _folders: (Backend, TempDir),
}

impl Bench {
    async fn start() -> Self {
        let (backend, tools) = (Backend::sqlite(), folder());
        let disk = match &backend {
            Backend::Sqlite(data) => Disk::under(data.path(), tools.path()),
            Backend::Postgres(_) => unreachable!("it was made above"),
        };
        Self::on(disk, backend, tools).await
    }

    /// With its log on the same disk.
    async fn start_with_log() -> Self {
        let (backend, tools) = (Backend::sqlite(), folder());
        Self::on(Disk::under(&std::env::temp_dir(), tools.path()), backend, tools).await
    }

    async fn on(disk: Disk, backend: Backend, tools: TempDir) -> Self {
        let mut variables = backend.variables();
        variables.extend(disk.variables());
        let server = Server::start(&borrowed(&variables)).await;
        Self { server, disk, rows: Rows::of(&backend), _folders: (backend, tools) }
    }

    /// Reads work and find the profile as it was, and the service says that it is well.
    async fn still_reads(&self, known: &Value) {
        let path = format!("{PROFILES}/{}", known["id"].as_str().expect("an id"));
        let mut found = self.server.get_json(&path).await;
        found.as_object_mut().expect("an object").remove("source");
        assert_eq!(&found, known);
        let email = known["email"].as_str().expect("text");
        let list = self.server.get_json(&format!("{PROFILES}?email={email}")).await;
        assert_eq!(list["items"], json!([known]));
        assert_eq!(self.server.status(&format!("{PROFILES}/export")).await, Some(StatusCode::OK));
        assert_eq!(self.server.status("/readyz").await, Some(StatusCode::OK));
        assert_eq!(self.server.get_json("/health").await["status"], "ok");
    }

    /// One write of each kind that changes something.
    fn writes(&self, known: &Value) -> Vec<RequestBuilder> {
        let path = format!("{PROFILES}/{}", known["id"].as_str().expect("an id"));
        let request = |method: Method, path: &str| self.server.client.request(method, self.server.url(path));
        let changed = profile("Changed", known["email"].as_str().expect("text"));
        vec![
            request(Method::POST, PROFILES).json(&profile("New", "new@example.com")),
            request(Method::POST, PROFILES).header("idempotency-key", "once").json(&profile("Once", "once@example.com")),
            request(Method::PUT, &path).json(&changed),
            request(Method::PATCH, &path).header("content-type", "application/merge-patch+json").body(changed.to_string()),
            request(Method::DELETE, &path),
        ]
    }
}

/// A problem: its status and code, and whether it says when to try again.
async fn problem(request: RequestBuilder) -> (StatusCode, String, bool) {
    let answer = request.send().await.expect("an answer");
    let (status, headers) = (answer.status(), answer.headers().clone());
    let body: Value = answer.json().await.expect("JSON");
    assert_eq!(headers["content-type"], "application/problem+json", "{status}: {body}");
    assert_eq!(body["status"], status.as_u16());
    (status, body["error"]["code"].as_str().expect("a code").to_owned(), headers.contains_key("retry-after"))
}

async fn read(server: &Server, id: &str) -> Value {
    let mut found = server.get_json(&format!("{PROFILES}/{id}")).await;
    found.as_object_mut().expect("an object").remove("source");
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_takes_no_writes_until_there_is_room() {
    let mut bench = Bench::start_with_log().await;
    let id = create(&bench.server, &profile("Ada", "ada@example.com")).await;
    let known = read(&bench.server, &id).await;
    let changes = bench.rows.ask("SELECT count(*) FROM feed").await;

    bench.disk.break_by(Fault::Full);
    for request in bench.writes(&known) {
        // To wait a second won't help.
        assert_eq!(problem(request).await, (StatusCode::INSUFFICIENT_STORAGE, "STORAGE_FULL".to_owned(), false));
        bench.still_reads(&known).await;
    }
    let import = bench.server.client.post(bench.server.url(&format!("{PROFILES}/import")));
    let import = import.header("content-type", "application/x-ndjson").body(profile("Line", "line@example.com").to_string());
    assert_eq!(problem(import).await, (StatusCode::INSUFFICIENT_STORAGE, "STORAGE_FULL".to_owned(), false));
    assert_eq!(bench.rows.ask("SELECT count(*) FROM feed").await, changes, "nothing was written");
    assert!(!bench.server.log().contains("STORAGE_FULL"), "the log is on the full disk");

    bench.disk.mend(Fault::Full);
    for request in bench.writes(&known) {
        let status = request.send().await.expect("an answer").status();
        assert!(status.is_success(), "{status} although there is room");
    }
    bench.rows.are_whole().await;
    bench.server.restart_after("TERM").await;
    assert!(bench.server.log().contains("log lines were lost"), "{}", bench.server.log());
    assert_eq!(bench.server.status(&format!("{PROFILES}/{id}")).await, Some(StatusCode::NOT_FOUND), "it was deleted");
    let list = bench.server.get_json(&format!("{PROFILES}?sort=name")).await;
    let names: Vec<&Value> = list["items"].as_array().expect("items").iter().map(|item| &item["name"]).collect();
    assert_eq!(names, ["New", "Once"]);
    bench.rows.are_whole().await;
}

/// With checkpoints in between, kills, and a start on the full disk.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_before_and_after_a_full_disk_is_there() {
    let mut bench = Bench::start().await;
    let mut writers = Writer::several(8);
    let mut until_written = Vec::new();
    for round in 0..scaled(10) {
        let mut load = Load::begin(writers, &bench.server);
        load.acknowledges(150).await;
        bench.disk.break_by(Fault::Full);
        load.is_refused_room(40).await;
        assert_eq!(bench.server.status(&format!("{PROFILES}?limit=10")).await, Some(StatusCode::OK));
        if round % 2 == 1 {
            bench.server.signal("KILL");
            writers = load.gone().await;
            bench.server.restart().await;
            assert_eq!(bench.server.status(&format!("{PROFILES}?limit=10")).await, Some(StatusCode::OK));
            load = Load::begin(writers, &bench.server);
            load.is_refused_room(40).await;
        }
        bench.disk.mend(Fault::Full);
        let began = Instant::now();
        load.acknowledges(1).await;
        until_written.push(began.elapsed());
        load.acknowledges(40).await;
        assert_eq!(load.failures(), (0, 0), "whether a write was done is known");
        writers = load.end().await;
        for writer in &mut writers {
            writer.find_all_acknowledged(&bench.server).await;
        }
        bench.rows.are_whole().await;
    }
    report("from room to the next write", &mut until_written);
    // Each within its pause between attempts.
    assert!(until_written.last() < Some(&Duration::from_secs(5)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_sync_failed_is_not_acknowledged() {
    let mut bench = Bench::start().await;
    let id = create(&bench.server, &profile("Ada", "ada@example.com")).await;
    let known = read(&bench.server, &id).await;
    for round in 0..3 {
        bench.disk.break_by(Fault::LogSyncsFail);
        for request in bench.writes(&known) {
            assert_eq!(problem(request).await, (StatusCode::SERVICE_UNAVAILABLE, "COMMIT_UNKNOWN".to_owned(), true));
            bench.still_reads(&known).await;
        }
        bench.disk.mend(Fault::LogSyncsFail);
        if round == 1 {
            bench.server.restart_after("TERM").await;
        }
        bench.rows.are_whole().await;
        assert_eq!(read(&bench.server, &id).await, known, "what was not acknowledged is not served");
    }
    for request in bench.writes(&known) {
        let status = request.send().await.expect("an answer").status();
        assert!(status.is_success(), "{status} although the disk syncs again");
    }
    bench.rows.are_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_before_and_after_failed_syncs_is_there() {
    let mut bench = Bench::start().await;
    let mut writers = Writer::several(8);
    for round in 0..scaled(10) {
        let mut load = Load::begin(writers, &bench.server);
        load.acknowledges(150).await;
        bench.disk.break_by(Fault::LogSyncsFail);
        // Answers of what was synced before may be on their way.
        load.is_left_in_doubt(20).await;
        let acknowledged = load.acknowledged();
        load.is_left_in_doubt(40).await;
        assert_eq!(load.acknowledged(), acknowledged, "acknowledged although no sync succeeds");
        if round % 2 == 1 {
            bench.server.signal("KILL");
            writers = load.gone().await;
            bench.disk.mend(Fault::LogSyncsFail);
            bench.server.restart().await;
            load = Load::begin(writers, &bench.server);
        } else {
            bench.disk.mend(Fault::LogSyncsFail);
        }
        load.acknowledges(40).await;
        writers = load.end().await;
        for writer in &mut writers {
            writer.find_all_acknowledged(&bench.server).await;
        }
        bench.rows.are_whole().await;
    }
}

/// No commit waits for a checkpoint, so none fails with one; but nothing is copied any more, so that the log keeps everything.
#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_whose_sync_failed_costs_nothing_that_was_acknowledged() {
    let mut bench = Bench::start().await;
    bench.disk.break_by(Fault::DatabaseSyncsFail);
    let mut load = Load::begin(Writer::several(8), &bench.server);
    let noticed = "the database could not be synced";
    while !bench.server.log().contains(noticed) {
        load.acknowledges(50).await;
    }
    load.acknowledges(500).await;
    assert_eq!(load.failures(), (0, 0));
    bench.server.signal("KILL");
    let mut writers = load.gone().await;
    assert_eq!(bench.server.log().matches(noticed).count(), 1, "it is tried again");
    bench.disk.mend(Fault::DatabaseSyncsFail);
    bench.server.restart().await;
    for writer in &mut writers {
        writer.find_all_acknowledged(&bench.server).await;
    }
    bench.rows.are_whole().await;
}
