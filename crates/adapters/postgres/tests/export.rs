//! What exports leave behind, and what they leave to others.

#![allow(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]

mod support;

use std::time::Duration;

use futures_util::StreamExt as _;
use profile_domain::{EntityType, Expect, Policy};
use profile_ports::{Bulk as _, Deadline, Entities as _, StoreError};
use profile_postgres::{PostgresStore, Settings};

use crate::support::{Database, deadline, open, profile, replace, tenant};

/// More than is fetched ahead.
const MANY: u128 = 3_000;

async fn fill(store: &PostgresStore) {
    let mut changeset = replace(&profile(1), Expect::Fresh, "Ada");
    changeset.writes = (1..=MANY).flat_map(|number| replace(&profile(number), Expect::Fresh, "Ada").writes).collect();
    store.commit(&tenant(), changeset, deadline()).await.unwrap();
}

/// Waits until so many connections of the store are in a transaction.
async fn until_in_transaction(database: &Database, count: i64) {
    let look = database.look().await;
    let asking = async {
        let sql = "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'profile-service' AND state <> 'idle'";
        while look.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) != count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asking).await.expect("it became so in time");
}

/// An export that isn't read holds one connection. A quarter of the pool may be held so; a further one gives up at its deadline,
/// and everything else goes on. Dropped, whether before the first entity, halfway or at the end, it ends its transaction.
#[tokio::test(flavor = "multi_thread")]
async fn exports_take_a_quarter_of_the_pool_and_end_when_dropped() {
    let database = Database::create().await;
    drop(database.store(Policy::default()).await);
    let store = open(&Settings { pool_size: 8, ..database.settings() }, Policy::default());
    fill(&store).await;
    let (tenant, profiles) = (tenant(), EntityType::profile());
    let begin = |deadline| store.export(&tenant, &profiles, deadline);

    let unread = begin(deadline()).await.unwrap();
    let mut halfway = begin(deadline()).await.unwrap();
    halfway.next().await.unwrap().unwrap();
    until_in_transaction(&database, 2).await;
    let error = begin(Deadline::within(Duration::from_millis(100))).await.err().unwrap();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    store.commit(&tenant, replace(&profile(1), Expect::Present, "Grace"), deadline()).await.unwrap();

    drop(unread);
    until_in_transaction(&database, 1).await;
    let mut whole = begin(deadline()).await.unwrap();
    let mut count = 0;
    while let Some(entity) = whole.next().await {
        entity.unwrap();
        count += 1;
    }
    assert_eq!(count, MANY);
    // It has ended though the stream is still there.
    until_in_transaction(&database, 1).await;
    drop(halfway);
    until_in_transaction(&database, 0).await;
    drop(whole);
    drop(begin(deadline()).await.unwrap());
    until_in_transaction(&database, 0).await;
}

/// However small the pool is, an export leaves a connection to others; where it can't, it says so at once.
#[tokio::test(flavor = "multi_thread")]
async fn an_export_leaves_a_connection_to_others() {
    let database = Database::create().await;
    let store = database.store(Policy::default()).await;
    fill(&store).await;
    drop(store);
    for pool_size in 1..=4 {
        let store = open(&Settings { pool_size, ..database.settings() }, Policy::default());
        let export = store.export(&tenant(), &EntityType::profile(), deadline()).await;
        if let Err(error) = &export {
            assert!(pool_size < 3 && format!("{error:?}").contains("raise the size of the pool"), "{pool_size}: {error:?}");
        }
        let number = u128::MAX - u128::try_from(pool_size).unwrap();
        store.commit(&tenant(), replace(&profile(number), Expect::Fresh, "Ada"), deadline()).await.unwrap();
    }
}

/// The stream says that it is not whole, when its connection breaks and when the store is closed.
#[tokio::test(flavor = "multi_thread")]
async fn broken_exports_say_so() {
    let database = Database::create().await;
    let store = database.store(Policy::default()).await;
    fill(&store).await;
    let (tenant, profiles) = (tenant(), EntityType::profile());
    for close in [false, true] {
        let export = store.export(&tenant, &profiles, deadline()).await.unwrap();
        until_in_transaction(&database, 1).await;
        if close {
            store.close().await;
        } else {
            let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND application_name = 'profile-service' AND state <> 'idle'";
            database.look().await.query(kill, &[]).await.unwrap();
        }
        let read: Vec<_> = export.collect().await;
        assert!(read.len() < usize::try_from(MANY).unwrap(), "{} were read", read.len());
        assert!(matches!(read.last(), Some(Err(StoreError::Unavailable(_)))), "{:?}", read.last());
        assert!(read[..read.len() - 1].iter().all(Result::is_ok));
    }
    let error = store.export(&tenant, &profiles, deadline()).await.err().unwrap();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
}
