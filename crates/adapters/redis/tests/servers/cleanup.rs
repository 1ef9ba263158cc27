//! Deleting what is old.

use std::{
    num::NonZeroU32,
    time::{Duration, Instant},
};

use profile_domain::TenantId;
use profile_port_contracts::redis::RedisCluster;
use profile_ports::{Cache as _, cache::Put};
use profile_redis::{Cleaned, Mode, RedisCache};
use prometheus::Registry;

use crate::support::{Opened, begin_all, connect_to, key, living, opened, patient, put};

const FAST: NonZeroU32 = NonZeroU32::new(1_000_000).expect("more than none");
const HOUR: Duration = Duration::from_hours(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_is_old_goes() {
    let Opened { server, cache, tenant, .. } = opened().await;
    for number in 0..300 {
        assert_eq!(put(&cache, &tenant, &key(number), 1).await.expect("a put"), Put::Stored);
    }
    server.tell(&["SET", "somebody-else", "x"]).await;
    server.tell(&["SET", "profilers:{0/4}:aaaaaaaaaaaaaaaaaaaaaa:aaaaaaaaaaaaaaaaaaaaaa", "x"]).await;
    let (garbage, _) = cache.keys(&tenant, &key(1_000)).await.expect("keys");
    server.tell(&["SET", &garbage, "never written by anybody"]).await;
    let before: u64 = server.tell(&["DBSIZE"]).await.parse().expect("a number");

    let mut told = Vec::new();
    let cleaned = cache.cleanup(HOUR, FAST, |so_far| told.push(so_far)).await.expect("a cleanup");
    assert_eq!(cleaned, Cleaned { servers: 1, seen: 301, deleted: 1 }, "garbage has no age");
    assert!(told.len() > 3 && told.is_sorted_by_key(|so_far| so_far.seen), "it told how far it was: {told:?}");
    assert_eq!(told.last(), Some(&cleaned));
    let got = cache.get(&tenant, &key(1)).await.expect("a get");
    assert_eq!(got.hit.map(|hit| hit.state), Some(living(&key(1), 1)));

    // 300 keys and a few, at 1,000 a second.
    let began = Instant::now();
    let slow = NonZeroU32::new(1_000).expect("more than none");
    let cleaned = cache.cleanup(Duration::ZERO, slow, |_| {}).await.expect("a cleanup");
    assert_eq!(cleaned, Cleaned { servers: 1, seen: 300, deleted: 300 });
    assert!(began.elapsed() >= Duration::from_millis(200), "it took {:?}", began.elapsed());
    let after: u64 = server.tell(&["DBSIZE"]).await.parse().expect("a number");
    assert_eq!(after, before - 301, "neither what is others' nor where the parts are");
    let got = cache.get(&tenant, &key(1)).await.expect("a get");
    assert_eq!((got.hit, got.mark.map(|mark| mark.position)), (None, Some(0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_masters_are_cleaned() {
    let cluster = RedisCluster::start().await;
    let ports: Vec<u16> = cluster.nodes.iter().map(|node| node.port).collect();
    let cache = RedisCache::new(&patient(Mode::Cluster, &ports), &Registry::new()).expect("settings that work");
    let tenant = TenantId::default_tenant();
    begin_all(&cache).await;
    for number in 0..60 {
        assert_eq!(put(&cache, &tenant, &key(number), 1).await.expect("a put"), Put::Stored);
    }
    let cleaned = cache.cleanup(Duration::ZERO, FAST, |_| {}).await.expect("a cleanup");
    assert_eq!(cleaned, Cleaned { servers: 3, seen: 60, deleted: 60 });
    let (entry, _) = cache.keys(&tenant, &key(1)).await.expect("keys");
    let mut connection = connect_to(&ports[..3], &entry).await;
    let exists: bool = redis::cmd("EXISTS").arg(entry).query_async(&mut connection).await.expect("an answer");
    assert!(!exists);
}
