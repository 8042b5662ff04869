//! Files with one rule per line and comments after `#`, and the difference between two lists of rules.

use std::collections::{HashMap, HashSet};
use std::fmt::{Display, Write as _};
use std::hash::Hash;
use std::io::Read as _;
use std::str::{FromStr, SplitWhitespace};

use anyhow::{Context as _, Result};

use crate::failure::Failure;

/// Parses at most `most` rules in their order; an error has the number of the first invalid line, or a repetition.
pub fn parse<R>(text: &str, name: &str, grammar: &str, most: usize) -> Result<Vec<R>>
where
    R: FromStr<Err = anyhow::Error> + Clone + Eq + Hash,
{
    let mut rules: Vec<R> = Vec::new();
    let mut seen = HashMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let wrong = |why: String| {
            let hint = format!("nothing was changed; a rule is {grammar}");
            Failure::invalid(format!("{name}, line {number}: {why}"), hint)
        };
        let rule: R = line.parse().map_err(|error: anyhow::Error| wrong(format!("{error:#}")))?;
        if let Some(earlier) = seen.insert(rule.clone(), number) {
            return Err(wrong(format!("line {earlier} says the same")).into());
        }
        if rules.len() == most {
            return Err(wrong(format!("there is room for {most} rules, and not for more")).into());
        }
        rules.push(rule);
    }
    Ok(rules)
}

/// Returns the next word of a rule; fails if there is none after `before`.
pub fn next_word<'a>(words: &mut SplitWhitespace<'a>, before: &str) -> Result<&'a str> {
    words.next().with_context(|| format!("nothing is behind {before}"))
}

/// Returns the text of a file, or of standard input for `-`, and its name for errors.
pub fn read(path: &str) -> Result<(String, String)> {
    let mut bytes = Vec::new();
    let name = if path == "-" { "standard input".to_owned() } else { path.escape_debug().to_string() };
    let read = if path == "-" {
        std::io::stdin().lock().read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|mut file| file.read_to_end(&mut bytes))
    };
    read.with_context(|| format!("cannot read {name}"))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Failure::invalid(format!("{name} is no text in UTF-8"), "rules are lines of text"))?;
    Ok((text, name))
}

/// Returns the differences as lines: `-` only in the first list, `+` only in the second. Order is ignored.
pub fn difference<R: Display + Eq + Hash>(old: &[R], new: &[R]) -> String {
    let sets = [old, new].map(|rules| rules.iter().collect::<HashSet<_>>());
    let mut text = String::new();
    for (sign, rules, others) in [('-', old, &sets[1]), ('+', new, &sets[0])] {
        for rule in rules.iter().filter(|rule| !others.contains(rule)) {
            let _ = writeln!(text, "{sign} {rule}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prefix::Prefix;

    fn parsed(text: &str) -> Result<Vec<Prefix>> {
        parse(text, "rules.txt", "a prefix", 3)
    }

    #[test]
    fn a_bad_line_is_named_with_the_reason() {
        let error = |text| parsed(text).unwrap_err().to_string();
        assert!(error("# mine\n10.0.0.0/8\n\nx # no\n").contains("rules.txt, line 4: `x` is not an IP"));
        assert!(error("::1\n# \n::1/128").contains("rules.txt, line 3: line 1 says the same"));
        assert!(error("::1\n::2\n::3\n::4").contains("rules.txt, line 4: there is room for 3 rules"));
        assert_eq!(parsed(" ::1 # one\n#\n").unwrap().len(), 1);
    }

    #[test]
    fn a_difference_does_not_depend_on_the_order() {
        let [old, same, new] = ["::1\n::2", "::2\n::1", "::2\n::3"].map(|text| parsed(text).unwrap());
        assert_eq!(difference(&old, &same), "");
        assert_eq!(difference(&old, &new), "- ::1/128\n+ ::3/128\n");
    }
}
