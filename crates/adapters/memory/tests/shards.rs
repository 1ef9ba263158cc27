//! What is only to be seen where there are several shards, and what the cache tells about itself.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use profile_domain::{EntityKey, EntityType, Incarnation, Reference, TenantId, Version};
use profile_memory::{MemoryCache, Settings, Size};
use profile_ports::{
    Cache as _,
    cache::{Begin, Fill, Put, Spans, Standing, State},
};
use prometheus::Registry;

const ENTRIES: usize = 1_600;

fn settings() -> Settings {
    let spans = Spans { load: Duration::from_secs(5), lag: Duration::from_secs(3) };
    let now = Arc::new(Instant::now);
    Settings { schema: 1, entries: ENTRIES, bytes: 64 << 20, absences: 1_600, floors: 20_000, spans, now }
}

async fn begun(registry: &Registry) -> MemoryCache {
    let cache = MemoryCache::new(&settings(), registry).expect("an empty registry");
    for part in 0..cache.parts() {
        let begin = Begin { instead_of: None, incarnation: Incarnation(1), position: 0, quiet: Duration::ZERO };
        cache.begin(part, &begin).await.expect("a beginning");
    }
    cache
}

fn key(number: usize) -> EntityKey {
    EntityKey { entity_type: EntityType::profile(), reference: Reference::parse(&number.to_string()).expect("a reference") }
}

async fn put(cache: &MemoryCache, number: usize, state: State) -> Put {
    let (tenant, key) = (TenantId::default_tenant(), key(number));
    let mark = cache.mark(cache.part_of(&tenant, &key)).await.expect("a mark").expect("begun");
    let fill = Fill { state, expires_in: Duration::from_mins(1), standing: Standing::Settled };
    cache.put(&tenant, &key, mark.ticket.expect("a ticket"), fill).await.expect("a put")
}

fn living() -> State {
    State::Living { version: Version::FIRST, bytes: Bytes::from_static(b"{}") }
}

#[tokio::test]
async fn shards_share_the_bounds() {
    let cache = begun(&Registry::new()).await;
    assert_eq!(cache.parts(), 16);
    for number in 0..10_000 {
        assert_eq!(put(&cache, number, living()).await, Put::Stored);
        assert!(cache.size().entries <= ENTRIES);
    }
    assert_eq!(cache.size().entries, ENTRIES, "every shard uses its share");
}

#[tokio::test]
async fn metrics_tell_what_happened() {
    let registry = Registry::new();
    let cache = begun(&registry).await;
    let tenant = TenantId::default_tenant();
    for number in 0..3 {
        put(&cache, number, living()).await;
    }
    put(&cache, 9, State::Absent { version: None }).await;
    for number in [0, 1, 9, 10] {
        cache.get(&tenant, &key(number)).await.expect("a get");
    }
    let read = || {
        let families = registry.gather();
        let value = |name: &str| {
            let family = families.iter().find(|family| family.name() == name).expect("a metric of this name");
            let metric = &family.get_metric()[0];
            assert_eq!((metric.get_label()[0].name(), metric.get_label()[0].value()), ("tier", "memory"));
            (metric.get_counter().get_value() + metric.get_gauge().get_value()).to_string()
        };
        ["cache_hits_total", "cache_misses_total", "cache_size", "cache_absences", "cache_hit_ratio"].map(value)
    };
    assert_eq!(read(), ["3", "1", "3", "1", "0.75"]);
    assert_eq!(read(), ["3", "1", "3", "1", "0.75"], "looking changes nothing");
    assert_eq!(cache.size(), Size { entries: 3, absences: 1, floors: 0, ..cache.size() });
}

#[tokio::test]
async fn a_registry_takes_one() {
    let registry = Registry::new();
    begun(&registry).await;
    assert!(MemoryCache::new(&settings(), &registry).is_err());
}
