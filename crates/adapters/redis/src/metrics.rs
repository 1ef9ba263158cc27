//! What the cache tells about itself. Times, errors and the trust in it are the application's to tell, for all tiers alike.

use prometheus::{IntCounter, Opts, Registry};

pub(crate) struct Metrics {
    pub(crate) hits: IntCounter,
    pub(crate) misses: IntCounter,
    pub(crate) unfit: IntCounter,
    pub(crate) overflows: IntCounter,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name, help| {
            let counter = IntCounter::with_opts(Opts::new(name, help).const_label("tier", "redis"))?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        Ok(Self {
            hits: counter("cache_hits_total", "Reads of a cache that found something")?,
            misses: counter("cache_misses_total", "Reads of a cache that found nothing")?,
            unfit: counter("cache_unfit_total", "Entries that weren't what they should have been, and were removed")?,
            overflows: counter("cache_overflows_total", "Times a part of a cache began anew because of too many changes")?,
        })
    }
}
