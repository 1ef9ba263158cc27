//! What views tell about themselves.

use profile_domain::views::ViewName;
use prometheus::{IntCounterVec, Opts, Registry};

use super::{ViewAnswer, ViewError, ViewOrigin};

pub(super) struct Measures {
    answers: IntCounterVec,
}

impl Measures {
    pub(super) fn new() -> Self {
        let opts =
            Opts::new("view_answers_total", "Answers of views: from a cache, stale, complete, incomplete, or why there was none");
        Self { answers: IntCounterVec::new(opts, &["view", "outcome"]).expect("the names of metrics are valid") }
    }

    pub(super) fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        registry.register(Box::new(self.answers.clone()))
    }

    pub(super) fn answered(&self, view: ViewName, answer: &Result<ViewAnswer, ViewError>) {
        let outcome = match answer {
            Ok(ViewAnswer { origin: ViewOrigin::Cache { .. }, .. }) => "cached",
            Ok(ViewAnswer { origin: ViewOrigin::Stale { .. }, .. }) => "stale",
            Ok(answer) if answer.unavailable.is_empty() => "complete",
            Ok(_) => "incomplete",
            Err(ViewError::NotConfigured) => "not_configured",
            Err(ViewError::Unknown) => "unknown",
            Err(ViewError::Unavailable { .. } | ViewError::Store(_)) => "unavailable",
        };
        self.answers.with_label_values(&[view.as_str(), outcome]).inc();
    }
}
