//! Connections that readers share.

#![allow(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]

mod support;

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use profile_domain::{Expect, Policy};
use profile_ports::{Deadline, Entities as _, StoreError};
use profile_postgres::{PostgresStore, Settings};
use tokio::{runtime::Handle, task::JoinSet, time::timeout};

use crate::support::{Database, deadline, profile, replace, signal, tenant};

/// A store of two connections, of which one is shared.
struct Shared {
    database: Database,
    store: Arc<PostgresStore>,
    registry: prometheus::Registry,
}

impl Shared {
    async fn open(pool_size: usize) -> Self {
        let database = Database::create().await;
        database.store(Policy::default()).await.close().await;
        let registry = prometheus::Registry::new();
        let settings = Settings { pool_size, ..database.settings() };
        let store = Arc::new(PostgresStore::new(&settings, Policy::default(), Handle::current(), &registry).unwrap());
        store.commit(&tenant(), replace(&profile(1), Expect::Fresh, "Ada"), deadline()).await.unwrap();
        let shared = Self { database, store, registry };
        shared.is_shared().await;
        shared
    }

    /// Reads until there is a connection for it that others share.
    async fn is_shared(&self) {
        self.eventually("a shared connection", async || {
            self.view(Duration::from_secs(30)).await.unwrap();
            let text = prometheus::TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap();
            text.lines().any(|line| line == "db_shared_connections 1")
        })
        .await;
    }

    async fn view(&self, within: Duration) -> Result<(), StoreError> {
        let view = self.store.view(&tenant(), &profile(1), Deadline::within(within)).await?;
        assert_eq!(view.unwrap().properties.get("name").unwrap(), "Ada");
        Ok(())
    }

    /// Of the connections of the store, those of which something holds, the shared one last.
    async fn connections(&self, which: &str) -> Vec<i32> {
        let sql = format!(
            "SELECT pid FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'profile-service' AND {which}
            ORDER BY backend_start"
        );
        self.database.look().await.query(&sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    }

    async fn eventually(&self, what: &str, condition: impl AsyncFn() -> bool) {
        let waiting = async {
            while !condition().await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(30), waiting).await.unwrap_or_else(|_| panic!("no {what}"));
    }
}

#[tokio::test]
async fn readers_share_one_while_the_others_are_taken() {
    let shared = Shared::open(2).await;
    let holder = shared.database.look().await;
    holder.batch_execute("BEGIN; SELECT FROM entities FOR UPDATE").await.unwrap();
    // More than there are connections.
    let mut writers = JoinSet::new();
    for _ in 0..4 {
        let store = Arc::clone(&shared.store);
        writers.spawn(async move { store.commit(&tenant(), replace(&profile(1), Expect::Present, "Grace"), deadline()).await });
    }
    shared.eventually("waiting for the lock", async || shared.connections("wait_event_type = 'Lock'").await.len() == 1).await;

    for read in join_all((0..50).map(|_| shared.view(Duration::from_secs(30)))).await {
        read.unwrap();
    }
    assert_eq!(shared.connections("true").await.len(), 2, "no more than allowed");
    holder.batch_execute("ROLLBACK").await.unwrap();
    while let Some(written) = writers.join_next().await {
        written.unwrap().unwrap();
    }
}

/// The server is told that nobody waits: it would not notice while it waits for the lock itself.
#[tokio::test]
async fn reading_ends_at_the_deadline_on_the_server_too() {
    let shared = Shared::open(2).await;
    let holder = shared.database.look().await;
    holder.batch_execute("BEGIN; LOCK TABLE entities").await.unwrap();
    let error = shared.view(Duration::from_millis(700)).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    shared.eventually("end of the statement", async || shared.connections("state <> 'idle'").await.is_empty()).await;
    holder.batch_execute("ROLLBACK").await.unwrap();
    shared.is_shared().await;
}

#[tokio::test]
async fn one_that_hangs_is_given_up() {
    let shared = Shared::open(2).await;
    let pid = u32::try_from(*shared.connections("true").await.last().unwrap()).unwrap();
    assert!(signal("-STOP", &[pid]));
    let error = shared.view(Duration::from_millis(700)).await.unwrap_err();
    let others = [shared.view(Duration::from_secs(30)).await, shared.view(Duration::from_secs(30)).await];
    assert!(signal("-CONT", &[pid]));
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    for other in others {
        other.unwrap();
    }
    shared.is_shared().await;
}

#[tokio::test]
async fn one_that_was_ended_fails_no_reader() {
    let shared = Shared::open(2).await;
    for _ in 0..10 {
        let look = shared.database.look().await;
        let pid = shared.connections("true").await.pop().unwrap();
        look.execute("SELECT pg_terminate_backend($1)", &[&pid]).await.unwrap();
        for read in join_all((0..10).map(|_| shared.view(Duration::from_secs(30)))).await {
            read.unwrap();
        }
        shared.is_shared().await;
    }
}
