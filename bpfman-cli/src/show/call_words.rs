//! Calls and digests of the journal, as people read them.

/// Digits of a digest in tables.
const DIGITS: usize = 12;
const DIGEST: &str = "sha256:";
const DIGEST_DIGITS: usize = 64;

/// Returns the name of a call as words: `PutBack` is `put back`.
pub fn call_words(verb: &str) -> String {
    let mut words = String::with_capacity(verb.len() + 4);
    let mut was_upper = true;
    for letter in verb.chars() {
        let is_upper = letter.is_ascii_uppercase();
        if is_upper && !was_upper {
            words.push(' ');
        }
        was_upper = is_upper;
        words.push(letter.to_ascii_lowercase());
    }
    words
}

/// Shortens the digests in a text to their first digits.
pub fn short_digests(text: &str) -> String {
    let mut short = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(DIGEST) {
        let (before, from) = rest.split_at(at + DIGEST.len());
        short.push_str(before);
        let digits = from.bytes().take_while(u8::is_ascii_hexdigit).count();
        short.push_str(&from[..if digits == DIGEST_DIGITS { DIGITS } else { digits }]);
        rest = &from[digits..];
    }
    short.push_str(rest);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_words() {
        let words = ["Attach", "OpenForWriting", "SeenLoad", "WhoAmI", ""].map(call_words);
        assert_eq!(words, ["attach", "open for writing", "seen load", "who am i", ""]);
    }

    #[test]
    fn digests_are_cut_wherever_they_stand() {
        let digest = "0123456789abcdef".repeat(4);
        let text = format!("image r/a@sha256:{digest}; was sha256:{digest}; sha256:77");
        assert_eq!(short_digests(&text), "image r/a@sha256:0123456789ab; was sha256:0123456789ab; sha256:77");
    }
}
