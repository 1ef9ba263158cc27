//! How many calls may be repeated: so many for each that was made, so that a source in trouble gets little more than usual.

use std::sync::atomic::{AtomicU32, Ordering};

/// What a retry costs, in what one call brings: one in ten.
const PRICE: u32 = 10;
/// What is saved, at most: a few retries at once.
const SAVED: u32 = 10 * PRICE;

/// Begins with nothing, so that it holds from the first call on.
#[derive(Debug, Default)]
pub(crate) struct Budget(AtomicU32);

impl Budget {
    /// A call was made that is no retry.
    pub(crate) fn called(&self) {
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |saved| (saved < SAVED).then_some(saved + 1));
    }

    /// Takes what one retry costs, if there is as much.
    pub(crate) fn take(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |saved| saved.checked_sub(PRICE)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_ten_calls_is_repeated() {
        let budget = Budget::default();
        let mut retries = 0;
        for calls in 1..=1_000 {
            budget.called();
            retries += u32::from(budget.take());
            assert!(retries * 10 <= calls, "{retries} of {calls}");
        }
        assert_eq!(retries, 100);
        for _ in 0..10_000 {
            budget.called();
        }
        assert_eq!((0..100).filter(|_| budget.take()).count(), 10, "savings are bounded");
    }
}
