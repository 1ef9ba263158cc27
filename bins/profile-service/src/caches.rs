//! Which caches stand before the store.

use std::{sync::Arc, time::Instant};

use profile_application::{App, NamedCache, ReadSettings, SCHEMA, SPANS};
use profile_memory::MemoryCache;
use profile_redis::{RedisCache, RedisSettings};
use prometheus::Registry;
use tokio::runtime::Handle;

use crate::config::{Config, Redis};

/// Ids that are known to name nothing.
const ABSENCES: usize = 10_000;
/// Versions that changes leave behind, for some seconds each.
const FLOORS: usize = 100_000;

/// Redis, if configuration names it.
pub(crate) fn redis(config: &Config, registry: &Registry) -> anyhow::Result<Option<Arc<RedisCache>>> {
    let redis = config.redis.as_ref().map(|redis| RedisCache::new(&redis_settings(redis), registry)).transpose()?;
    Ok(redis.map(Arc::new))
}

/// The use cases, with the caches that configuration names.
pub(crate) fn with_caches(app: App, config: &Config, redis: Option<Arc<RedisCache>>, registry: &Registry) -> anyhow::Result<App> {
    let mut caches = Vec::new();
    if config.cache.in_process {
        let settings = profile_memory::Settings {
            schema: SCHEMA,
            entries: config.cache.entries,
            bytes: config.cache.bytes,
            absences: ABSENCES,
            floors: FLOORS,
            spans: SPANS,
            now: Arc::new(Instant::now),
        };
        let cache = Arc::new(MemoryCache::new(&settings, registry)?);
        caches.push(NamedCache { name: "memory", cache, in_process: true });
    }
    if let (Some(cache), true) = (redis, config.cache.shared) {
        caches.push(NamedCache { name: "redis", cache, in_process: false });
    }
    let settings = ReadSettings { ttl: config.cache.ttl, stale_if_error: config.cache.stale_if_error, ..ReadSettings::default() };
    Ok(app.with_caches(caches, settings, Handle::current(), registry)?)
}

/// How the shared cache is reached.
pub(crate) fn redis_settings(redis: &Redis) -> RedisSettings {
    RedisSettings {
        username: redis.username.clone(),
        password: redis.password.clone(),
        sentinel_password: redis.sentinel_password.clone(),
        database: redis.database,
        tls: redis.tls.clone(),
        prefix: redis.prefix.clone(),
        ..RedisSettings::new(redis.mode.clone(), redis.addresses.clone(), SCHEMA, SPANS)
    }
}
