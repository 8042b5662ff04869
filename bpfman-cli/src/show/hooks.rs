//! Hooks with a chain.

use bpfman_proto::ext::v1 as ext;
use serde::Serialize;

use super::CommandOutput;
use super::screen::Screen;
use super::standing::{StandingWord, state_text};
use super::table::TextTable;
use super::xdp_mode::with_xdp_mode;
use crate::show::json_shape::json_shape;

#[derive(Clone, Debug, Serialize)]
pub struct HookList {
    pub hooks: Vec<HookJson>,
}

json_shape! {
    pub struct HookJson(summary: &ext::HookSummary) {
        /// Hook, by its name in commands.
        hook: String = summary.hook.clone(),
        /// Strategy, as in `chain show`.
        strategy: String = summary.strategy.clone(),
        member_count: u32 = summary.members,
        /// Program that the hook runs; absent for tcx.
        program_id: Option<u32> = summary.program_id,
        mode: String = summary.mode.clone(),
        /// Mode of XDP: `native`, `generic` or `offload`.
        xdp_mode: Option<String> = summary.xdp.as_ref().map(|xdp| xdp.mode.clone()),
        /// `ok`, or the difference.
        state: String = state_text(&summary.state),
        /// State in one word, as for links.
        standing: Option<StandingWord> = StandingWord::of(summary.standing()),
        /// Number of other hooks that run the same loaded program.
        shared_with: u32 = summary.shared_with,
    }
}

impl From<&ext::ListHooksResponse> for HookList {
    fn from(answer: &ext::ListHooksResponse) -> Self {
        Self { hooks: answer.hooks.iter().map(HookJson::new).collect() }
    }
}

impl CommandOutput for HookList {
    fn table(&self, screen: Screen) -> String {
        let columns = ["Hook", "Strategy", "Programs", "Program ID", "Mode", "Shared With", "State"];
        let mut table = TextTable::new(&columns);
        for hook in &self.hooks {
            table.row(vec![
                hook.hook.clone(),
                hook.strategy.clone(),
                hook.member_count.to_string(),
                hook.program_id.map(|id| id.to_string()).unwrap_or_default(),
                with_xdp_mode(&hook.mode, hook.xdp_mode.as_deref(), None),
                hook.shared_with.to_string(),
                hook.state.clone(),
            ]);
        }
        format!("{}\n", table.render(screen))
    }

    fn ids(&self) -> Vec<String> {
        self.hooks.iter().map(|hook| hook.hook.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_are_a_table_and_their_names_are_ids() {
        let hook = |hook: &str, program_id, mode: &str, state: &str| ext::HookSummary {
            hook: hook.into(),
            strategy: "splice".into(),
            members: 2,
            program_id,
            mode: mode.into(),
            state: state.into(),
            standing: ext::Standing::Unspecified.into(),
            shared_with: 1,
            xdp: (mode == "xdp")
                .then(|| ext::XdpPlacement { mode: "generic".to_owned(), refusal: String::new() }),
        };
        let answer = ext::ListHooksResponse {
            hooks: vec![
                hook("xdp:eth0", Some(12), "xdp", ""),
                hook("tcx:eth0:ingress", None, "tcx", "missing"),
            ],
        };
        let list = HookList::from(&answer);
        assert_eq!(
            list.table(Screen::PLAIN),
            " Hook              Strategy  Programs  Program ID  Mode          Shared With  State
 xdp:eth0          splice    2         12          xdp, generic  1            ok
 tcx:eth0:ingress  splice    2                     tcx           1            missing

"
        );
        assert_eq!(list.ids(), ["xdp:eth0", "tcx:eth0:ingress"]);
        assert!(serde_json::to_value(&list).unwrap()["hooks"][1]["program_id"].is_null());
    }
}
