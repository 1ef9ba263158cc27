//! How long a task that failed waits: exponentially longer, with full jitter (Brooker, "Exponential Backoff And Jitter",
//! AWS Architecture Blog, 2015), so that what failed together doesn't come back together.

/// The longest wait, in microseconds: an hour.
pub const MAX_WAIT: i64 = 3_600 * 1_000_000;

/// Waits that grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The longest wait after the first failure, in microseconds. It doubles with each that follows, up to [`MAX_WAIT`].
    pub base: i64,
}

impl Backoff {
    /// The wait after the failure of this start, in microseconds: evenly spread between nothing and the longest, by 64 random
    /// bits.
    #[must_use]
    pub fn wait(self, attempt: u32, random: u64) -> i64 {
        let longest = self.longest(attempt);
        // The upper half of the product of two 64-bit numbers: below `longest`, without a remainder's bias.
        let spread = (u128::from(random) * u128::from(longest.unsigned_abs())) >> 64;
        i64::try_from(spread).unwrap_or(longest)
    }

    fn longest(self, attempt: u32) -> i64 {
        let doublings = attempt.saturating_sub(1).min(32);
        self.base.max(0).saturating_mul(1 << doublings).min(MAX_WAIT)
    }
}
