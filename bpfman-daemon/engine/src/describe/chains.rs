//! Chains: the records, what the kernel runs in their place, and what was counted.

use std::sync::Arc;

use bpfmand_core::{HookKey, HookKind, Interface};
use bpfmand_kernel::Kernel;

use crate::describe::details::{ChainDetails, ChainMemberDetails};
use crate::describe::details_chains::{ChainView, MemberView, SegmentView};
use crate::state::hook_names::hook_text;
use crate::state::records::{Entry, HookRecord, LinkRecord, SourceRecord, Strategy};
use crate::{CarriedBy, Engine, EngineError};

impl<K: Kernel> Engine<K> {
    /// The chain of a hook.
    ///
    /// # Errors
    /// No program of ours is there, or the interface does not exist.
    pub fn chain_of(&self, interface: &Interface, kind: HookKind) -> Result<ChainDetails, EngineError> {
        let key: HookKey = self.kernel.find_hook(interface, kind)?;
        let (links, hook) = self.hook_of(&key);
        self.chain_details(interface, &key, &links, hook.as_deref())
    }

    /// The chain of a hook with how each member is carried, the programs that it is made of, its switches, and what was
    /// counted.
    ///
    /// # Errors
    /// No program of ours is there, or the interface does not exist.
    pub fn show_chain(&self, interface: &Interface, kind: HookKind) -> Result<ChainView, EngineError> {
        let key = self.kernel.find_hook(interface, kind)?;
        let (links, hook) = self.hook_of(&key);
        let details = self.chain_details(interface, &key, &links, hook.as_deref())?;
        let counters = match &hook {
            Some(_) => self.chain_counters(&key)?,
            None => None,
        };
        let chain = hook.as_ref().and_then(|hook| hook.chain.as_ref());
        let is_dispatcher = hook.as_ref().is_some_and(|hook| hook.entry == Entry::Dispatcher);
        let times = chain.map(|chain| self.chain_times(&key, chain)).transpose()?.flatten();
        let members = details.members.iter().enumerate().map(|(at, member)| {
            let carried = chain.and_then(|chain| chain.members.get(at));
            let counted = counters.as_ref().and_then(|all| all.links.iter().find(|c| c.link == member.link));
            MemberView {
                link: member.link,
                way: carried.map_or(CarriedBy::Own, |carried| carried.way).name(),
                way_reason: match (carried, chain) {
                    (Some(carried), _) => carried.reason.clone(),
                    // Behind a member with an empty set.
                    (None, Some(_)) => "it never runs: no verdict of a member before it goes on".to_owned(),
                    (None, None) if is_dispatcher => {
                        "a slot of libxdp's dispatcher, which others share".to_owned()
                    }
                    (None, None) => "the hook runs it as it is".to_owned(),
                },
                segment: chain.map_or(0, |chain| chain.segment_of(at)),
                image_digest: links.get(at).and_then(|link| self.image_of(link)),
                counters: counted.cloned(),
                time: times.as_ref().and_then(|times| times.get(at).copied()),
            }
        });
        let members = members.collect();
        let segments = chain.map(|chain| chain.segments.iter().map(SegmentView::from).collect());
        Ok(ChainView {
            members,
            segments: segments.unwrap_or_default(),
            switches: hook.as_ref().map(|hook| self.switches_of(hook)).unwrap_or_default(),
            all_proceeded: counters.as_ref().map_or(0, |all| all.all_proceeded),
            failed: counters.as_ref().map_or(0, |all| all.failed),
            fallbacks: chain.map_or(0, |chain| chain.fallbacks),
            hooks_sharing: chain.map_or(0, |chain| self.state().hooks_of_chain(chain.id) as u32),
            standing: hook
                .as_ref()
                .map(|hook| self.running_chain(hook))
                .transpose()?
                .map(|running| running.standing),
            chain: details,
        })
    }

    /// A hook's links in order, and its record.
    pub(crate) fn hook_of(&self, key: &HookKey) -> (Vec<Arc<LinkRecord>>, Option<Arc<HookRecord>>) {
        (self.running_order(key), self.state().hooks.get(key).cloned())
    }

    fn image_of(&self, link: &LinkRecord) -> Option<String> {
        match &self.record(link.program)?.source {
            SourceRecord::Image { digest, .. } => Some(digest.clone()),
            SourceRecord::File { .. } | SourceRecord::Adopted { .. } => None,
        }
    }

    fn chain_details(
        &self,
        interface: &Interface,
        key: &HookKey,
        links: &[Arc<LinkRecord>],
        hook: Option<&HookRecord>,
    ) -> Result<ChainDetails, EngineError> {
        let text = hook_text(key, interface);
        if links.is_empty() && hook.is_none() {
            return Err(EngineError::NoChain { hook: text });
        }
        let waiting = self.waiting(key);
        let members = links
            .iter()
            .enumerate()
            .filter_map(|(position, link)| {
                let program = self.record(link.program)?;
                Some(ChainMemberDetails {
                    link: link.id,
                    program: program.id,
                    name: program.name.clone(),
                    position: position as u32,
                    priority: link.point.priority().unwrap_or(0),
                    proceed_on: link.point.proceed_on(),
                    role: link.order.role.clone(),
                    reason: self.state().place(link).reason(&waiting),
                })
            })
            .collect();
        let Some(hook) = hook else {
            return Ok(ChainDetails {
                hook: text,
                strategy: "kernel",
                reason: "tcx: the kernel runs the links one after another".to_owned(),
                entry: None,
                kernel_link: None,
                mode: "tcx",
                members,
            });
        };
        let running = self.running_chain(hook)?;
        let entry = running.program.map(|id| self.kernel.program(id)).transpose()?.flatten();
        Ok(ChainDetails {
            hook: text,
            strategy: hook.strategy.name(),
            reason: reason_of(hook, links.len()),
            entry,
            kernel_link: running.kernel_link,
            mode: match hook.entry {
                Entry::Dispatcher => "xdp",
                Entry::Link if key.kind == HookKind::Xdp => "xdp",
                Entry::Link => "tcx",
                Entry::Filter { .. } => "clsact",
            },
            members,
        })
    }
}

/// Why a hook's chain is made as it is. Records of earlier versions do not say it.
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
