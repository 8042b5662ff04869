//! Intents that contradict each other.

use std::fmt;

use super::{Anchor, OrderedEntry, Side};
use crate::LinkId;

/// Constraint of a cycle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContradictionStep {
    /// Entry that has to run first.
    pub first: OrderedEntry,
    /// Name of its program.
    pub first_name: String,
    /// Entry that has to run later.
    pub second: OrderedEntry,
    /// Name of its program.
    pub second_name: String,
    /// Link and intent that the constraint comes from; `None` for the kernel's order of third-party programs, and for
    /// the rule that tcx programs run before the tc chain.
    pub why: Option<(LinkId, Side, Anchor)>,
}

/// Cycle of constraints: each entry has to run before the next, and the last before the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction {
    steps: Vec<ContradictionStep>,
    new: Option<LinkId>,
}

impl Contradiction {
    pub(super) const fn new(steps: Vec<ContradictionStep>) -> Self {
        Self { steps, new: None }
    }

    /// Names this link "the new link" in the text: its user does not know its id.
    #[must_use]
    pub fn with_new(self, link: LinkId) -> Self {
        Self { new: Some(link), ..self }
    }

    /// Returns the constraints of the cycle.
    #[must_use]
    pub fn steps(&self) -> &[ContradictionStep] {
        &self.steps
    }

    /// Returns a link that exists, and whose intents are part of the cycle.
    #[must_use]
    pub fn ordered(&self) -> Option<LinkId> {
        let links = self.steps.iter().filter_map(|step| Some(step.why.as_ref()?.0));
        links.into_iter().find(|link| self.new != Some(*link))
    }

    fn link(&self, link: LinkId) -> String {
        if self.new == Some(link) { "the new link".to_owned() } else { format!("link {link}") }
    }

    fn what(&self, entry: OrderedEntry, name: &str) -> String {
        match entry {
            OrderedEntry::Ours(link) => format!("{} ({name})", self.link(link)),
            OrderedEntry::Chain => "the tc chain".to_owned(),
            OrderedEntry::Foreign(program) => format!("program {program} of others ({name})"),
        }
    }
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("these cannot all hold: ")?;
        for (at, step) in self.steps.iter().enumerate() {
            if at > 0 {
                f.write_str("; ")?;
            }
            let first = self.what(step.first, &step.first_name);
            let second = self.what(step.second, &step.second_name);
            match &step.why {
                Some((holder, side, anchor)) => {
                    write!(f, "{first} must run before {second} because of {side} {anchor}")?;
                    if step.first != OrderedEntry::Ours(*holder) {
                        write!(f, " of {}", self.link(*holder))?;
                    }
                }
                None if step.second == OrderedEntry::Chain && step.first.link().is_some() => {
                    write!(f, "{first} must run before {second}, as all tcx programs of bpfman do")?;
                }
                None => write!(f, "{first} runs before {second}, which bpfman does not change")?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for Contradiction {}
