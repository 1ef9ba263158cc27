//! Back-off: bounded, spread, and the same for the same randomness.

use profile_domain::task::{Again, Backoff, Ending, MAX_ERROR_CHARS, MAX_WAIT};
use proptest::prelude::*;

const SHIPPED: Backoff = Backoff { base: 30_000_000 };

proptest! {
    /// Between nothing and the longest wait of the attempt, which doubles up to an hour, and rising with the random number.
    #[test]
    fn waits_stay_within_their_bounds(base in 0..=MAX_WAIT, attempt in 1_u32..100, random: u64, other: u64) {
        let backoff = Backoff { base };
        let longest = (i128::from(base) << (attempt - 1).min(64)).min(i128::from(MAX_WAIT));
        let wait = backoff.wait(attempt, random);
        prop_assert!((0..=longest).contains(&i128::from(wait)), "{wait} of {longest}");
        let (less, more) = (random.min(other), random.max(other));
        prop_assert!(backoff.wait(attempt, less) <= backoff.wait(attempt, more));
        prop_assert_eq!(backoff.wait(attempt, 0), 0);
    }

    #[test]
    fn a_failure_is_dead_at_its_last_attempt_or_where_nothing_helps(attempt in 1_u32..30, last in 1_u32..30, error: String) {
        let maybe = Ending::of_failure(&error, Again::Maybe, attempt, last, 7);
        prop_assert_eq!(matches!(maybe, Ending::Retry { wait: 7, .. }), attempt < last);
        let never = Ending::of_failure(&error, Again::Never, attempt, last, 7);
        prop_assert!(matches!(never, Ending::Dead { .. }));
        let kept = never.error().unwrap_or_default();
        prop_assert!(kept.chars().count() <= MAX_ERROR_CHARS && !kept.chars().any(char::is_control));
    }
}

/// 10,000 that fail at the same moment: no second of their return holds more than 5 % of them. With half the jitter (a wait of at
/// least half of the longest) it would be 6.7 %.
#[test]
fn what_fails_together_does_not_come_back_together() {
    const TASKS: u64 = 10_000;
    let mut seconds = [0_u32; 31];
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..TASKS {
        // xorshift64 (Marsaglia, 2003): any even spread will do.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let wait = SHIPPED.wait(1, random);
        seconds[usize::try_from(wait / 1_000_000).expect("it is not negative")] += 1;
    }
    let most = seconds.iter().max().expect("there are seconds");
    assert!(*most <= 500, "{seconds:?}");
}
