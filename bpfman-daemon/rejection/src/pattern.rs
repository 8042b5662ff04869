use crate::value::in_words;

/// Contents of the holes `{}`: each the shortest text, of at least one byte, that lets the rest match.
pub fn holes<'a>(pattern: &str, text: &'a str) -> Option<Vec<&'a str>> {
    let mut literals = pattern.split("{}");
    let mut rest = text.strip_prefix(literals.next()?)?;
    let mut found = Vec::new();
    let mut literals = literals.peekable();
    while let Some(literal) = literals.next() {
        let end = match literal {
            "" if literals.peek().is_none() => rest.len(),
            literal => rest.find(literal)?,
        };
        if end == 0 {
            return None;
        }
        found.push(&rest[..end]);
        rest = &rest[end + literal.len()..];
    }
    Some(found)
}

/// Fills in a sentence: `{0}` is a hole's contents, `{1 in words}` the meaning of the verifier's type name.
pub fn filled(sentence: &str, holes: &[&str]) -> String {
    let mut filled = String::with_capacity(sentence.len());
    let mut rest = sentence;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let (place, after) = after.split_once('}').unwrap_or((after, ""));
        let (number, is_type) = place.strip_suffix(" in words").map_or((place, false), |n| (n, true));
        let hole = number.parse().ok().and_then(|number: usize| holes.get(number)).copied();
        match hole {
            Some(name) if is_type => filled.push_str(&in_words(name)),
            hole => filled.push_str(hole.unwrap_or_default()),
        }
        rest = after;
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_capture_the_text_between() {
        assert_eq!(holes("R{} !read_ok", "R2 !read_ok").unwrap(), ["2"]);
        assert_eq!(holes("off={} size={}", "off=-4 size=8, R1(id=0)").unwrap(), ["-4", "8, R1(id=0)"]);
        assert_eq!(holes("off={} size={},", "off=-4 size=8, R1").unwrap(), ["-4", "8"]);
        assert_eq!(holes("unreachable", "unreachable insn 4").unwrap(), [""; 0]);
        assert_eq!(holes("R{} !read_ok", "R !read_ok"), None);
        assert_eq!(holes("R{} !read_ok", "R1 is pointer"), None);
        assert_eq!(holes("func {}", "func "), None);
    }

    #[test]
    fn sentences_take_them() {
        assert_eq!(filled("{1} bytes at {0}, of {7}.", &["4", "8"]), "8 bytes at 4, of .");
        assert_eq!(filled("nothing", &[]), "nothing");
        assert_eq!(filled("r{0} is {1 in words}", &["3", "scalar"]), "r3 is a number");
    }

    #[test]
    fn every_hole_that_a_sentence_names_is_in_its_pattern() {
        for known in crate::known::KNOWN {
            let holes = known.pattern.matches("{}").count();
            for number in 0..9 {
                let named = known.sentence.contains(&format!("{{{number}"));
                assert!(!named || number < holes, "{}: {}", known.pattern, known.sentence);
            }
        }
    }
}
