//! Durations as people write them.

use std::time::Duration;

/// `1500ms`, `2s`, `1m`, `24h`, `7d`: a whole number and its unit.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let digits = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let millis = match unit.trim() {
        "ms" => number,
        "s" => number.checked_mul(1_000)?,
        "m" => number.checked_mul(60_000)?,
        "h" => number.checked_mul(3_600_000)?,
        "d" => number.checked_mul(86_400_000)?,
        _ => return None,
    };
    Some(Duration::from_millis(millis))
}

/// The other way round.
pub(super) fn show(duration: Duration) -> String {
    match duration.as_millis() {
        millis if millis > 0 && millis.is_multiple_of(86_400_000) => format!("{}d", millis / 86_400_000),
        millis if millis > 0 && millis.is_multiple_of(3_600_000) => format!("{}h", millis / 3_600_000),
        millis if millis.is_multiple_of(1_000) => format!("{}s", millis / 1_000),
        millis => format!("{millis}ms"),
    }
}
