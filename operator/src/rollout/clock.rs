use k8s_openapi::jiff::Timestamp;

/// Whole seconds since 1970, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixSeconds(pub i64);

impl UnixSeconds {
    /// Returns the time of this machine's clock.
    #[must_use]
    pub fn now() -> Self {
        Self(Timestamp::now().as_second())
    }

    /// Returns the seconds since 1970; moments before count as 0.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        if self.0 < 0 { 0 } else { self.0.cast_unsigned() }
    }

    /// Invalid text is read as 1970, so that an unreadable deadline has expired.
    pub(super) fn read(text: &str) -> Self {
        Self(text.parse::<Timestamp>().map_or(0, Timestamp::as_second))
    }

    pub(super) fn text(self) -> String {
        Timestamp::from_second(self.0).unwrap_or_default().to_string()
    }

    pub(super) fn is_past(self, since: Option<&str>, seconds: u32) -> bool {
        let since = since.map_or(0, |text| Self::read(text).0);
        self.0.saturating_sub(since) >= i64::from(seconds)
    }

    /// Replaces a moment in the future, which a clock that was ahead wrote, by the present.
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
        let moment = UnixSeconds(1_700_000_000);
        assert_eq!(moment.text(), "2023-11-14T22:13:20Z");
        assert_eq!(UnixSeconds::read(&moment.text()), moment);
    }

    #[test]
    fn a_moment_of_the_future_is_taken_for_now() {
        let mut written = Some(UnixSeconds(5_000).text());
        UnixSeconds(1_000).not_after(&mut written);
        assert_eq!(written, Some(UnixSeconds(1_000).text()));
        UnixSeconds(2_000).not_after(&mut written);
        assert_eq!(written, Some(UnixSeconds(1_000).text()));
    }
}
