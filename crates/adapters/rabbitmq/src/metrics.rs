//! What the queue tells about itself.

use profile_ports::queue::QueueState;
use prometheus::{IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry};

pub(crate) struct Metrics {
    pub(crate) published: IntCounterVec,
    pub(crate) confirmed: IntCounterVec,
    pub(crate) returned: IntCounterVec,
    pub(crate) consumed: IntCounterVec,
    pub(crate) acknowledged: IntCounterVec,
    pub(crate) unreadable: IntCounterVec,
    pub(crate) connections: IntCounter,
    state: IntGaugeVec,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let opts = |name, help| Opts::new(name, help).const_label("queue", "rabbitmq");
        let counter = |name, help| {
            let counter = IntCounterVec::new(opts(name, help), &["type"])?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let connections = IntCounter::with_opts(opts("queue_connections_total", "Connections that were made"))?;
        registry.register(Box::new(connections.clone()))?;
        let state = IntGaugeVec::new(opts("queue_state", "1 for how the queue is: connected, blocked or away"), &["state"])?;
        registry.register(Box::new(state.clone()))?;
        let metrics = Self {
            published: counter("queue_published_total", "Messages that were offered to the queue")?,
            confirmed: counter("queue_confirmed_total", "Messages that the queue has taken")?,
            returned: counter("queue_returned_total", "Messages that came back, because no queue is there for them")?,
            consumed: counter("queue_consumed_total", "Messages that the queue gave to this process")?,
            acknowledged: counter("queue_acknowledged_total", "Messages whose task was claimed, or needn't be")?,
            unreadable: counter("queue_unreadable_total", "Messages that made no sense, and were put with the dead letters")?,
            connections,
            state,
        };
        metrics.show(QueueState::Away);
        Ok(metrics)
    }

    pub(crate) fn show(&self, state: QueueState) {
        for each in [QueueState::Connected, QueueState::Blocked, QueueState::Away] {
            self.state.with_label_values(&[each.as_str()]).set(i64::from(each == state));
        }
    }
}
