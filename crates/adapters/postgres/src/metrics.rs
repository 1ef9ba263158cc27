//! Metrics: how long each statement takes, by name, and how the pool stands.

use std::{sync::Arc, time::Duration};

use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use crate::{connector::Connections, lanes::Lanes, succession::Succession};

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
    pool: Connections,
    lanes: Arc<Lanes>,
    shared: IntGauge,
    size: IntGauge,
    available: IntGauge,
    waiting: IntGauge,
}

impl PoolGauges {
    pub(crate) fn register(pool: Connections, lanes: Arc<Lanes>, registry: &Registry) -> Result<(), prometheus::Error> {
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

/// What reads of replicas come to.
pub(crate) struct ReplicaMetrics {
    pub(crate) reads: IntCounterVec,
    pub(crate) lag: GaugeVec,
}

impl ReplicaMetrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let reads = Opts::new(
            "db_replica_reads_total",
            "Reads that a replica was asked for: used, behind (the primary was asked instead), or failed.",
        );
        let lag =
            Opts::new("db_replica_lag_seconds", "How long ago the primary was where the replica is; NaN where nobody can say.");
        let metrics = Self { reads: IntCounterVec::new(reads, &["server", "outcome"])?, lag: GaugeVec::new(lag, &["server"])? };
        registry.register(Box::new(metrics.reads.clone()))?;
        registry.register(Box::new(metrics.lag.clone()))?;
        Ok(metrics)
    }
}

/// Who takes the writes, as it is when it is asked for.
pub(crate) struct SuccessionGauges {
    succession: Arc<Succession>,
    primary: IntGaugeVec,
    timeline: IntGauge,
}

impl SuccessionGauges {
    pub(crate) fn register(succession: Arc<Succession>, registry: &Registry) -> Result<(), prometheus::Error> {
        let primary = Opts::new("db_primary", "1 for the server that takes the writes, 0 for others that may.");
        let timeline = "The timeline of the server that takes the writes; 0 where none is known.";
        let gauges = Self {
            succession,
            primary: IntGaugeVec::new(primary, &["server"])?,
            timeline: IntGauge::new("db_timeline", timeline)?,
        };
        registry.register(Box::new(gauges))
    }
}

impl Collector for SuccessionGauges {
    fn desc(&self) -> Vec<&Desc> {
        [self.primary.desc(), self.timeline.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let reign = self.succession.current();
        for (host, server) in (0..).zip(&self.succession.hosts) {
            let reigns = reign.is_some_and(|reign| reign.host == host);
            self.primary.with_label_values(&[server.name.as_str()]).set(reigns.into());
        }
        self.timeline.set(reign.map_or(0, |reign| reign.timeline.into()));
        [self.primary.collect(), self.timeline.collect()].concat()
    }
}
