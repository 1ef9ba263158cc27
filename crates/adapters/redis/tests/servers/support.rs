//! What tests of this adapter share.

use std::time::{Duration, Instant};

use bytes::Bytes;
use profile_domain::{EntityKey, EntityType, Incarnation, Reference, TenantId, Version};
use profile_port_contracts::{Planted, redis::RedisServer};
use profile_ports::{
    Cache as _, CacheError,
    cache::{Begin, Change, Fill, Put, Spans, Standing, State, Step, Ticket},
};
use profile_redis::{Address, Mode, RedisCache, RedisSettings};
use prometheus::Registry;
use redis::aio::MultiplexedConnection;

pub(crate) const SCHEMA: u32 = 3;
pub(crate) const SPANS: Spans = Spans { load: Duration::from_secs(5), lag: Duration::from_secs(3) };
pub(crate) const INCARNATION: Incarnation = Incarnation(7);

pub(crate) async fn connect(port: u16) -> MultiplexedConnection {
    let client = redis::Client::open(("127.0.0.1", port)).expect("an address");
    client.get_multiplexed_async_connection().await.expect("a connection")
}

/// A counter of the cache in Redis.
pub(crate) fn count(registry: &Registry, name: &str) -> u64 {
    let families = registry.gather();
    let family = families.iter().find(|family| family.name() == name).expect("a metric of this name");
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    let count = family.get_metric()[0].get_counter().get_value() as u64;
    count
}

/// The master that has a key: the others send on.
pub(crate) async fn connect_to(masters: &[u16], key: &str) -> MultiplexedConnection {
    for master in masters {
        let mut connection = connect(*master).await;
        if redis::cmd("TYPE").arg(key).exec_async(&mut connection).await.is_ok() {
            return connection;
        }
    }
    panic!("nobody has this key")
}

/// Puts something under an entry's key, past the cache.
pub(crate) async fn plant(cache: &RedisCache, masters: &[u16], tenant: &TenantId, key: &EntityKey, planted: &Planted) {
    let (under, _) = cache.keys(tenant, key).await.expect("keys");
    let mut connection = connect_to(masters, &under).await;
    // A right entry, of which nothing stays.
    let right = async |tenant: &TenantId, key: &EntityKey| {
        let (from, _) = cache.keys(tenant, key).await.expect("keys");
        assert_eq!(put(cache, tenant, key, 1).await.expect("a put"), Put::Stored);
        let mut connection = connect_to(masters, &from).await;
        let entry: Vec<u8> = redis::cmd("GETDEL").arg(from).query_async(&mut connection).await.expect("an entry");
        entry
    };
    let entry = match planted {
        Planted::OtherSchema => {
            redis::cmd("DEL").arg(&under).exec_async(&mut connection).await.expect("a deletion");
            let mut entry = right(tenant, key).await;
            entry[4] += 1;
            entry
        }
        Planted::OtherTenant(other) => right(other, key).await,
        Planted::OtherKey(other) => right(tenant, other).await,
        Planted::Garbage => b"nothing that was ever written".to_vec(),
        Planted::Huge => {
            redis::cmd("DEL").arg(&under).exec_async(&mut connection).await.expect("a deletion");
            let mut command = redis::cmd("SETRANGE");
            command.arg(under).arg(100_000_000).arg("x").exec_async(&mut connection).await.expect("a huge value");
            return;
        }
    };
    redis::cmd("SET").arg(under).arg(entry).exec_async(&mut connection).await.expect("a value");
}

pub(crate) async fn put(cache: &RedisCache, tenant: &TenantId, key: &EntityKey, number: i64) -> Result<Put, CacheError> {
    let mark = cache.mark(cache.part_of(tenant, key)).await?.expect("begun");
    let state = living(key, number);
    let fill = Fill { state, expires_in: Duration::from_mins(1), standing: Standing::Settled };
    cache.put(tenant, key, mark.ticket.expect("a ticket"), fill).await
}

pub(crate) fn living(key: &EntityKey, number: i64) -> State {
    State::Living { version: version(number), bytes: Bytes::from(format!("{} at {number}", key.reference.as_str())) }
}

pub(crate) fn version(number: i64) -> Version {
    Version::new(number).expect("1 or more")
}

pub(crate) fn key(number: usize) -> EntityKey {
    EntityKey { entity_type: EntityType::profile(), reference: Reference::parse(&format!("key-{number}")).expect("a reference") }
}

pub(crate) fn settings(mode: Mode, ports: &[u16]) -> RedisSettings {
    let addresses = ports.iter().map(|port| Address { host: "127.0.0.1".to_owned(), port: *port }).collect();
    RedisSettings::new(mode, addresses, SCHEMA, SPANS)
}

pub(crate) async fn begin(cache: &RedisCache, part: u16, position: i64) {
    let instead_of = cache.mark(part).await.expect("a mark").map(|mark| mark.namespace);
    let begin = Begin { instead_of, incarnation: INCARNATION, position, quiet: Duration::ZERO };
    cache.begin(part, &begin).await.expect("a beginning");
}

pub(crate) async fn begin_all(cache: &RedisCache) {
    for part in 0..cache.parts() {
        begin(cache, part, 0).await;
    }
}

pub(crate) async fn follow(cache: &RedisCache, key: &EntityKey, from: i64, to: i64, number: i64) -> i64 {
    let tenant = TenantId::default_tenant();
    let part = cache.part_of(&tenant, key);
    let changes = [Change { tenant, key: key.clone(), version: version(number) }];
    let step = Step { incarnation: INCARNATION, from, to, changes: &changes };
    cache.follow(part, &step).await.expect("a step").expect("a mark").position
}

/// As [`settings`], for tests that are not about time, on a machine that may be busy.
pub(crate) fn patient(mode: Mode, ports: &[u16]) -> RedisSettings {
    RedisSettings { timeout: Duration::from_secs(10), ..settings(mode, ports) }
}

/// A server, and a cache in it of which all parts have begun.
pub(crate) struct Opened {
    pub(crate) server: RedisServer,
    pub(crate) cache: RedisCache,
    pub(crate) registry: Registry,
    pub(crate) tenant: TenantId,
}

pub(crate) async fn opened() -> Opened {
    let server = RedisServer::start().await;
    let registry = Registry::new();
    let cache = RedisCache::new(&patient(Mode::Single, &[server.port]), &registry).expect("settings that work");
    begin_all(&cache).await;
    Opened { server, cache, registry, tenant: TenantId::default_tenant() }
}

pub(crate) async fn ticket(cache: &RedisCache, key: &EntityKey) -> Ticket {
    let mark = cache.mark(cache.part_of(&TenantId::default_tenant(), key)).await.expect("a mark").expect("begun");
    mark.ticket.expect("a ticket")
}

/// Repeats it until it works: by itself, it must.
pub(crate) async fn until_ok<T>(mut attempt: impl AsyncFnMut() -> Result<T, CacheError>) -> T {
    let began = Instant::now();
    loop {
        match attempt().await {
            Ok(answer) => return answer,
            Err(error) => assert!(began.elapsed() < Duration::from_mins(1), "it doesn't work again: {error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
