//! Execution of a page's command lines, one after another.

use std::collections::BTreeMap;
use std::fs;

use bpfman_tests::control_group::Group;
use bpfman_tests::page::{self, BlockKind, CommandLine};
use bpfman_tests::{Outcome, compile};

use crate::machine::Machine;

#[derive(Clone, Copy)]
pub struct Walk {
    pub page: &'static str,
    pub entry: &'static str,
    /// Programs of the tests that the page uses under other names: name and source.
    pub objects: &'static [(&'static str, &'static str)],
    /// Preconditions: a name, and the command that prints its value; without a name the command is only run.
    pub given: &'static [(&'static str, &'static str)],
    /// Names by which the page refers to the programs of its `load`, in order; empty if the page uses `ID`.
    pub programs: &'static [&'static str],
    /// Words of the page that stand for something on the reader's machine, and their replacements.
    pub meant: &'static [(&'static str, &'static str)],
    pub group: &'static str,
    /// Files that commands read: name, and the beginning of the block with their contents.
    pub files: &'static [(&'static str, &'static str)],
    pub endless: &'static [&'static str],
    /// Beginnings of lines that need another machine or take too long: they are only parsed.
    pub parsed: &'static [&'static str],
    /// Parts of lines that must fail, as the page shows, and the exit code.
    pub fails: &'static [(&'static str, i32)],
}

impl Walk {
    pub fn runs(&self, line: &CommandLine) -> bool {
        let elsewhere = ["make ", "kubectl ", "tests/", "export "];
        line.page == self.page
            && line.kind != BlockKind::Script
            && !elsewhere.iter().chain(self.parsed).any(|begin| line.text.starts_with(begin))
            && crate::exceptions::of(line).is_none()
    }

    pub fn follow(self) {
        Machine::with(true, move |machine| {
            let group = (!self.group.is_empty()).then(|| Group::new(self.entry));
            Follower { walk: self, machine, names: BTreeMap::new(), group }.follow();
        });
    }
}

struct Follower<'machine> {
    walk: Walk,
    machine: &'machine Machine,
    names: BTreeMap<String, String>,
    group: Option<Group>,
}

impl Follower<'_> {
    fn follow(mut self) {
        self.prepare();
        let lines: Vec<CommandLine> = page::command_lines(self.walk.page);
        let lines: Vec<_> = lines.into_iter().filter(|line| self.walk.runs(line)).collect();
        assert!(!lines.is_empty(), "{} has nothing to run", self.walk.page);
        let fails = self.walk.fails.iter().map(|(part, _)| part);
        for part in self.walk.endless.iter().chain(fails) {
            let is_there = lines.iter().any(|line| line.text.contains(part));
            assert!(is_there, "{} has no line with {part:?} any more", self.walk.page);
        }
        for line in lines {
            let place = format!("{}:{}: {}", line.page, line.number, line.text);
            self.run(&line.text, &place);
        }
    }

    fn prepare(&mut self) {
        if !self.walk.entry.is_empty() {
            self.machine.publish(self.walk.entry);
            let manifest = self.machine.work.join("examples").join(self.walk.entry).join("app.yaml");
            let text = fs::read_to_string(&manifest).unwrap();
            fs::write(manifest, self.here(&text)).unwrap();
        }
        for (name, source) in self.walk.objects {
            fs::copy(compile::object(source), self.machine.work.join(name)).unwrap();
        }
        for (name, begin) in self.walk.files {
            let blocks = page::blocks(self.walk.page);
            let block =
                blocks.iter().find(|block| block.lines.first().is_some_and(|line| line.starts_with(begin)));
            let block = block.unwrap_or_else(|| panic!("{} has no block {begin}", self.walk.page));
            fs::write(self.machine.work.join(name), self.here(&block.lines.join("\n"))).unwrap();
        }
        for (name, command) in self.walk.given {
            let said = self.shell(command).success();
            if !name.is_empty() {
                self.names.insert((*name).to_owned(), said.trim().to_owned());
            }
        }
    }

    fn run(&mut self, line: &str, place: &str) {
        let has = |parts: &[&str]| parts.iter().any(|part| line.contains(part));
        if has(self.walk.endless) {
            // 124: the command was still running, and the signal of Ctrl-C ended it.
            let outcome = self.shell(&format!("timeout --signal INT --kill-after 20 3 {line}"));
            assert!([0, 124].contains(&outcome.code), "{place}: {outcome:?}");
            return;
        }
        let outcome = self.shell(line);
        let code = self.walk.fails.iter().find(|(part, _)| line.contains(part)).map_or(0, |(_, code)| *code);
        assert_eq!(outcome.code, code, "{place}\n{}{}", outcome.stdout, outcome.stderr);
        if line.contains("bpfman load ") {
            let default: &[&str] = &["ID"];
            let named = if self.walk.programs.is_empty() { default } else { self.walk.programs };
            for (name, id) in named.iter().zip(loaded(&outcome.stdout)) {
                self.names.insert((*name).to_owned(), id);
            }
        }
    }

    fn shell(&self, line: &str) -> Outcome {
        let line = named(&self.here(line), &self.names);
        Outcome::of(&mut self.machine.shell(&["-euo", "pipefail", "-c", &line]))
    }

    fn here(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (word, meaning) in self.walk.meant {
            text = text.replace(word, meaning);
        }
        if let Some(group) = &self.group {
            text = text.replace(self.walk.group, &group.path);
        }
        text.replace("localhost:5000", self.machine.registry.address())
    }
}

fn loaded(shown: &str) -> Vec<String> {
    let ids = shown.lines().filter_map(|line| {
        let line = line.trim_start();
        let id = line.strip_prefix("Program ID:").unwrap_or(line).split_whitespace().next()?;
        id.parse::<u32>().is_ok().then(|| id.to_owned())
    });
    ids.collect()
}

fn named(line: &str, names: &BTreeMap<String, String>) -> String {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let mut written = String::new();
    for piece in line.split_inclusive(|letter| !is_part(letter)) {
        let end = piece.find(|letter| !is_part(letter)).unwrap_or(piece.len());
        let (word, rest) = piece.split_at(end);
        written.push_str(names.get(word).map_or(word, String::as_str));
        written.push_str(rest);
    }
    written
}
