use std::collections::BTreeMap;
use std::str::FromStr;

use anyhow::{Result, bail};
use bpfman_examples::failure::Failure;
use bpfman_examples::rule_file::{self, next_word};

use crate::ports::{Ports, Verdict};

const GRAMMAR: &str = "`allow PORT` or `deny PORT`, and PORT is 1 to 65535 or `all`";
const MAX_RULES: usize = 65_536;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Rule {
    verdict: Verdict,
    ports: Ports,
}

impl FromStr for Rule {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut words = text.split_whitespace();
        let (verdict, word) = match words.next() {
            Some("allow") => (Verdict::Allow, "allow"),
            Some("deny") => (Verdict::Deny, "deny"),
            other => bail!("a rule begins with allow or deny, and not with {:?}", other.unwrap_or_default()),
        };
        let ports = next_word(&mut words, word)?.parse()?;
        match words.next() {
            None => Ok(Self { verdict, ports }),
            Some(more) => bail!("{more:?} is too much"),
        }
    }
}

pub fn read(path: &str) -> Result<BTreeMap<Ports, Verdict>> {
    let (text, name) = rule_file::read(path)?;
    parse(&text, &name)
}

fn parse(text: &str, name: &str) -> Result<BTreeMap<Ports, Verdict>> {
    let mut rules = BTreeMap::new();
    for Rule { verdict, ports } in rule_file::parse::<Rule>(text, name, GRAMMAR, MAX_RULES)? {
        if rules.insert(ports, verdict).is_some() {
            let why = format!("{name}: {ports} is both allowed and denied");
            return Err(Failure::invalid(why, "nothing was changed").into());
        }
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_port_has_one_rule() {
        let rules = parse("allow 8080 # the service\n\ndeny all\n", "f").unwrap();
        assert_eq!(
            rules.into_iter().collect::<Vec<_>>(),
            [(Ports::All, Verdict::Deny), (Ports::One(8080), Verdict::Allow)]
        );
        for (text, says) in [
            ("deny all\nallow 0", "f, line 2: `0` is neither a port"),
            ("deny", "f, line 1: nothing is behind deny"),
            ("deny 1 2", "f, line 1: \"2\" is too much"),
            ("refuse 1", "begins with allow or deny, and not with \"refuse\""),
            ("deny 1\ndeny 1", "f, line 2: line 1 says the same"),
            ("deny 1\nallow 1", "f: 1 is both allowed and denied"),
        ] {
            let error = parse(text, "f").unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
