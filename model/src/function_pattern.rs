//! Names and patterns of kernel functions.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Glob;

/// Name of a kernel function, or a pattern of names: `*` matches any text, `?` one character.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FunctionPattern(Glob);

/// Invalid name or pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is neither a function nor a pattern of functions: expected letters, digits, \"_\", \".\", \"*\" and \"?\""
)]
pub struct BadFunctionPattern(String);

/// Maximum length of a kernel symbol, in bytes.
const MAX_SYMBOL: usize = 512;

impl FunctionPattern {
    /// Returns the pattern.
    #[must_use]
    pub const fn glob(&self) -> &Glob {
        &self.0
    }

    /// Returns the name, unless it is a pattern.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        let text = self.0.as_str();
        (!text.contains(['*', '?'])).then_some(text)
    }
}

impl FromStr for FunctionPattern {
    type Err = BadFunctionPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '*' | '?');
        let bad = || BadFunctionPattern(text.chars().take(MAX_SYMBOL).collect());
        if text.is_empty() || text.len() > MAX_SYMBOL || !text.chars().all(fits) {
            return Err(bad());
        }
        Glob::parse(text).map(Self).map_err(|_| bad())
    }
}

impl TryFrom<String> for FunctionPattern {
    type Error = BadFunctionPattern;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<FunctionPattern> for String {
    fn from(pattern: FunctionPattern) -> Self {
        pattern.0.as_str().to_owned()
    }
}

impl fmt::Display for FunctionPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::FunctionPattern;

    #[test]
    fn names_and_patterns_are_distinguished() {
        let parse = |text: &str| text.parse::<FunctionPattern>();
        assert_eq!(parse("tcp_v4_connect").unwrap().name(), Some("tcp_v4_connect"));
        assert_eq!(parse("tcp_v4_do_rcv.isra.0").unwrap().name(), Some("tcp_v4_do_rcv.isra.0"));
        let pattern = parse("tcp_v?_*").unwrap();
        assert_eq!(pattern.name(), None);
        assert!(pattern.glob().matches("tcp_v6_rcv") && !pattern.glob().matches("udp_v6_rcv"));
        for bad in ["", "a b", "a/b", "a:b", "a[b]", &"a".repeat(513)] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
