//! Local check of the CRDs' rules, for use without an API server, or with one too old for some of them.
//!
//! A problem names the field by its path, in the notation of `kubectl explain`, and states the allowed values.

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

/// Problem of one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecProblem {
    /// Path of the field, for example `spec.programs[0].xdp.links[1].priority`.
    pub path: String,
    /// Description of the problem, with the allowed values.
    pub message: String,
}

impl fmt::Display for SpecProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// Returns all problems of an application, in the order of its fields; empty if it can be applied.
#[must_use]
pub fn application(spec: &ApplicationSpec) -> Vec<SpecProblem> {
    let mut problems = structure(spec);
    problems.extend(selectors::patterns(spec));
    problems.extend(size::spec(spec));
    problems
}

/// Returns violations of the schema and invalid label selectors, but not invalid interface patterns.
#[must_use]
pub fn structure(spec: &ApplicationSpec) -> Vec<SpecProblem> {
    let mut found = fields::SpecProblems::default();
    fields::common(&mut found, &spec.common);
    programs::check(&mut found, spec);
    found.problems
}
