//! What the queue tells about itself.

use profile_domain::TaskType;
use prometheus::{IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry};

pub(super) struct Metrics {
    published: IntCounterVec,
    confirmed: IntCounterVec,
    consumed: IntCounterVec,
    acknowledged: IntCounterVec,
    state: IntGaugeVec,
}

/// Of one type.
pub(super) struct TypeMetrics {
    pub(super) published: IntCounter,
    pub(super) confirmed: IntCounter,
    pub(super) consumed: IntCounter,
    pub(super) acknowledged: IntCounter,
}

impl Metrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let opts = |name, help| Opts::new(name, help).const_label("queue", "memory");
        let counter = |name, help| {
            let counter = IntCounterVec::new(opts(name, help), &["type"])?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let state = IntGaugeVec::new(opts("queue_state", "1 for how the queue is: connected, blocked or away"), &["state"])?;
        registry.register(Box::new(state.clone()))?;
        state.with_label_values(&["connected"]).set(1);
        state.with_label_values(&["away"]).set(0);
        Ok(Self {
            published: counter("queue_published_total", "Messages that were offered to the queue")?,
            confirmed: counter("queue_confirmed_total", "Messages that the queue has taken")?,
            consumed: counter("queue_consumed_total", "Messages that the queue gave to this process")?,
            acknowledged: counter("queue_acknowledged_total", "Messages whose task was claimed, or needn't be")?,
            state,
        })
    }

    pub(super) fn of(&self, task_type: &TaskType) -> TypeMetrics {
        let name = &[task_type.as_str()];
        TypeMetrics {
            published: self.published.with_label_values(name),
            confirmed: self.confirmed.with_label_values(name),
            consumed: self.consumed.with_label_values(name),
            acknowledged: self.acknowledged.with_label_values(name),
        }
    }

    pub(super) fn closed(&self) {
        self.state.with_label_values(&["connected"]).set(0);
        self.state.with_label_values(&["away"]).set(1);
    }
}
