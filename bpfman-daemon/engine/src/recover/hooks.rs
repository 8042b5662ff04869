//! Recovery of hooks: compares what the kernel runs with the records, and restores what differs.

use std::collections::HashSet;
use std::sync::Arc;

use bpfman_model::{HookKey, ProgramUid};
use bpfmand_kernel::Kernel;

use crate::Engine;
use crate::engine::RecoveryReport;
use crate::engine::locks::Subject;
use crate::recover::moves::Absent;
use crate::standing::HookCheck;
use crate::state::Standing;
use crate::state::records::{HookRecord, LinkRecord};

impl<K: Kernel> Engine<K> {
    pub(crate) fn recover_hooks(&self, reloaded: &HashSet<ProgramUid>, report: &mut RecoveryReport) {
        let mut hooks: Vec<Arc<HookRecord>> = self.state().hooks.values().cloned().collect();
        hooks.sort_by_key(|hook| hook.operation);
        let mut absent = Vec::new();
        let mut present: HashSet<HookKey> = HashSet::new();
        let all = hooks.len();
        for (done, hook) in hooks.into_iter().enumerate() {
            self.options.observer.recovered("hooks compared with the kernel", done, all);
            let links = self.state().chain(&hook.key);
            // A member that was loaded again has other maps of global variables than the running chain.
            let outdated = links.iter().any(|link| reloaded.contains(&link.program))
                || self.is_measured_without_client(&hook, &links)
                || self.is_in_earlier_order(&hook, &links)
                || self.is_in_earlier_slots(&hook).unwrap_or(false);
            let _lock = self.lock(Subject::Hook(hook.key));
            match self.reconcile_at_start(&hook, &links, outdated) {
                Ok(HookCheck::Right | HookCheck::Absent) => {}
                Ok(HookCheck::Mended(_)) => report.reattached += 1,
                Ok(HookCheck::Unreachable) => report.problems.push(format!(
                    "chain of {}: {}",
                    hook.key.kind.at(&hook.interface),
                    Standing::Unreachable.cause()
                )),
                Ok(HookCheck::Lost(_)) => {
                    absent.push(Absent { hook, links });
                    continue;
                }
                Err(error) => report.of_hook(&hook, &error),
            }
            present.insert(hook.key);
        }
        // Move all records before attaching the first chain: a hook's new place may be the former one of another.
        let moved = self.move_absent(absent, &present, report);
        let all = moved.len();
        for (done, (hook, links)) in moved.into_iter().enumerate() {
            self.options.observer.recovered("hooks attached again", done, all);
            let _lock = self.lock(Subject::Hook(hook.key));
            match self.reenter_hook(&hook, &links) {
                Ok(()) => report.reattached += 1,
                Err(error) => report.of_hook(&hook, &error),
            }
        }
    }

    /// Returns whether an earlier version built the chain: other order of tenants, or more accepted at egress.
    fn is_in_earlier_order(&self, hook: &HookRecord, links: &[Arc<LinkRecord>]) -> bool {
        let mut links = links.to_vec();
        links.retain(|link| !hook.withheld.contains(&link.id));
        let Ok(members) = self.joined(&links) else { return false };
        let order = || members.iter().map(|member| &member.link.id);
        hook.chain.is_some()
            && (!hook.slots.iter().eq(order()) || !hook.open && self.is_open(&hook.key, &members))
    }
}
