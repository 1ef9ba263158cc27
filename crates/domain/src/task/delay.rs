//! Delays as clients write them.

use serde_json::Value;
use thiserror::Error;

/// A year, in microseconds.
pub const MAX_DELAY: i64 = 365 * 24 * 3_600 * 1_000_000;

/// The value is no delay.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "must be seconds from 0 to 31536000, or a number with s, m, h or d, such as \"90s\", \"15m\", \"2h\" or \"7d\", up to a year"
)]
pub struct DelayError;

/// `90`, `1.5`, `"90s"`, `"15m"`, `"2h"`, `"7d"`: in microseconds.
///
/// # Errors
/// [`DelayError`] says what is allowed.
pub fn parse_delay(value: &Value) -> Result<i64, DelayError> {
    let micros = match value {
        Value::Number(number) => seconds(number.as_f64().ok_or(DelayError)?),
        Value::String(text) => unit(text),
        _ => None,
    };
    micros.filter(|micros| (0..=MAX_DELAY).contains(micros)).ok_or(DelayError)
}

#[expect(clippy::cast_possible_truncation, reason = "a year of microseconds fits, and more is refused")]
fn seconds(seconds: f64) -> Option<i64> {
    (0.0..=31_536_000.0).contains(&seconds).then(|| (seconds * 1e6).round() as i64)
}

fn unit(text: &str) -> Option<i64> {
    let (number, factor) = match text.split_at_checked(text.len().checked_sub(1)?)? {
        (number, "s") => (number, 1),
        (number, "m") => (number, 60),
        (number, "h") => (number, 3_600),
        (number, "d") => (number, 86_400),
        _ => return None,
    };
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    number.parse::<i64>().ok()?.checked_mul(factor)?.checked_mul(1_000_000)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn delays_are_seconds_or_a_number_with_a_unit() {
        let micros = |value: Value| parse_delay(&value).ok();
        for (value, seconds) in [(json!(0), 0), (json!(90), 90), (json!("90s"), 90), (json!("15m"), 900), (json!("2h"), 7_200)] {
            assert_eq!(micros(value.clone()), Some(seconds * 1_000_000), "{value}");
        }
        assert_eq!(micros(json!(1.5)), Some(1_500_000));
        assert_eq!(micros(json!("365d")), Some(MAX_DELAY));
        assert_eq!(micros(json!(31_536_000)), Some(MAX_DELAY));
        for refused in [
            json!(-1),
            json!(31_536_001),
            json!("366d"),
            json!("9999999999999999999s"),
            json!(""),
            json!("s"),
            json!("-1s"),
            json!("1.5h"),
            json!("1 h"),
            json!("90"),
            json!("1w"),
            json!("٣s"),
            json!("1é"),
            json!(true),
            json!(null),
            json!([1]),
        ] {
            assert_eq!(parse_delay(&refused), Err(DelayError), "{refused}");
        }
    }
}
