//! Order among the programs of one hook of a cgroup, which the kernel maintains (Linux 6.17, and later releases of
//! 6.12). A new link gets its position by rank and intents, its own and those of present links; it moves no other.

use std::sync::Arc;

use bpfman_model::{
    Anchor, AttachPoint, CgroupPath, Contradiction, Foreign, GroupContents, KernelLinkId, LinkId, Occupant,
    OrderedEntry, Place, ProgramId, ProgramType, Side, Waiting, is_called, moves, solve,
};
use bpfmand_kernel::{Kernel, KernelError, LinkTarget, ListAnchor, Probe, ProgramKind};

use crate::engine::undo::{retry_once, undoing};
use crate::order::contradiction::solve_or_fall_back;
use crate::order::tcx::ListPlace;
use crate::order::{ensure_anchors_known, foreign_anchor};
use crate::state::records::{LinkRecord, ProgramRecord};
use crate::state::{GonePlace, Standing};
use crate::{Engine, EngineError, paths};

#[derive(Clone, Copy)]
pub(crate) struct CgroupHook<'a> {
    path: &'a CgroupPath,
    pub(crate) attach_type: u32,
    program: &'a ProgramRecord,
}

impl<'a> CgroupHook<'a> {
    pub(crate) fn of(program: &'a ProgramRecord, link: &'a LinkRecord) -> Option<Self> {
        let AttachPoint::Cgroup { path } = &link.point else { return None };
        let attach_type = attach_type(program);
        Some(Self { path, attach_type, program })
    }

    /// Returns whether the list has programs of several hooks: all LSM hooks share one attach type.
    pub(crate) fn is_mixed(&self) -> bool {
        self.program.program_type == ProgramType::LsmCgroup
    }

    pub(crate) fn name(&self) -> String {
        let hook = self.program.target.as_deref().unwrap_or(self.program.program_type.name());
        format!("{hook} of cgroup {}", self.path)
    }
}

fn attach_type(program: &ProgramRecord) -> u32 {
    ProgramKind::new(program.program_type, program.target.as_deref()).expected_attach_type
}

struct GroupOrder {
    places: Vec<Place>,
    revision: Option<u64>,
    standing: Vec<Occupant>,
    /// Leading programs that run before all others (`BPF_F_PREORDER`); none of the daemon's has that flag.
    preorder: usize,
    links: Vec<Option<KernelLinkId>>,
    wanted: Vec<OrderedEntry>,
    waiting: Vec<Waiting>,
    contradiction: Option<Contradiction>,
}

impl GroupOrder {
    fn now(&self) -> Vec<OrderedEntry> {
        self.standing.iter().map(Occupant::entry).collect()
    }

    /// Finds an order in which no other link has to move, with the link at `at` or as far back as possible. If there is
    /// none, uses the order with the link at `at`.
    fn solve(&mut self, link: LinkId, at: usize) {
        let own = self.places.remove(at);
        let ends = (0..=self.places.len()).rev().filter(|end| *end != at);
        for (number, at) in std::iter::once(at).chain(ends).chain([at]).enumerate() {
            let mut places = self.places.clone();
            places.insert(at, own.clone());
            let (solution, contradiction) = solve_or_fall_back(&places, None, &self.standing);
            (self.wanted, self.waiting, self.contradiction) =
                (solution.order, solution.waiting, contradiction);
            // Regardless of intents, the kernel runs these first.
            self.wanted
                .sort_by_key(|entry| !self.standing[..self.preorder].iter().any(|one| one.entry() == *entry));
            let is_last = number > self.places.len();
            if is_last
                || (self.contradiction.is_none() && self.in_between(OrderedEntry::Ours(link)).is_none())
            {
                self.places = places;
                return;
            }
        }
    }

    fn moves(&self, own: OrderedEntry) -> bool {
        let now = self.now();
        now.contains(&own) && moves(&now, &self.wanted, own.link()).moves.contains(&own)
    }

    fn in_between(&self, own: OrderedEntry) -> Option<LinkId> {
        let now = self.now();
        let also = moves(&now, &self.wanted, own.link()).moves;
        also.into_iter().find(|entry| *entry != own && now.contains(entry))?.link()
    }

    /// Returns the position; `None` if all neighbours lack links: beside those, the kernel attaches nothing.
    fn place(&self, own: OrderedEntry) -> Option<ListAnchor> {
        let now = self.now();
        let stays = moves(&now, &self.wanted, own.link()).stays;
        let at = self.wanted.iter().position(|entry| *entry == own)?;
        // The kernel attaches no link beside a program of the other class (with or without `BPF_F_PREORDER`).
        let stays = |entry: &&OrderedEntry| stays.contains(entry) && !now[..self.preorder].contains(entry);
        let next = self.wanted[at + 1..].iter().find(stays);
        let last = self.wanted[..at].iter().rev().find(stays);
        let link = |entry: &OrderedEntry| {
            now.iter().position(|other| other == entry).and_then(|at| self.links.get(at).copied().flatten())
        };
        match (last, next) {
            (_, None) => Some(ListAnchor::Last),
            // If the next one has `BPF_F_PREORDER`, the kernel refuses this position, which reveals the flag.
            (None, Some(next)) => Some(link(next).map_or(ListAnchor::First, ListAnchor::Before)),
            (Some(last), Some(next)) => {
                link(next).map(ListAnchor::Before).or_else(|| link(last).map(ListAnchor::After))
            }
        }
    }
}

fn ensure_not_before(
    preorder: &[Occupant],
    hook: &CgroupHook<'_>,
    link: &LinkRecord,
) -> Result<(), EngineError> {
    let names = |anchor: &Anchor| {
        let Anchor::Foreign(name) = anchor else { return false };
        let mut others = preorder.iter().filter_map(Occupant::foreign);
        others.any(|other| is_called(other, name))
    };
    let named = link.order.anchors().find(|(side, anchor)| *side == Side::Before && names(anchor));
    named.map_or(Ok(()), |(_, anchor)| {
        Err(EngineError::NoForeignOrder {
            anchor: anchor.clone(),
            hook: hook.name(),
            reason: "it was attached with BPF_F_PREORDER and runs before all programs without, as bpfman's are",
        })
    })
}

fn no_known_order(hook: &CgroupHook<'_>, link: &LinkRecord) -> EngineError {
    let reason = "programs of it are also attached to a cgroup above, some with BPF_F_PREORDER, so that the \
                  kernel's lists do not tell in which order they run";
    match foreign_anchor(link) {
        Some(anchor) => EngineError::NoForeignOrder { anchor: anchor.clone(), hook: hook.name(), reason },
        None => EngineError::Invalid(format!("{}: {reason}", hook.name())),
    }
}

impl<K: Kernel> Engine<K> {
    pub(crate) fn check_group(
        &self,
        program: &ProgramRecord,
        link: &Arc<LinkRecord>,
    ) -> Result<(), EngineError> {
        let Some(hook) = CgroupHook::of(program, link) else { return Ok(()) };
        // A role alone needs no support by the kernel.
        if link.order.anchors().next().is_some() {
            self.kernel.features().require(&Probe::CGROUP_ORDER)?;
        }
        let Some(order) = self.group_order(hook, link)? else { return Ok(()) };
        if let Some(contradiction) = order.contradiction {
            return Err(self.contradiction(hook.name(), contradiction, link.id));
        }
        ensure_anchors_known(&order.waiting, || hook.name(), link.id, &order.places, &order.standing)?;
        ensure_not_before(&order.standing[..order.preorder], &hook, link)?;
        let own = OrderedEntry::Ours(link.id);
        if let Some(other) = order.in_between(own) {
            return Err(EngineError::InBetween { hook: hook.name(), other });
        }
        match (order.place(own), foreign_anchor(link)) {
            (None, Some(anchor)) => Err(EngineError::NoForeignOrder {
                anchor: anchor.clone(),
                hook: hook.name(),
                reason: "the programs on both sides of that place were attached without links, and the kernel puts no \
                         link between them",
            }),
            _ => Ok(()),
        }
    }

    pub(crate) fn group_place(
        &self,
        program: &ProgramRecord,
        link: &LinkRecord,
    ) -> Result<ListPlace, EngineError> {
        let last = (ListAnchor::Last, None);
        let Some(hook) = CgroupHook::of(program, link) else { return Ok(last) };
        let Some(order) = self.group_order(hook, &Arc::new(link.clone()))? else { return Ok(last) };
        let anchor = order.place(OrderedEntry::Ours(link.id)).unwrap_or(ListAnchor::Last);
        Ok((anchor, order.revision))
    }

    /// Refuses an attached link that runs too late: only attaching reveals some programs with `BPF_F_PREORDER`.
    pub(crate) fn ensure_group_order(
        &self,
        program: &ProgramRecord,
        link: &LinkRecord,
    ) -> Result<(), EngineError> {
        let Some(hook) = CgroupHook::of(program, link).filter(|hook| !hook.is_mixed()) else { return Ok(()) };
        if !link.order.names_foreign() {
            return Ok(());
        }
        let contents = self.kernel.group_contents(hook.path, hook.attach_type)?;
        let count = self.preorder_of(&contents).ok_or_else(|| no_known_order(&hook, link))?;
        let preorder = contents.entries.iter().take(count);
        let preorder = preorder.map(|(program, _)| self.other(*program)).collect::<Result<Vec<_>, _>>()?;
        ensure_not_before(&preorder, &hook, link)
    }

    /// Returns the number of programs attached with `BPF_F_PREORDER`, which run first; `None` if unknown.
    pub(crate) fn preorder_of(&self, contents: &GroupContents) -> Option<usize> {
        let is_known = |(_, link): &(ProgramId, Option<KernelLinkId>)| {
            link.is_some_and(|link| self.preorder_links.contains(link))
        };
        let known = contents.entries.iter().rposition(is_known).map_or(0, |at| at + 1);
        contents.preorder.map(|told| told.max(known))
    }

    /// Returns the status of a link whose cgroup is gone; `None` if the cgroup exists, or if that is unknown.
    pub(crate) fn gone_group(&self, program: &ProgramRecord, link: &LinkRecord) -> Option<Standing> {
        let hook = CgroupHook::of(program, link)?;
        let place = match (self.kernel.group_contents(hook.path, hook.attach_type), link.group()) {
            (Err(KernelError::NoControlGroup { .. }), _) => GonePlace::Group,
            (Ok(now), Some(id)) if link.boot == self.boot && now.id != id => GonePlace::OtherGroup,
            _ => return None,
        };
        Some(Standing::PlaceGone { place, why: None })
    }

    fn other(&self, program: ProgramId) -> Result<Occupant, EngineError> {
        let name = self.kernel.program(program)?.map(|facts| facts.name).unwrap_or_default();
        Ok(Occupant::Foreign(Foreign { program, name }))
    }

    pub(crate) fn waits_in_group(&self, program: &ProgramRecord, link: &Arc<LinkRecord>) -> Vec<Waiting> {
        let Some(hook) = CgroupHook::of(program, link).filter(|_| !link.order.is_empty()) else {
            return Vec::new();
        };
        let waiting = if link.order.names_foreign() {
            self.group_order(hook, link).ok().flatten().map(|order| order.waiting)
        } else {
            // Avoid a query of the kernel here: lists of all links call this for each.
            let places = self.places_in_group(hook, link);
            solve(&places, &[]).ok().map(|solution| solution.waiting)
        };
        waiting.into_iter().flatten().filter(|waiting| waiting.link == link.id).collect()
    }

    fn group_order(
        &self,
        hook: CgroupHook<'_>,
        link: &Arc<LinkRecord>,
    ) -> Result<Option<GroupOrder>, EngineError> {
        if !self.kernel.features().cgroup_order {
            return Ok(None);
        }
        let mut places = self.places_in_group(hook, link);
        let is_plain = |place: &Place| place.intent.is_empty() && place.turn == places[0].turn;
        if places.iter().all(is_plain) {
            return Ok(None);
        }
        let contents = self.kernel.group_contents(hook.path, hook.attach_type)?;
        let mut ours = Vec::with_capacity(places.len());
        for Place { link, .. } in &places {
            ours.extend(self.pinned_link(&paths::link(*link))?.map(|facts| (facts.id, *link)));
        }
        let (mut standing, mut kernel_links) = (Vec::new(), Vec::new());
        let all_preorder = self.preorder_of(&contents);
        if all_preorder.is_none() && link.order.names_foreign() && !hook.is_mixed() {
            return Err(no_known_order(&hook, link));
        }
        let all_preorder = all_preorder.unwrap_or(0);
        let mut preorder = 0;
        for (at, (program, link)) in contents.entries.into_iter().enumerate() {
            let own = ours.iter().find(|(kernel_link, _)| Some(*kernel_link) == link);
            match own {
                Some((_, own)) => standing.push(Occupant::Ours(*own)),
                None if hook.is_mixed() => continue,
                None => standing.push(self.other(program)?),
            }
            kernel_links.push(link);
            let is_others = standing.iter().all(|one| matches!(one, Occupant::Foreign(_)));
            preorder += usize::from(at < all_preorder && is_others);
        }
        // Keep current positions as far as possible: the kernel moves no links.
        places.sort_by_key(|place| {
            let at = standing.iter().position(|other| *other == Occupant::Ours(place.link));
            (place.turn, at.unwrap_or(usize::MAX), place.sequence)
        });
        let at = places.iter().position(|place| place.link == link.id).unwrap_or(places.len());
        let mut order = GroupOrder {
            places,
            revision: contents.revision.filter(|_| !hook.is_mixed()),
            standing,
            preorder,
            links: kernel_links,
            wanted: Vec::new(),
            waiting: Vec::new(),
            contradiction: None,
        };
        order.solve(link.id, at);
        Ok(Some(order))
    }

    /// Returns the programs at the hook in the order in which they run; `None` if the kernel keeps none.
    pub(crate) fn occupants(
        &self,
        hook: CgroupHook<'_>,
        link: &Arc<LinkRecord>,
    ) -> Result<Option<Vec<Occupant>>, EngineError> {
        Ok(self.group_order(hook, link)?.map(|order| order.standing))
    }

    fn places_in_group(&self, hook: CgroupHook<'_>, link: &Arc<LinkRecord>) -> Vec<Place> {
        let state = self.state();
        let is_here = |other: &&Arc<LinkRecord>| {
            let path = matches!(&other.point, AttachPoint::Cgroup { path } if path == hook.path);
            path && other.id != link.id
                && state.member(other.program).is_some_and(|program| {
                    attach_type(program) == hook.attach_type && program.target == hook.program.target
                })
        };
        state.links.values().filter(is_here).chain([link]).map(|link| state.place(link)).collect()
    }

    /// Changes the order. A moved link is attached at its new position before the old one ends.
    pub(crate) fn update_group(
        &self,
        program: &ProgramRecord,
        new: &Arc<LinkRecord>,
    ) -> Result<(), EngineError> {
        self.check_group(program, new)?;
        let own = OrderedEntry::Ours(new.id);
        let hook = CgroupHook::of(program, new);
        let order = hook.map(|hook| self.group_order(hook, new)).transpose()?.flatten();
        if !order.is_some_and(|order| order.moves(own)) {
            self.step("update", "record");
            return self.record_link(new, None);
        }
        self.ensure_not_lost([&**new])?;
        let handle = self.loaded_program(program.id)?;
        let moved = Arc::new(LinkRecord { operation: self.operation(), ..(**new).clone() });
        let target = || -> Result<LinkTarget<'_>, EngineError> { self.link_target(program, &moved) };
        undoing(|undo| {
            self.attach_retrying(&handle, target, moved.operation, undo)?;
            self.ensure_group_order(program, new)?;
            self.step("move", "record");
            self.record_link(&moved, None)
        })?;
        self.step("move", "move into place");
        retry_once(|| self.place_link(&moved))
    }
}
