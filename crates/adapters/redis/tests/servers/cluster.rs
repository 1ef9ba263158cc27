//! Keys move, and a master dies.

use std::time::{Duration, Instant};

use profile_domain::TenantId;
use profile_port_contracts::redis::RedisCluster;
use profile_ports::{
    Cache as _, CacheError,
    cache::{Fill, Put, Standing},
};
use profile_redis::{Mode, OPERATION_TIMEOUT, RedisCache};
use prometheus::Registry;

use crate::support::{begin_all, follow, key, living, patient, put, settings, ticket, until_ok};

async fn clustered() -> (RedisCluster, RedisCache) {
    let cluster = RedisCluster::start().await;
    let ports: Vec<u16> = cluster.nodes.iter().map(|node| node.port).collect();
    let cache = RedisCache::new(&patient(Mode::Cluster, &ports), &Registry::new()).expect("settings that work");
    begin_all(&cache).await;
    (cluster, cache)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_move_under_it() {
    let (cluster, cache) = clustered().await;
    let tenant = TenantId::default_tenant();
    let (entry, part) = cache.keys(&tenant, &key(1)).await.expect("keys");
    let from = cluster.owner(&part, 0).await;
    let to = (from + 1) % 3;
    let got = async || {
        let got = cache.get(&tenant, &key(1)).await.expect("a get");
        (got.hit.map(|hit| hit.state), got.mark.map(|mark| mark.position))
    };
    let found = Some(living(&key(1), 1));
    assert_eq!(follow(&cache, &key(1), 0, 5, 1).await, 5);
    assert_eq!(put(&cache, &tenant, &key(1), 1).await.expect("a put"), Put::Stored);

    cluster.begin_move(&part, from, to).await;
    assert_eq!(got().await, (found.clone(), Some(5)), "nothing moved yet");
    cluster.move_key(&entry, from, to).await;
    assert_eq!(got().await, (None, Some(5)), "the entry is with one, the position with the other");
    cluster.move_key(&part, from, to).await;
    assert_eq!(got().await, (found.clone(), Some(5)), "one asks the new one");
    assert_eq!(follow(&cache, &key(1), 5, 6, 2).await, 6, "which follows");
    assert_eq!(got().await, (None, Some(6)));
    // An entry that neither has may still be on its way, for all that a server knows.
    let error = put(&cache, &tenant, &key(1), 2).await.expect_err("a refusal");
    assert!(matches!(error, CacheError::Refused(_)), "{error:?}");
    cluster.end_move(&part, from, to).await;
    assert_eq!(put(&cache, &tenant, &key(1), 2).await.expect("a put"), Put::Stored);
    assert_eq!(got().await, (Some(living(&key(1), 2)), Some(6)), "and goes there at once from now on");
    assert_eq!(follow(&cache, &key(1), 6, 7, 2).await, 7);
    assert_eq!(got().await, (Some(living(&key(1), 2)), Some(7)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_dies() {
    let (mut cluster, cache) = clustered().await;
    let tenant = TenantId::default_tenant();
    let (_, part) = cache.keys(&tenant, &key(1)).await.expect("keys");
    let victim = cluster.owner(&part, 0).await;
    assert_eq!(put(&cache, &tenant, &key(1), 1).await.expect("a put"), Put::Stored);
    let early = ticket(&cache, &key(1)).await;
    cluster.nodes[victim].tell(&["WAIT", "1", "5000"]).await;

    // As in production, of which the time is part.
    let ports: Vec<u16> = cluster.nodes.iter().map(|node| node.port).collect();
    let impatient = RedisCache::new(&settings(Mode::Cluster, &ports), &Registry::new()).expect("settings that work");
    until_ok(async || impatient.get(&tenant, &key(1)).await).await;
    cluster.nodes[victim].kill().await;
    let began = Instant::now();
    let got = loop {
        let asked = Instant::now();
        let got = impatient.get(&tenant, &key(1)).await;
        assert!(asked.elapsed() < OPERATION_TIMEOUT * 10, "{:?} for {got:?}", asked.elapsed());
        if let Ok(got) = got {
            break got;
        }
        assert!(began.elapsed() < Duration::from_mins(1), "nobody takes over: {got:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    eprintln!("the replica answers after {:?}", began.elapsed());
    assert_eq!(got.hit.map(|hit| hit.state), Some(living(&key(1), 1)), "the entry came along");
    let fill = Fill { state: living(&key(1), 2), expires_in: Duration::from_mins(1), standing: Standing::Settled };
    let put = until_ok(async || impatient.put(&tenant, &key(1), early, fill.clone()).await).await;
    assert_eq!(put, Put::Late, "by another server's clock");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_says_nothing_holds_up_its_parts_alone() {
    let (cluster, _) = clustered().await;
    let ports: Vec<u16> = cluster.nodes.iter().map(|node| node.port).collect();
    let cache = RedisCache::new(&settings(Mode::Cluster, &ports), &Registry::new()).expect("settings that work");
    let tenant = TenantId::default_tenant();
    let mut homes = Vec::new();
    for number in 0..30 {
        let (_, part) = until_ok(async || cache.keys(&tenant, &key(number)).await).await;
        homes.push(cluster.owner(&part, 0).await);
    }
    cluster.nodes[homes[0]].stop();
    for (number, home) in homes.iter().enumerate().cycle().take(90) {
        let asked = Instant::now();
        let got = cache.get(&tenant, &key(number)).await;
        let took = asked.elapsed();
        assert!(took < OPERATION_TIMEOUT * 10, "{took:?} for {got:?}");
        if *home != homes[0] && got.is_err() {
            // A busy machine may be late once.
            until_ok(async || cache.get(&tenant, &key(number)).await).await;
        }
    }
    // Its replica takes over, and all is well without it.
    for number in 0..30 {
        until_ok(async || cache.get(&tenant, &key(number)).await).await;
    }
    cluster.nodes[homes[0]].go_on();
}
