//! Statements as they are declared beside their use: with a name for the metrics and the types of their parameters.

use tokio_postgres::types::Type;

/// An expression that makes the commit of its transaction wait for the disk, whatever the settings of the server, the database
/// and the role say; a role that makes it wait for standbys to apply it as well is left alone. In whatever writes: transactions
/// have it from their beginning, single statements in what they return for each row that they write.
macro_rules! durably {
    () => {
        "set_config('synchronous_commit',
            CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, true)"
    };
}
pub(crate) use durably;

/// In a transaction: its statements are planned once, whatever their parameters, and not compiled.
macro_rules! as_written {
    () => {
        "SET LOCAL jit = off; SET LOCAL plan_cache_mode = force_generic_plan"
    };
}
pub(crate) use as_written;

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
