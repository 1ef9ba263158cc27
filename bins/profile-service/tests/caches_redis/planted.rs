//! Things under our keys that nobody of us put there: they are never served, are counted, and go.

use std::time::Instant;

use profile_port_contracts::redis::RedisServer;
use reqwest::StatusCode;
use serde_json::Value;

use crate::{
    instances::{PAUSE, metric, read, redis_address, start_on, until_read},
    support::{CEILING, Server, fresh_database, stores::profile},
};

/// Keys of entries: what they are called after is in `profile-redis`, `names`.
async fn entries(redis: &RedisServer) -> Vec<String> {
    let keys = redis.tell(&["KEYS", "profile:{*}:*"]).await;
    keys.lines().map(str::to_owned).collect()
}

/// Creates one of a tenant, reads it until Redis has it, and gives its path and the key of its entry.
async fn cached(server: &Server, redis: &RedisServer, tenant: &str) -> (String, String) {
    let before = entries(redis).await;
    let body = profile(&format!("Of {tenant}"), "somebody@example.com");
    let create = server.client.post(server.url("/api/v1/profiles")).header("x-tenant-id", tenant).json(&body);
    let created = create.send().await.expect("an answer");
    assert_eq!(created.status(), StatusCode::CREATED);
    let path = created.headers()["location"].to_str().expect("a path").to_owned();
    let began = Instant::now();
    loop {
        let get = server.client.get(server.url(&path)).header("x-tenant-id", tenant);
        let read: Value = get.send().await.expect("an answer").json().await.expect("JSON");
        let new: Vec<String> = entries(redis).await.into_iter().filter(|key| !before.contains(key)).collect();
        if let [key] = new.as_slice()
            && read["source"] == "cache"
        {
            return (path, key.clone());
        }
        assert!(began.elapsed() < CEILING, "{new:?} after {read}");
        tokio::time::sleep(PAUSE).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_is_a_miss() {
    let (database, redis) = (fresh_database().await, RedisServer::start().await);
    let address = redis_address(&redis);
    let server = start_on(database.variables(), &[("REDIS_ADDRESS", &address), ("CACHE", "redis")]).await;
    let (path, key) = cached(&server, &redis, "default").await;
    let (_, of_another) = cached(&server, &redis, "another").await;
    let (_, of_same) = cached(&server, &redis, "default-2").await;
    // Schemas are in the bytes 1 to 4.
    let another_schema = "local entry = redis.call('GET', KEYS[1])
        redis.call('SET', KEYS[1], string.sub(entry, 1, 4) .. string.char(255) .. string.sub(entry, 6))";
    let planted: [(&str, Vec<&str>); 6] = [
        ("garbage", vec!["SET", &key, "nothing that was ever written here"]),
        ("bytes of another tenant", vec!["COPY", &of_another, &key, "REPLACE"]),
        ("bytes of another profile", vec!["COPY", &of_same, &key, "REPLACE"]),
        ("another schema", vec!["EVAL", another_schema, "1", &key]),
        ("another type", vec!["EVAL", "redis.call('DEL', KEYS[1]) redis.call('LPUSH', KEYS[1], 'x')", "1", &key]),
        ("a huge value", vec!["SETRANGE", &key, "100000000", "x"]),
    ];
    for (what, command) in &planted {
        until_read(&server, &path, |read| read.is_from("redis")).await;
        let before = metric(&server, "cache_unfit_total", "redis").await;
        redis.tell(command).await;
        let began = Instant::now();
        loop {
            let read = read(&server, &path, None).await.expect("an answer");
            assert_eq!(read.seen, Some((1, "Of default".to_owned())), "{what}: {read:?}");
            if metric(&server, "cache_unfit_total", "redis").await > before {
                break;
            }
            assert!(began.elapsed() < CEILING, "{what} isn't counted");
            tokio::time::sleep(PAUSE).await;
        }
        // What is there next is an entry again.
        let read = until_read(&server, &path, |read| read.is_from("redis")).await;
        assert_eq!(read.seen, Some((1, "Of default".to_owned())), "{what}: {read:?}");
        let length: u32 = redis.tell(&["STRLEN", &key]).await.parse().expect("a number");
        assert!((67..10_000).contains(&length), "{what} left {length} bytes");
    }
}
