//! What the cache tells about itself, gathered when someone asks: a hit counts within its shard and nowhere else.

use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::{
    Gauge, IntCounter, IntGauge, Opts,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use crate::{Counts, Inner, Size};

pub(crate) struct Metrics {
    inner: Arc<Inner>,
    /// One gathers at a time, so that counters take each difference once.
    shown: Mutex<Shown>,
    descs: Vec<Desc>,
}

struct Shown {
    hits: IntCounter,
    misses: IntCounter,
    evictions: IntCounter,
    expired: IntCounter,
    unfit: IntCounter,
    overflows: IntCounter,
    entries: IntGauge,
    bytes: IntGauge,
    absences: IntGauge,
    floors: IntGauge,
    hit_ratio: Gauge,
}

impl Metrics {
    pub(crate) fn of(inner: Arc<Inner>) -> Result<Self, prometheus::Error> {
        let opts = |name, help| Opts::new(name, help).const_label("tier", "memory");
        let counter = |name, help| IntCounter::with_opts(opts(name, help));
        let gauge = |name, help| IntGauge::with_opts(opts(name, help));
        let shown = Shown {
            hits: counter("cache_hits_total", "Reads of a cache that found something")?,
            misses: counter("cache_misses_total", "Reads of a cache that found nothing")?,
            evictions: counter("cache_evictions_total", "Entries that made room for others")?,
            expired: counter("cache_expired_total", "Entries that were found expired")?,
            unfit: counter("cache_unfit_total", "Entries that weren't what they should have been, and were removed")?,
            overflows: counter("cache_overflows_total", "Times a part of a cache began anew because of too many changes")?,
            entries: gauge("cache_size", "Entries of what exists")?,
            bytes: gauge("cache_bytes", "Bytes of these entries")?,
            absences: gauge("cache_absences", "Entries of what doesn't exist")?,
            floors: gauge("cache_floors", "Versions that recent changes left behind")?,
            hit_ratio: Gauge::with_opts(opts("cache_hit_ratio", "Hits among all reads of a cache since the start"))?,
        };
        let descs = shown.all().into_iter().flat_map(Collector::desc).cloned().collect();
        Ok(Self { inner, shown: Mutex::new(shown), descs })
    }
}

impl Shown {
    fn all(&self) -> [&dyn Collector; 11] {
        [
            &self.hits,
            &self.misses,
            &self.evictions,
            &self.expired,
            &self.unfit,
            &self.overflows,
            &self.entries,
            &self.bytes,
            &self.absences,
            &self.floors,
            &self.hit_ratio,
        ]
    }

    fn update(&self, counts: Counts, size: Size) {
        for (counter, total) in [
            (&self.hits, counts.hits),
            (&self.misses, counts.misses),
            (&self.evictions, counts.evictions),
            (&self.expired, counts.expired),
            (&self.unfit, counts.unfit),
            (&self.overflows, counts.overflows),
        ] {
            counter.inc_by(total.saturating_sub(counter.get()));
        }
        for (gauge, now) in [
            (&self.entries, size.entries),
            (&self.bytes, size.bytes),
            (&self.absences, size.absences),
            (&self.floors, size.floors),
        ] {
            gauge.set(i64::try_from(now).unwrap_or(i64::MAX));
        }
        let reads = counts.hits + counts.misses;
        #[expect(clippy::cast_precision_loss, reason = "a ratio for a graph")]
        self.hit_ratio.set(if reads == 0 { 0.0 } else { counts.hits as f64 / reads as f64 });
    }
}

impl Collector for Metrics {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let shown = self.shown.lock();
        shown.update(self.inner.counts(), self.inner.size());
        shown.all().into_iter().flat_map(Collector::collect).collect()
    }
}
