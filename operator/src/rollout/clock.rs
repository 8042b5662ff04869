//! Moments as a status has them.

use k8s_openapi::jiff::Timestamp;

/// Whole seconds since 1970, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub i64);

impl Moment {
    /// The clock of this machine.
    #[must_use]
    pub fn now() -> Self {
        Self(Timestamp::now().as_second())
    }

    /// Seconds since 1970; none are before.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        if self.0 < 0 { 0 } else { self.0.cast_unsigned() }
    }

    /// From RFC 3339. What is none is as old as can be: a deadline that cannot be read is over.
    pub(super) fn read(text: &str) -> Self {
        Self(text.parse::<Timestamp>().map_or(0, Timestamp::as_second))
    }

    /// As RFC 3339.
    pub(super) fn text(self) -> String {
        Timestamp::from_second(self.0).unwrap_or_default().to_string()
    }

    /// Whether this many seconds went by since.
    pub(super) fn is_past(self, since: Option<&str>, seconds: u32) -> bool {
        let since = since.map_or(0, |text| Self::read(text).0);
        self.0.saturating_sub(since) >= i64::from(seconds)
    }

    /// A moment written by a clock that was ahead of this one is now: waiting for it would take as long as the clocks
    /// are apart.
    pub(super) fn not_after(self, written: &mut Option<String>) {
        if written.as_deref().is_some_and(|text| Self::read(text) > self) {
            *written = Some(self.text());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_survives_its_text() {
        let moment = Moment(1_700_000_000);
        assert_eq!(moment.text(), "2023-11-14T22:13:20Z");
        assert_eq!(Moment::read(&moment.text()), moment);
    }

    #[test]
    fn a_moment_of_the_future_is_taken_for_now() {
        let mut written = Some(Moment(5_000).text());
        Moment(1_000).not_after(&mut written);
        assert_eq!(written, Some(Moment(1_000).text()));
        Moment(2_000).not_after(&mut written);
        assert_eq!(written, Some(Moment(1_000).text()));
    }
}
