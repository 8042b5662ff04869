//! Examples in the help of commands, from `examples.txt`: a command's path behind `bpfman`, and its lines.

const TABLE: &str = include_str!("examples.txt");

/// Returns the examples of a command, as its help shows them; empty if it has none.
pub fn of(path: &str) -> String {
    let lines = TABLE.lines().skip_while(|line| *line != path).skip(1);
    let lines: Vec<&str> = lines.take_while(|line| line.starts_with(' ')).collect();
    if lines.is_empty() { String::new() } else { format!("Examples:\n{}\n\n", lines.join("\n")) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::args::definition;
    use crate::args::parse::parse;

    #[test]
    fn every_visible_command_has_two_or_three_examples() {
        let mut open = vec![(String::new(), definition())];
        let mut paths = BTreeSet::new();
        while let Some((path, command)) = open.pop() {
            for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
            {
                let path = format!("{path} {}", sub.get_name()).trim().to_owned();
                let examples = of(&path);
                assert!((2..=3).contains(&examples.matches("\n  bpfman ").count()), "{path}: {examples}");
                let help = sub.clone().render_help().to_string();
                assert!(help.contains(&examples), "{path}: {help}");
                open.push((path.clone(), sub.clone()));
                paths.insert(path);
            }
        }
        let known: BTreeSet<String> =
            TABLE.lines().filter(|line| !line.starts_with(' ')).map(str::to_owned).collect();
        assert_eq!(known, paths);
    }

    #[test]
    fn every_example_is_accepted_and_is_one_of_its_command() {
        let mut path: Vec<&str> = Vec::new();
        for line in TABLE.lines() {
            if !line.starts_with(' ') {
                path = line.split(' ').collect();
                continue;
            }
            assert!(line.len() <= 80, "{line}");
            let words: Vec<String> = line
                .split_whitespace()
                .take_while(|word| *word != ">")
                .map(|word| word.replace('\'', ""))
                .collect();
            assert_eq!(words[1], path[0], "{line}");
            let words: Vec<std::ffi::OsString> = words.into_iter().map(Into::into).collect();
            if let Err(error) = parse(&words) {
                panic!("{line}: {error}");
            }
        }
    }
}
