//! Creation date of images: fixed, so that the same inputs give the same bytes.

use std::time::{Duration, UNIX_EPOCH};

/// Seconds since 1970-01-01T00:00:00Z, from `SOURCE_DATE_EPOCH` or 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceDate(u64);

/// Value of `SOURCE_DATE_EPOCH` that is not a number of seconds, or one after the year 9999.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("SOURCE_DATE_EPOCH is `{0}`, not a number of seconds since 1970 (up to 253402300799)")]
pub struct SourceDateError(pub String);

const LAST: u64 = 253_402_300_799;

impl SourceDate {
    /// Creates a date from seconds since 1970.
    pub fn from_seconds(seconds: u64) -> Result<Self, SourceDateError> {
        if seconds > LAST { Err(SourceDateError(seconds.to_string())) } else { Ok(Self(seconds)) }
    }

    /// Returns the date in the environment, 1970 if there is none.
    pub fn from_environment() -> Result<Self, SourceDateError> {
        match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(text) => Self::from_seconds(text.trim().parse().map_err(|_| SourceDateError(text.clone()))?),
            Err(_) => Ok(Self(0)),
        }
    }

    /// Returns the seconds since 1970.
    #[must_use]
    pub fn seconds(self) -> u64 {
        self.0
    }

    /// Returns the date in the form of RFC 3339, in UTC.
    #[must_use]
    pub fn rfc3339(self) -> String {
        humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(self.0)).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_in_utc() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (LAST, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(SourceDate::from_seconds(seconds).unwrap().rfc3339(), text);
        }
        assert!(SourceDate::from_seconds(LAST + 1).is_err());
    }
}
