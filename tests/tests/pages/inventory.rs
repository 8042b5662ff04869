//! Inventory of all pages: each command line is run, parsed, or listed as an exception.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use bpfman_tests::cluster_pages;
use bpfman_tests::page::{self, BlockKind, CommandLine};

use crate::{exceptions, judge, tutorials, walks};

enum Seen {
    Run,
    Parsed,
    Listed(usize),
}

fn seen(line: &CommandLine) -> Result<Seen, String> {
    if tutorials::runs(line) || walks::runs(line) || cluster_pages::runs(line) {
        return Ok(Seen::Run);
    }
    if let Some(which) = exceptions::of(line) {
        return Ok(Seen::Listed(which));
    }
    if line.kind == BlockKind::Script {
        return Err("a block is marked `sh`, and no test runs its page".to_owned());
    }
    judge::parse(&line.text).map(|()| Seen::Parsed)
}

fn misplaced(name: &str, faults: &mut Vec<String>) {
    for block in page::blocks(name) {
        let prompts = block.lines.iter().any(|line| page::prompted(line).is_some());
        if block.kind == BlockKind::Terminal && !prompts {
            faults.push(format!("{name}:{}: no line has a prompt; data has a mark: ```text", block.first));
        }
        for (number, line) in (block.first..).zip(&block.lines) {
            let programs = ["bpfman ", "bpfmand ", "kubectl ", "make ", "$ "];
            let command = programs.iter().any(|program| line.starts_with(program));
            // This is the header of `bpfman top`, not a command.
            if block.kind == BlockKind::Data && command && !line.starts_with("bpfman top   CPU") {
                faults.push(format!("{name}:{number}: a command in a block of data: {line}"));
            }
        }
    }
}

#[test]
fn every_command_line_is_run_or_parsed_or_listed_with_a_reason() {
    let mut faults = Vec::new();
    let mut used = BTreeSet::new();
    let mut table = format!("{:5} {:6} {:6}\n", "run", "parsed", "listed");
    let mut total = [0; 3];
    for name in page::book() {
        misplaced(&name, &mut faults);
        let mut counts = [0; 3];
        for line in page::command_lines(&name) {
            let place = match seen(&line) {
                Ok(Seen::Run) => 0,
                Ok(Seen::Parsed) => 1,
                Ok(Seen::Listed(which)) => {
                    used.insert(which);
                    2
                }
                Err(error) => {
                    faults.push(format!("{name}:{}: {}\n    {}", line.number, line.text, error.trim()));
                    continue;
                }
            };
            counts[place] += 1;
            total[place] += 1;
        }
        if counts != [0; 3] {
            writeln!(table, "{:5} {:6} {:6} {name}", counts[0], counts[1], counts[2]).unwrap();
        }
    }
    writeln!(table, "{:5} {:6} {:6} of all pages", total[0], total[1], total[2]).unwrap();
    for which in &used {
        writeln!(
            table,
            "listed: {}: {}",
            exceptions::describe(*which),
            exceptions::EXCEPTIONS[*which].reason
        )
        .unwrap();
    }
    eprintln!("{table}");
    let unused = (0..exceptions::EXCEPTIONS.len()).filter(|which| !used.contains(which));
    faults.extend(unused.map(|which| format!("no line is this exception: {}", exceptions::describe(which))));
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}
