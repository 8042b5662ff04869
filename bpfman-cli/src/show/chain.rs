//! The chain of one hook.

use bpfman_proto::ext::v1 as ext;
use serde::Serialize;

use super::Answer;
use super::block::Block;
use super::screen::Screen;
use super::table::Table;

/// The answer to `chain show`.
#[derive(Clone, Debug, Serialize)]
pub struct ChainRecord {
    /// The hook as it was asked for.
    pub hook: String,
    /// `direct` (one program, attached itself), `splice` (compiled into one) or `kernel` (tcx: one link each).
    pub strategy: String,
    /// Why this strategy.
    pub reason: String,
    /// How the hook is attached, in the daemon's word: for example `native`, `generic`, `tcx` or `clsact`.
    pub mode: String,
    /// Program that the hook runs; absent for tcx.
    pub program_id: Option<u32>,
    /// Its name.
    pub program_name: Option<String>,
    /// Its tag.
    pub program_tag: Option<String>,
    /// Kernel link that attaches it.
    pub kernel_link_id: Option<u32>,
    /// Instructions the verifier walked through for it.
    pub verified_instructions: u32,
    /// In the order they run.
    pub members: Vec<MemberRecord>,
}

/// A program in a chain.
#[derive(Clone, Debug, Serialize)]
pub struct MemberRecord {
    /// Place, from 0.
    pub position: u32,
    /// Its link.
    pub link_id: u32,
    /// Kernel id of the program loaded alone.
    pub program_id: u32,
    /// Its function.
    pub program_name: String,
    /// Lower runs earlier.
    pub priority: i32,
    /// Verdicts after which the next one runs.
    pub proceed_on: Vec<String>,
}

impl ChainRecord {
    /// The daemon's answer for a hook.
    #[must_use]
    pub fn new(hook: String, chain: &ext::GetChainResponse) -> Self {
        let filled = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Self {
            hook,
            strategy: chain.strategy.clone(),
            reason: chain.reason.clone(),
            mode: chain.mode.clone(),
            program_id: chain.program_id,
            program_name: filled(&chain.program_name),
            program_tag: filled(&chain.program_tag),
            kernel_link_id: chain.kernel_link_id,
            verified_instructions: chain.verified_insns,
            members: chain.members.iter().map(MemberRecord::from).collect(),
        }
    }
}

impl From<&ext::ChainMember> for MemberRecord {
    fn from(member: &ext::ChainMember) -> Self {
        Self {
            position: member.position,
            link_id: member.link_id,
            program_id: member.program_id,
            program_name: member.program_name.clone(),
            priority: member.priority,
            proceed_on: member.proceed_on.clone(),
        }
    }
}

impl Answer for ChainRecord {
    type Record = Self;

    fn record(&self) -> Self {
        self.clone()
    }

    fn table(&self, screen: Screen) -> String {
        let mut block = Block::new("Chain");
        let strategy = match self.reason.as_str() {
            "" => self.strategy.clone(),
            reason => format!("{} ({reason})", self.strategy),
        };
        block
            .line("Hook", &self.hook)
            .line("Strategy", strategy)
            .line("Mode", &self.mode)
            .optional("Program ID", self.program_id)
            .optional("Program Name", self.program_name.as_ref())
            .optional("Tag", self.program_tag.as_ref())
            .optional("Kernel Link ID", self.kernel_link_id)
            .line("Verified Instruction Count", self.verified_instructions);
        let columns = ["Position", "Link ID", "Program ID", "Function Name", "Priority", "Proceed On"];
        let mut members = Table::new(&columns);
        for member in &self.members {
            members.row(vec![
                member.position.to_string(),
                member.link_id.to_string(),
                member.program_id.to_string(),
                member.program_name.clone(),
                member.priority.to_string(),
                member.proceed_on.join(", "),
            ]);
        }
        format!("{}{}\n", block.render(screen), members.render(screen))
    }

    fn ids(&self) -> Vec<String> {
        self.members.iter().map(|member| member.link_id.to_string()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spliced_chain() {
        let member = |position, name: &str| ext::ChainMember {
            link_id: 90 + position,
            program_id: 7 + position,
            program_name: name.into(),
            position,
            priority: 50,
            proceed_on: vec!["pass".into(), "dispatcher_return".into()],
        };
        let wire = ext::GetChainResponse {
            hook: None,
            strategy: "splice".into(),
            reason: "2 programs".into(),
            program_id: Some(12),
            program_name: "xdp_eth0".into(),
            program_tag: "d796b57bdaf88123".into(),
            kernel_link_id: Some(3),
            verified_insns: 40,
            members: vec![member(0, "firewall"), member(1, "count")],
            mode: "native".into(),
        };
        let chain = ChainRecord::new("xdp:eth0".into(), &wire);
        assert_eq!(
            chain.table(Screen::PLAIN),
            " Chain
 Hook:                        xdp:eth0
 Strategy:                    splice (2 programs)
 Mode:                        native
 Program ID:                  12
 Program Name:                xdp_eth0
 Tag:                         d796b57bdaf88123
 Kernel Link ID:              3
 Verified Instruction Count:  40

 Position  Link ID  Program ID  Function Name  Priority  Proceed On
 0         90       7           firewall       50        pass, dispatcher_return
 1         91       8           count          50        pass, dispatcher_return

"
        );
        assert_eq!(chain.ids(), ["90", "91"]);
    }
}
