//! Short answers about one hook: explanations, and switches.

use bpfman_proto::ext::v1 as ext;
use serde::Serialize;

use super::CommandOutput;
use super::json::filled;
use super::screen::Screen;
use crate::show::json_shape::json_shape;

#[derive(Clone, Debug, Serialize)]
pub struct Explained {
    pub hook: String,
    pub member: Option<String>,
    /// Findings, the most important first.
    pub findings: Vec<String>,
}

impl CommandOutput for Explained {
    fn table(&self, _: Screen) -> String {
        self.findings.iter().map(|finding| format!("{finding}\n\n")).collect()
    }
}

json_shape! {
    pub struct HookSwitchesJson(hook: &str, answer: &ext::SetHookResponse) {
        hook: String = hook.to_owned(),
        outcome: &'static str = if answer.changed { "changed" } else { "unchanged" },
        /// True if verdicts are counted.
        counters: bool = answer.counters,
        /// True if times are sampled.
        timing: bool = answer.timing,
        /// True if the hook is frozen.
        held: bool = answer.held,
        /// Seconds until the freeze ends; none without a freeze, or if it lasts until it is released.
        held_seconds_left: Option<u64> = answer.held_seconds_left,
        /// True if each program is a separate function.
        as_subprograms: bool = answer.as_subprograms,
        /// True if an empty chain stays attached.
        keep_attached: bool = answer.keep_attached,
        /// Highest level of optimisation: `none`, `fold` or `share`.
        optimisation: Option<String> = filled(&answer.optimisation),
    }
}

impl CommandOutput for HookSwitchesJson {}
