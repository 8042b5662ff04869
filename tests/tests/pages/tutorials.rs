//! Tutorials and the page on troubleshooting: all commands in blocks marked `sh` are run in order.

use std::fs;

use bpfman_tests::page::{self, BlockKind, CommandLine};
use bpfman_tests::{Outcome, compile};

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
    Machine::with(false, move |machine| {
        push_sample_of_upstream(machine);
        let objects = machine.work.join("target/bpf").display().to_string();
        let commands = script(page)
            .replace("/usr/share/bpfman/gallery", &packaged_manifests(machine, &objects))
            .replace("/usr/lib/bpfman/gallery", &objects)
            .replace("localhost:5000", machine.registry.address())
            .replace("quay.io", machine.registry.address());
        // A page may start a registry.
        let commands = format!("trap 'jobs -p | xargs -r kill' EXIT\n{commands}");
        Outcome::of(&mut machine.shell(&["-euxo", "pipefail", "-c", &commands]))
    })
}

/// Writes manifests as the package installs them: with the path of an object instead of an image.
fn packaged_manifests(machine: &Machine, objects: &str) -> String {
    let folder = machine.work.join("gallery");
    for example in ["xdp-counter", "xdp-firewall"] {
        let manifest = page::read(&format!("examples/{example}/app.yaml"));
        let (head, rest) = manifest.split_once("    image:\n").expect("the manifest names an image");
        let rest: Vec<&str> = rest.lines().skip_while(|line| line.starts_with("      ")).collect();
        let place = folder.join(example);
        fs::create_dir_all(&place).unwrap();
        let text = format!("{head}    path: {objects}/{example}.o\n{}\n", rest.join("\n"));
        fs::write(place.join("app.yaml"), text).unwrap();
    }
    folder.display().to_string()
}

/// Pushes an unsigned image that stands for upstream's.
fn push_sample_of_upstream(machine: &Machine) {
    let image = machine.registry.image("bpfman-bytecode/xdp_pass:latest");
    let object = compile::object("pass").display().to_string();
    machine.daemon.bpfman(&format!("image build -t {image} -b {object}")).success();
    machine.daemon.bpfman(&format!("image push {image}")).success();
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
