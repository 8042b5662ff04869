//! Warning about digits that were taken for bytes, but may be meant as a number.

use std::collections::BTreeMap;

use super::progress;
use crate::args::value::GlobalValue;

/// Warns about each doubtful value. `set` has the values that were loaded, as hexadecimal digits.
pub fn warn(globals: &[GlobalValue], set: &BTreeMap<String, String>) {
    for GlobalValue { name, text } in globals.iter().filter(|global| is_doubtful(global, set)) {
        progress::warn(&format!(
            "{name}={text} is the bytes of the variable, as in v0.6.0; for the number write {name}=+{text}"
        ));
    }
}

/// Returns whether the digits may be meant as a number: no leading zero or 0x.
fn is_doubtful(GlobalValue { name, text }: &GlobalValue, set: &BTreeMap<String, String>) -> bool {
    let is_number = !text.starts_with('0') && text.bytes().all(|digit| digit.is_ascii_digit());
    is_number && set.get(name) == Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_reads_as_another_number_is_doubtful() {
        let set = [("port", "8080"), ("rate", "64000000"), ("mark", "0102"), ("color", "0a0b0c0d")];
        let set = set.map(|(name, hex)| (name.to_owned(), hex.to_owned())).into();
        let is = |text: &str| is_doubtful(&text.parse().unwrap(), &set);
        assert!(is("port=8080"));
        for text in ["port=+8080", "port=0x8080", "rate=100", "mark=0102", "color=0a0b0c0d", "other=8080"] {
            assert!(!is(text), "{text}");
        }
    }
}
