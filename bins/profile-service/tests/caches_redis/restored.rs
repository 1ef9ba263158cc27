//! PostgreSQL is taken back to an older copy of its files, and all caches know what came after it.

use std::{sync::Arc, time::Duration};

use profile_port_contracts::redis::RedisServer;
use reqwest::StatusCode;

use crate::{
    checker::STALENESS,
    instances::{create, read, redis_address, start_on, until_read, until_redis_serves},
    load::change,
    support::PrivatePostgres,
};

/// What was written before, and what was lost: more than is written anew, so that versions and positions are ahead.
const KEPT: usize = 3;
const LOST: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_served_from_a_lost_future() {
    let (postgres, redis) = (PrivatePostgres::start().await, RedisServer::start().await);
    let address = redis_address(&redis);
    let base = [("REDIS_ADDRESS", address.as_str()), ("STALE_IF_ERROR", "0s")];
    let first = Arc::new(start_on(postgres.variables(), &base).await);
    let shared = [base.as_slice(), &[("CACHE", "redis")]].concat();
    let second = Arc::new(start_on(postgres.variables(), &shared).await);
    let history = create(&first, "somebody").await;
    let path = history.path();
    for step in 0..KEPT {
        change(&first, &history, &format!("kept-{step}")).await;
    }
    let kept = history.last().version;
    postgres.stop("fast").await;
    postgres.back_up();
    postgres.start_again().await;
    for server in [&first, &second] {
        server.wait_for("/readyz", StatusCode::OK).await;
    }
    for step in 0..LOST {
        change(&first, &history, &format!("lost-{step}")).await;
    }
    let lost = create(&first, "never").await;
    let version = history.last().version;
    let is_last = |read: &crate::instances::Read, tier: &str| {
        read.is_from(tier) && read.seen.as_ref().is_some_and(|(seen, _)| *seen == version)
    };
    until_read(&first, &path, |read| is_last(read, "memory")).await;
    until_read(&second, &path, |read| is_last(read, "redis")).await;
    until_read(&first, &lost.path(), |read| read.is_from("memory")).await;

    postgres.stop("fast").await;
    postgres.take_back();
    postgres.start_again().await;
    history.lose_after(kept);
    let back = std::time::Instant::now();
    for server in [&first, &second] {
        server.wait_for("/readyz", StatusCode::OK).await;
    }
    // What was believed when the server stopped is believed for no longer.
    tokio::time::sleep(STALENESS.saturating_sub(back.elapsed())).await;
    for round in 0..200 {
        for server in [&first, &second] {
            for (of, there) in [(&history, true), (&lost, false)] {
                let read = read(server, &of.path(), None).await.expect("an answer");
                assert_eq!(read.status == StatusCode::OK, there, "{read:?}");
                if there {
                    of.check(read.began, STALENESS, &read.seen, &read.cache);
                }
            }
        }
        // Versions that the future had, too.
        if round % 20 == 0 {
            change(&first, &history, &format!("anew-{round}")).await;
        }
    }
    until_redis_serves(&first, &second).await;
    // One that remembers nothing has what Redis has.
    let third = start_on(postgres.variables(), &shared).await;
    let newest = history.last();
    for _ in 0..50 {
        let read = read(&third, &path, None).await.expect("an answer");
        history.check(read.began, STALENESS, &read.seen, &read.cache);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let read = until_read(&third, &path, |read| read.is_from("redis")).await;
    assert_eq!(read.seen, newest.name.map(|name| (newest.version, name)));
}
