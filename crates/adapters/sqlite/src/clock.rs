//! The clock by which tasks are due and leases end: this process' own, which goes on evenly whatever the machine's is set to. One
//! process serves the file, so there is no other.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use profile_domain::Moment;

/// Anchored when the store is opened.
pub(crate) struct Clock {
    start: Instant,
    /// What the machine's clock said then, in microseconds since 1970.
    anchor: i64,
    /// For tests.
    offset: AtomicI64,
}

impl Clock {
    pub(crate) fn start() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the store's clock is its own, and only anchored here")]
        let now = SystemTime::now();
        let anchor = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: Instant::now(), anchor: micros(anchor), offset: AtomicI64::new(0) }
    }

    pub(crate) fn now(&self) -> Moment {
        let passed = micros(self.start.elapsed()).saturating_add(self.offset.load(Ordering::Relaxed));
        Moment::from_micros(self.anchor.saturating_add(passed))
    }

    pub(crate) fn shift(&self, by: Duration) {
        self.offset.fetch_add(micros(by), Ordering::Relaxed);
    }
}

/// As many microseconds.
pub(crate) fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}
