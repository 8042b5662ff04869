//! How what was put somewhere stands there, as JSON names it.

use bpfman_proto::ext::v1 as ext;
use serde::Serialize;

/// One word, for scripts; the field `state` has a sentence for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StandingWord {
    /// As it was put.
    Running,
    /// Its interface is not there, or the kernel module whose function it probes.
    Waiting,
    /// It runs on where its interface was moved to, or where its path led before it led to another namespace or file.
    Elsewhere,
    /// Its interface is gone, a moment ago, or its process has ended.
    Gone,
    /// Its pin was removed.
    Unpinned,
    /// Someone put another program into its link.
    Replaced,
    /// A part of it was taken away.
    Torn,
    /// Nothing of it is there.
    Lost,
    /// Its network namespace cannot be found, and may live on.
    Unreachable,
}

impl StandingWord {
    /// The word, unless nobody compares: for programs of others, and with a daemon that says it by `state` alone.
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

    /// The word itself.
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

    /// True for what is not as it was put.
    pub fn differs(of: Option<Self>) -> bool {
        of.is_some_and(|word| word != Self::Running)
    }
}

/// The sentence for people: what differs, as the daemon says it, which says nothing where nothing differs.
pub fn state_text(differs: &str) -> String {
    if differs.is_empty() { "ok".to_owned() } else { differs.to_owned() }
}
