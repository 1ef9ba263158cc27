//! Redis fails in every way, under load: no error, nothing old, and it is used again when it is back.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use reqwest::StatusCode;

use crate::{
    checker::STALENESS,
    gate::{Gate, Way},
    instances::{PAUSE, Pair, create, local, metric, read, start_on, until_redis_serves},
    load::Load,
    support::{CEILING, Server, fresh_database},
};

/// Requests that are answered while it is away, or back: some of each kind from each instance.
const READS: u64 = 300;
const WRITES: u64 = 30;

/// Under load, until Redis is of use.
async fn under_load() -> (Pair, Load) {
    let pair = Pair::start().await;
    let mut load = Load::begin(&pair.servers).await;
    load.is_served_by_redis().await;
    (pair, load)
}

/// It is used again, and by every instance what others put there.
async fn is_used_again(pair: &Pair, mut load: Load) {
    load.is_served_by_redis().await;
    load.goes_on(READS, WRITES).await;
    load.end().await;
    let [first, second] = &pair.servers;
    until_redis_serves(first, second).await;
    until_redis_serves(second, first).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_empty_again() {
    let (mut pair, mut load) = under_load().await;
    pair.redis.kill().await;
    load.goes_on(READS, WRITES).await;
    pair.redis.put_dump(None);
    pair.redis.start_again().await;
    is_used_again(&pair, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_back_with_an_old_dump() {
    let (mut pair, mut load) = under_load().await;
    for _ in 0..2 {
        let dump = pair.redis.dump().await;
        // All that is in it shall be too old to be read.
        load.lasts(STALENESS).await;
        load.goes_on(READS, WRITES).await;
        pair.redis.kill().await;
        load.goes_on(READS, WRITES).await;
        pair.redis.put_dump(Some(&dump));
        pair.redis.start_again().await;
        load.is_served_by_redis().await;
    }
    is_used_again(&pair, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped() {
    let (pair, mut load) = under_load().await;
    pair.redis.stop();
    load.lasts(STALENESS).await;
    load.goes_on(READS, WRITES).await;
    pair.redis.go_on();
    is_used_again(&pair, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flushed() {
    let (pair, mut load) = under_load().await;
    for _ in 0..5 {
        pair.redis.tell(&["FLUSHALL"]).await;
        load.is_served_by_redis().await;
    }
    is_used_again(&pair, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slowed() {
    let mut pair = Pair::start().await;
    let gate = Gate::before(local(pair.redis.port)).await;
    let through = gate.address.to_string();
    for (server, cache) in pair.servers.iter_mut().zip(["on", "redis"]) {
        let more = [("REDIS_ADDRESS", through.as_str()), ("CACHE", cache)];
        *server = Arc::new(start_on(pair.database.variables(), &more).await);
    }
    let mut load = Load::begin(&pair.servers).await;
    load.is_served_by_redis().await;
    gate.set(Way::Late(Duration::from_millis(100)));
    for server in &pair.servers {
        let began = Instant::now();
        while metric(server, "cache_breaker_open", "redis").await < 1.0 {
            assert!(began.elapsed() < CEILING, "it is asked though it is slow");
            load.goes_on(1, 0).await;
        }
    }
    load.goes_on(READS, WRITES).await;
    gate.set(Way::Open);
    is_used_again(&pair, load).await;
}

/// Instances start without it, and switch over by themselves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn absent_at_the_start() {
    let mut pair = Pair::start().await;
    pair.redis.kill().await;
    for server in &mut pair.servers {
        Arc::get_mut(server).expect("nobody else has it").restart_after("TERM").await;
    }
    let mut load = Load::begin(&pair.servers).await;
    load.goes_on(READS, WRITES).await;
    pair.redis.start_again().await;
    is_used_again(&pair, load).await;
}

/// A crowd that finds no cache, before a store that is slow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losing_it_drowns_no_store() {
    const CROWD: usize = 400;
    let database = fresh_database().await;
    let gate = Gate::before(database.address()).await;
    let mut variables = database.variables();
    for (name, value) in &mut variables {
        match name.as_str() {
            "DB_HOST" => *value = gate.address.ip().to_string(),
            "DB_PORT" => *value = gate.address.port().to_string(),
            _ => {}
        }
    }
    // Nobody listens there.
    let server: Server = start_on(variables, &[("REDIS_ADDRESS", "127.0.0.1:1"), ("CACHE", "redis")]).await;
    let mut histories = Vec::new();
    for number in 0..CROWD {
        histories.push(create(&server, &format!("one-of-many-{number}")).await);
    }
    gate.set(Way::Late(Duration::from_millis(20)));
    let crowd = join_all(histories.iter().map(async |history| {
        let read = read(&server, &history.path(), None).await.expect("an answer");
        assert_eq!(read.status, StatusCode::OK, "{read:?}");
        history.check(read.began, STALENESS, &read.seen, &read.cache);
    }));
    let mut most = 0.0_f64;
    let watch = async {
        loop {
            most = most.max(metric(&server, "cache_loads_in_flight", "").await);
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::select! {
        _ = crowd => {}
        () = watch => {}
    }
    assert!((32.0..=64.0).contains(&most), "{most} loads at once");
}
