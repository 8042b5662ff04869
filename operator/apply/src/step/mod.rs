//! Computation of the steps from the current to the desired state. Pure.

mod links;
mod load;

use std::collections::BTreeSet;
use std::fmt;

use bpfman_proto::WirePoint;
use bpfman_proto::ext::v1 as ext;

use crate::desired::{AttachmentKey, Desired};
use crate::observed::ObservedPrograms;
use crate::step::links::{unload, unload_all};
use crate::step::load::after;

pub use self::links::link_steps;
pub use self::load::{current, load_step, newest};

/// Step: one call, or several with one purpose.
#[derive(Clone, Debug, PartialEq)]
pub enum ApplyStep {
    Load {
        programs: Vec<String>,
    },
    /// Replacement of the running version of all programs by a new one.
    Replace {
        /// Kernel ids of the running version.
        old: Vec<u32>,
        why: String,
    },
    Attach {
        program: String,
        key: AttachmentKey,
    },
    /// Change of the order of an attachment.
    Update {
        program: String,
        key: AttachmentKey,
        /// Request that makes the change.
        request: ext::UpdateLinkRequest,
    },
    /// Replacement of an attachment by detaching and attaching. If that fails, the previous attachment is restored.
    Remake {
        program: String,
        key: AttachmentKey,
        link: u32,
        /// Current attach point.
        was: WirePoint,
    },
    Detach {
        program: String,
        key: AttachmentKey,
        link: u32,
        /// Possible replacements. If one cannot be made, the old one stays: a mistyped path must not remove protection.
        instead: Vec<AttachmentKey>,
    },
    /// Unloading of a program together with its remaining attachments.
    Unload {
        program: String,
        id: u32,
        /// Uid in the daemon: if the program does not run, the kernel may have given its id to another one.
        uid: u64,
        /// Attachments of the new version. The program stays if one of them cannot be made.
        instead: Vec<AttachmentKey>,
    },
}

impl fmt::Display for ApplyStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load { programs } => write!(f, "load {}", programs.join(", ")),
            Self::Replace { why, .. } => write!(f, "replace the running version: {why}"),
            Self::Attach { program, key } => write!(f, "attach {program} at {}", key.0),
            Self::Update { program, key, request } => {
                write!(f, "change {program} at {}: {}", key.0, changes(request).join(", "))
            }
            Self::Remake { program, key, .. } => write!(f, "remake {program} at {}", key.0),
            Self::Detach { program, key, .. } => write!(f, "detach {program} from {}", key.0),
            Self::Unload { program, id, .. } => write!(f, "unload {program} ({id})"),
        }
    }
}

fn changes(request: &ext::UpdateLinkRequest) -> Vec<String> {
    let mut changes: Vec<String> =
        request.priority.iter().map(|priority| format!("priority {priority}")).collect();
    if request.set_proceed_on {
        let names = request.proceed_on.join(",");
        changes.push(format!("proceed on {}", if names.is_empty() { "nothing" } else { &names }));
    }
    if let Some(order) = &request.order {
        let mut words = Vec::new();
        if !order.role.is_empty() {
            words.push(format!("role {}", order.role));
        }
        words.extend(order.before.iter().map(|anchor| format!("before {anchor}")));
        words.extend(order.after.iter().map(|anchor| format!("after {anchor}")));
        changes.push(if words.is_empty() { "no intents".to_owned() } else { words.join(" and ") });
    }
    changes
}

/// Returns all steps that are known in advance. `digest` is the one that the image's tag currently resolves to.
pub fn steps(desired: &Desired, seen: &ObservedPrograms, digest: Option<&str>) -> Vec<ApplyStep> {
    if !desired.refused.is_empty() {
        return Vec::new();
    }
    let Some(load) = &desired.load else {
        return seen.programs.iter().rev().map(|program| unload(program, None)).collect();
    };
    let Some(first) = load_step(load, seen, digest) else {
        return link_steps(load, &current(load, seen, digest), seen, true);
    };
    let after = after(load, seen, &first);
    let rest = link_steps(load, &newest(load, &after), &after, false);
    // Programs of still older versions are unloaded at the end, but those that do not run at the beginning.
    let replaced = match &first {
        ApplyStep::Replace { old, .. } => old.iter().copied().collect(),
        _ => BTreeSet::new(),
    };
    let (left, lost) =
        unload_all(load, seen.programs.iter().filter(|program| !replaced.contains(&program.id)));
    [first].into_iter().chain(lost).chain(rest).chain(left).collect()
}
