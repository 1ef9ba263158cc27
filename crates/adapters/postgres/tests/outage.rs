//! A server of its own, stopped and measured.

#![allow(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use profile_domain::{EntityWrite, Expect, Fact, FieldName, Intent, ItemOutcome, Moment, Policy, SourceName};
use profile_ports::{CommitError, Deadline, Entities as _, Store as _, StoreError};
use profile_postgres::{Address, PostgresStore, Settings};
use serde_json::json;
use tokio::task::JoinSet;
use tokio_postgres::Client;

use crate::support::{Database, PrivateServer, deadline, open, profile, replace, tenant};

/// How long a caller waits.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// Stopped under load, the store says within the deadline that it is unavailable; let go on, it works again by itself, and no
/// connection is left in a transaction.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn stopped_server_is_unavailable_and_comes_back() {
    let server = PrivateServer::start();
    let database = Database::create_on(server.config.clone()).await;
    drop(database.store(Policy::default()).await);
    let store = open(&Settings { pool_size: 8, ..database.settings() }, Policy::default());
    store.commit(&tenant(), replace(&profile(0), Expect::Fresh, "Ada"), deadline()).await.unwrap();

    let (load, done) = (Arc::new(Load::default()), Arc::new(AtomicBool::new(false)));
    let mut callers = JoinSet::new();
    for caller in 1..=24 {
        let (store, load, done) = (Arc::clone(&store), Arc::clone(&load), Arc::clone(&done));
        callers.spawn(async move {
            let mut round = 0;
            while !done.load(Ordering::Relaxed) {
                round += 1;
                load.call(&store, caller * 1_000_000 + round, caller).await;
            }
        });
    }
    load.wait_for("calls that succeed", || load.succeeded.load(Ordering::Relaxed) > 200).await;

    let stopped = server.stop().await;
    let failed = load.failed.load(Ordering::Relaxed);
    load.wait_for("calls that fail", || load.failed.load(Ordering::Relaxed) > failed + 48).await;
    let ping = Instant::now();
    store.ping(Deadline::within(PATIENCE)).await.unwrap_err();
    assert!(ping.elapsed() < PATIENCE + Duration::from_secs(8));

    drop(stopped);
    let back = Instant::now();
    // Calls that began while it was stopped may still fail; then none does any more.
    load.wait_for("200 calls in a row that succeed", || load.in_a_row.load(Ordering::Relaxed) > 200).await;
    let recovered = back.elapsed();
    let failed = load.failed.load(Ordering::Relaxed);
    let succeeded = load.succeeded.load(Ordering::Relaxed);
    load.wait_for("more", || load.succeeded.load(Ordering::Relaxed) > succeeded + 500).await;
    assert_eq!(load.failed.load(Ordering::Relaxed), failed, "none failed after it had recovered");
    assert!(recovered < Duration::from_secs(20), "{recovered:?}");

    done.store(true, Ordering::Relaxed);
    while let Some(caller) = callers.join_next().await {
        caller.unwrap();
    }
    let slowest = Duration::from_micros(load.slowest.load(Ordering::Relaxed));
    assert!(slowest < PATIENCE + Duration::from_secs(8), "{slowest:?}");
    let look = database.look().await;
    eventually(Duration::from_secs(20), async || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
            AND state <> 'idle'";
        look.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
    eprintln!("recovered in {recovered:?}; the slowest call took {slowest:?}, its deadline being {PATIENCE:?}");
}

/// Stopped while a commit waits for a lock: when the server goes on, that transaction is undone at once, and not when the
/// server's own timeout for idle transactions has passed, which is as long as the caller had.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn interrupted_transaction_is_not_left_open() {
    const PATIENCE: Duration = Duration::from_secs(5);
    let server = PrivateServer::start();
    let database = Database::create_on(server.config.clone()).await;
    let store = database.store(Policy::default()).await;
    store.commit(&tenant(), replace(&profile(1), Expect::Fresh, "Ada"), deadline()).await.unwrap();
    let (holder, look) = (database.look().await, database.look().await);
    holder.batch_execute("BEGIN; SELECT FROM entities FOR UPDATE").await.unwrap();
    let waiting = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.commit(&tenant(), replace(&profile(1), Expect::Present, "Grace"), Deadline::within(PATIENCE)).await }
    });
    let count = async |what: &str| {
        let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'profile-service' AND {what}");
        look.query_one(&sql, &[]).await.unwrap().get::<_, i64>(0)
    };
    eventually(Duration::from_secs(10), async || count("wait_event_type = 'Lock'").await == 1).await;

    let stopped = server.stop().await;
    let error = waiting.await.unwrap().unwrap_err();
    assert!(matches!(error, CommitError::Store(StoreError::Unavailable(_))), "{error:?}");
    drop(stopped);
    eventually(PATIENCE / 2, async || count("state <> 'idle'").await == 0).await;
}

#[derive(Default)]
struct Load {
    succeeded: AtomicU64,
    failed: AtomicU64,
    in_a_row: AtomicU64,
    /// In microseconds.
    slowest: AtomicU64,
}

impl Load {
    /// Creates, changes or reads, in turn.
    async fn call(&self, store: &PostgresStore, number: u128, of: u128) {
        let (tenant, started, deadline) = (tenant(), Instant::now(), Deadline::within(PATIENCE));
        let result = match number % 3 {
            0 => store.commit(&tenant, replace(&profile(number), Expect::Fresh, "Ada"), deadline).await.map(drop),
            1 => {
                store.commit(&tenant, replace(&profile(of % 4), Expect::Any, &format!("Ada {number}")), deadline).await.map(drop)
            }
            _ => store.view(&tenant, &profile(0), deadline).await.map(drop).map_err(Into::into),
        };
        let took = u64::try_from(started.elapsed().as_micros()).unwrap();
        self.slowest.fetch_max(took, Ordering::Relaxed);
        match result {
            Ok(()) => {
                self.succeeded.fetch_add(1, Ordering::Relaxed);
                self.in_a_row.fetch_add(1, Ordering::Relaxed);
            }
            Err(CommitError::Store(StoreError::Unavailable(_) | StoreError::OutcomeUnknown(_))) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                self.in_a_row.store(0, Ordering::Relaxed);
                // As a client that was told to retry later.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(error) => panic!("{error:?}"),
        }
    }

    async fn wait_for(&self, what: &str, so: impl Fn() -> bool) {
        let waiting = async {
            while !so() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap_or_else(|_| panic!("waited in vain for {what}"));
    }
}

async fn eventually(within: Duration, mut so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(within, waiting).await.expect("it became so in time");
}

/// Absent at first: nothing needs to be restarted once it is there.
#[tokio::test(flavor = "multi_thread")]
async fn absent_server_is_unavailable_at_once() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = Settings { port: listener.local_addr().unwrap().port(), host: "127.0.0.1".to_owned(), ..Settings::default() };
    drop(listener);
    let store = open(&settings, Policy::default());
    let started = Instant::now();
    let error = store.ping(Deadline::within(PATIENCE)).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    let error =
        store.commit(&tenant(), replace(&profile(1), Expect::Fresh, "Ada"), Deadline::within(PATIENCE)).await.unwrap_err();
    assert!(matches!(error, CommitError::Store(StoreError::Unavailable(_))), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(8));
}

/// 5,000 items that change nothing write next to nothing to the log.
#[tokio::test(flavor = "multi_thread")]
async fn unchanged_items_write_next_to_no_wal() {
    let server = PrivateServer::start();
    let database = Database::create_on(server.config.clone()).await;
    let look = database.look().await;
    look.batch_execute("ALTER SYSTEM SET autovacuum = off").await.unwrap();
    look.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    let store = database.store(Policy::default()).await;

    let mut changeset = replace(&profile(0), Expect::Any, "");
    let fact = |number: u32| {
        let fact = Fact {
            source: SourceName::parse("crm").unwrap(),
            reference_date: Moment::from_micros(1_767_225_600_000_000),
            value: json!({"plan": "pro", "seats": number}),
        };
        Intent::Merge(vec![(FieldName::parse("contract").unwrap(), fact)])
    };
    let write = |number: u32| EntityWrite {
        key: profile(u128::from(number)),
        intent: fact(number),
        expect: Expect::Any,
        required: false,
    };
    changeset.writes = (0..5_000).map(write).collect();
    store.commit(&tenant(), changeset.clone(), deadline()).await.unwrap();
    // What reads and prunes leave behind once is not what the second commit writes.
    for sql in ["VACUUM", "CHECKPOINT"] {
        look.batch_execute(sql).await.unwrap();
    }

    let position =
        async || look.query_one("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint", &[]).await.unwrap().get::<_, i64>(0);
    let before = position().await;
    let receipt = store.commit(&tenant(), changeset, deadline()).await.unwrap();
    let written = position().await - before;
    assert!(receipt.outcomes.iter().all(|item| matches!(item.outcome, ItemOutcome::Unchanged(Some(_)))));
    assert!(written <= 64 * 1024, "{written} bytes");
    eprintln!("5,000 unchanged items wrote {written} bytes of WAL");
}

/// A standby that commits must wait for is away. That the timeline is noted, for replicas to be read from, doesn't depend on it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timeline_is_noted_without_the_standby_that_commits_wait_for() {
    let mut server = PrivateServer::start();
    server.config.options("-c synchronous_commit=local");
    let database = Database::create_on(server.config.clone()).await;
    drop(database.store(Policy::default()).await);
    let look = database.look().await;
    // Of servers that this database was brought over from.
    look.batch_execute("INSERT INTO timelines VALUES (7, 9)").await.unwrap();
    look.batch_execute("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (nobody)'").await.unwrap();
    look.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    until(&look, "SELECT current_setting('synchronous_standby_names') <> ''").await;

    let settings = database.settings();
    let follower = Address { host: settings.host.clone(), port: settings.port };
    let _store = open(&Settings { replicas: vec![follower], ..settings }, Policy::default());
    let noted = "SELECT FROM timelines, pg_control_system() WHERE servers = system_identifier AND timeline = 1";
    let waiting = "SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    until(&look, &format!("SELECT EXISTS ({noted}) OR EXISTS ({waiting})")).await;
    let waits = look.query(waiting, &[]).await.unwrap();
    assert_eq!(waits.len(), 0, "the note waits for the standby");
}

async fn until(client: &Client, sql: &str) {
    let began = Instant::now();
    while !client.query_one(sql, &[]).await.unwrap().get::<_, bool>(0) {
        assert!(began.elapsed() < Duration::from_secs(30), "{sql}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
