//! What is measured of tasks. Labels are kinds and outcomes, which are few.

use std::time::Duration;

use profile_domain::{Moment, TaskStatus, task::ClaimedTask};
use profile_ports::TaskGauges;
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry, core::Collector,
};

use super::kinds;

/// From a poll of a busy worker to a day of an outage.
const LATENESS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 600.0, 3600.0];
const DURATION: [f64; 13] = [0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0];

pub(crate) struct Measures {
    submitted: IntCounterVec,
    started: IntCounterVec,
    finished: IntCounterVec,
    lateness: HistogramVec,
    duration: HistogramVec,
    depth: IntGaugeVec,
    oldest: Gauge,
    rescued: IntCounter,
    fenced: IntCounter,
    batch: Histogram,
}

#[expect(clippy::expect_used, reason = "the names and buckets are constants")]
impl Measures {
    pub(crate) fn new() -> Self {
        let counters =
            |name: &str, help: &str, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels).expect("valid");
        let counter = |name: &str, help: &str| IntCounter::new(name, help).expect("valid");
        let histogram = |name: &str, help: &str, buckets: &[f64]| {
            HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), &["type"]).expect("valid")
        };
        Self {
            submitted: counters("tasks_submitted_total", "Tasks that were accepted, by type.", &["type"]),
            started: counters("tasks_started_total", "Starts of tasks in this process, by type.", &["type"]),
            finished: counters(
                "tasks_finished_total",
                "Runs that ended in this process, by type and outcome.",
                &["type", "outcome"],
            ),
            lateness: histogram("task_lateness_seconds", "From when a task was due to its start.", &LATENESS),
            duration: histogram("task_duration_seconds", "From a task's start to its end.", &DURATION),
            depth: IntGaugeVec::new(Opts::new("tasks", "Tasks that wait or run, by type and state."), &["type", "state"])
                .expect("valid"),
            oldest: Gauge::new("task_oldest_waiting_seconds", "For how long the task that waits longest has been due.")
                .expect("valid"),
            rescued: counter("tasks_rescued_total", "Runs whose lease ended, so that this process ended them."),
            fenced: counter("tasks_fenced_total", "Results of runs of this process that came too late and changed nothing."),
            batch: Histogram::with_opts(
                HistogramOpts::new("task_end_batch_size", "Runs that were ended by one statement.")
                    .buckets(prometheus::exponential_buckets(1.0, 2.0, 10).expect("valid")),
            )
            .expect("valid"),
        }
    }

    pub(crate) fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        let collectors: [Box<dyn Collector>; 10] = [
            Box::new(self.submitted.clone()),
            Box::new(self.started.clone()),
            Box::new(self.finished.clone()),
            Box::new(self.lateness.clone()),
            Box::new(self.duration.clone()),
            Box::new(self.depth.clone()),
            Box::new(self.oldest.clone()),
            Box::new(self.rescued.clone()),
            Box::new(self.fenced.clone()),
            Box::new(self.batch.clone()),
        ];
        collectors.into_iter().try_for_each(|collector| registry.register(collector))
    }

    pub(crate) fn submitted(&self, name: &str) {
        self.submitted.with_label_values(&[name]).inc();
    }

    pub(crate) fn started(&self, name: &str, task: &ClaimedTask) {
        self.started.with_label_values(&[name]).inc();
        self.lateness.with_label_values(&[name]).observe(seconds(task.run_at, task.started_at));
    }

    pub(crate) fn finished(&self, name: &str, outcome: TaskStatus, took: Duration) {
        self.finished.with_label_values(&[name, outcome.as_str()]).inc();
        self.duration.with_label_values(&[name]).observe(took.as_secs_f64());
    }

    pub(crate) fn ended_together(&self, runs: usize) {
        self.batch.observe(f64::from(u32::try_from(runs).unwrap_or(u32::MAX)));
    }

    pub(crate) fn fenced(&self) {
        self.fenced.inc();
    }

    pub(crate) fn rescued(&self, runs: usize) {
        self.rescued.inc_by(runs as u64);
    }

    /// What the store says of all.
    pub(crate) fn show(&self, gauges: &TaskGauges) {
        let states = TaskStatus::ALL.into_iter().filter(|status| !status.is_final());
        for (kind, status) in states.flat_map(|status| kinds::ALL.iter().map(move |kind| (kind, status))) {
            let of = |depth: &&profile_ports::TaskDepth| depth.task_type.as_str() == kind.name && depth.status == status;
            let count = gauges.depths.iter().find(of).map_or(0, |depth| depth.count);
            self.depth.with_label_values(&[kind.name, status.as_str()]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.oldest.set(gauges.oldest_waiting.unwrap_or_default().as_secs_f64());
    }
}

#[expect(clippy::cast_precision_loss, reason = "a measurement")]
fn seconds(from: Moment, to: Moment) -> f64 {
    (to.as_micros() - from.as_micros()).max(0) as f64 / 1e6
}
