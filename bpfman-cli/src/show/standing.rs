//! State of an attached object, as JSON.

use bpfman_proto::ext::v1 as ext;
use serde::Serialize;

/// State in one word, for scripts; the field `state` has a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StandingWord {
    Running,
    /// The interface is missing, or the kernel module with the probed function.
    Waiting,
    /// It runs where its interface was moved to, or where its path led before the path changed.
    Elsewhere,
    /// The interface has just disappeared, or the process has ended.
    Gone,
    Unpinned,
    Replaced,
    /// A part of it was removed.
    Torn,
    /// Nothing of it exists.
    Lost,
    /// No path leads to the network namespace, which may still exist.
    Unreachable,
}

impl StandingWord {
    /// Returns the word; none if the daemon does not compare the object, or reports only `state`.
    pub const fn of(standing: ext::Standing) -> Option<Self> {
        Some(match standing {
            ext::Standing::Unspecified => return None,
            ext::Standing::Running => Self::Running,
            ext::Standing::Waiting => Self::Waiting,
            ext::Standing::Elsewhere => Self::Elsewhere,
            ext::Standing::Gone => Self::Gone,
            ext::Standing::Unpinned => Self::Unpinned,
            ext::Standing::Replaced => Self::Replaced,
            ext::Standing::Torn => Self::Torn,
            ext::Standing::Lost => Self::Lost,
            ext::Standing::Unreachable => Self::Unreachable,
        })
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Elsewhere => "elsewhere",
            Self::Gone => "gone",
            Self::Unpinned => "unpinned",
            Self::Replaced => "replaced",
            Self::Torn => "torn",
            Self::Lost => "lost",
            Self::Unreachable => "unreachable",
        }
    }

    pub fn differs(of: Option<Self>) -> bool {
        of.is_some_and(|word| word != Self::Running)
    }
}

/// Returns the sentence: the daemon's text of the difference, or `ok`.
pub fn state_text(differs: &str) -> String {
    if differs.is_empty() { "ok".to_owned() } else { differs.to_owned() }
}
