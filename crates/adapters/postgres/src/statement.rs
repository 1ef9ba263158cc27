//! Statements as they are declared beside their use: with a name for the metrics and the types of their parameters.

use tokio_postgres::types::Type;

/// One statement. Its types are given, so that it can run unprepared in one round trip too.
#[derive(Debug)]
pub(crate) struct Statement {
    /// As in the label of the metrics.
    pub(crate) name: &'static str,
    pub(crate) sql: &'static str,
    pub(crate) types: &'static [Type],
}

impl Statement {
    pub(crate) const fn new(name: &'static str, sql: &'static str, types: &'static [Type]) -> Self {
        Self { name, sql, types }
    }
}
