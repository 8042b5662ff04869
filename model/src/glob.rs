//! Patterns of names: `*`, `?` and `[a-z]`, as in shells.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Well-formed pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Glob {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Part {
    Any,
    One,
    Is(char),
    In { ranges: Vec<(char, char)>, negated: bool },
}

/// Malformed pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("pattern \"{pattern}\" {reason}")]
pub struct BadGlob {
    /// Text of the pattern.
    pub pattern: String,
    /// Reason why it is malformed.
    pub reason: &'static str,
}

impl Glob {
    /// Maximum length of a pattern, in characters.
    pub const MAX_LENGTH: usize = 255;

    /// Parses a pattern. A backslash escapes the next character.
    ///
    /// # Errors
    /// The pattern is empty, too long, or has a `[` without an end.
    pub fn parse(text: &str) -> Result<Self, BadGlob> {
        let bad = |reason| Err(BadGlob { pattern: text.to_owned(), reason });
        if text.is_empty() {
            return bad("is empty");
        }
        if text.chars().count() > Self::MAX_LENGTH {
            return bad("is longer than 255 characters");
        }
        let mut parts = Vec::new();
        let mut rest = text.chars();
        while let Some(next) = rest.next() {
            let part = match next {
                '*' if parts.last() == Some(&Part::Any) => continue,
                '*' => Part::Any,
                '?' => Part::One,
                '\\' => match rest.next() {
                    Some(taken) => Part::Is(taken),
                    None => return bad("ends with a backslash"),
                },
                '[' => match set(&mut rest) {
                    Some(part) => part,
                    None => return bad("has a \"[\" without its \"]\", or an empty or descending range"),
                },
                other => Part::Is(other),
            };
            parts.push(part);
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// Returns the text of a pattern that matches only this name.
    #[must_use]
    pub fn literally(name: &str) -> String {
        let escaped = |c: char| matches!(c, '*' | '?' | '[' | '\\').then_some('\\').into_iter().chain([c]);
        name.chars().flat_map(escaped).collect()
    }

    /// Returns the text of the pattern.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns whether the pattern matches every name.
    #[must_use]
    pub fn takes_all(&self) -> bool {
        self.parts == [Part::Any]
    }

    /// Returns the only name that the pattern matches, if it has no wildcards.
    #[must_use]
    pub fn literal(&self) -> Option<String> {
        let one = |part: &Part| match part {
            Part::Is(own) => Some(*own),
            _ => None,
        };
        self.parts.iter().map(one).collect()
    }

    /// Returns whether the pattern certainly matches every name that the other one matches. False means unknown.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        if self == other {
            return true;
        }
        if let Some(name) = other.literal() {
            return self.matches(&name);
        }
        // `prefix*` matches everything that begins with these characters.
        let Some((Part::Any, prefix)) = self.parts.split_last() else { return false };
        prefix.iter().all(|part| matches!(part, Part::Is(_))) && other.parts.starts_with(prefix)
    }

    /// Returns whether the pattern matches the whole name.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        self.matches_counted(&name.chars().collect::<Vec<_>>(), &mut 0)
    }

    /// Does the same, and adds the number of comparisons to `compared`: callers limit the CPU time by it.
    #[must_use]
    pub fn matches_counted(&self, name: &[char], compared: &mut u64) -> bool {
        let (mut part, mut at) = (0, 0);
        // Position to resume at if the part after the last star does not match: the star takes one character more.
        let mut star: Option<(usize, usize)> = None;
        while at < name.len() {
            *compared += self.parts.get(part).map_or(1, Part::comparisons);
            match self.parts.get(part) {
                Some(Part::Any) => {
                    star = Some((part, at));
                    part += 1;
                }
                Some(one) if one.takes(name[at]) => {
                    part += 1;
                    at += 1;
                }
                _ => match star {
                    Some((of, taken)) => {
                        star = Some((of, taken + 1));
                        part = of + 1;
                        at = taken + 1;
                    }
                    None => return false,
                },
            }
        }
        self.parts[part..].iter().all(|rest| *rest == Part::Any)
    }
}

impl Part {
    fn comparisons(&self) -> u64 {
        match self {
            Self::In { ranges, .. } => ranges.len() as u64,
            Self::Any | Self::One | Self::Is(_) => 1,
        }
    }

    fn takes(&self, c: char) -> bool {
        match self {
            Self::Any => false,
            Self::One => true,
            Self::Is(own) => *own == c,
            Self::In { ranges, negated } => {
                ranges.iter().any(|(first, last)| (*first..=*last).contains(&c)) != *negated
            }
        }
    }
}

/// Parses a set after its `[`; `None` if it is malformed.
fn set(rest: &mut std::str::Chars<'_>) -> Option<Part> {
    let mut ranges = Vec::new();
    let mut next = rest.next()?;
    let negated = matches!(next, '!' | '^');
    if negated {
        next = rest.next()?;
    }
    // A "]" in first position is an element of the set.
    loop {
        let mut ahead = rest.clone();
        match (ahead.next(), ahead.next()) {
            (Some('-'), Some(last)) if last != ']' => {
                if last < next {
                    return None;
                }
                ranges.push((next, last));
                *rest = ahead;
            }
            _ => ranges.push((next, next)),
        }
        next = rest.next()?;
        if next == ']' {
            return Some(Part::In { ranges, negated });
        }
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for Glob {
    type Error = BadGlob;

    fn try_from(text: String) -> Result<Self, BadGlob> {
        Self::parse(&text)
    }
}

impl From<Glob> for String {
    fn from(glob: Glob) -> Self {
        glob.text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_match_as_in_shells() {
        let cases: [(&str, &[&str], &[&str]); 9] = [
            ("eth0", &["eth0"], &["eth", "eth00", "xeth0"]),
            ("eth*", &["eth", "eth0", "eth0.100"], &["et", "weth0"]),
            ("*", &["", "lo", "a b"], &[]),
            ("veth??", &["veth12"], &["veth1", "veth123"]),
            ("*a*b*", &["ab", "xaybz"], &["ba", "a"]),
            ("en[ps]*[0-3]", &["enp0s3", "ens2"], &["eno1", "enp0s4"]),
            ("[!l]*", &["eth0"], &["lo", ""]),
            ("a[]-]b", &["a]b", "a-b"], &["ab"]),
            ("a\\*b", &["a*b"], &["axb"]),
        ];
        for (pattern, takes, leaves) in cases {
            let glob = Glob::parse(pattern).unwrap();
            assert!(takes.iter().all(|name| glob.matches(name)), "{pattern}");
            assert!(!leaves.iter().any(|name| glob.matches(name)), "{pattern}");
        }
    }

    #[test]
    fn malformed_patterns_are_refused_by_name() {
        for pattern in ["", "eth[", "eth[0-", "eth[]", "eth[9-0]", "eth\\", &"x".repeat(256)] {
            let error = Glob::parse(pattern).unwrap_err();
            assert!(error.to_string().contains(pattern), "{error}");
        }
    }

    #[test]
    fn a_pattern_covers_names_and_longer_prefixes() {
        for (one, other, covers) in [
            ("eth*", "eth0", true),
            ("eth*", "eth*", true),
            ("eth*", "eth1*", true),
            ("eth*", "eth?", true),
            ("*", "[a-z]*", true),
            ("eth?", "eth*", false),
            ("eth*", "e*", false),
            ("e*0", "eth*", false),
        ] {
            let covered = Glob::parse(one).unwrap().covers(&Glob::parse(other).unwrap());
            assert_eq!(covered, covers, "{one} and {other}");
        }
    }

    #[test]
    fn a_pattern_without_wildcards_is_one_name() {
        assert_eq!(Glob::parse("br\\[0]").unwrap().literal().as_deref(), Some("br[0]"));
        assert_eq!(Glob::parse("eth?").unwrap().literal(), None);
        assert!(Glob::parse("**").unwrap().takes_all());
    }

    proptest! {
        #[test]
        fn a_name_matches_itself_and_itself_with_stars(name in "[a-z0-9.]{1,15}", at in 0_usize..15) {
            prop_assert!(Glob::parse(&name).unwrap().matches(&name));
            let at = at.min(name.len());
            let starred = format!("{}*{}", &name[..at], &name[at..]);
            prop_assert!(Glob::parse(&starred).unwrap().matches(&name));
        }

        #[test]
        fn a_pattern_that_covers_another_takes_what_it_takes(
            one in "[ab*?]{1,5}", other in "[ab*?]{1,5}", name in "[ab]{0,6}",
        ) {
            let (one, other) = (Glob::parse(&one).unwrap(), Glob::parse(&other).unwrap());
            prop_assert!(!one.covers(&other) || !other.matches(&name) || one.matches(&name));
        }

        #[test]
        fn any_text_is_read_or_refused_and_matched_without_a_panic(text in ".{0,40}", name in ".{0,20}") {
            if let Ok(glob) = Glob::parse(&text) {
                let _matched = glob.matches(&name);
            }
        }
    }
}
