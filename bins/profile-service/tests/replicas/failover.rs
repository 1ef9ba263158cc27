//! The primary dies and the replica takes its place: it is found, and the one before is not written to when it comes back.

use std::time::{Duration, Instant};

use profile_port_contracts::redis::RedisServer;
use reqwest::StatusCode;
use serde_json::json;

use crate::{
    servers::{Pair, create, read, rename, until_logged, until_replicas_used},
    support::{PrivatePostgres, Server, stores::ask},
};

/// 15 s are promised.
const FOUND_WITHIN: Duration = Duration::from_mins(1);

/// All that was ever committed by instances.
async fn written(server: &PrivatePostgres) -> String {
    ask(&server.url, "SELECT (SELECT count(*) FROM feed) || ' ' || (SELECT coalesce(sum(version), 0) FROM entities)").await
}

async fn status_of_a_write(server: &Server, path: &str, name: &str) -> StatusCode {
    let request = server.client.patch(server.url(path)).header("content-type", "application/merge-patch+json");
    request.body(json!({"name": name}).to_string()).send().await.expect("an answer").status()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_replica_is_found_and_the_old_primary_is_left_alone() {
    let (pair, redis) = (Pair::with_delay("0").await, RedisServer::start().await);
    let redis = format!("127.0.0.1:{}", redis.port);
    let both = format!("{},{}", pair.primary.address(), pair.replica.address());
    let known = [("DB_HOST", both.as_str()), ("REDIS_ADDRESS", redis.as_str())];
    let server = pair.instance(&known).await;
    until_replicas_used(&server, 1).await;
    let history = create(&server, "ada").await;
    rename(&server, &history, "before").await;
    let old = history.last();
    pair.replica.has_all_of(&pair.primary).await;

    pair.primary.kill().await;
    let died = Instant::now();
    pair.replica.promote().await;
    let path = history.path();
    while status_of_a_write(&server, &path, "probe").await != StatusCode::OK {
        assert!(died.elapsed() < FOUND_WITHIN, "no write works: {}", server.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    eprintln!("writes worked {:?} after the primary had died", died.elapsed());
    // A token of before says nothing of what is there now, and the primary does.
    history.begin(Some("probe".to_owned()));
    history.acknowledge(None);
    let (began, seen) = read(&server, &history, old.token.as_deref()).await;
    history.check(began, Duration::ZERO, &seen, "a read with a token of the timeline before");
    for round in 0..10 {
        rename(&server, &history, &format!("after-{round}")).await;
        let last = history.last();
        let (began, seen) = read(&server, &history, last.token.as_deref()).await;
        history.check_at_least(began, last.version, &seen, "a read with its token");
    }

    // It comes back and would take writes.
    pair.primary.start_again().await;
    let before = written(&pair.primary).await;
    until_logged(&server, "isn't the newest").await;
    for round in 0..20 {
        rename(&server, &history, &format!("later-{round}")).await;
    }
    // Nor if there is no other.
    pair.replica.stop("fast").await;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        assert_ne!(status_of_a_write(&server, &path, "lost").await, StatusCode::OK);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Nor by one that has seen nothing, but for what all others remember in Redis.
    let fresh = pair.listening(&[("DB_HOST", &pair.primary.address()), ("REDIS_ADDRESS", &redis)]).await;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        assert_ne!(status_of_a_write(&fresh, &path, "lost").await, StatusCode::OK);
        assert_ne!(fresh.status("/readyz").await, Some(StatusCode::OK));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    until_logged(&fresh, "was replaced by a server on timeline 2").await;
    assert_eq!(written(&pair.primary).await, before, "nobody has written to the old primary");

    pair.replica.start_again().await;
    let back = Instant::now();
    while status_of_a_write(&server, &path, "back").await != StatusCode::OK {
        assert!(back.elapsed() < FOUND_WITHIN, "no write works: {}", server.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(written(&pair.primary).await, before, "nobody has written to the old primary");
}

/// Of two replicas the one that has less takes over: what the other one has beyond that was never written, however far it has come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_kept_what_was_lost_is_not_read_from() {
    let pair = Pair::with_delay("0").await;
    let heir = pair.primary.replica(&[]).await;
    let both = format!("{},{}", pair.primary.address(), heir.address());
    let server = pair.instance(&[("DB_HOST", &both), ("CACHE", "off"), ("STALE_IF_ERROR", "0s")]).await;
    until_replicas_used(&server, 1).await;
    let history = create(&server, "ada").await;
    heir.has_all_of(&pair.primary).await;
    heir.stop("fast").await;
    for round in 0..20 {
        rename(&server, &history, &format!("lost-{round}")).await;
    }
    pair.replica.has_all_of(&pair.primary).await;
    pair.primary.kill().await;
    heir.start_again().await;
    heir.promote().await;
    let path = history.path();
    let died = Instant::now();
    while status_of_a_write(&server, &path, "probe").await != StatusCode::OK {
        assert!(died.elapsed() < FOUND_WITHIN, "no write works: {}", server.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(3) {
        let (_, seen) = read(&server, &history, None).await;
        assert_eq!(seen, Some((2, "probe".to_owned())));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(ask(&pair.replica.url, "SELECT version > 2 FROM entities").await, "t", "the replica has what was lost");
    drop(heir);
}

/// The replica is promoted although the primary lives: who was connected to it goes to the new one by the next look.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_lives_on_is_left() {
    let pair = Pair::with_delay("0").await;
    let both = format!("{},{}", pair.primary.address(), pair.replica.address());
    let server = pair.instance(&[("DB_HOST", &both)]).await;
    let history = create(&server, "ada").await;
    // Several connections at once, of the kinds that there are.
    let path = history.path();
    futures_util::future::join_all(
        (0..8).map(|number| status_of_a_write(&server, &path, if number % 2 == 0 { "a" } else { "b" })),
    )
    .await;
    pair.replica.has_all_of(&pair.primary).await;
    pair.replica.promote().await;
    until_logged(&server, r#""timeline":2"#).await;
    let before = written(&pair.primary).await;
    let taken = written(&pair.replica).await;
    for round in 0..30 {
        assert_eq!(status_of_a_write(&server, &path, &format!("after-{round}")).await, StatusCode::OK, "{}", server.log());
    }
    assert_eq!(written(&pair.primary).await, before, "nobody has written to the old primary");
    assert_ne!(written(&pair.replica).await, taken);
    let (_, seen) = read(&server, &history, None).await;
    assert_eq!(seen.map(|(_, name)| name), Some("after-29".to_owned()));
}
