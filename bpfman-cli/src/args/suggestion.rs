//! Suggestions for words that are not known.

/// Minimum similarity of a suggestion, from 0 to 1: that of `clap` for flags and subcommands.
const MIN_SIMILARITY: f64 = 0.7;

/// Returns the candidate that is most like a word, if one is alike.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let alike = candidates.into_iter().map(|candidate| (strsim::jaro(word, candidate), candidate));
    let alike = alike.filter(|(similarity, _)| *similarity > MIN_SIMILARITY);
    alike.max_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, candidate)| candidate)
}

/// Returns `; did you mean CANDIDATE?` for the candidate that is most like a word, or nothing.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    closest(word, candidates).map_or_else(String::new, |candidate| format!("; did you mean {candidate}?"))
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
        assert_eq!(did_you_mean("xpd", types), "; did you mean xdp?");
        assert_eq!(did_you_mean("firewall", types), "");
    }
}
