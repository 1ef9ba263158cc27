//! What is measured of sources. Labels are names from configuration and words from here.

use std::time::Duration;

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};

/// From an answer on loopback to the longest time that a source may be given.
const BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 1.0, 5.0];

#[derive(Clone)]
pub(crate) struct Metrics {
    duration: HistogramVec,
    outcomes: IntCounterVec,
    attempts: IntCounterVec,
    /// Whether a source isn't asked.
    pub(crate) open: IntGaugeVec,
}

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let duration =
            HistogramOpts::new("source_request_duration_seconds", "Time that a live source took, its retries included");
        let metrics = Self {
            duration: HistogramVec::new(duration.buckets(BUCKETS.to_vec()), &["source"])?,
            outcomes: IntCounterVec::new(
                Opts::new("source_requests_total", "What came of asking a live source: known, unknown, or why it failed"),
                &["source", "outcome"],
            )?,
            attempts: IntCounterVec::new(
                Opts::new("source_attempts_total", "Calls of a live source, repeated ones included"),
                &["source"],
            )?,
            open: IntGaugeVec::new(
                Opts::new("source_breaker_open", "Whether a live source isn't asked, because it failed"),
                &["source"],
            )?,
        };
        registry.register(Box::new(metrics.duration.clone()))?;
        registry.register(Box::new(metrics.outcomes.clone()))?;
        registry.register(Box::new(metrics.attempts.clone()))?;
        registry.register(Box::new(metrics.open.clone()))?;
        Ok(metrics)
    }

    pub(crate) fn ended(&self, source: &str, outcome: &str, attempts: u32, took: Duration) {
        self.outcomes.with_label_values(&[source, outcome]).inc();
        self.attempts.with_label_values(&[source]).inc_by(u64::from(attempts));
        if attempts > 0 {
            self.duration.with_label_values(&[source]).observe(took.as_secs_f64());
        }
    }
}
