//! Order among what the kernel runs one by one at a tcx hook: links of ours, the one link of our tc chain, links and
//! programs of others.
//!
//! On the way in the chain stands behind the machine's links and before those of tenants, whichever came first: the machine's tcx
//! programs run before tc programs, as they do where tc is entered by a filter, and a tenant's would end the list for the
//! machine's members. On the way out links of tenants come first. Once a tenant's member was in the chain, that comes second,
//! and the machine's links last.

use std::sync::Arc;

use bpfmand_core::{
    Contradiction, Direction, Foreign, HookContents, HookEntry, HookKey, HookKind, Interface, LinkId, Moves,
    Occupant, OrderIntent, OrderedEntry, Place, ProgramId, Rank, Side, Solution, TcChain, Turn, Via, Waiting,
    moves, solve_with_chain,
};
use bpfmand_kernel::{Kernel, ListAnchor};

use crate::order::{ensure_anchors_known, foreign_anchor};
use crate::state::records::{Entry, HookRecord, LinkRecord};
use crate::{Engine, EngineError, paths};

/// How often a change is tried again when others change the hook between the look and the change.
pub const TRIES: usize = 16;

/// A tcx hook as it stands, and as it is to be.
pub struct TcxOrder {
    contents: HookContents,
    standing: Vec<Occupant>,
    /// What is to run, first to last.
    pub wanted: Vec<OrderedEntry>,
    /// Intents that nothing at the hook answers to.
    pub waiting: Vec<Waiting>,
    /// Why not all intents hold, if they cannot.
    pub contradiction: Option<Contradiction>,
}

/// What of ours is in the kernel's list at a tcx hook.
pub struct OursInList {
    /// Links that run one by one, in the order of their priorities and intents.
    pub links: Vec<Arc<LinkRecord>>,
    /// Members of the chain of tc programs.
    pub members: Vec<Arc<LinkRecord>>,
    /// The hook of that chain, where it is entered by a link.
    pub hook: Option<Arc<HookRecord>>,
}

/// Where the kernel is to put a link, and the revision of the hook that this was decided by.
pub type ListPlace = (ListAnchor, Option<u64>);

impl<K: Kernel> Engine<K> {
    /// What of ours the kernel keeps in one list with what is at this hook.
    pub(crate) fn ours_in_list(&self, key: &HookKey) -> OursInList {
        let state = self.state();
        let hook = state.hooks.get(&key.of_chain()).filter(|hook| hook.entry == Entry::Link);
        OursInList {
            links: state.chain(&key.of_tcx()),
            members: state.chain(&key.of_chain()),
            hook: hook.cloned(),
        }
    }

    /// True if links of ours at this hook have to stand in some order.
    pub(crate) fn is_ordered(&self, key: &HookKey) -> bool {
        if key.kind == HookKind::Xdp {
            return false;
        }
        let list = self.ours_in_list(key);
        list.links.iter().any(|link| !link.order.is_empty())
            || list.members.iter().any(|member| member.order.names_foreign())
            || list.hook.is_some() && !list.links.is_empty()
            || list.links.len() > 1
    }

    /// What stands in the kernel's list at a hook: ours by link, our chain of tc programs, all else as programs of
    /// others.
    fn standing(
        &self,
        key: &HookKey,
        interface: &Interface,
    ) -> Result<(HookContents, Vec<Occupant>), EngineError> {
        let mut contents = self.kernel.hook_contents(interface.netns.as_deref(), key)?;
        let is_listed = |entry: &HookEntry| matches!(entry.via, Via::TcxLink { .. } | Via::TcxProgram);
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
                Via::TcxLink { link } => ours.iter().find(|(id, _)| *id == link).map(|(_, own)| own),
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

    /// How the list at a hook is to be, with these links of ours and these members of the tc chain, if that is there
    /// or `comes`. Where intents contradict each other because of how others' programs stand, those about them are left
    /// out.
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
        let is_open = is_open || members.iter().any(|member| member.turn == Turn::TenantsFirst);
        let chain = (comes || standing.contains(&Occupant::Chain))
            .then_some(TcChain { members: members.as_slice(), is_open });
        let (solution, contradiction) = solve_or_fall_back(&places, chain, &standing);
        Ok(TcxOrder { contents, standing, wanted: solution.order, waiting: solution.waiting, contradiction })
    }

    /// How a tcx hook is to be, with `links` as ours.
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

    /// Refuses a new or changed tcx link whose intents cannot hold or name nothing.
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

    /// Refuses a tenant's link that no place at a hook keeps from accepting packets past the machine's programs, or from
    /// changing what these have judged.
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
            HookKind::Tcx(Direction::Egress) if own.turn != Turn::TenantsFirst => {
                Err(EngineError::NotNarrowed { program: own.name, hook })
            }
            HookKind::Tc(Direction::Egress) if by_filter() => {
                let links = state.chain(&key.of_tcx());
                let of_machine = links.iter().find(|link| state.place(link).turn == Turn::Machine);
                of_machine.map_or(Ok(()), |other| Err(EngineError::FilterBehindTcx { hook, other: other.id }))
            }
            _ => Ok(()),
        }
    }

    /// True if any link at a hook wants more than its priority.
    pub(crate) fn has_intents(&self, key: &HookKey) -> bool {
        self.state().links.of_hook(key).any(|link| !link.order.is_empty())
    }

    /// The links of a hook, with one of them new or changed.
    pub(crate) fn with_changed(&self, key: &HookKey, changed: &Arc<LinkRecord>) -> Vec<Arc<LinkRecord>> {
        let others = self.state().chain(key).into_iter().filter(|other| other.id != changed.id);
        others.chain([Arc::clone(changed)]).collect()
    }

    /// Where a tcx link that comes goes: beside its neighbours, ours and others'.
    pub(crate) fn tcx_place(&self, key: &HookKey, link: &LinkRecord) -> Result<ListPlace, EngineError> {
        let (Some((interface, _)), true) = (link.point.hook(), self.kernel.features().tcx) else {
            return Ok((ListAnchor::Last, None));
        };
        let links = self.with_changed(key, &Arc::new(link.clone()));
        let order = self.tcx_order(key, interface, &links)?;
        Ok(order.place(OrderedEntry::Ours(link.id)))
    }

    /// Place of the one link of a tc chain that comes, if its members care about programs of others, or programs of tenants
    /// are among them or are links beside it; else the end, which is behind all links of ours.
    ///
    /// With `changed`, its intents have to name what is there.
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
            let is_tenants = |link: &Arc<LinkRecord>| state.place(link).turn != Turn::Machine;
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
            // Others may stand so that links of ours contradict each other; that is not for this one to answer.
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

    /// Refuses intents about programs of others at a chain that is not entered by tcx.
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

/// Where the one link of a chain that comes is to be.
pub struct BlockOrder {
    /// Where it goes.
    pub place: ListPlace,
    /// Intents that wait.
    pub waiting: Vec<Waiting>,
}

impl OursInList {
    /// The interface, as what is at this hook names it; none if nothing of ours is in the list.
    pub fn interface_at(&self, key: &HookKey) -> Option<&Interface> {
        let of_links = self.links.first().and_then(|link| link.point.hook()).map(|(interface, _)| interface);
        let of_chain = self.hook.as_ref().map(|hook| &hook.interface);
        match key.kind {
            HookKind::Tc(_) => of_chain.or(of_links),
            _ => of_links.or(of_chain),
        }
    }

    /// What links at this hook wait for, without what others of the list do.
    pub fn waiting_at(&self, key: &HookKey, order: &TcxOrder) -> Vec<Waiting> {
        let own = if matches!(key.kind, HookKind::Tc(_)) { &self.members } else { &self.links };
        let is_own = |waiting: &&Waiting| own.iter().any(|link| link.id == waiting.link);
        order.waiting.iter().filter(is_own).cloned().collect()
    }
}

impl TcxOrder {
    /// What runs now, first to last.
    fn now(&self) -> Vec<OrderedEntry> {
        self.standing.iter().map(Occupant::entry).collect()
    }

    /// What has to move; of two ways that are as short, the one that moves `changed`.
    pub fn moves(&self, changed: Option<LinkId>) -> Moves {
        moves(&self.now(), &self.wanted, changed)
    }

    /// True if it stands at the hook.
    pub fn has(&self, entry: OrderedEntry) -> bool {
        self.now().contains(&entry)
    }

    /// Where what moves or comes goes.
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

/// True if a chain is part of what contradicts itself.
fn is_about_chain(contradiction: &Contradiction) -> bool {
    contradiction.steps().iter().any(|step| step.first == OrderedEntry::Chain)
}

fn anchor(side: Side, via: &Via, program: Option<ProgramId>) -> ListAnchor {
    match (side, via, program) {
        (Side::Before, Via::TcxLink { link }, _) => ListAnchor::Before(*link),
        (Side::After, Via::TcxLink { link }, _) => ListAnchor::After(*link),
        (Side::Before, _, Some(program)) => ListAnchor::BeforeProgram(program),
        (Side::After, _, Some(program)) => ListAnchor::AfterProgram(program),
        (_, _, None) => ListAnchor::Last,
    }
}

/// Without the intents about programs of others where these contradict; then without any.
pub fn solve_or_fall_back(
    places: &[Place],
    chain: Option<TcChain<'_>>,
    standing: &[Occupant],
) -> (Solution, Option<Contradiction>) {
    let contradiction = match solve_with_chain(places, chain, standing) {
        Ok(solution) => return (solution, None),
        Err(contradiction) => contradiction,
    };
    let keep = |intent: &OrderIntent| {
        let own = |anchors: &[bpfmand_core::Anchor]| {
            let is_own = |anchor: &&bpfmand_core::Anchor| !matches!(anchor, bpfmand_core::Anchor::Foreign(_));
            anchors.iter().filter(is_own).cloned().collect()
        };
        OrderIntent { role: intent.role.clone(), before: own(&intent.before), after: own(&intent.after) }
    };
    let drop_all = |_: &OrderIntent| OrderIntent::default();
    let less = |keep: &dyn Fn(&OrderIntent) -> OrderIntent| -> Option<Solution> {
        let lessened = |places: &[Place]| -> Vec<Place> {
            places.iter().map(|place| Place { intent: keep(&place.intent), ..place.clone() }).collect()
        };
        let members = chain.map(|chain| lessened(chain.members)).unwrap_or_default();
        let chain = chain.map(|chain| TcChain { members: &members, ..chain });
        solve_with_chain(&lessened(places), chain, standing).ok()
    };
    let solution = less(&keep)
        .or_else(|| less(&drop_all))
        .unwrap_or_else(|| Solution { order: in_turns(places, chain), waiting: Vec::new() });
    (solution, Some(contradiction))
}

/// Returns links and chain in the order of turns alone.
fn in_turns(places: &[Place], chain: Option<TcChain<'_>>) -> Vec<OrderedEntry> {
    let is_before = |place: &Place| match place.turn {
        Turn::TenantsFirst => true,
        Turn::Machine => chain.is_none_or(|chain| !chain.is_open),
        Turn::TenantsLast => false,
    };
    let (before, behind): (Vec<&Place>, Vec<&Place>) = places.iter().partition(|place| is_before(place));
    let of = |place: &Place| OrderedEntry::Ours(place.link);
    let chain = chain.map(|_| OrderedEntry::Chain);
    before.into_iter().map(of).chain(chain).chain(behind.into_iter().map(of)).collect()
}
