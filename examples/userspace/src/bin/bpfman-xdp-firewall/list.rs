use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use bpfman_examples::failure::Failure;
use bpfman_examples::prefix::Prefix;
use bpfman_examples::rule_file;

use crate::rule::{Direction, Rule};

pub const MAX_RULES: usize = 131_072;

/// Parses one rule per line, with comments after `#`. A rule with the same match as an earlier one is invalid.
pub fn parse(text: &str, name: &str) -> Result<Vec<Rule>> {
    let mut rules = Vec::new();
    let mut seen = HashMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let wrong = |why: String| {
            Failure::invalid(
                format!("{name}, line {number}: {why}"),
                "nothing was changed; a rule is `drop|allow [src PREFIX | dst PREFIX] [proto NAME [dport PORT]]`",
            )
        };
        let rule: Rule = line.parse().map_err(|error: anyhow::Error| wrong(format!("{error:#}")))?;
        if let Some(earlier) = seen.insert(rule.matches, number) {
            return Err(wrong(format!("it matches what line {earlier} matches, which comes first")).into());
        }
        rules.push(rule);
        check_number(&rules).with_context(|| format!("{name}, line {number}"))?;
    }
    Ok(rules)
}

pub fn check_number(rules: &[Rule]) -> Result<()> {
    if rules.len() > MAX_RULES {
        return Err(Failure::invalid(
            format!("there is room for {MAX_RULES} rules, and not for {}", rules.len()),
            "nothing was changed; one rule with a shorter prefix may do for many",
        )
        .into());
    }
    Ok(())
}

pub fn read(path: &str) -> Result<Vec<Rule>> {
    let (text, name) = rule_file::read(path)?;
    parse(&text, &name)
}

/// Inserts a drop rule before the first rule that could match its packets. Returns whether it was absent.
pub fn block(rules: &mut Vec<Rule>, prefix: Prefix) -> bool {
    let rule = Rule::drop_from(prefix);
    if rules.contains(&rule) {
        return false;
    }
    let passes_by = |other: &Rule| match other.matches.prefix {
        Some((Direction::Source, wider)) => !wider.contains(prefix),
        _ => false,
    };
    let place = rules.iter().position(|other| !passes_by(other)).unwrap_or(rules.len());
    rules.insert(place, rule);
    true
}

pub fn unblock(rules: &mut Vec<Rule>, prefix: Prefix) -> bool {
    let before = rules.len();
    rules.retain(|rule| *rule != Rule::drop_from(prefix));
    rules.len() < before
}

pub fn difference(old: &[Rule], new: &[Rule]) -> String {
    let sets = [old, new].map(|rules| rules.iter().collect::<HashSet<_>>());
    let mut text = String::new();
    for (sign, rules, others) in [('-', old, &sets[1]), ('+', new, &sets[0])] {
        for rule in rules.iter().filter(|rule| !others.contains(rule)) {
            let _ = writeln!(text, "{sign} {rule}");
        }
    }
    let [old, new] = [(old, &sets[1]), (new, &sets[0])]
        .map(|(rules, others)| rules.iter().filter(|rule| others.contains(rule)).collect::<Vec<_>>());
    if let Some((old, new)) = old.iter().zip(&new).find(|(old, new)| old != new) {
        let _ = writeln!(text, "~ the order is another: `{new}` comes where `{old}` was");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Vec<Rule> {
        parse(text, "x").unwrap()
    }

    #[test]
    fn a_bad_line_is_named_with_the_reason() {
        let error = |text| parse(text, "rules.txt").unwrap_err().to_string();
        assert!(error("# mine\ndrop\n\nallow all # no\n").contains("rules.txt, line 4: \"all\" is none of"));
        assert!(error("drop proto tcp\nallow proto 6").contains("line 2: it matches what line 1 matches"));
        let many: String = (0..=MAX_RULES).fold(String::new(), |text, number| {
            text + &format!("drop src {}\n", std::net::Ipv4Addr::from_bits(number as u32))
        });
        assert!(error(&many).contains("rules.txt, line 131073"));
        assert_eq!(rules(" drop # all\n#\n").len(), 1);
    }

    #[test]
    fn a_prefix_is_blocked_before_what_could_match_instead() {
        let mut list = rules("drop src 10.1.1.0/24\nallow src 10.0.0.0/8\nallow proto icmp");
        assert!(block(&mut list, "10.1.0.0/16".parse().unwrap()));
        assert!(!block(&mut list, "10.1.0.0/16".parse().unwrap()));
        assert!(block(&mut list, "192.0.2.0/24".parse().unwrap()));
        let expected = "drop src 10.1.1.0/24\ndrop src 10.1.0.0/16\nallow src 10.0.0.0/8\n\
                        drop src 192.0.2.0/24\nallow proto icmp";
        assert_eq!(list, rules(expected));
        assert!(unblock(&mut list, "10.1.0.0/16".parse().unwrap()));
        assert!(!unblock(&mut list, "10.0.0.0/8".parse().unwrap()), "that one lets pass");
        assert_eq!(list.len(), 4);
    }

    #[test]
    fn a_difference_names_rules_and_their_order() {
        let old = rules("drop proto tcp\nallow proto udp\ndrop");
        assert_eq!(difference(&old, &old), "");
        assert_eq!(
            difference(&old, &rules("drop proto tcp\nallow proto gre\ndrop")),
            "- allow proto udp\n+ allow proto gre\n"
        );
        let turned = difference(&old, &rules("allow proto udp\ndrop proto tcp\ndrop"));
        assert_eq!(turned, "~ the order is another: `allow proto udp` comes where `drop proto tcp` was\n");
    }
}
