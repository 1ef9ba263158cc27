//! Points in time, to whole microseconds UTC: what both stores keep exactly.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// Microseconds since 1970-01-01T00:00:00Z, between the years 0001 and 9999.
///
/// Finer input is cut to whole microseconds, because `timestamptz` keeps no more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(i64);

/// The text is no RFC 3339 time, or lies outside the years 0001–9999.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0:?} is not an RFC 3339 time between the years 0001 and 9999, such as 2026-01-31T12:00:00Z")]
pub struct MomentError(String);

impl Moment {
    /// 0001-01-01T00:00:00Z.
    pub const MIN: Self = Self(-62_135_596_800_000_000);
    /// 9999-12-30T00:00:00Z: the day before the last, so that every offset can still be printed.
    pub const MAX: Self = Self(253_402_128_000_000_000);

    /// From microseconds since the Unix epoch; times beyond [`Self::MIN`] and [`Self::MAX`] become these.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        if micros < Self::MIN.0 {
            Self::MIN
        } else if micros > Self::MAX.0 {
            Self::MAX
        } else {
            Self(micros)
        }
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The next microsecond.
    #[must_use]
    pub const fn next(self) -> Self {
        Self::from_micros(self.0 + 1)
    }

    /// This moment and so many microseconds.
    #[must_use]
    pub const fn plus_micros(self, micros: i64) -> Self {
        Self::from_micros(self.0.saturating_add(micros))
    }
}

impl From<jiff::Timestamp> for Moment {
    fn from(timestamp: jiff::Timestamp) -> Self {
        Self::from_micros(timestamp.as_microsecond())
    }
}

impl From<Moment> for jiff::Timestamp {
    fn from(moment: Moment) -> Self {
        Self::from_microsecond(moment.0).unwrap_or(Self::UNIX_EPOCH)
    }
}

impl FromStr for Moment {
    type Err = MomentError;

    fn from_str(text: &str) -> Result<Self, MomentError> {
        let refuse = || MomentError(text.chars().take(64).collect());
        let timestamp: jiff::Timestamp = text.parse().map_err(|_| refuse())?;
        let micros = timestamp.as_microsecond();
        if (Self::MIN.0..=Self::MAX.0).contains(&micros) { Ok(Self(micros)) } else { Err(refuse()) }
    }
}

/// RFC 3339 in UTC with `Z`; fractional seconds only as far as they are not zero.
impl fmt::Display for Moment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        jiff::Timestamp::from(*self).fmt(formatter)
    }
}

impl fmt::Debug for Moment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}
