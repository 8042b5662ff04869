use std::str::FromStr;

use anyhow::Result;
use bpfman_examples::failure::Failure;
use bpfman_examples::mode::Mode;
use bpfman_examples::rule_file;

use crate::guard::MAX_RULES;
use crate::rule::{GRAMMAR, Rule};

#[derive(Debug, PartialEq, Eq)]
pub struct RuleFile {
    pub rules: Vec<Rule>,
    pub mode: Option<Mode>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Line {
    Rule(Rule),
    Mode(Mode),
}

impl FromStr for Line {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(char::is_whitespace) {
            Some(("mode", mode)) => Ok(Self::Mode(mode.trim().parse()?)),
            _ if text == "mode" => Err(anyhow::anyhow!("nothing is behind mode")),
            _ => text.parse().map(Self::Rule),
        }
    }
}

pub fn read(path: &str) -> Result<RuleFile> {
    let (text, name) = rule_file::read(path)?;
    parse(&text, &name)
}

pub fn parse(text: &str, name: &str) -> Result<RuleFile> {
    let grammar = format!("{GRAMMAR}; `mode shadow|enforce` sets the mode");
    let mut file = RuleFile { rules: Vec::new(), mode: None };
    for line in rule_file::parse::<Line>(text, name, &grammar, MAX_RULES + 1)? {
        match line {
            Line::Rule(rule) => file.rules.push(rule),
            Line::Mode(mode) if file.mode.is_none() => file.mode = Some(mode),
            Line::Mode(_) => return Err(wrong(format!("{name}: two lines say the mode")).into()),
        }
    }
    if file.rules.len() > MAX_RULES {
        return Err(wrong(format!("{name}: there is room for {MAX_RULES} rules, and not for more")).into());
    }
    Ok(file)
}

fn wrong(why: String) -> Failure {
    Failure::invalid(why, "nothing was changed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_say_the_mode_once() {
        let mode = |text| parse(text, "f").map(|file| (file.rules.len(), file.mode));
        assert_eq!(mode("allow dst ::/0\nmode  enforce # now\n").unwrap(), (1, Some(Mode::Enforce)));
        assert_eq!(mode("mode shadow\nask a").unwrap(), (1, Some(Mode::Shadow)));
        assert_eq!(mode("ask a").unwrap(), (1, None));
        let error = |text| parse(text, "f").unwrap_err().to_string();
        assert!(error("mode shadow\nmode enforce").contains("two lines say the mode"));
        assert!(error("ask a\nmode on").contains("f, line 2: \"on\" is no mode"));
        assert!(error("mode").contains("f, line 1: nothing is behind mode"));
    }
}
