//! What is logged, and how.

use std::io::IsTerminal;

use tracing_subscriber::filter::LevelFilter;

use super::{ConfigError, Source};

/// `LOG_…`.
pub(crate) struct Logging {
    pub(crate) level: LevelFilter,
    pub(crate) format: Format,
}

/// How a line looks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Text,
}

impl Logging {
    pub(crate) fn read(source: &Source) -> Result<Self, ConfigError> {
        let by_output = if std::io::stdout().is_terminal() { Format::Text } else { Format::Json };
        Ok(Self {
            level: source.parse("LOG_LEVEL", LevelFilter::INFO, "error, warn, info, debug or trace", |text| match text {
                "error" => Some(LevelFilter::ERROR),
                "warn" => Some(LevelFilter::WARN),
                "info" => Some(LevelFilter::INFO),
                "debug" => Some(LevelFilter::DEBUG),
                "trace" => Some(LevelFilter::TRACE),
                _ => None,
            })?,
            format: source.parse("LOG_FORMAT", by_output, "json or text", |text| match text {
                "json" => Some(Format::Json),
                "text" => Some(Format::Text),
                _ => None,
            })?,
        })
    }

    pub(super) fn in_force(&self) -> Vec<(&'static str, String)> {
        let format = match self.format {
            Format::Json => "json",
            Format::Text => "text",
        };
        vec![("LOG_LEVEL", self.level.to_string()), ("LOG_FORMAT", format.into())]
    }
}
