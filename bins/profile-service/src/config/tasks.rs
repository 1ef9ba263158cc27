//! How tasks are worked on.

use std::{collections::HashMap, path::PathBuf, time::Duration};

use profile_domain::TenantId;
use profile_upstream::webhooks::WebhookSecret;

use super::{ConfigError, Source, duration, tenants};

/// `TASK_…`, `WEBHOOK_PRIVATE`, and what only a file has of tenants.
pub(crate) struct Tasks {
    pub(crate) concurrency: usize,
    pub(crate) lease: Duration,
    pub(crate) backoff: Duration,
    pub(crate) retention: Duration,
    /// Whether webhooks may go to this machine and to private networks.
    pub(crate) webhooks_to_private: bool,
    pub(crate) webhook_secrets: HashMap<TenantId, Vec<WebhookSecret>>,
    /// Where exports lie.
    pub(crate) data_dir: PathBuf,
}

const DAY: Duration = Duration::from_hours(24);

impl Tasks {
    pub(crate) fn read(source: &Source) -> Result<Self, ConfigError> {
        let within = |variable, default, lowest: Duration, highest: Duration, allowed: &str| {
            source
                .parse(variable, default, allowed, |text| duration::parse(text).filter(|time| (lowest..=highest).contains(time)))
        };
        Ok(Self {
            concurrency: source.parse("TASK_CONCURRENCY", 64, "a number from 1 to 10000", |text| {
                text.parse().ok().filter(|tasks| (1..=10_000).contains(tasks))
            })?,
            lease: within(
                "TASK_LEASE",
                Duration::from_secs(30),
                Duration::from_secs(1),
                Duration::from_mins(10),
                "a duration from 1s to 10m, such as 30s",
            )?,
            backoff: within(
                "TASK_BACKOFF",
                Duration::from_secs(30),
                Duration::ZERO,
                Duration::from_hours(1),
                "a duration from 0s to 1h, such as 30s",
            )?,
            retention: within(
                "TASK_RETENTION",
                DAY * 7,
                Duration::from_mins(1),
                DAY * 365,
                "a duration from 1m to 365d, such as 7d",
            )?,
            webhooks_to_private: source.parse("WEBHOOK_PRIVATE", false, "true or false", |text| text.parse().ok())?,
            webhook_secrets: tenants::read(source)?,
            data_dir: source.get("DATA_DIR").map_or_else(|| PathBuf::from("./data"), |found| PathBuf::from(&found.text)),
        })
    }

    pub(super) fn in_force(&self) -> Vec<(&'static str, String)> {
        vec![
            ("TASK_CONCURRENCY", self.concurrency.to_string()),
            ("TASK_LEASE", duration::show(self.lease)),
            ("TASK_BACKOFF", duration::show(self.backoff)),
            ("TASK_RETENTION", duration::show(self.retention)),
            ("WEBHOOK_PRIVATE", self.webhooks_to_private.to_string()),
        ]
    }
}
