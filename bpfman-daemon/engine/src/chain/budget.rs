//! Limits of the programs of one owner on one hook.

use std::sync::Arc;

use bpfman_model::{HookKey, Interface};
use bpfmand_kernel::Kernel;

use crate::chain::build::{Joined, application_of};
use crate::engine::OwnerBudget;
use crate::state::records::LinkRecord;
use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    /// Refuses a member that exceeds its owner's limits, before anything is built. Attached members always stay.
    pub(crate) fn check_budget(
        &self,
        key: &HookKey,
        interface: &Interface,
        links: &[Arc<LinkRecord>],
        newcomer: &LinkRecord,
    ) -> Result<(), EngineError> {
        let OwnerBudget { members, verified_insns } = self.options.owner_budget;
        if members.is_none() && verified_insns.is_none() {
            return Ok(());
        }
        self.check_budget_of(key, interface, &self.joined(links)?, newcomer)
    }

    pub(crate) fn check_budget_of(
        &self,
        key: &HookKey,
        interface: &Interface,
        joined: &[Joined],
        newcomer: &LinkRecord,
    ) -> Result<(), EngineError> {
        let OwnerBudget { members, verified_insns } = self.options.owner_budget;
        let Some(owner) = joined.iter().find(|member| member.link.id == newcomer.id) else { return Ok(()) };
        let theirs: Vec<_> = joined.iter().filter(|member| member.owner == owner.owner).collect();
        let over = |what, used: u64, limit: Option<u64>| match limit {
            Some(limit) if used > limit => Err(EngineError::OverBudget {
                hook: key.kind.at(interface),
                owner: {
                    let whose = owner.link.owner(&owner.program);
                    match application_of(&owner.link.metadata) {
                        Some(application) => format!("{whose}, application {application}"),
                        None => whose.to_string(),
                    }
                },
                what,
                used,
                limit,
            }),
            _ => Ok(()),
        };
        over("members", theirs.len() as u64, members)?;
        let mut insns = 0;
        for member in &theirs {
            insns +=
                self.kernel.program(member.program.id)?.map_or(0, |facts| u64::from(facts.verified_insns));
        }
        over("verified instructions", insns, verified_insns)
    }
}
