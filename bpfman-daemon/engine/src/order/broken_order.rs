//! Orders relative to third-party programs of a cgroup that fail since those were attached again: no link is moved.

use std::sync::Arc;

use bpfman_model::{Anchor, LinkId, Occupant, Side, is_called};
use bpfmand_kernel::Kernel;

use crate::Engine;
use crate::order::group::CgroupHook;
use crate::state::HookConcern;
use crate::state::records::{LinkRecord, ProgramRecord};

impl<K: Kernel> Engine<K> {
    pub(crate) fn broken_order(&self, program: &ProgramRecord, link: &Arc<LinkRecord>) -> Option<String> {
        let hook = CgroupHook::of(program, link).filter(|hook| !hook.is_mixed())?;
        if !link.order.names_foreign() {
            return None;
        }
        // An order that cannot be read now is no reason for a warning.
        let standing = self.occupants(hook, link).ok().flatten()?;
        let own = standing.iter().position(|one| *one == Occupant::Ours(link.id))?;
        let broken = link.order.anchors().find_map(|(side, anchor)| {
            let Anchor::Foreign(name) = anchor else { return None };
            let is_named = |one: &Occupant| one.foreign().is_some_and(|other| is_called(other, name));
            let holds = |at: usize| if side == Side::Before { own < at } else { at < own };
            let mut all =
                standing.iter().enumerate().filter(|(_, one)| is_named(one)).map(|(at, _)| at).peekable();
            all.peek()?;
            (!all.any(holds)).then_some((side, name))
        });
        broken.map(|(side, name)| {
            let (wanted, now) = match side {
                Side::Before => ("before", "after"),
                Side::After => ("after", "before"),
            };
            format!(
                "it was to run {wanted} third-party program \"{name}\", and runs {now} it since that was attached again"
            )
        })
    }

    /// Returns the links of cgroups that run on the other side of a third-party program than requested.
    #[must_use]
    pub fn broken_orders(&self) -> Vec<(LinkId, HookConcern)> {
        let links: Vec<(Arc<LinkRecord>, Arc<ProgramRecord>)> = {
            let state = self.state();
            let links = state.links.values().filter(|link| link.order.names_foreign());
            links
                .filter_map(|link| Some((Arc::clone(link), state.programs.get(&link.program).cloned()?)))
                .collect()
        };
        let concern = |(link, program): &(Arc<LinkRecord>, Arc<ProgramRecord>)| {
            let what = self.broken_order(program, link)?;
            Some((link.id, HookConcern { hook: link.point.to_string(), what }))
        };
        links.iter().filter_map(concern).collect()
    }
}
