//! A master under a sentinel dies.

use std::time::Duration;

use profile_domain::TenantId;
use profile_port_contracts::redis::RedisSentinel;
use profile_ports::{
    Cache as _,
    cache::{Fill, Put, Standing},
};
use profile_redis::{Mode, RedisCache, RedisSettings};
use prometheus::Registry;

use crate::support::{begin_all, follow, key, living, patient, put, ticket, until_ok};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_new_master_is_found() {
    let mut redis = RedisSentinel::start().await;
    let mode = Mode::Sentinel { master: RedisSentinel::MASTER.to_owned() };
    let settings = RedisSettings { timeout: Duration::from_secs(2), ..patient(mode, &[redis.sentinel.port]) };
    let cache = RedisCache::new(&settings, &Registry::new()).expect("settings that work");
    let tenant = TenantId::default_tenant();
    begin_all(&cache).await;
    assert_eq!(follow(&cache, &key(1), 0, 5, 1).await, 5);
    assert_eq!(put(&cache, &tenant, &key(1), 1).await.expect("a put"), Put::Stored);
    let early = ticket(&cache, &key(1)).await;
    let written = redis.servers[0].tell(&["INFO", "replication"]).await;
    let offset = |info: &str| -> u64 {
        let line = info.lines().find_map(|line| line.trim().strip_prefix("master_repl_offset:").map(str::to_owned));
        line.and_then(|offset| offset.parse().ok()).unwrap_or_default()
    };
    let wanted = offset(&written);
    redis.servers[1].until(&["INFO", "replication"], |info| offset(info) >= wanted).await;

    redis.servers[0].kill().await;
    redis.until_master(1).await;
    let got = until_ok(async || cache.get(&tenant, &key(1)).await).await;
    assert_eq!(got.mark.map(|mark| mark.position), Some(5));
    assert_eq!(got.hit.map(|hit| hit.state), Some(living(&key(1), 1)), "the entry came along");
    let fill = Fill { state: living(&key(1), 2), expires_in: Duration::from_mins(1), standing: Standing::Settled };
    assert_eq!(cache.put(&tenant, &key(1), early, fill).await.expect("a put"), Put::Late, "by another server's clock");
    assert_eq!(put(&cache, &tenant, &key(1), 2).await.expect("a put"), Put::Stored);

    // The old one comes back, and is no master any more.
    redis.servers[0].start_again().await;
    redis.servers[0].until(&["ROLE"], |role| role.starts_with("slave")).await;
    assert_eq!(until_ok(async || cache.get(&tenant, &key(1)).await).await.hit.map(|hit| hit.state), Some(living(&key(1), 2)));
}
