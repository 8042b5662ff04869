//! The rules of the definitions, checked here: where there is no API server, or one that is too old for some of them.
//!
//! A problem names the field by its path, as `kubectl explain` writes paths, and says what is allowed.

mod fields;
mod links;
mod points;
mod programs;
mod schema;
mod selectors;
mod size;

use std::fmt;

use crate::spec::ApplicationSpec;

pub use schema::manifest;
pub use selectors::{last_line, pattern};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecProblem {
    /// The field: `spec.programs[0].xdp.links[1].priority`.
    pub path: String,
    /// What is wrong with it, and what is allowed.
    pub message: String,
}

impl fmt::Display for SpecProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// All that is wrong with an application, in the order of its fields; nothing if it can be applied.
#[must_use]
pub fn application(spec: &ApplicationSpec) -> Vec<SpecProblem> {
    let mut problems = structure(spec);
    problems.extend(selectors::patterns(spec));
    problems.extend(size::spec(spec));
    problems
}

/// What the schema of the definitions forbids, and selectors that cannot be evaluated. Unlike [`application`] it takes
/// patterns of interfaces as they are: an object that is in a cluster with one that is none still means the rest.
#[must_use]
pub fn structure(spec: &ApplicationSpec) -> Vec<SpecProblem> {
    let mut found = fields::SpecProblems::default();
    fields::common(&mut found, &spec.common);
    programs::check(&mut found, spec);
    found.problems
}
