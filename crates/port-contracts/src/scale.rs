//! How often races and random histories are repeated.

/// So many repetitions as `TEST_SCALE` makes of a count as written: the product, but at least 3. Unset, it is 0.05, so that
/// the whole suite ends in minutes on two cores; `make soak` sets it to 1.
///
/// # Panics
/// If `TEST_SCALE` is set and is no number.
#[must_use]
pub fn scaled(count: u32) -> u32 {
    #[expect(clippy::disallowed_methods, reason = "tests have no configuration; this scales them and changes no rule")]
    let scale = std::env::var("TEST_SCALE").ok();
    let scale: f64 = scale.map_or(0.05, |text| text.parse().expect("TEST_SCALE must be a number, such as 0.05 or 1"));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts are small, and a cast saturates")]
    let repetitions = (f64::from(count) * scale).round() as u32;
    repetitions.max(3)
}
