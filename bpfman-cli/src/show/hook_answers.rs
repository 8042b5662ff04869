//! Short answers about one hook: explanations, and switches.

use bpfman_proto::ext::v1 as ext;
use serde::Serialize;

use super::CommandOutput;
use super::screen::Screen;
use crate::show::json_shape::json_shape;

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

impl CommandOutput for Explained {
    fn table(&self, _: Screen) -> String {
        self.findings.iter().map(|finding| format!("{finding}\n\n")).collect()
    }
}

json_shape! {
    /// The answer to a switch of a hook.
    pub struct HookSwitchesJson(hook: &str, answer: &ext::SetHookResponse) {
        /// The hook as it was asked for.
        hook: String = hook.to_owned(),
        /// `changed` or `unchanged`.
        outcome: &'static str = if answer.changed { "changed" } else { "unchanged" },
        /// Whether verdicts are counted.
        counters: bool = answer.counters,
        /// Whether times are sampled.
        timing: bool = answer.timing,
        /// Whether changes are refused for now.
        held: bool = answer.held,
        /// Seconds until that ends; none if it is not so, or lasts until it is released.
        held_seconds_left: Option<u64> = answer.held_seconds_left,
        /// Whether each program is a function of its own.
        as_subprograms: bool = answer.as_subprograms,
        /// Whether an empty chain stays attached.
        keep_attached: bool = answer.keep_attached,
    }
}

impl CommandOutput for HookSwitchesJson {}
