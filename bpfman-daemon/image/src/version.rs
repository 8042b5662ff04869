use std::fmt;
use std::str::FromStr;

/// `7` or `1.10.2`. Missing parts count as 0.
#[derive(Clone, Debug)]
pub(crate) struct Version(Vec<u64>);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a number, nor numbers parted by dots")]
pub(crate) struct VersionError(String);

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let wrong = || VersionError(text.chars().take(80).collect());
        let digits = text.strip_prefix('v').unwrap_or(text);
        let parts: Vec<&str> = digits.split('.').collect();
        if parts.len() > 8 {
            return Err(wrong());
        }
        let part =
            |part: &&str| part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok()).flatten();
        parts.iter().map(part).collect::<Option<_>>().map(Self).ok_or_else(wrong)
    }
}

impl Version {
    fn parts(&self) -> &[u64] {
        let zeros = self.0.iter().rev().take_while(|part| **part == 0).count();
        &self.0[..self.0.len() - zeros]
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for Version {}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.parts().cmp(other.parts())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.0.iter().map(u64::to_string).collect();
        f.write_str(&parts.join("."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn versions_are_compared_part_by_part_as_numbers() {
        for (low, high) in [("1", "2"), ("9", "10"), ("1.9", "1.10"), ("v1.2", "1.2.1"), ("1.2.3", "2")] {
            assert!(version(low) < version(high), "{low} {high}");
        }
        assert_eq!(version("v1.0"), version("1"));
        assert_eq!(version("1.10").to_string(), "1.10");
    }

    #[test]
    fn versions_that_are_no_numbers_are_refused() {
        for text in
            ["", "v", "1.", "a", "1.0-rc1", "-1", "+1", " 1", "1.2.3.4.5.6.7.8.9", "99999999999999999999"]
        {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }
}
