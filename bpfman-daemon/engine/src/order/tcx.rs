//! Order among the programs that the kernel runs one by one at a tcx hook.
//!
//! At ingress the chain runs after the machine's links and before the tenants': a tenant's accepting verdict would end
//! the list before the machine's members run. At egress the tenants' links run first, and the machine's last; the chain
//! runs between them if it ever had a tenant's member.

use std::sync::Arc;

use bpfman_model::{
    Contradiction, Direction, Foreign, HookAttachment, HookContents, HookEntry, HookKey, HookKind, Interface,
    LinkId, Moves, Occupant, OrderedEntry, ProgramId, Rank, RankOrder, Side, TcChain, Waiting, moves,
};
use bpfmand_kernel::{Kernel, ListAnchor};

use crate::order::contradiction::solve_or_fall_back;
use crate::order::{ensure_anchors_known, foreign_anchor};
use crate::state::records::{Entry, HookRecord, LinkRecord};
use crate::state::{HookConcern, State};
use crate::{Engine, EngineError, paths};

pub const TRIES: usize = 16;

pub struct TcxOrder {
    contents: HookContents,
    standing: Vec<Occupant>,
    pub wanted: Vec<OrderedEntry>,
    pub waiting: Vec<Waiting>,
    pub contradiction: Option<Contradiction>,
}

pub struct OwnTcxEntries {
    pub links: Vec<Arc<LinkRecord>>,
    pub members: Vec<Arc<LinkRecord>>,
    pub hook: Option<Arc<HookRecord>>,
}

pub type ListPlace = (ListAnchor, Option<u64>);

/// Returns whether the program may send copies of packets, which no chain can hold back.
fn may_clone(state: &State, link: &LinkRecord) -> bool {
    state.member(link.program).is_none_or(|program| program.may_clone())
}

/// Returns whether links have several ranks: earlier versions may have attached them in another order.
fn has_several_turns(state: &State, links: &[Arc<LinkRecord>]) -> bool {
    let mut turns = links.iter().map(|link| state.place(link).turn);
    turns.next().is_some_and(|first| turns.any(|turn| turn != first))
}

impl<K: Kernel> Engine<K> {
    pub(crate) fn ours_in_list(&self, key: &HookKey) -> OwnTcxEntries {
        let state = self.state();
        let hook = state.hooks.get(&key.of_chain()).filter(|hook| hook.entry == Entry::Link);
        OwnTcxEntries {
            links: state.chain(&key.of_tcx()),
            members: state.chain(&key.of_chain()),
            hook: hook.cloned(),
        }
    }

    pub(crate) fn is_ordered(&self, key: &HookKey) -> bool {
        if key.kind == HookKind::Xdp {
            return false;
        }
        let list = self.ours_in_list(key);
        list.links.iter().any(|link| !link.order.is_empty())
            || list.members.iter().any(|member| member.order.names_foreign())
            || list.hook.is_some() && !list.links.is_empty()
            || has_several_turns(&self.state(), &list.links)
    }

    fn standing(
        &self,
        key: &HookKey,
        interface: &Interface,
    ) -> Result<(HookContents, Vec<Occupant>), EngineError> {
        let mut contents = self.kernel.hook_contents(interface.netns.as_deref(), key)?;
        let is_listed = |entry: &HookEntry| {
            matches!(entry.via, HookAttachment::TcxLink { .. } | HookAttachment::TcxProgram)
        };
        contents.entries.retain(|entry| entry.program.is_some() && is_listed(entry));
        let mut ours = Vec::new();
        let tcx = key.of_tcx();
        let links: Vec<LinkId> = {
            let state = self.state();
            state.links.of_hook(&tcx).map(|link| link.id).collect()
        };
        let pins = links.into_iter().map(|link| (Occupant::Ours(link), paths::link(link)));
        for (entry, path) in pins.chain([(Occupant::Chain, paths::hook_link(&key.of_chain()))]) {
            ours.extend(self.pinned_link(&path)?.map(|facts| (facts.id, entry)));
        }
        let mut standing = Vec::with_capacity(contents.entries.len());
        for (entry, program) in contents.entries.iter().filter_map(|entry| Some((entry, entry.program?))) {
            let own = match entry.via {
                HookAttachment::TcxLink { link } => {
                    ours.iter().find(|(id, _)| *id == link).map(|(_, own)| own)
                }
                _ => None,
            };
            standing.push(match own {
                Some(own) => own.clone(),
                None => {
                    let name = self.kernel.program(program)?.map(|facts| facts.name).unwrap_or_default();
                    Occupant::Foreign(Foreign { program, name })
                }
            });
        }
        Ok((contents, standing))
    }

    /// Returns the order at a hook. `comes`: the tc chain is being added. On a contradiction, intents about third-party
    /// programs are ignored.
    pub(crate) fn list_order(
        &self,
        key: &HookKey,
        interface: &Interface,
        links: &[Arc<LinkRecord>],
        members: &[Arc<LinkRecord>],
        comes: bool,
    ) -> Result<TcxOrder, EngineError> {
        let (contents, standing) = self.standing(key, interface)?;
        let (places, members, is_open) = {
            let state = self.state();
            let is_open = state.hooks.get(&key.of_chain()).is_some_and(|hook| hook.open);
            (state.places(&key.of_tcx(), links, None), state.places(&key.of_chain(), members, None), is_open)
        };
        let is_open = is_open || members.iter().any(|member| member.turn == RankOrder::TenantsFirst);
        let chain = (comes || standing.contains(&Occupant::Chain))
            .then_some(TcChain { members: members.as_slice(), is_open });
        let (solution, contradiction) = solve_or_fall_back(&places, chain, &standing);
        Ok(TcxOrder { contents, standing, wanted: solution.order, waiting: solution.waiting, contradiction })
    }

    pub(crate) fn tcx_order(
        &self,
        key: &HookKey,
        interface: &Interface,
        links: &[Arc<LinkRecord>],
    ) -> Result<TcxOrder, EngineError> {
        let members = self.state().chain(&key.of_chain());
        let mut order = self.list_order(key, interface, links, &members, false)?;
        order.waiting.retain(|waiting| links.iter().any(|link| link.id == waiting.link));
        Ok(order)
    }

    pub(crate) fn check_tcx(
        &self,
        key: &HookKey,
        interface: &Interface,
        changed: &Arc<LinkRecord>,
    ) -> Result<(), EngineError> {
        if changed.order.is_empty() && !self.has_intents(key) {
            return Ok(());
        }
        let links = self.with_changed(key, changed);
        let order = self.tcx_order(key, interface, &links)?;
        if let Some(contradiction) = order.contradiction {
            return Err(self.contradiction(key.kind.at(interface), contradiction, changed.id));
        }
        let places = self.state().places(key, &links, None);
        ensure_anchors_known(&order.waiting, || key.kind.at(interface), changed.id, &places, &order.standing)
    }

    /// Refuses a tenant's link that could accept packets before, or change packets after, the machine's programs decide.
    pub(crate) fn ensure_within_machine(
        &self,
        key: &HookKey,
        interface: &Interface,
        link: &LinkRecord,
    ) -> Result<(), EngineError> {
        let state = self.state();
        let own = state.place(link);
        if own.turn.rank() == Rank::Machine {
            return Ok(());
        }
        let entry = state.hooks.get(&key.of_chain()).map(|hook| hook.entry);
        let by_filter = || matches!(entry, Some(Entry::Filter { .. })) || !self.tc_enters_by_tcx();
        let hook = key.kind.at(interface);
        match key.kind {
            HookKind::Tcx(Direction::Ingress) if by_filter() => Err(EngineError::TcxBeforeFilter { hook }),
            HookKind::Tcx(Direction::Egress)
                if own.turn != RankOrder::TenantsFirst || may_clone(&state, link) =>
            {
                Err(EngineError::NotNarrowed { program: own.name, hook })
            }
            HookKind::Tc(Direction::Egress) if by_filter() => {
                let links = state.chain(&key.of_tcx());
                let of_machine = links.iter().find(|link| state.place(link).turn == RankOrder::Machine);
                of_machine.map_or(Ok(()), |other| Err(EngineError::FilterBehindTcx { hook, other: other.id }))
            }
            _ => Ok(()),
        }
    }

    /// Returns tenants' tcx links of earlier versions at egress, which may send copies past the machine's programs.
    #[must_use]
    pub fn links_that_send_copies(&self) -> Vec<(LinkId, HookConcern)> {
        let state = self.state();
        let is_out = |key: &HookKey| key.kind == HookKind::Tcx(Direction::Egress);
        let sends = |link: &LinkRecord| {
            let key = link.hook.filter(is_out)?;
            let program = state.member(link.program)?;
            let may_send = link.turn(program) != RankOrder::Machine && program.may_clone();
            (may_send && state.is_guarded(&key)).then_some(())?;
            let what = format!(
                "program {} (\"{}\") of {}, which an earlier version attached, may send copies of packets past the machine's \
                 programs of tc and tcx",
                program.id,
                program.name,
                link.owner(program)
            );
            let (interface, kind) = link.point.hook()?;
            Some((link.id, HookConcern { hook: kind.at(interface), what }))
        };
        let mut found: Vec<_> = state.links.values().filter_map(|link| sends(link)).collect();
        found.sort_unstable_by_key(|(id, _)| *id);
        found
    }

    /// Returns whether any link at a hook has an intent in addition to its priority.
    pub(crate) fn has_intents(&self, key: &HookKey) -> bool {
        self.state().links.of_hook(key).any(|link| !link.order.is_empty())
    }

    pub(crate) fn with_changed(&self, key: &HookKey, changed: &Arc<LinkRecord>) -> Vec<Arc<LinkRecord>> {
        let others = self.state().chain(key).into_iter().filter(|other| other.id != changed.id);
        others.chain([Arc::clone(changed)]).collect()
    }

    pub(crate) fn tcx_place(&self, key: &HookKey, link: &LinkRecord) -> Result<ListPlace, EngineError> {
        let (Some((interface, _)), true) = (link.point.hook(), self.kernel.features().tcx) else {
            return Ok((ListAnchor::Last, None));
        };
        let links = self.with_changed(key, &Arc::new(link.clone()));
        let order = self.tcx_order(key, interface, &links)?;
        Ok(order.place(OrderedEntry::Ours(link.id)))
    }

    /// Returns the position of a tc chain's link: the end, unless third-party programs or tenants' links need another one.
    /// Anchors of `changed` must exist.
    pub(crate) fn block_place(
        &self,
        key: &HookKey,
        interface: &Interface,
        members: &[Arc<LinkRecord>],
        changed: Option<&LinkRecord>,
    ) -> Result<Option<BlockOrder>, EngineError> {
        let (links, has_tenants) = {
            let state = self.state();
            let links = state.chain(&key.of_tcx());
            let is_tenants = |link: &Arc<LinkRecord>| state.place(link).turn != RankOrder::Machine;
            let has_tenants = links.iter().any(is_tenants)
                || key.kind.direction() == Some(Direction::Egress) && members.iter().any(is_tenants)
                || state.hooks.get(key).is_some_and(|hook| hook.open);
            (links, has_tenants)
        };
        if !has_tenants && !members.iter().any(|member| member.order.names_foreign()) {
            return Ok(None);
        }
        let mut order = self.list_order(key, interface, &links, members, true)?;
        order.waiting.retain(|waiting| members.iter().any(|member| member.id == waiting.link));
        if let Some(changed) = changed {
            // The changed link is not to blame for contradictions among others.
            if let Some(contradiction) = order.contradiction.take().filter(is_about_chain) {
                return Err(self.contradiction(key.kind.at(interface), contradiction, changed.id));
            }
            ensure_anchors_known(
                &order.waiting,
                || key.kind.at(interface),
                changed.id,
                &[],
                &order.standing,
            )?;
        }
        Ok(Some(BlockOrder { place: order.place(OrderedEntry::Chain), waiting: order.waiting }))
    }

    pub(crate) fn ensure_foreign_order(
        &self,
        key: &HookKey,
        interface: &Interface,
        changed: &LinkRecord,
        hook: Option<&HookRecord>,
    ) -> Result<(), EngineError> {
        let Some(anchor) = foreign_anchor(changed) else { return Ok(()) };
        let by_tcx = match hook {
            Some(hook) => hook.entry == Entry::Link,
            None => self.tc_enters_by_tcx(),
        };
        let reason = match key.kind {
            HookKind::Xdp => "an XDP hook runs one program, so none of others can stand beside ours",
            HookKind::Tc(_) if !by_tcx => {
                "the chain is entered by a clsact filter, whose place is its number; only tcx orders against others"
            }
            _ => return Ok(()),
        };
        Err(EngineError::NoForeignOrder { anchor: anchor.clone(), hook: key.kind.at(interface), reason })
    }
}

pub struct BlockOrder {
    pub place: ListPlace,
    pub waiting: Vec<Waiting>,
}

impl OwnTcxEntries {
    pub fn interface_at(&self, key: &HookKey) -> Option<&Interface> {
        let of_links = self.links.first().and_then(|link| link.point.hook()).map(|(interface, _)| interface);
        let of_chain = self.hook.as_ref().map(|hook| &hook.interface);
        match key.kind {
            HookKind::Tc(_) => of_chain.or(of_links),
            _ => of_links.or(of_chain),
        }
    }

    pub fn waiting_at(&self, key: &HookKey, order: &TcxOrder) -> Vec<Waiting> {
        let own = if matches!(key.kind, HookKind::Tc(_)) { &self.members } else { &self.links };
        let is_own = |waiting: &&Waiting| own.iter().any(|link| link.id == waiting.link);
        order.waiting.iter().filter(is_own).cloned().collect()
    }
}

impl TcxOrder {
    fn now(&self) -> Vec<OrderedEntry> {
        self.standing.iter().map(Occupant::entry).collect()
    }

    pub fn moves(&self, changed: Option<LinkId>) -> Moves {
        moves(&self.now(), &self.wanted, changed)
    }

    pub fn has(&self, entry: OrderedEntry) -> bool {
        self.now().contains(&entry)
    }

    pub fn place(&self, moving: OrderedEntry) -> ListPlace {
        let beside = self.moves(moving.link()).beside(moving, &self.wanted);
        let anchor = beside.and_then(|(side, entry)| {
            let at = self.now().iter().position(|other| *other == entry)?;
            let found = self.contents.entries.get(at)?;
            Some(anchor(side, &found.via, found.program))
        });
        (anchor.unwrap_or(ListAnchor::Last), self.contents.revision)
    }
}

fn is_about_chain(contradiction: &Contradiction) -> bool {
    contradiction.steps().iter().any(|step| step.first == OrderedEntry::Chain)
}

fn anchor(side: Side, via: &HookAttachment, program: Option<ProgramId>) -> ListAnchor {
    match (side, via, program) {
        (Side::Before, HookAttachment::TcxLink { link }, _) => ListAnchor::Before(*link),
        (Side::After, HookAttachment::TcxLink { link }, _) => ListAnchor::After(*link),
        (Side::Before, _, Some(program)) => ListAnchor::BeforeProgram(program),
        (Side::After, _, Some(program)) => ListAnchor::AfterProgram(program),
        (_, _, None) => ListAnchor::Last,
    }
}
