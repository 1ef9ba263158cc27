//! `cleanup`: entries of the shared cache that are older than some time.

use std::fmt;

use anyhow::Context;
use profile_redis::{Cleaned, RedisCache};
use prometheus::Registry;

use crate::{
    bulk::Progress,
    caches::redis_settings,
    cli,
    config::{Config, ConfigError},
    print,
};

pub(crate) async fn run(config: &Config, options: &cli::Cleanup) -> anyhow::Result<()> {
    let redis = config
        .redis
        .as_ref()
        .ok_or_else(|| ConfigError::new("REDIS_ADDRESS is not set: there is no cache in Redis to clean up"))?;
    let cache = RedisCache::new(&redis_settings(redis), &Registry::new())?;
    let mut progress = Progress::new("cleaning up");
    let cleaned = cache.cleanup(options.older_than, options.per_second, |so_far| progress.show(None, Said(so_far))).await;
    drop(progress);
    print(&Said(cleaned.context("Redis failed; what was deleted is deleted, run it again to go on")?).to_string());
    Ok(())
}

struct Said(Cleaned);

impl fmt::Display for Said {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cleaned { servers, seen, deleted } = self.0;
        write!(formatter, "{seen} entries looked at on {servers} servers, {deleted} deleted")
    }
}
