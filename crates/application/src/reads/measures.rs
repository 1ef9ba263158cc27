//! What the way out tells about itself.

use std::time::Duration;

use profile_ports::CacheError;
use prometheus::{
    Gauge, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, core::Collector,
};

/// From an answer in this process to one that timed out.
const BUCKETS: [f64; 13] = [1e-6, 5e-6, 25e-6, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1];

pub(super) struct Measures {
    latency: HistogramVec,
    errors: IntCounterVec,
    /// Parts of a tier that are not asked because they failed.
    pub(super) open: IntGaugeVec,
    /// Parts of a tier that are believed.
    pub(super) believed: IntGaugeVec,
    pub(super) stale: IntCounter,
    loads: IntCounter,
    loading: IntGauge,
    pub(super) feed_lag: Gauge,
    pub(super) feed_position: IntGauge,
}

/// What a tier is asked to do.
#[derive(Clone, Copy)]
pub(super) enum Operation {
    Get,
    Put,
    Invalidate,
    Follow,
    Mark,
    Begin,
    Remove,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Put => "put",
            Self::Invalidate => "invalidate",
            Self::Follow => "follow",
            Self::Mark => "mark",
            Self::Begin => "begin",
            Self::Remove => "remove",
        }
    }
}

impl Measures {
    pub(super) fn new() -> Self {
        Self::made().expect("the names of metrics are valid")
    }

    fn made() -> prometheus::Result<Self> {
        let latency = HistogramOpts::new(
            "cache_operation_latency_seconds",
            "Time of operations on a cache tier; of gets in this process, one of 64 is measured",
        );
        Ok(Self {
            latency: HistogramVec::new(latency.buckets(BUCKETS.to_vec()), &["tier", "operation", "outcome"])?,
            errors: IntCounterVec::new(
                Opts::new("cache_errors_total", "Operations on a cache tier that failed, by cause"),
                &["tier", "operation", "cause"],
            )?,
            open: IntGaugeVec::new(
                Opts::new("cache_breaker_open", "Parts of a cache tier that are not asked, because they failed or were slow"),
                &["tier"],
            )?,
            believed: IntGaugeVec::new(
                Opts::new(
                    "cache_believed_parts",
                    "Parts of a cache tier that have followed the feed closely enough to be believed",
                ),
                &["tier"],
            )?,
            stale: IntCounter::new("cache_stale_answers_total", "Answers from a cache while the store couldn't be reached")?,
            loads: IntCounter::new("cache_loads_total", "Single reads that went to the store")?,
            loading: IntGauge::new("cache_loads_in_flight", "Single reads that are at the store now")?,
            feed_lag: Gauge::new("feed_lag_seconds", "How old a commit may be that this instance hasn't learned of")?,
            feed_position: IntGauge::new("feed_position", "The last position of the feed that this instance has applied")?,
        })
    }

    pub(super) fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        let all: [Box<dyn Collector>; 9] = [
            Box::new(self.latency.clone()),
            Box::new(self.errors.clone()),
            Box::new(self.open.clone()),
            Box::new(self.believed.clone()),
            Box::new(self.stale.clone()),
            Box::new(self.loads.clone()),
            Box::new(self.loading.clone()),
            Box::new(self.feed_lag.clone()),
            Box::new(self.feed_position.clone()),
        ];
        all.into_iter().try_for_each(|collector| registry.register(collector))
    }

    pub(super) fn observe(&self, tier: &str, operation: Operation, outcome: &str, took: Duration) {
        self.latency.with_label_values(&[tier, operation.name(), outcome]).observe(took.as_secs_f64());
    }

    pub(super) fn failed(&self, tier: &str, operation: Operation, error: &CacheError, took: Duration) {
        let cause = match error {
            CacheError::Unavailable(_) => "unavailable",
            CacheError::TimedOut => "timed_out",
            CacheError::Refused(_) => "refused",
        };
        self.observe(tier, operation, "error", took);
        self.errors.with_label_values(&[tier, operation.name(), cause]).inc();
    }

    /// Counts a load, and that it goes on until this is dropped.
    pub(super) fn loading(&self) -> Loading {
        self.loads.inc();
        self.loading.inc();
        Loading(self.loading.clone())
    }
}

pub(super) struct Loading(IntGauge);

impl Drop for Loading {
    fn drop(&mut self) {
        self.0.dec();
    }
}
