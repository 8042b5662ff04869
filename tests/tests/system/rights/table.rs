//! The access table in `docs/calls.md`. A test of the daemon compares that page with the code.

use std::fs;

use bpfman_proto::Method;

#[derive(Debug)]
pub struct Row {
    /// Service and name, as in `bpfman.v1.Bpfman/Load`.
    pub call: String,
    /// Required verbs; none for a call about the caller itself.
    pub verbs: Vec<String>,
    rules: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Program,
    Link,
    Map,
    Hook,
    Bytecode,
    Place,
    Application,
}

impl Class {
    pub const ALL: [Self; 7] =
        [Self::Program, Self::Link, Self::Map, Self::Hook, Self::Bytecode, Self::Place, Self::Application];
}

impl Class {
    pub const fn is_owned(self) -> bool {
        matches!(self, Self::Program | Self::Link | Self::Map | Self::Hook)
    }
}

impl Row {
    pub fn rule(&self, class: Class) -> &str {
        &self.rules[class as usize]
    }

    pub fn covered(&self) -> impl Iterator<Item = Class> {
        Class::ALL.into_iter().filter(|class| self.rule(*class) == "covered")
    }

    pub fn named(&self) -> impl Iterator<Item = Class> {
        Class::ALL.into_iter().filter(|class| ["covered", "root", "shown"].contains(&self.rule(*class)))
    }

    pub fn changes(&self) -> bool {
        ["load", "attach", "replace", "adopt", "administer"].iter().any(|verb| self.needs(verb))
    }

    pub fn is_allowed_by(&self, verbs: &[String]) -> bool {
        let needed = if self.call.ends_with("/TraceChain") { self.verbs.len() } else { 1 };
        self.verbs.iter().take(needed).all(|verb| verbs.contains(verb))
    }

    pub fn needs(&self, verb: &str) -> bool {
        self.verbs.iter().any(|one| one == verb)
    }
}

pub fn rows() -> Vec<Row> {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/calls.md")).unwrap();
    let mut service = String::new();
    let mut rows = Vec::new();
    for line in page.lines() {
        if let Some(name) = line.strip_prefix('`').and_then(|line| line.strip_suffix('`')) {
            name.clone_into(&mut service);
        }
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let ["", call, verbs, _, rules @ .., ""] = &cells[..] else { continue };
        if rules.len() != Class::ALL.len() || service.is_empty() || ["call", "---"].contains(call) {
            continue;
        }
        let verbs = verbs.split(", ").filter(|verb| *verb != "none").map(str::to_owned).collect();
        let rules = rules.iter().map(|rule| (*rule).to_owned()).collect();
        rows.push(Row { call: format!("{service}/{call}"), verbs, rules });
    }
    rows
}

#[test]
fn table_has_each_call_and_cells_of_each_class() {
    let rows = rows();
    assert_eq!(rows.len(), Method::ALL.len());
    for class in Class::ALL {
        assert!(rows.iter().any(|row| row.covered().any(|one| one == class)), "{class:?}");
    }
}
