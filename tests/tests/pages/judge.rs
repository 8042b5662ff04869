//! Checks of command lines that are not run.

use bpfman_tests::page::root;
use bpfman_tests::shell_words;

use crate::{machine_tools, parser};

const IDS: &[&str] =
    &["ID", "ID2", "ID_IN", "ID_OUT", "LINK", "FROM_NETWORK", "FROM_POD", "CARRY", "REMEMBER"];

pub fn parse(line: &str) -> Result<(), String> {
    let commands = shell_words::commands(line);
    if commands.is_empty() {
        return Err("there is no command".to_owned());
    }
    for words in commands {
        let words: Vec<String> = words.iter().map(|word| with_ids(word)).collect();
        parse_command(&words).map_err(|error| format!("`{}`: {error}", words.join(" ")))?;
    }
    Ok(())
}

fn is_side(program: &str) -> bool {
    program.strip_prefix("bpfman-").is_some_and(|entry| root().join("examples").join(entry).is_dir())
}

fn parse_command(words: &[String]) -> Result<(), String> {
    let built = words[0].strip_prefix("target/debug/").or_else(|| words[0].strip_prefix("target/release/"));
    let (program, rest) = (built.unwrap_or(&words[0]), &words[1..]);
    match program {
        "sudo" => parse_command(rest),
        "export" => Ok(()),
        "kubectl" if rest.first().is_some_and(|word| word == "bpfman") => {
            parser::takes("kubectl-bpfman", &rest[1..])
        }
        "kubectl" => machine_tools::kubectl(rest),
        "helm" => machine_tools::helm(rest),
        "make" => machine_tools::make(rest),
        "cargo" => machine_tools::cargo(rest),
        "bpfman" | "bpfmand" | "bpfman-operator" | "kubectl-bpfman" => parser::takes(program, rest),
        _ if is_side(program) => parser::takes(program, rest),
        _ if program.contains('/') && root().join(program).exists() => machine_tools::script(words),
        _ => Err(format!("unknown program {program}: a block without commands has a mark: ```text")),
    }
}

fn with_ids(word: &str) -> String {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let mut written = String::new();
    let mut rest = word;
    while !rest.is_empty() {
        let end = rest.find(|letter| !is_part(letter)).unwrap_or(rest.len());
        let end = if end == 0 { rest.chars().next().unwrap().len_utf8() } else { end };
        let (part, after) = rest.split_at(end);
        written.push_str(if IDS.contains(&part) { "7" } else { part });
        rest = after;
    }
    written
}

#[test]
fn a_line_that_cannot_be_is_refused() {
    for (right, wrong) in [
        ("make -C examples all userspace", "make -C examples all userspaces"),
        ("make bench CASES=calls", "make bench CASSES=calls"),
        (
            "kubectl apply --server-side -k packaging/kubernetes/base",
            "kubectl apply -k packaging/kubernetes/bass",
        ),
        (
            "kubectl -n bpfman rollout status deployment/x",
            "kubectl -n bpfman rollout status --flow deployment/x",
        ),
        ("packaging/kubernetes/remove --yes", "packaging/kubernetes/remove --yess"),
        (
            "helm install bpfman packaging/helm/bpfman --set images.daemon.tag=1",
            "helm install bpfman packaging/helm",
        ),
        ("tests/vm/run -k 6.1 -- COMMAND --any", "tests/vm/run -z 6.1"),
        ("sudo bpfman unload ID && bpfman list links", "sudo bpfman unload ID && bpfman lost links"),
        ("cargo nextest run -p bpfmand-splice", "cargo nextest run -p bpfmand-splize"),
        ("target/debug/bpfmand &", "target/debug/bpfmant &"),
    ] {
        parse(right).unwrap_or_else(|error| panic!("{right}: {error}"));
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}
