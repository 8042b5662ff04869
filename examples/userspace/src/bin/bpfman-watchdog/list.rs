use std::collections::HashMap;
use std::io::Read as _;

use anyhow::{Context as _, Result};
use bpfman_examples::failure::Failure;
use bpfman_examples::mode::Mode;
use serde::Deserialize;

use crate::rule::{MAX_RULES, Rule};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleFile {
    pub rules: Vec<Rule>,
    pub mode: Option<Mode>,
}

pub fn parse(text: &str, file: &str) -> Result<RuleFile> {
    let wrong = |line: Option<usize>, why: String| {
        let line = line.map(|line| format!(", line {line}")).unwrap_or_default();
        Failure::invalid(
            format!("{file}{line}: {why}"),
            "nothing was changed; `bpfman-watchdog check FILE` tries a file",
        )
    };
    let written: RuleFile = serde_norway::from_str(text).map_err(|error| {
        let line = error.location().map(|location| location.line());
        // Remove the position: the message has the line already, and the column is of no use.
        let why = error.to_string();
        let why = why.rsplit_once(" at line ").map_or(why.as_str(), |(before, _)| before);
        wrong(line, why.to_owned())
    })?;
    let mut seen = HashMap::new();
    let rules = &written.rules;
    for (number, rule) in (1..).zip(rules) {
        if let Some(first) = seen.insert(&rule.name, number) {
            let line = line_of_second(text, &rule.name);
            return Err(
                wrong(line, format!("rule {number} has the name {:?} of rule {first}", rule.name)).into()
            );
        }
    }
    if rules.len() > MAX_RULES {
        return Err(
            wrong(None, format!("there is room for {MAX_RULES} rules, and not for {}", rules.len())).into()
        );
    }
    Ok(written)
}

fn line_of_second(text: &str, name: &str) -> Option<usize> {
    let names = |line: &str| {
        let value =
            line.split_once("name:").map(|(_, rest)| rest.split([',', '#']).next().unwrap_or(rest).trim());
        value.is_some_and(|value| value.trim_matches(['"', '\'']) == name)
    };
    (1..).zip(text.lines()).filter(|(_, line)| names(line)).map(|(number, _)| number).nth(1)
}

pub fn read(path: &str) -> Result<RuleFile> {
    let mut text = String::new();
    let name = if path == "-" { "standard input".to_owned() } else { path.escape_debug().to_string() };
    let read = if path == "-" {
        std::io::stdin().lock().read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text))
    };
    read.with_context(|| format!("cannot read {name}"))?;
    parse(&text, &name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_is_reported_by_line() {
        for (text, line, why) in [
            ("rules:\n- name: a\n  event: opened\n  action: alert\n", 3, "unknown variant `opened`"),
            (
                "rules:\n- name: a\n  event: open\n  action: alert\n  when:\n    path: [etc]\n",
                6,
                "no absolute path",
            ),
            (
                "rules:\n- name: a\n  event: exec\n  action: alert\n- name: b\n  event: exec\n  action: kill\n",
                5,
                "need a condition",
            ),
            (
                "rules:\n- name: a\n  event: connect\n  action: alert\n  when: {path: [/x]}\n",
                2,
                "the event connect has no path",
            ),
            (
                "rules:\n- name: a\n  event: connect\n  action: alert\n  when: {to: [10.0.0.1/8]}\n",
                5,
                "is no prefix",
            ),
            (
                "rules:\n- {name: a, event: exec, action: alert}\n- {name: a, event: open, action: alert}\n",
                3,
                "the name \"a\" of rule 1",
            ),
            ("rules:\n- name: a\n  event: exec\n  colour: red\n", 4, "unknown field `colour`"),
            ("mode: on\nrules: []\n", 1, "unknown variant `on`"),
        ] {
            let error = parse(text, "f").unwrap_err().to_string();
            assert!(error.starts_with(&format!("f, line {line}: ")) && error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_file_may_say_the_mode() {
        let mode = |text| parse(text, "f").unwrap().mode;
        assert_eq!(mode("mode: enforce\nrules: []"), Some(Mode::Enforce));
        assert_eq!(mode("rules: []\nmode: shadow"), Some(Mode::Shadow));
        assert_eq!(mode("rules: []"), None);
    }

    #[test]
    fn there_is_a_bit_for_each_rule() {
        let rule = |number| format!("- {{name: r{number}, event: exec, action: alert}}\n");
        let text = |count| format!("rules:\n{}", (0..count).map(rule).collect::<String>());
        assert_eq!(parse(&text(64), "f").unwrap().rules.len(), 64);
        assert!(parse(&text(65), "f").unwrap_err().to_string().contains("room for 64"));
    }
}
