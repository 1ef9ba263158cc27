//! A server that isn't there, that says nothing, and that comes back with less than it had.

use std::time::{Duration, Instant};

use profile_domain::TenantId;
use profile_port_contracts::redis::RedisServer;
use profile_ports::{
    Cache as _, CacheError,
    cache::{Begin, Change, Fill, Namespace, Put, Spans, Standing, Step, Ticket},
};
use profile_redis::{Mode, OPERATION_TIMEOUT, RedisCache, RedisSettings};
use prometheus::Registry;

use crate::support::{
    INCARNATION, Opened, begin, begin_all, follow, key, living, opened, patient, put, settings, ticket, until_ok, version,
};

/// An operation's time, on a machine that has other things to do.
const QUICK: Duration = OPERATION_TIMEOUT.saturating_mul(10);

/// Every operation, one after the other.
async fn each(cache: &RedisCache, mut outcome: impl FnMut(&str, Duration, Option<CacheError>)) {
    let tenant = TenantId::default_tenant();
    let changes = [Change { tenant: tenant.clone(), key: key(1), version: version(1) }];
    let step = Step { incarnation: INCARNATION, from: 0, to: 1, changes: &changes };
    let ticket = Ticket { namespace: Namespace(1), at: Duration::ZERO };
    let fill = || Fill { state: living(&key(1), 1), expires_in: QUICK, standing: Standing::Fresh };
    let anew = Begin { instead_of: None, incarnation: INCARNATION, position: 0, quiet: Duration::ZERO };
    for name in ["get", "put", "remove", "invalidate", "mark", "follow", "begin"] {
        let began = Instant::now();
        let error = match name {
            "get" => cache.get(&tenant, &key(1)).await.err(),
            "put" => cache.put(&tenant, &key(1), ticket, fill()).await.err(),
            "remove" => cache.remove(&tenant, &key(1)).await.err(),
            "invalidate" => cache.invalidate(&changes).await.err(),
            "mark" => cache.mark(0).await.err(),
            "follow" => cache.follow(0, &step).await.err(),
            _ => cache.begin(0, &anew).await.err(),
        };
        outcome(name, began.elapsed(), error);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_made_without_a_server() {
    let mut server = RedisServer::start().await;
    server.kill().await;
    let cache = RedisCache::new(&settings(Mode::Single, &[server.port]), &Registry::new()).expect("settings that work");
    for _ in 0..3 {
        each(&cache, |name, took, error| {
            assert!(matches!(error, Some(CacheError::Unavailable(_) | CacheError::TimedOut)), "{name}: {error:?}");
            assert!(took < QUICK, "{name} took {took:?}");
        })
        .await;
    }
    server.start_again().await;
    until_ok(async || cache.mark(0).await).await;
    begin(&cache, 0, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_server_that_says_nothing() {
    let server = RedisServer::start().await;
    let cache = RedisCache::new(&settings(Mode::Single, &[server.port]), &Registry::new()).expect("settings that work");
    let tenant = TenantId::default_tenant();
    until_ok(async || cache.get(&tenant, &key(1)).await).await;
    for part in 0..cache.parts() {
        until_ok(async || cache.mark(part).await).await;
    }
    for _ in 0..3 {
        server.stop();
        let mut late = 0;
        each(&cache, |name, took, error| {
            assert!(matches!(error, Some(CacheError::Unavailable(_) | CacheError::TimedOut)), "{name}: {error:?}");
            assert!(took < QUICK, "{name} took {took:?}");
            late += u32::from(took >= OPERATION_TIMEOUT);
        })
        .await;
        assert!((1..=3).contains(&late), "a connection that says nothing is given up, not waited for again: {late}");
        server.go_on();
        until_ok(async || cache.get(&tenant, &key(1)).await).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_back_empty_begins_anew() {
    let Opened { mut server, cache, tenant, .. } = opened().await;
    for way in ["killed", "flushed"] {
        assert_eq!(put(&cache, &tenant, &key(1), 2).await.expect("a put"), Put::Stored);
        let early = ticket(&cache, &key(1)).await;
        if way == "killed" {
            server.kill().await;
            assert!(cache.get(&tenant, &key(1)).await.is_err());
            server.start_again().await;
        } else {
            server.tell(&["FLUSHALL"]).await;
        }
        let got = until_ok(async || cache.get(&tenant, &key(1)).await).await;
        assert_eq!((got.hit, got.mark), (None, None), "{way}");
        assert_eq!(until_ok(async || cache.mark(0).await).await, None, "{way}");
        let fill = Fill { state: living(&key(1), 1), expires_in: QUICK, standing: Standing::Settled };
        assert_eq!(cache.put(&tenant, &key(1), early, fill.clone()).await.expect("a put"), Put::Late, "{way}");
        begin_all(&cache).await;
        assert_eq!(cache.put(&tenant, &key(1), early, fill).await.expect("a put"), Put::Late, "{way}: another namespace");
        assert_eq!(put(&cache, &tenant, &key(1), 1).await.expect("a put"), Put::Stored);
    }
}

/// What comes back with it is of the position that comes back with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_dump_brings_its_old_position() {
    let Opened { mut server, cache, tenant, .. } = opened().await;
    let state = async || {
        let got = until_ok(async || cache.get(&tenant, &key(1)).await).await;
        (got.hit.map(|hit| hit.state), got.mark.expect("a mark").position)
    };
    assert_eq!(follow(&cache, &key(1), 0, 5, 1).await, 5);
    assert_eq!(put(&cache, &tenant, &key(1), 1).await.expect("a put"), Put::Stored);
    let dump = server.dump().await;
    assert_eq!(follow(&cache, &key(1), 5, 9, 2).await, 9);
    assert_eq!(put(&cache, &tenant, &key(1), 2).await.expect("a put"), Put::Stored);
    assert_eq!(state().await, (Some(living(&key(1), 2)), 9));
    let early = ticket(&cache, &key(1)).await;

    server.kill().await;
    server.put_dump(Some(&dump));
    server.start_again().await;
    assert_eq!(state().await, (Some(living(&key(1), 1)), 5), "what is old says so");
    let fill = |number| Fill { state: living(&key(1), number), expires_in: Duration::from_mins(1), standing: Standing::Settled };
    assert_eq!(cache.put(&tenant, &key(1), early, fill(1)).await.expect("a put"), Put::Late, "a ticket from before the restart");
    assert_eq!(follow(&cache, &key(1), 5, 9, 2).await, 9, "what was followed since then is followed again");
    assert_eq!(state().await, (None, 9));
    assert_eq!(put(&cache, &tenant, &key(1), 1).await.expect("a put"), Put::Older);
    assert_eq!(put(&cache, &tenant, &key(1), 2).await.expect("a put"), Put::Stored);
}

/// A server's clock says nothing about floors that another server left: they end by its own, once their longest time is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floors_of_another_server_last_longer() {
    let mut server = RedisServer::start().await;
    let spans = Spans { load: Duration::from_secs(1), lag: Duration::from_secs(1) };
    let settings = RedisSettings { spans, ..patient(Mode::Single, &[server.port]) };
    let cache = RedisCache::new(&settings, &Registry::new()).expect("settings that work");
    let tenant = TenantId::default_tenant();
    begin_all(&cache).await;
    let change = Change { tenant: tenant.clone(), key: key(1), version: version(5) };
    cache.invalidate(&[change]).await.expect("an invalidation");
    server.dump().await;
    server.kill().await;
    tokio::time::sleep(spans.floor()).await;
    server.start_again().await;
    until_ok(async || cache.mark(0).await).await;
    assert_eq!(put(&cache, &tenant, &key(1), 4).await.expect("a put"), Put::Older);
    tokio::time::sleep(spans.floor() + Duration::from_millis(50)).await;
    assert_eq!(put(&cache, &tenant, &key(1), 4).await.expect("a put"), Put::Stored, "and no longer");
}

/// Loads on every side while the server comes and goes: nobody is given something older after something newer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_older_comes_after_newer_while_it_comes_and_goes() {
    let Opened { mut server, cache, tenant, .. } = opened().await;
    let mut position = 0;
    let mut given = None;
    for round in 1..=6 {
        // The store's version is the round's; the feed is followed, then someone fills.
        let part = cache.part_of(&tenant, &key(1));
        match until_ok(async || cache.mark(part).await).await {
            None => begin(&cache, part, position).await,
            Some(mark) => assert!(mark.position <= position),
        }
        let from = cache.mark(part).await.expect("a mark").expect("begun").position;
        position += 1;
        assert_eq!(follow(&cache, &key(1), from, position, round).await, position);
        let got = cache.get(&tenant, &key(1)).await.expect("a get");
        let found = got.hit.and_then(|hit| hit.state.version());
        assert!(found.is_none() || found >= given, "{found:?} after {given:?}");
        put(&cache, &tenant, &key(1), round).await.expect("a put");
        given = cache.get(&tenant, &key(1)).await.expect("a get").hit.and_then(|hit| hit.state.version());
        assert_eq!(given, Some(version(round)));
        match round % 3 {
            0 => drop(server.tell(&["FLUSHALL"]).await),
            1 => drop(server.dump().await),
            _ => {
                server.kill().await;
                server.start_again().await;
            }
        }
    }
}
