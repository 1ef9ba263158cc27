//! Metrics: how long each statement takes, by name, and how the pool stands.

use std::{sync::Arc, time::Duration};

use prometheus::{
    HistogramOpts, HistogramVec, IntGauge, Registry,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use crate::lanes::Lanes;

/// Times of statements. One that is pipelined behind others counts their time too, because it waits for them.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    durations: HistogramVec,
}

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let options = HistogramOpts::new("db_query_duration_seconds", "Time from sending a statement to its last answer.")
            .const_label("store", "postgres")
            .buckets(vec![0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0]);
        let durations = HistogramVec::new(options, &["statement"])?;
        registry.register(Box::new(durations.clone()))?;
        Ok(Self { durations })
    }

    pub(crate) fn observe(&self, statement: &str, time: Duration) {
        self.durations.with_label_values(&[statement]).observe(time.as_secs_f64());
    }
}

/// Gauges that are read from the pool when they are asked for.
pub(crate) struct PoolGauges {
    pool: deadpool_postgres::Pool,
    lanes: Arc<Lanes>,
    shared: IntGauge,
    size: IntGauge,
    available: IntGauge,
    waiting: IntGauge,
}

impl PoolGauges {
    pub(crate) fn register(
        pool: deadpool_postgres::Pool,
        lanes: Arc<Lanes>,
        registry: &Registry,
    ) -> Result<(), prometheus::Error> {
        let gauges = Self {
            pool,
            lanes,
            shared: IntGauge::new("db_shared_connections", "Connections beside the pool that point reads share.")?,
            size: IntGauge::new("db_pool_size", "Connections that are open.")?,
            available: IntGauge::new("db_pool_available", "Connections that are open and idle.")?,
            waiting: IntGauge::new("db_pool_waiting", "Callers that wait for a connection.")?,
        };
        registry.register(Box::new(gauges))
    }

    fn gauges(&self) -> [&IntGauge; 4] {
        [&self.shared, &self.size, &self.available, &self.waiting]
    }
}

impl Collector for PoolGauges {
    fn desc(&self) -> Vec<&Desc> {
        self.gauges().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let status = self.pool.status();
        for (gauge, count) in self.gauges().into_iter().zip([self.lanes.open(), status.size, status.available, status.waiting]) {
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.gauges().into_iter().flat_map(Collector::collect).collect()
    }
}
