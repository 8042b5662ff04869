//! Share of connections, attachments and hook positions that is reserved for root and the cluster.

use std::str::FromStr;

/// Percentage that is reserved for root and the cluster, 0 to 90: of connections, of attachments to matching
/// interfaces, and of positions at hooks. All other owners share the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptShare(u8);

/// Invalid share.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no share of places: expected a whole percentage from \"0%\" to \"90%\"")]
pub struct BadKeptShare(pub String);

impl Default for KeptShare {
    fn default() -> Self {
        Self(50)
    }
}

impl KeptShare {
    /// Maximum percentage, so that other owners keep at least a tenth.
    const MAX: u8 = 90;

    /// Returns the part of `all` that is not reserved.
    #[must_use]
    pub const fn of_others(self, all: usize) -> usize {
        all * (100 - self.0 as usize) / 100
    }
}

impl FromStr for KeptShare {
    type Err = BadKeptShare;

    fn from_str(text: &str) -> Result<Self, BadKeptShare> {
        let bad = || BadKeptShare(text.to_owned());
        let digits = text.strip_suffix('%').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let percent = digits.and_then(|digits| digits.parse().ok()).filter(|percent| *percent <= Self::MAX);
        percent.map(Self).ok_or_else(bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_have_the_rest() {
        let of_others = |text: &str, all| text.parse::<KeptShare>().unwrap().of_others(all);
        assert_eq!([32, 63, 512, 1024].map(|all| KeptShare::default().of_others(all)), [16, 31, 256, 512]);
        assert_eq!(["0%", "25%", "90%"].map(|share| of_others(share, 32)), [32, 24, 3]);
    }

    #[test]
    fn shares_are_whole_percentages() {
        for text in ["", "%", "50", "-1%", "+5%", "91%", "100%", "12.5%", "1000%", " 50%", "50 %"] {
            assert_eq!(text.parse::<KeptShare>(), Err(BadKeptShare(text.to_owned())));
        }
    }
}
