//! Checks of command lines with tools of the repository and third-party tools, without running them.

use bpfman_tests::Outcome;
use bpfman_tests::page::{read, root};
use std::process::Command;

use crate::parser;

pub fn make(words: &[String]) -> Result<(), String> {
    let outcome = Outcome::of(Command::new("make").arg("--dry-run").args(words).current_dir(root()));
    if outcome.code != 0 {
        return Err(outcome.stderr);
    }
    let folder = words.iter().position(|word| word == "-C").map_or(".", |place| &words[place + 1]);
    let makefile = read(&format!("{folder}/Makefile")) + &read("Makefile");
    let variables = words.iter().filter_map(|word| word.split_once('=').map(|(name, _)| name));
    let unknown: Vec<&str> = variables.filter(|name| !makefile.contains(name)).collect();
    if unknown.is_empty() { Ok(()) } else { Err(format!("the Makefile has no variable {unknown:?}")) }
}

pub fn kubectl(words: &[String]) -> Result<(), String> {
    for pair in words.windows(2).filter(|pair| matches!(&*pair[0], "-f" | "-k" | "--filename")) {
        if pair[1].contains('/') && !root().join(&pair[1]).exists() {
            return Err(format!("{} is not there", pair[1]));
        }
    }
    parser::takes_before_help("kubectl", words)
}

/// Checks `helm`: the chart exists and has the values. A test of the cluster checks that helm accepts them.
pub fn helm(words: &[String]) -> Result<(), String> {
    let values = read("packaging/helm/bpfman/values.yaml");
    for word in words {
        let missing = match word.split_once('=') {
            Some((path, _)) => path.split('.').any(|name| !values.contains(&format!("{name}:"))),
            None => word.contains('/') && !root().join(word).join("Chart.yaml").exists(),
        };
        if missing {
            return Err(format!("{word} is not there"));
        }
    }
    Ok(())
}

/// Checks a script's options. If its first argument is none, the arguments are an unchecked command.
pub fn script(words: &[String]) -> Result<(), String> {
    let path = root().join(&words[0]);
    if !path.is_file() {
        return Err("it is not there".to_owned());
    }
    let text = read(&words[0]);
    let own: &[String] =
        if words.get(1).is_some_and(|word| word.starts_with('-')) { &words[1..] } else { &[] };
    let own = own.iter().take_while(|word| *word != "--").filter(|word| word.starts_with('-'));
    for option in own {
        let letter = option.trim_start_matches('-');
        let known = match option.strip_prefix("--") {
            Some(_) => text.contains(&format!("{option})")) || text.contains(&format!("{option} |")),
            None => text.lines().any(|line| {
                line.trim_start().starts_with("while getopts")
                    && line.split_whitespace().nth(2).is_some_and(|letters| letters.contains(letter))
            }),
        };
        if !known {
            return Err(format!("it has no option {option}"));
        }
    }
    Ok(())
}

pub fn cargo(words: &[String]) -> Result<(), String> {
    let lock = read("Cargo.lock") + &read("examples/Cargo.lock");
    for pair in words.windows(2).filter(|pair| pair[0] == "-p") {
        if !lock.contains(&format!("name = \"{}\"", pair[1])) {
            return Err(format!("there is no package {}", pair[1]));
        }
    }
    Ok(())
}
