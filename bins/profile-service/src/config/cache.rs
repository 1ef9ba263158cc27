//! What is kept of what was read, and for how long.

use std::time::Duration;

use super::{ConfigError, Source, duration};

/// `CACHE…`, `STALE_IF_ERROR`, `FEED_RETENTION`.
pub(crate) struct Cache {
    /// Whether there is one in this process.
    pub(crate) in_process: bool,
    /// Whether one that is shared is used, where it is named.
    pub(crate) shared: bool,
    pub(crate) entries: usize,
    pub(crate) bytes: usize,
    pub(crate) ttl: Duration,
    pub(crate) stale_if_error: Duration,
    pub(crate) feed_retention: Duration,
}

const MIB: usize = 1 << 20;
const DAY: Duration = Duration::from_hours(24);

impl Cache {
    pub(crate) fn read(source: &Source) -> Result<Self, ConfigError> {
        let (in_process, shared) = source.parse("CACHE", (true, true), "on, off, memory or redis", |text| match text {
            "on" => Some((true, true)),
            "off" => Some((false, false)),
            "memory" => Some((true, false)),
            "redis" => Some((false, true)),
            _ => None,
        })?;
        let within = |variable, default, lowest: Duration, highest: Duration, allowed: &str| {
            source
                .parse(variable, default, allowed, |text| duration::parse(text).filter(|time| (lowest..=highest).contains(time)))
        };
        Ok(Self {
            in_process,
            shared,
            entries: source.parse("CACHE_ENTRIES", 50_000, "a number from 1 to 100000000", |text| {
                text.parse().ok().filter(|entries| (1..=100_000_000).contains(entries))
            })?,
            bytes: source.parse("CACHE_MEMORY", 64, "a number of MiB from 1 to 65536, such as 64", |text| {
                text.parse().ok().filter(|mebibytes| (1..=65_536).contains(mebibytes))
            })? * MIB,
            ttl: within("CACHE_TTL", DAY, Duration::from_secs(1), DAY * 30, "a duration from 1s to 30d, such as 24h")?,
            stale_if_error: within(
                "STALE_IF_ERROR",
                Duration::from_mins(1),
                Duration::ZERO,
                DAY,
                "a duration from 0s to 24h, such as 60s",
            )?,
            feed_retention: within(
                "FEED_RETENTION",
                DAY * 7,
                Duration::from_mins(1),
                DAY * 365,
                "a duration from 1m to 365d, such as 7d",
            )?,
        })
    }

    pub(super) fn in_force(&self) -> Vec<(&'static str, String)> {
        let cache = match (self.in_process, self.shared) {
            (true, true) => "on",
            (true, false) => "memory",
            (false, true) => "redis",
            (false, false) => "off",
        };
        vec![
            ("CACHE", cache.into()),
            ("CACHE_ENTRIES", self.entries.to_string()),
            ("CACHE_MEMORY", (self.bytes / MIB).to_string()),
            ("CACHE_TTL", duration::show(self.ttl)),
            ("STALE_IF_ERROR", duration::show(self.stale_if_error)),
            ("FEED_RETENTION", duration::show(self.feed_retention)),
        ]
    }
}
