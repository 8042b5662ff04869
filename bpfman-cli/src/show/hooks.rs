//! All hooks with a chain.

use bpfman_proto::ext::v1 as ext;
use serde::Serialize;

use super::Answer;
use super::screen::Screen;
use super::standing::StandingWord;
use super::table::Table;

/// The answer to `chain list`.
#[derive(Clone, Debug, Serialize)]
pub struct HookList {
    /// By name.
    pub hooks: Vec<HookRecord>,
}

/// One hook in short.
#[derive(Clone, Debug, Serialize)]
pub struct HookRecord {
    /// As other commands take it.
    pub hook: String,
    /// As in `chain show`.
    pub strategy: String,
    /// How many programs of ours it has.
    pub member_count: u32,
    /// Program that it runs; absent for tcx.
    pub program_id: Option<u32>,
    /// How it is attached.
    pub mode: String,
    /// `ok`, or what differs.
    pub state: String,
    /// The same in one word, as of links.
    pub standing: Option<StandingWord>,
    /// How many other hooks run the same loaded program.
    pub shared_with: u32,
}

impl From<&ext::ListHooksResponse> for HookList {
    fn from(answer: &ext::ListHooksResponse) -> Self {
        let hook = |summary: &ext::HookSummary| HookRecord {
            hook: summary.hook.clone(),
            strategy: summary.strategy.clone(),
            member_count: summary.members,
            program_id: summary.program_id,
            mode: summary.mode.clone(),
            standing: StandingWord::of(summary.standing()),
            state: if summary.state.is_empty() { "ok".to_owned() } else { summary.state.clone() },
            shared_with: summary.shared_with,
        };
        Self { hooks: answer.hooks.iter().map(hook).collect() }
    }
}

impl Answer for HookList {
    type Record = Self;

    fn record(&self) -> Self {
        self.clone()
    }

    fn table(&self, screen: Screen) -> String {
        let columns = ["Hook", "Strategy", "Programs", "Program ID", "Mode", "Shared With", "State"];
        let mut table = Table::new(&columns);
        for hook in &self.hooks {
            table.row(vec![
                hook.hook.clone(),
                hook.strategy.clone(),
                hook.member_count.to_string(),
                hook.program_id.map(|id| id.to_string()).unwrap_or_default(),
                hook.mode.clone(),
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
        let hook = |hook: &str, program_id, state: &str| ext::HookSummary {
            hook: hook.into(),
            strategy: "splice".into(),
            members: 2,
            program_id,
            mode: "native".into(),
            state: state.into(),
            standing: ext::Standing::Unspecified.into(),
            shared_with: 1,
        };
        let answer = ext::ListHooksResponse {
            hooks: vec![hook("xdp:eth0", Some(12), ""), hook("tcx:eth0:ingress", None, "missing")],
        };
        let list = HookList::from(&answer);
        assert_eq!(
            list.table(Screen::PLAIN),
            " Hook              Strategy  Programs  Program ID  Mode    Shared With  State
 xdp:eth0          splice    2         12          native  1            ok
 tcx:eth0:ingress  splice    2                     native  1            missing

"
        );
        assert_eq!(list.ids(), ["xdp:eth0", "tcx:eth0:ingress"]);
        assert!(serde_json::to_value(&list).unwrap()["hooks"][1]["program_id"].is_null());
    }
}
