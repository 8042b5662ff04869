use std::fmt;
use std::str::FromStr;

use anyhow::{Result, ensure};

const MAX_NAME: usize = 183;
const MAX_LABEL: usize = 63;
pub const KEY_BYTES: usize = 188;

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pattern {
    /// Name in lower case, without a trailing dot. Empty for the root, which is valid only with `below`.
    name: String,
    below: bool,
}

impl Pattern {
    pub fn covers(&self, other: &Self) -> bool {
        if !self.below {
            return self == other;
        }
        match other.name.strip_suffix(&self.name) {
            Some("") => other.below,
            Some(rest) => self.name.is_empty() || rest.ends_with('.'),
            None => false,
        }
    }

    pub fn to_key(&self, generation: u32) -> (u32, [u8; KEY_BYTES]) {
        let mut key = [0; KEY_BYTES];
        let reversed = self.name.bytes().rev();
        let end = match (self.below, self.name.is_empty()) {
            (false, _) => Some(0),
            (true, false) => Some(b'.'),
            (true, true) => None,
        };
        let bytes = generation.to_ne_bytes().into_iter().chain(reversed).chain(end);
        let mut length = 0;
        for (place, byte) in key.iter_mut().zip(bytes) {
            *place = byte;
            length += 8;
        }
        (length, key)
    }
}

impl FromStr for Pattern {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, below) = match text.strip_prefix('*') {
            Some("") => return Ok(Self { name: String::new(), below: true }),
            Some(rest) => {
                let rest = rest.strip_prefix('.');
                ensure!(
                    rest.is_some(),
                    "{text:?} has a star that is no label: *.example.com means all under it"
                );
                (rest.unwrap_or_default(), true)
            }
            None => (text, false),
        };
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        ensure!(name.len() + usize::from(below) <= MAX_NAME, "{text:?} is longer than {MAX_NAME} characters");
        for label in name.split('.') {
            let plain =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
            ensure!(
                (1..=MAX_LABEL).contains(&label.len()) && label.bytes().all(plain),
                "{text:?} is no name: labels of 1 to {MAX_LABEL} letters, digits, - and _"
            );
        }
        Ok(Self { name, below })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.below, self.name.is_empty()) {
            (true, true) => f.write_str("*"),
            (true, false) => write!(f, "*.{}", self.name),
            (false, _) => f.write_str(&self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap()
    }

    #[test]
    fn a_star_covers_what_is_below_it_and_not_itself() {
        for (wide, narrow, covers) in [
            ("*", "com", true),
            ("*", "*", true),
            ("*", "*.example.com", true),
            ("*.example.com", "a.b.example.com", true),
            ("*.example.com", "*.b.example.com", true),
            ("*.example.com", "*.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", "an-example.com", false),
            ("example.com", "EXAMPLE.com.", true),
            ("example.com", "*.example.com", false),
            ("*.example.com", "*", false),
        ] {
            assert_eq!(pattern(wide).covers(&pattern(narrow)), covers, "{wide} {narrow}");
        }
    }

    #[test]
    fn a_key_is_the_name_from_its_end() {
        let key = |text: &str| {
            let (bits, key) = pattern(text).to_key(7);
            assert_eq!(key[..4], 7_u32.to_ne_bytes());
            key[4..bits as usize / 8].to_vec()
        };
        assert_eq!(key("A.b"), b"b.a\0");
        assert_eq!(key("*.a.b"), b"b.a.");
        assert_eq!(key("*"), b"");
    }

    #[test]
    fn invalid_name_is_refused() {
        let long = format!("{}.com", ["a".repeat(60).as_str(); 3].join("."));
        for text in
            ["", ".", "a..b", "*a.com", "a.*.com", "*.", "b\u{fc}cher.de", "a b", &"a".repeat(64), &long]
        {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
        assert_eq!(pattern("*.x.").to_string(), "*.x");
    }
}
