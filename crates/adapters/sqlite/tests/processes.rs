//! What the contract can't see: files, locks, the log, and the thread that writes.
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

use std::{
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use profile_domain::{
    Changeset, EntityKey, EntityType, EntityWrite, Expect, Idempotency, Intent, ItemOutcome, Moment, Policy, ProfileId, TenantId,
    Version,
    search::{Filter, ListQuery, Order},
};
use profile_ports::{CommitError, Deadline, Entities, Secrets, Store, StoreError};
use profile_sqlite::{OpenError, Settings, SqliteStore, lock_for_serving};
use prometheus::Registry;
use rusqlite::Connection;
use serde_json::{Value, json};

fn soon() -> Deadline {
    Deadline::within(Duration::from_secs(30))
}

fn tenant() -> TenantId {
    TenantId::default_tenant()
}

fn key(number: u128) -> EntityKey {
    EntityKey::profile(ProfileId(uuid::Uuid::from_u128(number)))
}

fn replace(number: u128, expect: Expect, document: &Value) -> EntityWrite {
    let Value::Object(fields) = document.clone() else { panic!("a document") };
    EntityWrite { key: key(number), intent: Intent::Replace(fields), expect, required: true }
}

fn changeset(writes: Vec<EntityWrite>) -> Changeset {
    Changeset::of(Moment::from_micros(1_000_000), writes)
}

fn ada(number: u128) -> Changeset {
    changeset(vec![replace(number, Expect::Any, &json!({"name": "Ada", "email": format!("ada{number}@example.com")}))])
}

fn open(path: &Path) -> (Arc<SqliteStore>, Registry) {
    let registry = Registry::new();
    let store = SqliteStore::open(&Settings::at(path), Policy::default(), &registry).unwrap();
    (Arc::new(store), registry)
}

fn database() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("some/where/store.db");
    (folder, path)
}

fn wal(path: &Path) -> (u64, Vec<u8>) {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    let bytes = std::fs::read(name).unwrap();
    (bytes.len() as u64, bytes)
}

fn group_sizes(registry: &Registry) -> (u64, f64) {
    let family = registry.gather().into_iter().find(|family| family.name() == "db_commit_group_size").unwrap();
    let histogram = family.get_metric()[0].get_histogram().clone();
    (histogram.get_sample_count(), histogram.get_sample_sum())
}

#[tokio::test]
async fn what_changes_nothing_leaves_the_log_as_it_is() {
    let (_folder, path) = database();
    let (store, registry) = open(&path);
    store.commit(&tenant(), ada(1), soon()).await.unwrap();
    let many = |count: u128| changeset((1..=count).flat_map(|number| ada(number).writes).collect());
    store.commit(&tenant(), many(500), soon()).await.unwrap();
    let before = wal(&path);

    let receipt = store.commit(&tenant(), many(500), soon()).await.unwrap();
    assert!(receipt.outcomes.iter().all(|item| item.outcome == ItemOutcome::Unchanged(Some(Version::FIRST))));
    store.ping(soon()).await.unwrap();
    let refused = changeset(vec![
        replace(901, Expect::Absent, &json!({"name": "B", "email": "b@example.com"})),
        replace(902, Expect::Present, &json!({"name": "C", "email": "c@example.com"})),
    ]);
    assert!(matches!(store.commit(&tenant(), refused, soon()).await, Err(CommitError::Refused(refusal)) if refusal.index == 1));
    assert!(wal(&path) == before, "the log was written to");

    let (groups, _) = group_sizes(&registry);
    assert_eq!(groups, 5, "each of them went through the writer");
    store.commit(&tenant(), ada(600), soon()).await.unwrap();
    assert!(wal(&path) != before, "a change is seen in the log, or this test can't fail");
}

#[tokio::test]
async fn concurrent_commits_share_one_group() {
    let (_folder, path) = database();
    let (store, registry) = open(&path);
    // Another process that writes keeps the group from beginning until all are queued.
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut commits = Vec::new();
    for number in 0..200 {
        // Half of them are refused: the same address again.
        let document = json!({"name": "Ada", "email": format!("ada{}@example.com", number / 2)});
        let changeset = changeset(vec![replace(number, Expect::Fresh, &document)]);
        let store = Arc::clone(&store);
        let mut commit = Box::pin(async move { store.commit(&tenant(), changeset, soon()).await });
        assert!(first_poll(commit.as_mut()).await.is_pending());
        commits.push(commit);
    }
    other.execute_batch("ROLLBACK").unwrap();

    let mut created = 0;
    for (number, commit) in (0..).zip(commits) {
        let outcome = commit.await;
        if number % 2 == 0 {
            assert_eq!(outcome.unwrap().outcomes[0].outcome, ItemOutcome::Created(Version::FIRST));
            assert!(store.view(&tenant(), &key(number), soon()).await.unwrap().is_some());
            created += 1;
        } else {
            assert!(matches!(outcome, Err(CommitError::Refused(_))), "{outcome:?}");
        }
    }
    assert_eq!(created, 100);
    assert_eq!(group_sizes(&registry), (1, 200.0));
}

async fn first_poll<T>(mut future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

#[tokio::test]
async fn a_commit_that_can_not_begin_in_time_is_unavailable_and_never_happens() {
    let (_folder, path) = database();
    let (store, _) = open(&path);
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let late = store.commit(&tenant(), ada(1), Deadline::within(Duration::from_millis(50))).await;
    assert!(matches!(late, Err(CommitError::Store(StoreError::Unavailable(_)))), "{late:?}");
    other.execute_batch("ROLLBACK").unwrap();
    store.commit(&tenant(), ada(2), soon()).await.unwrap();
    assert_eq!(store.entity(&tenant(), &key(1), soon()).await.unwrap(), None);
}

#[tokio::test]
async fn a_key_that_was_used_writes_nothing_more() {
    let (_folder, path) = database();
    let (store, _) = open(&path);
    let keyed = |fingerprint| Changeset {
        idempotency: Some(Idempotency { route: "POST /x", key: "k".into(), fingerprint: [fingerprint; 32] }),
        ..ada(1)
    };
    let first = store.commit(&tenant(), keyed(1), soon()).await.unwrap();
    let before = wal(&path);
    let again = store.commit(&tenant(), keyed(1), soon()).await.unwrap();
    assert_eq!(again.outcomes, first.outcomes);
    assert!(matches!(store.commit(&tenant(), keyed(2), soon()).await, Err(CommitError::KeyReused)));
    assert!(wal(&path) == before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_finishes_what_was_queued_and_refuses_what_comes_after() {
    let (_folder, path) = database();
    let (store, _) = open(&path);
    let commits: Vec<_> = (0..50)
        .map(|number| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.commit(&tenant(), ada(number), soon()).await })
        })
        .collect();
    store.close().await;
    let mut acknowledged = Vec::new();
    for (number, commit) in (0..).zip(commits) {
        match commit.await.unwrap() {
            Ok(_) => acknowledged.push(number),
            Err(CommitError::Store(StoreError::Unavailable(_))) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    let refused = store.commit(&tenant(), ada(99), soon()).await;
    assert!(matches!(refused, Err(CommitError::Store(StoreError::Unavailable(_)))), "{refused:?}");
    let refused = store.view(&tenant(), &key(0), soon()).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    store.close().await;

    let (store, _) = open(&path);
    for number in 0..50 {
        let found = store.view(&tenant(), &key(number), soon()).await.unwrap().is_some();
        assert_eq!(found, acknowledged.contains(&number), "{number}");
    }
}

#[tokio::test]
async fn a_dropped_commit_is_finished() {
    let (_folder, path) = database();
    let (store, _) = open(&path);
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let tenant = tenant();
    {
        let commit = std::pin::pin!(store.commit(&tenant, ada(1), soon()));
        assert!(first_poll(commit).await.is_pending());
    }
    other.execute_batch("ROLLBACK").unwrap();
    store.close().await;
    let (store, _) = open(&path);
    assert!(store.view(&tenant, &key(1), soon()).await.unwrap().is_some());
}

#[test]
fn one_process_serves() {
    let (_folder, path) = database();
    let first = lock_for_serving(&path).unwrap();
    let second = lock_for_serving(&path).unwrap_err();
    assert!(matches!(&second, OpenError::Served { path: served } if *served == path), "{second:?}");
    assert!(second.to_string().contains("is being served by another process"), "{second}");
    // A command may run beside it.
    profile_sqlite::migrate(&Settings::at(&path)).unwrap();
    drop(first);
    lock_for_serving(&path).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_open_an_empty_folder_at_once() {
    let (_folder, path) = database();
    let stores: Vec<_> = (0..10)
        .map(|_| {
            let path = path.clone();
            tokio::task::spawn_blocking(move || open(&path).0)
        })
        .collect();
    let mut secrets = Vec::new();
    for (number, store) in (0..).zip(stores) {
        let store = store.await.unwrap();
        store.commit(&tenant(), ada(number), soon()).await.unwrap();
        secrets.push(store.secrets([u8::try_from(number).unwrap(); 32], soon()).await.unwrap());
    }
    assert!(secrets.windows(2).all(|pair| pair[0] == pair[1]), "one key for all");
    let look = Connection::open(&path).unwrap();
    let count: i64 = look.query_row("SELECT count(*) FROM refinery_schema_history", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 2, "each migration once");
    let ids: Vec<i64> = look
        .prepare("SELECT id FROM entities ORDER BY id")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(ids, (1..=10).collect::<Vec<_>>());
}

/// Who migrates waits for another process that does: it looks at the schema only once that one is done.
#[test]
fn migrations_wait_for_each_other() {
    let (_folder, path) = database();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut lock = path.as_os_str().to_owned();
    lock.push(".migrate.lock");
    let other = std::fs::File::create(&lock).unwrap();
    other.lock().unwrap();
    let inode = std::os::unix::fs::MetadataExt::ino(&other.metadata().unwrap());
    let migrating = std::thread::spawn({
        let path = path.clone();
        move || profile_sqlite::migrate(&Settings::at(&path))
    });
    // The kernel lists who waits for a lock, with an arrow.
    let waits = || {
        let locks = std::fs::read_to_string("/proc/locks").unwrap();
        locks.lines().any(|line| line.contains("-> FLOCK") && line.contains(&format!(":{inode} ")))
    };
    let began = std::time::Instant::now();
    while !waits() {
        assert!(!migrating.is_finished(), "it did not wait");
        assert!(began.elapsed() < Duration::from_secs(20), "it neither waits nor ends");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(!path.exists(), "it has touched the database");
    drop(other);
    migrating.join().unwrap().unwrap();
    assert!(path.exists());
}

#[tokio::test]
async fn metrics_name_the_statements() {
    let (_folder, path) = database();
    let (store, registry) = open(&path);
    store.commit(&tenant(), ada(1), soon()).await.unwrap();
    store.view(&tenant(), &key(1), soon()).await.unwrap();
    let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    for line in [
        r#"db_query_duration_seconds_count{statement="view",store="sqlite"} 1"#,
        r#"db_query_duration_seconds_count{statement="commit",store="sqlite"} 1"#,
        r#"db_pool_size{store="sqlite"} 4"#,
        r#"db_pool_available{store="sqlite"} 4"#,
        r#"db_commit_group_size_sum{store="sqlite"} 1"#,
    ] {
        assert!(text.contains(line), "no {line} in {text}");
    }
}

#[test]
fn a_file_that_is_no_database_is_refused_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    std::fs::write(&path, "no database at all, but long enough to have a header".repeat(100)).unwrap();
    let refused = SqliteStore::open(&Settings::at(&path), Policy::default(), &Registry::new()).err().unwrap();
    assert!(refused.to_string().contains("store.db"), "{refused}");
    assert_eq!(std::fs::read_to_string(&path).unwrap().len(), 5200);
}

/// Search keys are hashes. Rows that another value put under the key of a filter are passed over, and never shorten a page.
#[tokio::test]
async fn colliding_search_keys_neither_show_nor_shorten_a_page() {
    let (_folder, path) = database();
    let (store, _) = open(&path);
    let matches = |number: u128| number.is_multiple_of(4);
    for number in 1..=20 {
        let plan = if matches(number) { "pro" } else { "free" };
        let document = json!({"name": "Ada", "email": format!("ada{number}@example.com"), "plan": plan, "city": "Turin"});
        store.commit(&tenant(), changeset(vec![replace(number, Expect::Any, &document)]), soon()).await.unwrap();
    }
    let profile = EntityType::profile();
    let filter = Filter::attribute("plan", "pro");
    let planted = "INSERT OR IGNORE INTO entity_values (tenant, key, entity) SELECT tenant, ?1, id FROM entities";
    assert_eq!(Connection::open(&path).unwrap().execute(planted, [filter.key(&profile).0]).unwrap(), 15);

    for filters in [vec![filter.clone()], vec![filter, Filter::attribute("city", "Turin")]] {
        for (order, expected) in [(Order::Created, [4, 8, 12, 16]), (Order::CreatedDescending, [20, 16, 12, 8])] {
            let query = ListQuery {
                entity_type: profile.clone(),
                filters: filters.clone(),
                name_prefix: None,
                order,
                after: None,
                limit: 4,
            };
            let page = store.list(&tenant(), &query, soon()).await.unwrap();
            assert_eq!(page.into_iter().map(|view| view.key).collect::<Vec<_>>(), expected.map(key));
        }
    }
}
