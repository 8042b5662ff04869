//! Descriptions of chains: records, running programs, and counters.

use std::sync::Arc;

use bpfman_model::{HookKey, HookKind, Interface, LinkId, Optimisation};
use bpfmand_kernel::Kernel;
use bpfmand_splice::JoinMode;

use crate::chain::ChainCounters;
use crate::describe::details_chains::{ChainDetails, ChainMember};
use crate::state::chain_record::{ChainRecord, Savings};
use crate::state::records::{Entry, HookRecord, LinkRecord, Strategy};
use crate::{Engine, EngineError, HookSwitches};

impl<K: Kernel> Engine<K> {
    /// Returns the chain of a hook: its members, programs, switches, and counters.
    pub fn show_chain(&self, interface: &Interface, kind: HookKind) -> Result<ChainDetails, EngineError> {
        let key = self.hook_by_name(interface, kind)?;
        let text = key.kind.at(interface);
        let (links, hook) = self.hook_of(&key);
        if links.is_empty() && hook.is_none() {
            return Err(EngineError::NoChain { hook: text });
        }
        let counters = hook.as_ref().map(|_| self.chain_counters(&key)).transpose()?.flatten();
        let members = self.chain_members(&key, &links, hook.as_deref(), counters.as_ref())?;
        let Some(hook) = hook else {
            return Ok(ChainDetails {
                hook: text,
                strategy: "kernel",
                reason: "tcx: the kernel runs the links one after another".to_owned(),
                entry: None,
                kernel_link: None,
                mode: "tcx",
                xdp: None,
                members,
                segments: Vec::new(),
                switches: HookSwitches::default(),
                all_proceeded: 0,
                failed: 0,
                fallbacks: 0,
                optimisation: Optimisation::None,
                savings: Savings::default(),
                hooks_sharing: 0,
                standing: None,
            });
        };
        let running = self
            .settled_chain(&self.observation_budget(), &key)?
            .ok_or(EngineError::NoChain { hook: text.clone() })?;
        let entry = running.program.map(|id| self.kernel.program(id)).transpose()?.flatten();
        let chain = hook.chain.as_ref();
        Ok(ChainDetails {
            hook: text,
            strategy: hook.strategy.name(),
            reason: reason_of(&hook, links.len()),
            entry,
            kernel_link: running.kernel_link,
            mode: hook.mode(),
            xdp: hook.xdp.clone(),
            members,
            segments: chain.map(|chain| chain.segments.clone()).unwrap_or_default(),
            switches: self.switches_of(&hook),
            all_proceeded: counters.as_ref().map_or(0, |all| all.all_proceeded),
            failed: counters.as_ref().map_or(0, |all| all.failed),
            fallbacks: chain.map_or(0, |chain| chain.fallbacks),
            optimisation: chain.map_or(Optimisation::None, ChainRecord::optimisation),
            savings: chain.map(|chain| chain.savings).unwrap_or_default(),
            hooks_sharing: chain.map_or(0, |chain| self.state().hooks_of_chain(chain.id) as u32),
            standing: Some(running.standing),
        })
    }

    pub(crate) fn hook_of(&self, key: &HookKey) -> (Vec<Arc<LinkRecord>>, Option<Arc<HookRecord>>) {
        (self.running_order(key), self.state().hooks.get(key).cloned())
    }

    pub(crate) fn running_members(&self, key: &HookKey) -> Vec<Arc<LinkRecord>> {
        let mut links = self.running_order(key);
        let state = self.state();
        links.retain(|link| !state.is_withheld(link));
        links
    }

    fn chain_members(
        &self,
        key: &HookKey,
        links: &[Arc<LinkRecord>],
        hook: Option<&HookRecord>,
        counters: Option<&ChainCounters>,
    ) -> Result<Vec<ChainMember>, EngineError> {
        let waiting = self.waiting(key);
        let chain = hook.and_then(|hook| hook.chain.as_ref());
        let times = chain.map(|chain| self.chain_times(key, chain)).transpose()?.flatten();
        let running: Vec<LinkId> = self.running_members(key).iter().map(|link| link.id).collect();
        let member = |link: &Arc<LinkRecord>| {
            let at = running.iter().position(|id| *id == link.id);
            let carried = chain.zip(at).and_then(|(chain, at)| chain.members.get(at));
            let counted = counters.and_then(|all| all.links.iter().find(|counted| counted.link == link.id));
            let (program, reason, is_extended) = {
                let state = self.state();
                let program = state.programs.get(&link.program).cloned()?;
                (program, state.place(link).reason(&waiting), state.extension_of(link.program).is_some())
            };
            Some(ChainMember {
                link: Arc::clone(link),
                program,
                reason,
                way: carried.map_or(JoinMode::Standalone, |carried| carried.way),
                way_reason: match (carried, chain) {
                    _ if at.is_none() && is_extended => {
                        "it is left out, since an extension replaces a function of it".to_owned()
                    }
                    _ if at.is_none() => {
                        "it is left out, since it could send packets past the machine's programs".to_owned()
                    }
                    (Some(carried), _) => carried.reason.clone(),
                    (None, Some(_)) => "it never runs: no verdict of a member before it goes on".to_owned(),
                    (None, None) if hook.is_some_and(|hook| hook.entry == Entry::Dispatcher) => {
                        "a slot of libxdp's dispatcher, which others share".to_owned()
                    }
                    (None, None) => "the hook runs it as it is".to_owned(),
                },
                segment: chain.zip(at).map_or(0, |(chain, at)| chain.segment_of(at)),
                counters: counted.cloned(),
                time: times.as_ref().zip(at).and_then(|(times, at)| times.get(at).copied()),
            })
        };
        Ok(links.iter().filter_map(member).collect())
    }
}

fn reason_of(hook: &HookRecord, members: usize) -> String {
    match (&hook.chain, hook.strategy) {
        (Some(chain), _) => chain.reason.clone(),
        (None, Strategy::Direct) => {
            "one member, whose proceed-on set cannot change its verdict: it is attached itself".to_owned()
        }
        (None, Strategy::Dispatcher) => format!(
            "libxdp holds the hook: {members} of the programs in its dispatcher are ours, each in a slot by its priority"
        ),
        (None, _) => format!("{members} members joined into one program"),
    }
}
