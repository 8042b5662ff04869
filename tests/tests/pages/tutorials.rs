//! Tutorials and the page on troubleshooting: all commands in blocks marked `sh` are run in order.

use bpfman_tests::Outcome;
use bpfman_tests::page::{self, BlockKind, CommandLine};

use crate::machine::Machine;

const PAGES: &[&str] = &[
    "docs/tutorials/one-machine.md",
    "docs/tutorials/program-author.md",
    "docs/tutorials/migration.md",
    "docs/troubleshooting.md",
];

pub fn runs(line: &CommandLine) -> bool {
    line.kind == BlockKind::Script && PAGES.contains(&line.page.as_str())
}

fn script(page: &str) -> String {
    assert!(PAGES.contains(&page), "{page} is not counted as run");
    let blocks = page::blocks(page).into_iter().filter(|block| block.kind == BlockKind::Script);
    let lines: Vec<String> = blocks.flat_map(|block| block.lines).collect();
    assert!(!lines.is_empty(), "{page} has no commands");
    lines.join("\n")
}

fn follow(page: &'static str) -> Outcome {
    Machine::with(true, move |machine| {
        let objects = machine.work.join("target/bpf").display().to_string();
        let commands = script(page)
            .replace("/usr/lib/bpfman/gallery", &objects)
            .replace("localhost:5000", machine.registry.address());
        Outcome::of(&mut machine.shell(&["-euxo", "pipefail", "-c", &commands]))
    })
}

#[test]
fn one_machine() {
    let said = follow("docs/tutorials/one-machine.md").success();
    assert!(said.contains("xdp_firewall") && said.contains("192.0.2.0/24"), "{said}");
}

#[test]
fn the_author_of_a_program() {
    let said = follow("docs/tutorials/program-author.md").success();
    assert!(said.contains("count_lengths"), "{said}");
}

#[test]
fn migration() {
    let said = follow("docs/tutorials/migration.md").success();
    assert!(said.contains("web"), "{said}");
}

#[test]
fn troubleshooting() {
    let said = follow("docs/troubleshooting.md").success();
    let codes: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("exit code ")).collect();
    assert_eq!(codes, ["2", "3", "5", "5", "6", "7", "8", "9"], "{said}");
}
