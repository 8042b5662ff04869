//! Short answers about one hook: explanations, and switches.

use bpfman_proto::ext::v1 as ext;
use serde::Serialize;

use super::Answer;
use super::screen::Screen;

/// The answer to `explain`.
#[derive(Clone, Debug, Serialize)]
pub struct Explained {
    /// The hook as it was asked for.
    pub hook: String,
    /// The program that was asked about.
    pub member: Option<String>,
    /// The most telling first.
    pub findings: Vec<String>,
}

impl Answer for Explained {
    type Record = Self;

    fn record(&self) -> Self {
        self.clone()
    }

    fn table(&self, _: Screen) -> String {
        self.findings.iter().map(|finding| format!("{finding}\n\n")).collect()
    }

    fn ids(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The answer to a switch of a hook.
#[derive(Clone, Debug, Serialize)]
pub struct Switched {
    /// The hook as it was asked for.
    pub hook: String,
    /// `changed` or `unchanged`.
    pub outcome: &'static str,
    /// Whether verdicts are counted.
    pub counters: bool,
    /// Whether times are sampled.
    pub timing: bool,
    /// Whether changes are refused for now.
    pub held: bool,
    /// Whether each program is a function of its own.
    pub as_subprograms: bool,
    /// Whether an empty chain stays attached.
    pub keep_attached: bool,
}

impl Switched {
    /// The daemon's answer for a hook.
    #[must_use]
    pub const fn new(hook: String, answer: &ext::SetHookResponse) -> Self {
        Self {
            hook,
            outcome: if answer.changed { "changed" } else { "unchanged" },
            counters: answer.counters,
            timing: answer.timing,
            held: answer.held,
            as_subprograms: answer.as_subprograms,
            keep_attached: answer.keep_attached,
        }
    }
}

impl Answer for Switched {
    type Record = Self;

    fn record(&self) -> Self {
        self.clone()
    }

    fn table(&self, _: Screen) -> String {
        String::new()
    }

    fn ids(&self) -> Vec<String> {
        Vec::new()
    }
}
