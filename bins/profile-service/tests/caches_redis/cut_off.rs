//! One instance is cut off, while another writes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::StatusCode;
use tokio::sync::watch;

use crate::{
    checker::{History, STALENESS},
    gate::{Gate, Way},
    instances::{PAUSE, Pair, create, local, read, start_on, until_read, until_redis_serves},
    load::{Load, change},
    support::{CEILING, Server},
};

/// Not yet over when the store is found to be away, and then soon.
const STALE_IF_ERROR: Duration = Duration::from_secs(4);

/// A pair, and a third instance behind gates.
struct Apart {
    pair: Pair,
    server: Arc<Server>,
    redis: Gate,
    postgres: Gate,
}

impl Apart {
    async fn start() -> Self {
        let pair = Pair::start().await;
        let (redis, postgres) = (Gate::before(local(pair.redis.port)).await, Gate::before(pair.database.address()).await);
        let mut database = pair.database.variables();
        for (name, value) in &mut database {
            match name.as_str() {
                "DB_HOST" => *value = postgres.address.ip().to_string(),
                "DB_PORT" => *value = postgres.address.port().to_string(),
                _ => {}
            }
        }
        let (address, longest) = (redis.address.to_string(), format!("{}s", STALE_IF_ERROR.as_secs()));
        let server = start_on(database, &[("REDIS_ADDRESS", &address), ("STALE_IF_ERROR", &longest)]).await;
        Self { pair, server: Arc::new(server), redis, postgres }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_redis() {
    let apart = Apart::start().await;
    let [first, second] = &apart.pair.servers;
    let servers = [Arc::clone(first), Arc::clone(second), Arc::clone(&apart.server)];
    let mut load = Load::begin(&servers).await;
    load.is_served_by_redis().await;
    for way in [Way::Shut, Way::Silent] {
        apart.redis.set(way);
        load.lasts(STALENESS).await;
        load.goes_on(200, 20).await;
        apart.redis.set(Way::Open);
        until_redis_serves(first, &apart.server).await;
        until_redis_serves(&apart.server, first).await;
    }
    load.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_a_postgres_that_refuses() {
    from_postgres(Way::Shut).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_a_postgres_that_says_nothing() {
    from_postgres(Way::Silent).await;
}

async fn from_postgres(way: Way) {
    let apart = Apart::start().await;
    let (writer, server) = (&apart.pair.servers[0], &apart.server);
    let history = Arc::new(create(writer, "somebody").await);
    let path = history.path();
    until_read(server, &path, |read| read.is_from("memory")).await;

    apart.postgres.set(way);
    let (stop, stopped) = watch::channel(false);
    let exact = tokio::spawn(with_tokens(Arc::clone(server), Arc::clone(&history), stopped));
    let (mut round, mut stale, began) = (0, 0, Instant::now());
    loop {
        round += 1;
        change(writer, &history, &format!("step-{round}")).await;
        let read = read(server, &path, None).await.expect("an answer");
        match read.status {
            StatusCode::OK if read.is_stale() => {
                stale += 1;
                history.check(read.began, STALE_IF_ERROR, &read.seen, &read.cache);
            }
            StatusCode::OK => history.check(read.began, STALENESS, &read.seen, &read.cache),
            StatusCode::SERVICE_UNAVAILABLE => break,
            other => panic!("{other}: {}", read.body),
        }
        assert!(began.elapsed() < CEILING, "it is served for ever");
        tokio::time::sleep(PAUSE).await;
    }
    assert!(stale > 0, "nothing was served while the store was away");
    // It was fresh when it was cut off, so it was this old at most.
    assert!(began.elapsed() + STALENESS > STALE_IF_ERROR, "it could have been served for longer");
    let read = read(server, &path, None).await.expect("an answer");
    assert_eq!(read.status, StatusCode::SERVICE_UNAVAILABLE, "{read:?}");

    apart.postgres.set(Way::Open);
    let read = until_read(server, &path, |read| read.status == StatusCode::OK && !read.is_stale()).await;
    history.check(read.began, STALENESS, &read.seen, &read.cache);
    stop.send_replace(true);
    exact.await.expect("reads with tokens");
    change(server, &history, "by the one that was cut off").await;
    is_what_was_written(writer, &history).await;
    until_redis_serves(writer, server).await;
}

/// None is answered with less, whatever can't be reached.
async fn with_tokens(server: Arc<Server>, history: Arc<History>, stopped: watch::Receiver<bool>) {
    while !*stopped.borrow() {
        let known = history.last();
        let read = read(&server, &history.path(), known.token.as_deref()).await.expect("an answer");
        match read.status {
            StatusCode::OK => history.check_at_least(read.began, known.version, &read.seen, "a read with a token"),
            status => assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{read:?}"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn is_what_was_written(server: &Server, history: &History) {
    let known = history.last();
    let read = read(server, &history.path(), known.token.as_deref()).await.expect("an answer");
    history.check_at_least(read.began, known.version, &read.seen, &read.cache);
}
