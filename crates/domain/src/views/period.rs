//! The time about which a view is asked: up to an instant, or an interval.

use std::{fmt, str::FromStr};

use jiff::civil::Date;
use thiserror::Error;

use crate::moment::Moment;

/// Both ends are part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period {
    /// `None`: since ever.
    from: Option<Moment>,
    to: Moment,
}

/// The text is neither.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("must be an RFC 3339 time, or two of them joined by /, the earlier first")]
pub struct PeriodError;

impl Period {
    /// Everything up to a moment.
    #[must_use]
    pub fn until(to: Moment) -> Self {
        Self { from: None, to }
    }

    /// Whether a moment lies within.
    #[must_use]
    pub fn contains(self, moment: Moment) -> bool {
        self.from.is_none_or(|from| from <= moment) && moment <= self.to
    }

    /// The time that a date of a source names: RFC 3339, or a day alone, which is its beginning in UTC.
    #[must_use]
    pub fn moment_of(text: &str) -> Option<Moment> {
        text.parse().ok().or_else(|| {
            let date: Date = (text.len() == 10).then(|| text.parse().ok()).flatten()?;
            Some(date.in_tz("UTC").ok()?.timestamp().into())
        })
    }
}

impl FromStr for Period {
    type Err = PeriodError;

    fn from_str(text: &str) -> Result<Self, PeriodError> {
        let moment = |text: &str| text.parse::<Moment>().map_err(|_| PeriodError);
        match text.split_once('/') {
            None => Ok(Self { from: None, to: moment(text)? }),
            Some((from, to)) => {
                let (from, to) = (moment(from)?, moment(to)?);
                if from <= to { Ok(Self { from: Some(from), to }) } else { Err(PeriodError) }
            }
        }
    }
}

/// As it is parsed, in UTC.
impl fmt::Display for Period {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(from) = self.from {
            write!(formatter, "{from}/")?;
        }
        self.to.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_are_part_of_a_period() {
        let period: Period = "2026-01-01T00:00:00Z/2026-01-31T12:00:00+01:00".parse().expect("an interval");
        assert_eq!(period.to_string(), "2026-01-01T00:00:00Z/2026-01-31T11:00:00Z");
        let contains = |text: &str| period.contains(Period::moment_of(text).expect(text));
        assert!(contains("2026-01-01") && contains("2026-01-31T11:00:00Z") && contains("2026-01-10T00:00:00Z"));
        assert!(!contains("2025-12-31T23:59:59.999999Z") && !contains("2026-01-31T11:00:00.000001Z"));
        let instant: Period = "2026-01-31T11:00:00Z".parse().expect("an instant");
        assert!(instant.contains(Moment::MIN));
        for refused in ["", "2026-01-01", "now", "/", "2026-01-02T00:00:00Z/2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z/"] {
            assert_eq!(refused.parse::<Period>(), Err(PeriodError), "{refused}");
        }
        assert_eq!(Period::moment_of("yesterday"), None);
    }
}
