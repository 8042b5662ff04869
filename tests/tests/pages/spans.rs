//! Commands between backquotes in the text of pages: they may be incomplete, but their words must be right.

use bpfman_tests::page;

use crate::judge;

const PROGRAMS: &[&str] =
    &["bpfman ", "kubectl bpfman ", "bpfmand -", "bpfman-operator ", "kubectl-bpfman ", "make "];

/// Commands of bpfman in Go on the page on migration, and a command with a placeholder.
const OTHERS: &[(&str, &str)] = &[
    ("docs/tutorials/migration.md", "bpfman program "),
    ("docs/tutorials/migration.md", "bpfman link "),
    ("docs/tutorials/migration.md", "bpfman dispatcher "),
    ("docs/tutorials/migration.md", "bpfman image build IMAGE OBJECT"),
    ("docs/tutorials/migration.md", "bpfman serve"),
    ("docs/cli.md", "bpfman COMMAND --help"),
];

fn is_anothers(name: &str, span: &str) -> bool {
    OTHERS.iter().any(|(page, begins)| name == *page && span.starts_with(begins))
}

/// Returns whether the error only means that the command is incomplete, or has a word in capitals for a value.
fn is_only_begun(error: &str) -> bool {
    let begun = [
        "required arguments were not provided",
        "a value is required",
        "values required",
        "Print help",
        "requires a subcommand",
    ];
    let quoted = error.split("invalid value '").nth(1).and_then(|rest| rest.split('\'').next());
    begun.iter().any(|part| error.contains(part))
        || quoted.is_some_and(|value| {
            value.chars().any(char::is_uppercase) && !value.chars().any(char::is_lowercase)
        })
}

/// Returns the spans of a page between backquotes, with their line numbers; a span may continue on the next line.
fn spans(name: &str) -> Vec<(usize, String)> {
    let text = page::read(name);
    let mut fenced = false;
    let mut prose = String::new();
    for line in text.lines() {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        if !fenced && !fence && !line.starts_with("    ") {
            prose.push_str(line);
        }
        prose.push('\n');
    }
    let mut found = Vec::new();
    let mut number = 1;
    for (place, part) in prose.split('`').enumerate() {
        if place % 2 == 1 {
            found.push((number, part.split_whitespace().collect::<Vec<_>>().join(" ")));
        }
        number += part.matches('\n').count();
    }
    found
}

#[test]
fn every_command_in_the_text_has_words_that_its_program_knows() {
    let mut faults = Vec::new();
    let mut seen = 0;
    for name in page::book() {
        for (number, span) in spans(&name) {
            let is_command = PROGRAMS.iter().any(|program| span.starts_with(program));
            // These characters mark omissions and alternatives.
            let is_whole = !span.contains(['…', '[', '<', '*', '|']) && !span.contains("...");
            if !is_command || !is_whole || is_anothers(&name, &span) {
                continue;
            }
            seen += 1;
            if let Err(error) = judge::parse(&span)
                && !is_only_begun(&error)
            {
                faults.push(format!("{name}:{number}: `{span}`\n    {}", error.trim()));
            }
        }
    }
    eprintln!("{seen} commands in texts");
    assert!(seen > 100, "{seen}");
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}
