//! Suggestions for unknown words.

/// Returns the candidate with the fewest edits (a letter missing, added, wrong, or two exchanged); none if
/// more than a third of the word's letters, and more than one, would change.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let max_slips = (word.len() / 3).max(1);
    let with_slips =
        candidates.into_iter().map(|candidate| (strsim::osa_distance(word, candidate), candidate));
    let alike = with_slips.filter(|(slips, _)| *slips <= max_slips).min_by_key(|(slips, _)| *slips);
    alike.map(|(_, candidate)| candidate)
}

/// Returns ` (did you mean CANDIDATE?)` for the closest candidate, or an empty text.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    closest(word, candidates).map_or_else(String::new, |candidate| format!(" (did you mean {candidate}?)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slip_of_the_keys_is_suggested_and_another_word_is_not() {
        let types = ["xdp", "tc", "tcx", "tracepoint"];
        for (word, suggested) in [
            ("xpd", Some("xdp")),
            ("tracepiont", Some("tracepoint")),
            ("tcp", Some("tc")),
            ("firewall", None),
        ] {
            assert_eq!(closest(word, types), suggested, "{word}");
        }
        assert_eq!(did_you_mean("xpd", types), " (did you mean xdp?)");
        assert_eq!(did_you_mean("firewall", types), "");
    }
}
