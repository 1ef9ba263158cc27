//! The whole contract of a cache, under a clock that tests move.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use profile_domain::{EntityKey, TenantId, Version};
use profile_memory::{MemoryCache, NoCache, Settings};
use profile_port_contracts::{CacheFixture, CacheLimits, CacheSize, Planted};
use profile_ports::Cache;

const SCHEMA: u32 = 3;

struct MemoryFixture {
    cache: Arc<MemoryCache>,
    clock: Clock,
}

/// Stands still but for [`Self::pass`].
#[derive(Clone)]
struct Clock {
    start: Instant,
    passed: Arc<AtomicU64>,
}

impl Clock {
    /// Some time after the start of all clocks, so that a moment before its first can be named.
    fn new() -> Self {
        Self { start: Instant::now() + Duration::from_hours(1), passed: Arc::default() }
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_nanos(self.passed.load(Ordering::Relaxed))
    }

    fn pass(&self, time: Duration) {
        self.passed.fetch_add(u64::try_from(time.as_nanos()).expect("not for centuries"), Ordering::Relaxed);
    }
}

#[async_trait]
impl CacheFixture for MemoryFixture {
    /// It takes seconds.
    fn schedules() -> u32 {
        10_000
    }

    async fn fresh(limits: CacheLimits) -> Self {
        let clock = Clock::new();
        let CacheLimits { entries, bytes, absences, floors, spans } = limits;
        let now = Arc::new({
            let clock = clock.clone();
            move || clock.now()
        });
        let settings = Settings { schema: SCHEMA, entries, bytes, absences, floors, spans, now };
        let cache = MemoryCache::new(&settings, &prometheus::Registry::new()).expect("an empty registry");
        Self { cache: Arc::new(cache), clock }
    }

    fn cache(&self) -> Arc<dyn Cache> {
        Arc::clone(&self.cache) as Arc<dyn Cache>
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }

    async fn pass(&self, time: Duration) {
        self.clock.pass(time);
    }

    async fn size(&self) -> CacheSize {
        let size = self.cache.size();
        CacheSize { entries: size.entries, bytes: size.bytes, absences: size.absences }
    }

    /// Another's entry: if two names had one hash.
    async fn plant(&self, tenant: &TenantId, key: &EntityKey, planted: Planted) -> bool {
        let right = (tenant, key);
        let (schema, named) = match &planted {
            Planted::OtherSchema => (SCHEMA + 1, right),
            Planted::OtherTenant(other) => (SCHEMA, (other, key)),
            Planted::OtherKey(other) => (SCHEMA, (tenant, other)),
            Planted::Garbage | Planted::Huge => return false,
        };
        self.cache.plant(right, schema, named, Version::FIRST, Bytes::from_static(b"planted"));
        true
    }

    async fn unfit(&self) -> u64 {
        self.cache.counts().unfit
    }
}

profile_port_contracts::cache_contract!(MemoryFixture: always keeping bounding);

/// It keeps nothing, and so nothing wrong.
mod no_cache {
    use super::{
        Arc, Cache, CacheFixture, CacheLimits, CacheSize, Clock, Duration, EntityKey, Instant, NoCache, Planted, TenantId,
        async_trait,
    };

    struct NoCacheFixture(Clock);

    #[async_trait]
    impl CacheFixture for NoCacheFixture {
        const KEEPS: bool = false;

        async fn fresh(_: CacheLimits) -> Self {
            Self(Clock::new())
        }

        fn cache(&self) -> Arc<dyn Cache> {
            Arc::new(NoCache)
        }

        fn now(&self) -> Instant {
            self.0.now()
        }

        async fn pass(&self, time: Duration) {
            self.0.pass(time);
        }

        async fn size(&self) -> CacheSize {
            CacheSize::default()
        }

        async fn plant(&self, _: &TenantId, _: &EntityKey, _: Planted) -> bool {
            false
        }

        async fn unfit(&self) -> u64 {
            0
        }
    }

    profile_port_contracts::cache_contract!(NoCacheFixture: always);
}
