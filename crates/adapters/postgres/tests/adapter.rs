//! What holds of this adapter beyond the contract.

#![allow(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]

mod support;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use profile_domain::{Changeset, Expect, Idempotency, Intent, Policy, search::ListQuery};
use profile_ports::{CommitError, Deadline, Entities as _, Secrets as _, Store as _, StoreError};
use profile_postgres::{PostgresStore, Settings};
use tokio::task::JoinSet;

use crate::support::{Database, deadline, open, profile, replace, tenant};

#[tokio::test(flavor = "multi_thread")]
async fn ten_instances_migrate_at_once() {
    let database = Database::create().await;
    let mut migrating = JoinSet::new();
    for _ in 0..10 {
        let store = open(&database.settings(), Policy::default());
        migrating.spawn(async move { store.migrate(deadline()).await });
    }
    while let Some(migrated) = migrating.join_next().await {
        migrated.unwrap().unwrap();
    }
    let history = database.look().await.query("SELECT version FROM refinery_schema_history ORDER BY version", &[]).await.unwrap();
    assert_eq!(history.iter().map(|row| row.get::<_, i32>(0)).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_migration_is_refused() {
    let database = Database::create().await;
    let store = database.store(Policy::default()).await;
    database.look().await.execute("UPDATE refinery_schema_history SET checksum = '1'", &[]).await.unwrap();
    let error = store.migrate(deadline()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "migration V1 (create_store) was applied to this database in another form than the one in this program"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ping_fails_until_the_schema_is_there() {
    let database = Database::create().await;
    let store = open(&database.settings(), Policy::default());
    let error = store.ping(deadline()).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    let error = store.commit(&tenant(), replace(&profile(1), Expect::Fresh, "Ada"), deadline()).await.unwrap_err();
    assert!(matches!(error, CommitError::Store(StoreError::Unavailable(_))), "{error:?}");

    store.migrate(deadline()).await.unwrap();
    store.ping(deadline()).await.unwrap();

    let look = database.look().await;
    look.execute("DELETE FROM refinery_schema_history WHERE version > 1", &[]).await.unwrap();
    let error = store.ping(deadline()).await.unwrap_err();
    let StoreError::Unavailable(reason) = error else { panic!("{error:?}") };
    assert_eq!(reason.to_string(), "the schema is at version 1 and must be migrated to 2");
}

/// A standby takes no writes; a database that is read-only by default behaves as one does.
#[tokio::test(flavor = "multi_thread")]
async fn standby_is_unavailable_and_its_connections_are_dropped() {
    let database = Database::create().await;
    drop(database.store(Policy::default()).await);
    let look = database.look().await;
    let name = database.settings().database;
    look.batch_execute(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).await.unwrap();
    let store = open(&Settings { pool_size: 1, ..database.settings() }, Policy::default());
    assert!(store.ping(deadline()).await.is_err());
    let tenant = tenant();
    let create = || store.commit(&tenant, replace(&profile(1), Expect::Fresh, "Ada"), deadline());
    assert!(matches!(create().await, Err(CommitError::Store(StoreError::Unavailable(_)))));

    look.batch_execute(&format!("ALTER DATABASE {name} RESET default_transaction_read_only")).await.unwrap();
    create().await.expect("a new connection is made, to the primary");
}

/// What the last trigger of each transaction sees, whatever the role says that it wants.
#[tokio::test(flavor = "multi_thread")]
async fn every_commit_is_durable() {
    let database = Database::create().await;
    drop(database.store(Policy::default()).await);
    let look = database.look().await;
    let name = database.settings().database;
    look.batch_execute(
        "CREATE TABLE seen (id bigint GENERATED ALWAYS AS IDENTITY, what text, synchronous_commit text, fsync text);
         CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO seen (what, synchronous_commit, fsync)
             VALUES (TG_TABLE_NAME, current_setting('synchronous_commit'), current_setting('fsync'));
             RETURN NULL;
         END $$;
         CREATE CONSTRAINT TRIGGER see AFTER INSERT ON feed DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION see();
         CREATE CONSTRAINT TRIGGER see AFTER INSERT ON secrets DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION see();
         CREATE CONSTRAINT TRIGGER see AFTER INSERT ON refinery_schema_history DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION see()",
    )
    .await
    .unwrap();
    let migrations = tempfile::tempdir().unwrap();
    for (number, (wanted, kept)) in
        [("on", "on"), ("off", "on"), ("local", "on"), ("remote_write", "on"), ("remote_apply", "remote_apply")]
            .into_iter()
            .enumerate()
    {
        look.batch_execute(&format!("ALTER ROLE CURRENT_USER IN DATABASE {name} SET synchronous_commit = {wanted}"))
            .await
            .unwrap();
        let session = database.look().await.query_one("SHOW synchronous_commit", &[]).await.unwrap();
        assert_eq!(session.get::<_, &str>(0), wanted, "the role says so");

        std::fs::write(migrations.path().join(format!("V{}__nothing.sql", 1_000 + number)), "SELECT 1").unwrap();
        let settings = Settings { further_migrations: Some(migrations.path().to_owned()), ..database.settings() };
        for prepared in [true, false] {
            look.batch_execute("TRUNCATE seen, secrets").await.unwrap();
            let store = open(&Settings { prepared, ..settings.clone() }, Policy::default());
            store.migrate(deadline()).await.unwrap();
            let key = profile(u128::try_from(number).unwrap() * 2 + u128::from(prepared));
            for (expect, name) in [(Expect::Fresh, "one statement"), (Expect::Present, "a transaction")] {
                store.commit(&tenant(), replace(&key, expect, name), deadline()).await.unwrap();
            }
            store.secrets([1; 32], deadline()).await.unwrap();
            store.rotate_secrets([2; 32], deadline()).await.unwrap();
            let seen = look.query("SELECT what, synchronous_commit, fsync FROM seen ORDER BY id", &[]).await.unwrap();
            let seen: Vec<(&str, &str, &str)> = seen.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
            let mut expected = vec!["feed", "feed", "secrets", "secrets"];
            if prepared {
                expected.insert(0, "refinery_schema_history");
            }
            let expected: Vec<_> = expected.into_iter().map(|what| (what, kept, "on")).collect();
            assert_eq!(seen, expected, "the role wants {wanted}");
        }
    }
}

/// Without prepared statements everything works too, and nothing is left in the session.
#[tokio::test(flavor = "multi_thread")]
async fn leaves_nothing_in_the_session() {
    let database = Database::create().await;
    drop(database.store(Policy::default()).await);
    let store = open(&Settings { prepared: false, pool_size: 1, ..database.settings() }, Policy::default());
    let (tenant, key) = (tenant(), profile(1));
    store.commit(&tenant, replace(&key, Expect::Fresh, "Ada"), deadline()).await.unwrap();
    store.commit(&tenant, replace(&key, Expect::Present, "Grace"), deadline()).await.unwrap();
    assert_eq!(store.view(&tenant, &key, deadline()).await.unwrap().unwrap().properties.get("name").unwrap(), "Grace");
    let query = ListQuery {
        entity_type: key.entity_type.clone(),
        filters: vec![profile_domain::search::Filter::attribute("plan", "pro")],
        name_prefix: None,
        order: profile_domain::search::Order::Created,
        after: None,
        limit: 10,
    };
    assert_eq!(store.list(&tenant, &query, deadline()).await.unwrap().len(), 1);
    store.rotate_secrets([7; 32], deadline()).await.unwrap();
    assert_eq!(store.secrets([1; 32], deadline()).await.unwrap()[0].bytes, [7; 32]);
    let mut delete = replace(&key, Expect::Present, "");
    delete.writes[0].intent = Intent::Delete;
    store.commit(&tenant, delete, deadline()).await.unwrap();
    assert_eq!(store.view(&tenant, &key, deadline()).await.unwrap(), None);

    // The one connection of the pool, seen from inside: a function that the next ping happens to run.
    let look = database.look().await;
    look.batch_execute(
        "CREATE TABLE seen AS SELECT 0::bigint AS statements, 0::bigint AS locks, ''::text AS timeouts WHERE false;
         CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO seen SELECT (SELECT count(*) FROM pg_prepared_statements WHERE name <> ''),
                 (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'),
                 concat_ws(' ', current_setting('statement_timeout'), current_setting('lock_timeout'),
                     current_setting('idle_in_transaction_session_timeout'));
             RETURN NEW;
         END $$;
         CREATE TRIGGER see AFTER INSERT ON secrets FOR EACH ROW EXECUTE FUNCTION see()",
    )
    .await
    .unwrap();
    store.rotate_secrets([8; 32], deadline()).await.unwrap();
    let seen = look.query_one("SELECT statements, locks, timeouts FROM seen", &[]).await.unwrap();
    assert_eq!((seen.get::<_, i64>(0), seen.get::<_, i64>(1), seen.get::<_, &str>(2)), (0, 0, "0 0 0"));
}

/// A caller that waits behind a lock gives up at its deadline, and leaves nobody waiting or in a transaction on the server.
#[tokio::test(flavor = "multi_thread")]
async fn waiting_ends_at_the_deadline() {
    let database = Database::create().await;
    let store = database.store(Policy::default()).await;
    store.commit(&tenant(), replace(&profile(1), Expect::Fresh, "Ada"), deadline()).await.unwrap();
    let holder = database.look().await;
    holder.batch_execute("BEGIN; SELECT FROM entities FOR UPDATE").await.unwrap();

    let soon = Deadline::within(Duration::from_millis(300));
    let error = store.commit(&tenant(), replace(&profile(1), Expect::Present, "Grace"), soon).await.unwrap_err();
    assert!(matches!(error, CommitError::Store(StoreError::Unavailable(_))), "{error:?}");

    let look = database.look().await;
    until(async || {
        let sql = "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'profile-service' AND state <> 'idle'";
        look.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
    holder.batch_execute("ROLLBACK").await.unwrap();
    store.commit(&tenant(), replace(&profile(1), Expect::Present, "Grace"), deadline()).await.unwrap();
}

/// First writers of one profile by the same address race: none may find that the address belongs to another, because the
/// other is the same profile.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn first_writers_share_the_address() {
    let database = Database::create().await;
    let store = database.store(Policy::default()).await;
    for round in 0..profile_port_contracts::scaled(1_500) {
        let key = profile(u128::from(round));
        let mut writers = JoinSet::new();
        for writer in 0..8 {
            let (store, changeset) = (Arc::clone(&store), replace(&key, Expect::Any, &format!("Ada {writer}")));
            writers.spawn(async move { store.commit(&tenant(), changeset, deadline()).await });
        }
        while let Some(receipt) = writers.join_next().await {
            receipt.unwrap().unwrap_or_else(|error| panic!("round {round}: {error:?}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn full_pool_is_unavailable() {
    let database = Database::create().await;
    drop(database.store(Policy::default()).await);
    let store = open(&Settings { pool_size: 1, ..database.settings() }, Policy::default());
    store.commit(&tenant(), replace(&profile(1), Expect::Fresh, "Ada"), deadline()).await.unwrap();
    let holder = database.look().await;
    holder.batch_execute("BEGIN; SELECT FROM entities FOR UPDATE").await.unwrap();
    let waiting = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.commit(&tenant(), replace(&profile(1), Expect::Present, "Grace"), deadline()).await }
    });
    let look = database.look().await;
    until(async || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        look.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 1
    })
    .await;
    let error = store.view(&tenant(), &profile(1), Deadline::within(Duration::from_millis(100))).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    holder.batch_execute("ROLLBACK").await.unwrap();
    waiting.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_name_statements_and_count_connections() {
    let database = Database::create().await;
    let registry = prometheus::Registry::new();
    let handle = tokio::runtime::Handle::current();
    let store = PostgresStore::new(&database.settings(), Policy::default(), handle, &registry).unwrap();
    store.migrate(deadline()).await.unwrap();
    store.commit(&tenant(), replace(&profile(1), Expect::Fresh, "Ada"), deadline()).await.unwrap();
    let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    for line in [
        r#"db_query_duration_seconds_count{statement="create_fresh",store="postgres"} 1"#,
        "db_pool_size 1",
        "db_pool_available 1",
        "db_pool_waiting 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

/// The port is called from a runtime of one thread, as HTTP workers are, and the commit runs on the runtime given.
#[test]
fn commit_runs_on_the_runtime_given() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("store").enable_all().build().unwrap();
    let (database, store) = runtime.block_on(async {
        let database = Database::create().await;
        let store = database.store(Policy::default()).await;
        (database, store)
    });
    let seen = Arc::new(Mutex::new(Vec::new()));
    tracing::subscriber::set_global_default(threads::Recorder(Arc::clone(&seen))).unwrap();
    let caller = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    caller.block_on(async {
        store.commit(&tenant(), replace(&profile(1), Expect::Fresh, "Ada"), deadline()).await.unwrap();
        store.commit(&tenant(), replace(&profile(1), Expect::Present, "Grace"), deadline()).await.unwrap();
    });
    assert_eq!(*seen.lock().unwrap(), ["store", "store"]);
    runtime.block_on(async { store.close().await });
    drop(database);
}

/// their keys: while the first of them can't be had, none of the others is held. So commits that cross can't wait for each other.
#[tokio::test(flavor = "multi_thread")]
async fn locks_are_taken_in_the_order_of_keys() {
    const ROWS: u128 = 20;
    for (table, key) in [("entities", "reference"), ("profile_emails", "email_key")] {
        let database = Database::create().await;
        let store = database.store(Policy::default()).await;
        let look = database.look().await;
        let together = |numbers: &mut dyn Iterator<Item = u128>, expect: &Expect, shift: u128| {
            let mut all = replace(&profile(1), expect.clone(), "Ada");
            all.writes.clear();
            for number in numbers {
                let mut one = replace(&profile(number), expect.clone(), "Ada").writes.remove(0);
                let Intent::Replace(document) = &mut one.intent else { panic!("a replacement") };
                let of = profile((number - 1 + shift) % ROWS + 1).reference;
                if shift > 0 {
                    document.insert("email".to_owned(), format!("{of}@example.com").into());
                }
                all.writes.push(one);
            }
            all
        };
        // Stored backwards and among others, and joined by scanning them, so that no plan keeps the order by chance.
        for number in (1..=ROWS).rev() {
            store.commit(&tenant(), replace(&profile(number), Expect::Fresh, "Ada"), deadline()).await.unwrap();
        }
        store.commit(&tenant(), together(&mut (1_000..2_000), &Expect::Fresh, 0), deadline()).await.unwrap();
        look.batch_execute("ANALYZE").await.unwrap();
        for setting in ["enable_nestloop", "enable_mergejoin", "enable_indexscan", "enable_bitmapscan"] {
            let name = database.settings().database;
            look.batch_execute(&format!("ALTER DATABASE {name} SET {setting} = off")).await.unwrap();
        }
        store.close().await;
        let store = open(&database.settings(), Policy::default());

        let holder = database.look().await;
        let first = format!("BEGIN; SELECT FROM {table} WHERE {key} = (SELECT min({key}) FROM {table}) FOR UPDATE");
        holder.batch_execute(&first).await.unwrap();
        let waiting = tokio::spawn({
            // Everybody's address moves to the next.
            let (store, crossing) = (Arc::clone(&store), together(&mut (1..=ROWS), &Expect::Present, 1));
            async move { store.commit(&tenant(), crossing, deadline()).await }
        });
        until(async || {
            let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
            look.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 1
        })
        .await;
        let free = look.query(&format!("SELECT {key} FROM {table} FOR UPDATE SKIP LOCKED"), &[]).await.unwrap();
        assert_eq!(free.len() as u128, ROWS + 1_000 - 1, "rows of {table} were locked before the first");
        holder.batch_execute("ROLLBACK").await.unwrap();
        waiting.await.unwrap().unwrap();
    }
}

/// A commit that the server gives up so that another can go on is run again, whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_was_sacrificed_is_run_again() {
    let database = Database::create().await;
    let store = database.store(Policy::default()).await;
    let look = database.look().await;
    look.batch_execute(
        "CREATE SEQUENCE tries;
         CREATE FUNCTION sacrifice() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             -- A sequence is not rolled back. The first and the third try end as in a deadlock.
             IF nextval('tries') IN (1, 3) THEN RAISE EXCEPTION USING ERRCODE = 'deadlock_detected'; END IF;
             RETURN NEW;
         END $$;
         CREATE TRIGGER sacrifice BEFORE INSERT ON feed FOR EACH ROW EXECUTE FUNCTION sacrifice()",
    )
    .await
    .unwrap();
    for (expect, name) in [(Expect::Fresh, "one statement"), (Expect::Present, "a transaction")] {
        store.commit(&tenant(), replace(&profile(1), expect, name), deadline()).await.unwrap();
        assert_eq!(store.view(&tenant(), &profile(1), deadline()).await.unwrap().unwrap().properties.get("name").unwrap(), name);
    }
    let tries = look.query_one("SELECT last_value FROM tries", &[]).await.unwrap();
    assert_eq!(tries.get::<_, i64>(0), 4);
}

/// ended: it is driven on the runtime given.
#[test]
fn connections_live_on_the_runtime_given() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (database, store) = runtime.block_on(async {
        let database = Database::create().await;
        drop(database.store(Policy::default()).await);
        let store = open(&Settings { pool_size: 1, ..database.settings() }, Policy::default());
        (database, store)
    });
    let caller = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let read = |caller: &tokio::runtime::Runtime| {
        caller.block_on(store.view(&tenant(), &profile(1), Deadline::within(Duration::from_secs(10)))).unwrap();
    };
    let first = caller();
    read(&first);
    // Nobody polls what lives on the first one now.
    read(&caller());
    drop(first);
    read(&caller());
    runtime.block_on(async {
        let sql =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'profile-service'
            AND backend_start > (SELECT min(backend_start) FROM pg_stat_activity WHERE datname = current_database()
                AND application_name = 'profile-service')";
        let later = database.look().await.query_one(sql, &[]).await.unwrap();
        assert_eq!(later.get::<_, i64>(0), 0, "one connection served all");
        store.close().await;
    });
    drop(database);
}

/// told to end it, too, and its connection is handed to nobody.
#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_read_is_cancelled_and_its_connection_not_used_again() {
    let database = Database::create().await;
    drop(database.store(Policy::default()).await);
    let store = open(&Settings { pool_size: 1, ..database.settings() }, Policy::default());
    let view = async |within| store.view(&tenant(), &profile(1), Deadline::within(Duration::from_millis(within))).await;
    let look = database.look().await;
    let connections = async |condition: &str| {
        let sql = format!(
            "SELECT pid FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'profile-service' AND {condition}"
        );
        look.query(&sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect::<Vec<i32>>()
    };
    // The pool of the store that migrated may still be closing.
    until(async || connections("true").await.is_empty()).await;
    view(30_000).await.unwrap();
    let first = connections("true").await;
    assert_eq!(first.len(), 1);

    let holder = database.look().await;
    holder.batch_execute("BEGIN; LOCK TABLE entities IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let error = view(300).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    until(async || connections("wait_event_type = 'Lock'").await.is_empty()).await;
    holder.batch_execute("ROLLBACK").await.unwrap();

    view(30_000).await.unwrap();
    until(async || !connections("true").await.contains(&first[0])).await;
}

/// nothing was written.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_cut_off_is_unknown_once_it_may_have_been_committed() {
    let database = Database::create().await;
    let store = database.store(Policy::default()).await;
    store.commit(&tenant(), replace(&profile(1), Expect::Fresh, "Ada"), deadline()).await.unwrap();
    let (holder, look) = (database.look().await, database.look().await);
    // Feed rows are written last, with the COMMIT behind them.
    look.batch_execute(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             PERFORM pg_advisory_xact_lock(1);
             RETURN NEW;
         END $$;
         CREATE TRIGGER wait BEFORE INSERT ON feed FOR EACH ROW EXECUTE FUNCTION wait()",
    )
    .await
    .unwrap();
    let writing = "SELECT pg_advisory_xact_lock(1)";
    let locking = "SELECT FROM entities FOR UPDATE";
    for (held, number, expect, in_doubt) in
        [(writing, 2, Expect::Fresh, true), (writing, 1, Expect::Present, true), (locking, 1, Expect::Present, false)]
    {
        holder.batch_execute(&format!("BEGIN; {held}")).await.unwrap();
        let cut_off = tokio::spawn({
            let store = Arc::clone(&store);
            async move { store.commit(&tenant(), replace(&profile(number), expect, "Grace"), deadline()).await }
        });
        until(async || {
            let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND application_name = 'profile-service' AND wait_event_type = 'Lock'";
            !look.query(sql, &[]).await.unwrap().is_empty()
        })
        .await;
        let error = cut_off.await.unwrap().unwrap_err();
        let unknown = matches!(error, CommitError::Store(StoreError::OutcomeUnknown(_)));
        let unavailable = matches!(error, CommitError::Store(StoreError::Unavailable(_)));
        assert_eq!((unknown, unavailable), (in_doubt, !in_doubt), "{held}: {error:?}");
        holder.batch_execute("ROLLBACK").await.unwrap();
    }
    assert_eq!(store.view(&tenant(), &profile(1), deadline()).await.unwrap().unwrap().properties.get("name").unwrap(), "Ada");

    // The same where it is the deadline that cuts it off.
    holder.batch_execute(&format!("BEGIN; {writing}")).await.unwrap();
    let soon = Deadline::within(Duration::from_millis(300));
    let error = store.commit(&tenant(), replace(&profile(3), Expect::Fresh, "Grace"), soon).await.unwrap_err();
    assert!(matches!(error, CommitError::Store(StoreError::OutcomeUnknown(_))), "{error:?}");
    holder.batch_execute("ROLLBACK").await.unwrap();
}

/// it isn't there yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_claimed_and_not_committed_is_in_progress() {
    let database = Database::create().await;
    let store = database.store(Policy::default()).await;
    let idempotency = Idempotency { route: "POST /x", key: "k".to_owned(), fingerprint: [1; 32] };
    let keyed = || Changeset { idempotency: Some(idempotency.clone()), ..replace(&profile(1), Expect::Fresh, "Ada") };
    let holder = database.look().await;
    let claim = "BEGIN; INSERT INTO idempotency_keys (tenant, route, key, fingerprint, type, reference, created_at)
        VALUES ('default', 'POST /x', 'k', '', '', '', now())";
    holder.batch_execute(claim).await.unwrap();
    let error = store.commit(&tenant(), keyed(), Deadline::within(Duration::from_secs(2))).await.unwrap_err();
    assert!(matches!(error, CommitError::InProgress), "{error:?}");
    holder.batch_execute("ROLLBACK").await.unwrap();
    store.commit(&tenant(), keyed(), deadline()).await.unwrap();
}

/// Records on which threads the store says that it commits.
mod threads {
    use std::sync::{Arc, Mutex};

    use tracing::{Event, Metadata, Subscriber, span};

    pub(crate) struct Recorder(pub(crate) Arc<Mutex<Vec<String>>>);

    impl Subscriber for Recorder {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target() == "profile_postgres::commit"
        }

        fn new_span(&self, _span: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }

        fn record(&self, _span: &span::Id, _values: &span::Record<'_>) {}

        fn record_follows_from(&self, _span: &span::Id, _follows: &span::Id) {}

        fn event(&self, event: &Event<'_>) {
            if event.fields().any(|field| field.name() == "writes") {
                self.0.lock().unwrap().push(std::thread::current().name().unwrap_or_default().to_owned());
            }
        }

        fn enter(&self, _span: &span::Id) {}

        fn exit(&self, _span: &span::Id) {}
    }
}

/// Asks until it is so, within reason.
async fn until(mut so: impl AsyncFnMut() -> bool) {
    let asking = async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asking).await.expect("it became so in time");
}
