//! A cluster and sentinels, through the service: a master dies under load.

use std::{sync::Arc, time::Instant};

use profile_port_contracts::redis::{RedisCluster, RedisSentinel};

use crate::{
    instances::{metric, start_on, until_redis_serves},
    load::Load,
    support::{CEILING, Server, fresh_database},
};

/// Two instances, the second without a memory of its own.
async fn instances(database: &[(String, String)], redis: &[(&str, &str)]) -> [Arc<Server>; 2] {
    let first = start_on(database.to_vec(), redis).await;
    let second = start_on(database.to_vec(), &[redis, &[("CACHE", "redis")]].concat()).await;
    [Arc::new(first), Arc::new(second)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_of_a_cluster_dies() {
    let (database, mut cluster) = (fresh_database().await, RedisCluster::start().await);
    let addresses: Vec<String> = cluster.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
    let redis = [("REDIS_MODE", "cluster"), ("REDIS_ADDRESS", &addresses.join(","))];
    let servers = instances(&database.variables(), &redis).await;
    let mut load = Load::begin(&servers).await;
    load.is_served_by_redis().await;
    cluster.nodes[0].kill().await;
    load.goes_on(100, 10).await;
    // Its replica takes over, and has what it had, or a little less.
    cluster.nodes[3].until(&["ROLE"], |role| role.starts_with("master")).await;
    load.is_served_by_redis().await;
    until_believed(&servers, &mut load).await;
    cluster.nodes[0].start_again().await;
    load.goes_on(300, 30).await;
    load.end().await;
    until_redis_serves(&servers[0], &servers[1]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_name_another_master() {
    let (database, mut redis) = (fresh_database().await, RedisSentinel::start().await);
    let address = format!("127.0.0.1:{}", redis.sentinel.port);
    let variables =
        [("REDIS_MODE", "sentinel"), ("REDIS_ADDRESS", address.as_str()), ("REDIS_SENTINEL_MASTER", RedisSentinel::MASTER)];
    let servers = instances(&database.variables(), &variables).await;
    let mut load = Load::begin(&servers).await;
    load.is_served_by_redis().await;
    redis.servers[0].kill().await;
    load.goes_on(100, 10).await;
    redis.until_master(1).await;
    load.is_served_by_redis().await;
    until_believed(&servers, &mut load).await;
    // Back, it follows the one that took its place.
    redis.servers[0].start_again().await;
    load.goes_on(300, 30).await;
    load.end().await;
    until_redis_serves(&servers[0], &servers[1]).await;
}

/// All parts of it: those of the master that died, too.
async fn until_believed(servers: &[Arc<Server>], load: &mut Load) {
    for server in servers {
        let began = Instant::now();
        while metric(server, "cache_breaker_open", "redis").await > 0.0 {
            assert!(began.elapsed() < CEILING, "not all of it is used again: {}", server.log());
            load.goes_on(1, 0).await;
        }
    }
}
