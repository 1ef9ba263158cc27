//! What reads show that may come from a replica: with a token the write that gave it; without, nothing older than 2 s.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use profile_port_contracts::scaled;
use tokio::task::JoinSet;

use crate::{
    checker::{History, STALENESS},
    servers::{Pair, create, listed, read, rename, replica_reads, until_replicas_used},
    support::{CEILING, Server},
};

const CLIENTS: u32 = 4;

/// Renames a profile on one instance and reads it on another, so often.
async fn write_and_read(writer: Arc<Server>, reader: Arc<Server>, client: u32, rounds: u32) {
    let name = format!("client-{client}");
    let email = format!("{name}@example.com");
    let (history, other) = (create(&writer, &name).await, create(&writer, &format!("other-{client}")).await);
    until_there(&reader, &history, &email).await;
    for round in 0..rounds {
        rename(&writer, &history, &format!("{name}-{round}")).await;
        let last = history.last();
        let token = last.token.as_deref();
        if round % 2 == 0 {
            let (began, seen) = read(&reader, &history, token).await;
            history.check_at_least(began, last.version, &seen, "a read with its token");
        } else {
            let (began, seen) = listed(&reader, &history, &email, token).await;
            history.check_at_least(began, last.version, &seen, "a list with its token");
        }
        // Of another profile it says as much.
        let (began, seen) = read(&reader, &other, token).await;
        other.check(began, Duration::ZERO, &seen, "a read with another's token");
        without_token(&reader, &history, &email).await;
    }
}

/// Before that, nothing may be there as well.
async fn until_there(reader: &Server, history: &History, email: &str) {
    let began = Instant::now();
    while read(reader, history, None).await.1.is_none() || listed(reader, history, email, None).await.1.is_none() {
        assert!(began.elapsed() < CEILING, "a profile that was created isn't there: {}", reader.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn without_token(reader: &Server, history: &History, email: &str) {
    let (began, seen) = read(reader, history, None).await;
    history.check(began, STALENESS, &seen, "a read without a token");
    let (began, seen) = listed(reader, history, email, None).await;
    history.check(began, STALENESS, &seen, "a list without a token");
}

async fn pairs(writer: &Arc<Server>, readers: &[&Arc<Server>], rounds: u32) {
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let reader = readers[client as usize % readers.len()];
        clients.spawn(write_and_read(Arc::clone(writer), Arc::clone(reader), client, rounds / CLIENTS));
    }
    clients.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_older_than_its_token_though_the_replica_is() {
    let pair = Pair::with_delay("2s").await;
    let (writer, reader) = (pair.instance(&[]).await, pair.instance(&[]).await);
    let bare = pair.instance(&[("CACHE", "off")]).await;
    pairs(&writer, &[&reader, &bare], scaled(10_000)).await;
}

/// One that lags for less than a second is read from, also by those who name what they must see.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_follows_closely_is_read_from() {
    let pair = Pair::with_delay("300ms").await;
    let (writer, reader) = (pair.instance(&[]).await, pair.instance(&[("CACHE", "off")]).await);
    until_replicas_used(&reader, 1).await;
    let history = Arc::new(create(&writer, "ada").await);
    until_there(&reader, &history, "ada@example.com").await;
    let stop = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn({
        let (writer, history, stop) = (Arc::clone(&writer), Arc::clone(&history), Arc::clone(&stop));
        async move {
            let mut round = 0;
            while !stop.load(Ordering::Relaxed) {
                rename(&writer, &history, &format!("ada-{round}")).await;
                round += 1;
            }
        }
    });
    let wanted = u64::from(scaled(4_000));
    let before = replica_reads(&reader, "used").await;
    let began = Instant::now();
    while replica_reads(&reader, "used").await < before + wanted {
        for _ in 0..20 {
            without_token(&reader, &history, "ada@example.com").await;
        }
        assert!(began.elapsed() < Duration::from_mins(1), "{}", reader.log());
    }
    stop.store(true, Ordering::Relaxed);
    writing.await.expect("a writer");
    // What a token names it doesn't have yet.
    let cached = pair.instance(&[]).await;
    until_replicas_used(&cached, 1).await;
    pairs(&writer, &[&cached], scaled(2_000)).await;
}

/// What a token names is there as soon as the replica has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_serves_tokens_that_it_has_come_to() {
    let pair = Pair::with_delay("0").await;
    let (writer, reader) = (pair.instance(&[]).await, pair.instance(&[("CACHE_TTL", "1s")]).await);
    until_replicas_used(&reader, 1).await;
    let before = replica_reads(&reader, "used").await;
    pairs(&writer, &[&reader], scaled(2_000)).await;
    let used = replica_reads(&reader, "used").await - before;
    assert!(used > u64::from(scaled(2_000)), "{used} reads of the replica");
}

/// A replica that is stopped, and later goes on, is noticed by its silence; nobody else is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_stops_costs_no_answer() {
    let pair = Pair::with_delay("0").await;
    let (writer, reader) = (pair.instance(&[]).await, pair.instance(&[("CACHE", "off")]).await);
    until_replicas_used(&reader, 1).await;
    let history = create(&writer, "ada").await;
    until_there(&reader, &history, "ada@example.com").await;
    without_token(&reader, &history, "ada@example.com").await;
    pair.replica.signal("STOP");
    for round in 0..10 {
        rename(&writer, &history, &format!("ada-{round}")).await;
        without_token(&reader, &history, "ada@example.com").await;
    }
    until_replicas_used(&reader, 0).await;
    pair.replica.signal("CONT");
    until_replicas_used(&reader, 1).await;
    without_token(&reader, &history, "ada@example.com").await;
}
