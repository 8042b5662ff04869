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

/// Part of a request that is another owner's; the others are the caller's. Of a place, one property is foreign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    Program,
    Link,
    Map,
    Hook,
    Bytecode,
    Interface,
    Priority,
    Type,
    Application,
}

impl Foreign {
    pub const ALL: [Self; 9] = [
        Self::Program,
        Self::Link,
        Self::Map,
        Self::Hook,
        Self::Bytecode,
        Self::Interface,
        Self::Priority,
        Self::Type,
        Self::Application,
    ];

    pub const fn class(self) -> Class {
        match self {
            Self::Program => Class::Program,
            Self::Link => Class::Link,
            Self::Map => Class::Map,
            Self::Hook => Class::Hook,
            Self::Bytecode => Class::Bytecode,
            Self::Interface | Self::Priority | Self::Type => Class::Place,
            Self::Application => Class::Application,
        }
    }
}

impl Row {
    pub fn rule(&self, class: Class) -> &str {
        &self.rules[class as usize]
    }

    pub fn covered(&self) -> impl Iterator<Item = Class> {
        Class::ALL.into_iter().filter(|class| self.rule(*class) == "covered")
    }

    pub fn foreign(&self) -> impl Iterator<Item = Foreign> {
        let is_named = |one: &Foreign| ["covered", "root", "shown"].contains(&self.rule(one.class()));
        Foreign::ALL.into_iter().filter(move |one| is_named(one) && self.has(*one))
    }

    /// Returns whether requests of the call have this part. Of a place, they may have only some properties.
    fn has(&self, foreign: Foreign) -> bool {
        use Foreign::{Interface, Priority, Type};
        if foreign.class() != Class::Place {
            return true;
        }
        if self.rule(Class::Place) == "shown" {
            return foreign == Interface;
        }
        let name = self.call.rsplit_once('/').unwrap().1;
        let parts: &[Foreign] = match name {
            "Load" => &[Type],
            "Attach" | "AttachMatching" => &[Interface, Priority],
            "ReplaceProgram" | "RollbackProgram" | "VerifyChain" | "TraceChain" | "SetHook"
            | "TimeMembers" => &[Interface],
            "Adopt" | "UpdateLink" => &[Priority],
            "DryRun" => &[Interface, Priority, Type],
            "ReplaceLoad" => &[Interface, Type],
            _ => panic!("say here which parts of a place the call {name} has"),
        };
        parts.contains(&foreign)
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
