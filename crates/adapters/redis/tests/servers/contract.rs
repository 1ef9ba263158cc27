//! The whole contract of a cache over one server, and over a cluster.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use profile_domain::{EntityKey, TenantId};
use profile_port_contracts::{
    CacheFixture, CacheLimits, CacheSize, Planted,
    redis::{RedisCluster, RedisServer},
    scaled,
};
use profile_ports::Cache;
use profile_redis::{Mode, RedisCache, RedisSettings};
use prometheus::Registry;
use tokio::sync::OnceCell;

use crate::support::{connect, count, plant, settings};

/// Each fixture has names of its own.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A cache in servers that all fixtures of a test share, which is a process of its own.
struct Shared {
    cache: Arc<RedisCache>,
    registry: Registry,
    prefix: String,
    masters: Vec<u16>,
}

impl Shared {
    fn new(mode: Mode, masters: Vec<u16>, limits: CacheLimits) -> Self {
        let settings = RedisSettings {
            prefix: format!("test-{}", NEXT.fetch_add(1, Ordering::Relaxed)),
            // The contract is not about time, and the machine may be busy.
            timeout: Duration::from_secs(10),
            floors: limits.floors,
            spans: limits.spans,
            ..settings(mode, &masters)
        };
        let registry = Registry::new();
        let cache = RedisCache::new(&settings, &registry).expect("settings that work");
        Self { cache: Arc::new(cache), registry, prefix: settings.prefix, masters }
    }

    async fn size(&self) -> CacheSize {
        let mut size = CacheSize::default();
        for master in &self.masters {
            let pattern = format!("{}:{{*}}:*", self.prefix);
            let mut keys = redis::cmd("KEYS");
            let keys: Vec<String> = keys.arg(pattern).query_async(&mut connect(*master).await).await.expect("keys");
            size.entries += keys.len();
        }
        size
    }
}

/// Time passes for it as for everybody; and what a client knows of the server's clock is behind by the time that an answer took.
async fn pass(time: Duration) {
    tokio::time::sleep(time + Duration::from_millis(20)).await;
}

macro_rules! fixture {
    ($fixture:ident, $fresh:expr) => {
        struct $fixture(Shared);

        #[async_trait]
        impl CacheFixture for $fixture {
            fn schedules() -> u32 {
                scaled(100)
            }

            async fn fresh(limits: CacheLimits) -> Self {
                Self($fresh(limits).await)
            }

            fn cache(&self) -> Arc<dyn Cache> {
                Arc::clone(&self.0.cache) as Arc<dyn Cache>
            }

            fn now(&self) -> Instant {
                Instant::now()
            }

            async fn pass(&self, time: Duration) {
                pass(time).await;
            }

            async fn size(&self) -> CacheSize {
                self.0.size().await
            }

            async fn plant(&self, tenant: &TenantId, key: &EntityKey, planted: Planted) -> bool {
                plant(&self.0.cache, &self.0.masters, tenant, key, &planted).await;
                true
            }

            async fn unfit(&self) -> u64 {
                count(&self.0.registry, "cache_unfit_total")
            }
        }
    };
}

async fn single(limits: CacheLimits) -> Shared {
    static SERVER: OnceCell<RedisServer> = OnceCell::const_new();
    Shared::new(Mode::Single, vec![SERVER.get_or_init(RedisServer::start).await.port], limits)
}

async fn clustered(limits: CacheLimits) -> Shared {
    static CLUSTER: OnceCell<RedisCluster> = OnceCell::const_new();
    let cluster = CLUSTER.get_or_init(RedisCluster::start).await;
    Shared::new(Mode::Cluster, cluster.nodes[..3].iter().map(|node| node.port).collect(), limits)
}

mod one_server {
    use super::*;

    fixture!(Single, single);
    profile_port_contracts::cache_contract!(Single: always keeping);
}

mod a_cluster {
    use super::*;

    fixture!(Clustered, clustered);
    profile_port_contracts::cache_contract!(Clustered: always keeping);
}
