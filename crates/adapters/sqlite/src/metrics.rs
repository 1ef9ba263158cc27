//! What the store tells about itself: time by statement, groups by size, readers.

use std::time::Instant;

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntGauge, Opts, Registry};

/// Cheap to clone: all are handles.
#[derive(Clone)]
pub(crate) struct Metrics {
    durations: HistogramVec,
    pub(crate) group_size: Histogram,
    pub(crate) pool_size: IntGauge,
    pub(crate) pool_available: IntGauge,
}

impl Metrics {
    /// Not yet registered: opening may fail and be tried again.
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let gauge = |name, help| IntGauge::with_opts(Opts::new(name, help).const_label("store", "sqlite"));
        Ok(Self {
            durations: HistogramVec::new(
                HistogramOpts::new("db_query_duration_seconds", "Time a statement of the store took, by its name")
                    .const_label("store", "sqlite")
                    .buckets(prometheus::exponential_buckets(0.000_01, 2.5, 16)?),
                &["statement"],
            )?,
            group_size: Histogram::with_opts(
                HistogramOpts::new("db_commit_group_size", "Changesets that were made durable by one fsync")
                    .const_label("store", "sqlite")
                    .buckets(prometheus::exponential_buckets(1.0, 2.0, 9)?),
            )?,
            pool_size: gauge("db_pool_size", "Connections for reading")?,
            pool_available: gauge("db_pool_available", "Connections for reading that nobody uses")?,
        })
    }

    pub(crate) fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.durations.clone()))?;
        registry.register(Box::new(self.group_size.clone()))?;
        registry.register(Box::new(self.pool_size.clone()))?;
        registry.register(Box::new(self.pool_available.clone()))
    }

    /// Times what a statement, known by its name, takes.
    pub(crate) fn time<T>(&self, statement: &'static str, work: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let done = work();
        self.durations.with_label_values(&[statement]).observe(started.elapsed().as_secs_f64());
        done
    }
}
