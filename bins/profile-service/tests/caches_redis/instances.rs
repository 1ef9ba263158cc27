//! Instances with caches, and what they tell of them.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use profile_port_contracts::redis::RedisServer;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::{
    checker::{History, Seen},
    support::{CEILING, Database, Server, fresh_database, stores::profile},
};

/// Between looks at something that must happen.
pub(crate) const PAUSE: std::time::Duration = std::time::Duration::from_millis(10);

/// A database, a Redis, and two instances: one with both tiers, and one that has nothing but what is shared, so that nothing in
/// its process hides what Redis says.
pub(crate) struct Pair {
    pub(crate) redis: RedisServer,
    pub(crate) servers: [Arc<Server>; 2],
    pub(crate) database: Database,
}

impl Pair {
    pub(crate) async fn start() -> Self {
        let (database, redis) = (fresh_database().await, RedisServer::start().await);
        let address = redis_address(&redis);
        let first = start_on(database.variables(), &[("REDIS_ADDRESS", &address)]).await;
        let second = start_on(database.variables(), &[("REDIS_ADDRESS", &address), ("CACHE", "redis")]).await;
        Self { redis, servers: [Arc::new(first), Arc::new(second)], database }
    }
}

pub(crate) fn redis_address(redis: &RedisServer) -> String {
    format!("127.0.0.1:{}", redis.port)
}

pub(crate) fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// An instance, ready, on the database that these variables name.
pub(crate) async fn start_on(database: Vec<(String, String)>, more: &[(&str, &str)]) -> Server {
    let database: Vec<(&str, &str)> = database.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    Server::start(&[database.as_slice(), more].concat()).await
}

/// A profile, and all that is known of it.
pub(crate) async fn create(server: &Server, name: &str) -> History {
    let email = format!("{name}@example.com");
    let answer = server.client.post(server.url("/api/v1/profiles")).json(&profile(name, &email)).send().await.expect("an answer");
    let (status, token) = (answer.status(), token(&answer));
    let created: Value = answer.json().await.expect("JSON");
    assert_eq!(status, StatusCode::CREATED, "{created}");
    History::new(created["id"].as_str().expect("an id").to_owned(), name, token)
}

pub(crate) fn token(answer: &reqwest::Response) -> Option<String> {
    answer.headers().get("x-consistency-token").map(|token| token.to_str().expect("text").to_owned())
}

/// How a GET was answered.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) began: Instant,
    pub(crate) status: StatusCode,
    pub(crate) seen: Seen,
    /// `Cache-Status`.
    pub(crate) cache: String,
    pub(crate) body: Value,
}

impl Read {
    pub(crate) fn is_from(&self, tier: &str) -> bool {
        self.status == StatusCode::OK && self.cache.ends_with(&format!("; detail={tier}"))
    }

    pub(crate) fn is_stale(&self) -> bool {
        self.is_from("STALE_IF_ERROR")
    }
}

pub(crate) async fn read(server: &Server, path: &str, token: Option<&str>) -> reqwest::Result<Read> {
    let mut request = server.client.get(server.url(path));
    if let Some(token) = token {
        request = request.header("x-consistency-token", token);
    }
    let began = Instant::now();
    let answer = request.send().await?;
    let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().expect("text").to_owned());
    let (status, tag, cache) = (answer.status(), header("etag"), header("cache-status").unwrap_or_default());
    let body: Value = answer.json().await?;
    let seen = (status == StatusCode::OK).then(|| {
        let tag = tag.expect("a tag");
        let version = tag.trim_matches('"').rsplit('-').next().and_then(|version| version.parse().ok()).expect("a version");
        assert_eq!(body["version"], version, "{tag}: {body}");
        (version, body["name"].as_str().expect("a name").to_owned())
    });
    Ok(Read { began, status, seen, cache, body })
}

/// Reads until the answer is as it should be.
pub(crate) async fn until_read(server: &Server, path: &str, is_right: impl Fn(&Read) -> bool) -> Read {
    let began = Instant::now();
    loop {
        let read = read(server, path, None).await.expect("an answer");
        if is_right(&read) {
            return read;
        }
        assert!(began.elapsed() < CEILING, "still {read:?}: {}", server.log());
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits until what one instance puts into Redis is found there by another.
pub(crate) async fn until_redis_serves(first: &Server, second: &Server) {
    let began = Instant::now();
    loop {
        // What was imported is put nowhere until it is read.
        let id = random_id();
        let imported = import(first, &id, "Shared").send().await.expect("an answer");
        assert_eq!(imported.status(), StatusCode::OK);
        let path = format!("/api/v1/profiles/{id}");
        let filled = read(first, &path, None).await.expect("an answer");
        let found = read(second, &path, None).await.expect("an answer");
        for read in [&filled, &found] {
            assert!(read.status == StatusCode::OK || read.status == StatusCode::NOT_FOUND, "{read:?}");
        }
        if found.is_from("redis") {
            return;
        }
        assert!(began.elapsed() < CEILING, "Redis isn't used: {filled:?}, {found:?}; {}", second.log());
        tokio::time::sleep(PAUSE).await;
    }
}

/// An id of version 4, which nobody has.
pub(crate) fn random_id() -> String {
    let mut random = [0; 16];
    getrandom::fill(&mut random).expect("random bytes");
    uuid::Builder::from_random_bytes(random).into_uuid().to_string()
}

/// A profile under an id that the client names, as only an import takes one.
pub(crate) fn import(server: &Server, id: &str, name: &str) -> reqwest::RequestBuilder {
    let line = json!({"id": id, "name": name, "email": format!("{id}@example.com")});
    let request = server.client.post(server.url("/api/v1/profiles/import"));
    request.header("content-type", "application/x-ndjson").body(line.to_string())
}

/// A metric of an instance; of a tier, if it has such a label.
pub(crate) async fn metric(server: &Server, name: &str, tier: &str) -> f64 {
    let text = server.client.get(server.url("/metrics")).send().await.expect("an answer").text().await.expect("text");
    let of_tier = format!("tier=\"{tier}\"");
    let line = text.lines().find(|line| {
        let rest = line.strip_prefix(name).unwrap_or_default();
        rest.starts_with(' ') || (rest.starts_with('{') && rest.contains(&of_tier))
    });
    let value = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
    value.unwrap_or_else(|| panic!("no {name} of {tier} in {text}"))
}
