//! A small generator of pseudo-random numbers: histories must be repeatable from a printed seed, whatever versions are used.

use std::hash::{BuildHasher, Hasher, RandomState};

/// SplitMix64 (Steele, Lea, Flood 2014).
pub struct Random(u64);

impl Random {
    /// From a seed: the same seed, the same numbers.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below this one.
    ///
    /// # Panics
    /// Never.
    pub fn below(&mut self, end: u32) -> u32 {
        u32::try_from(self.next() % u64::from(end)).expect("a remainder is below its divisor")
    }

    /// True so many times in a hundred.
    pub fn percent(&mut self, chance: u32) -> bool {
        self.below(100) < chance
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(u32::try_from(items.len()).expect("few items")) as usize]
    }

    /// Brings them into any order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for index in (1..items.len()).rev() {
            let other = self.below(u32::try_from(index + 1).expect("few items")) as usize;
            items.swap(index, other);
        }
    }
}

/// The seed that `TEST_SEED` names, or else any.
///
/// # Panics
/// If `TEST_SEED` is set and is no number.
#[must_use]
pub fn seed() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a failed test is repeated by naming its seed")]
    let named = std::env::var("TEST_SEED").ok();
    // std seeds its hash maps from the system's randomness: enough of it, without another dependency.
    let any = || RandomState::new().build_hasher().finish();
    named.map_or_else(any, |text| text.parse().expect("TEST_SEED must be the number that was printed"))
}
