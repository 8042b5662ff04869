//! Order among what the kernel runs one by one at a tcx hook: links of ours, links and programs of others.

use std::sync::Arc;

use bpfmand_core::{
    Contradiction, Foreign, HookContents, HookKey, HookKind, Interface, LinkId, Moves, OrderIntent,
    OrderedEntry, Place, ProgramId, Side, Solution, Standing, Via, Waiting, moves, place_block, solve,
};
use bpfmand_kernel::{Anchor, Kernel};

use crate::chain::hook_text;
use crate::order::{foreign_anchor, refuse_unknown};
use crate::records::{Entry, HookRecord, LinkRecord};
use crate::{Engine, EngineError, paths};

/// How often a change is tried again when others change the hook between the look and the change.
pub const TRIES: usize = 16;

/// A tcx hook as it stands, and as it is to be.
pub struct TcxOrder {
    contents: HookContents,
    standing: Vec<Standing>,
    /// What is to run, first to last.
    pub wanted: Vec<OrderedEntry>,
    /// Intents that nothing at the hook answers to.
    pub waiting: Vec<Waiting>,
    /// Why not all intents hold, if they cannot.
    pub contradiction: Option<Contradiction>,
}

/// Where the kernel is to put a link, and the revision of the hook that this was decided by.
pub type TcxPlace = (Anchor, Option<u64>);

impl<K: Kernel> Engine<K> {
    /// What stands at the tcx hook of a key: ours of this hook by link, all else as programs of others.
    fn standing(
        &self,
        key: &HookKey,
        interface: &Interface,
    ) -> Result<(HookContents, Vec<Standing>), EngineError> {
        let mut contents = self.kernel.hook_contents(interface.netns.as_deref(), key)?;
        contents.entries.retain(|entry| matches!(entry.via, Via::TcxLink { .. } | Via::TcxProgram));
        let mut ours = Vec::new();
        let links: Vec<LinkId> = {
            let state = self.state();
            state.links.of_hook(key).map(|link| link.id).collect()
        };
        let pins: Vec<_> = match key.kind {
            HookKind::Tcx(_) => links.into_iter().map(|link| (link, paths::link(link))).collect(),
            // A chain is one link, which stands for all its members.
            _ => links.first().map(|link| (*link, paths::hook_link(key))).into_iter().collect(),
        };
        for (link, path) in pins {
            if let Some(pin) = self.kernel.open_pin(&path)? {
                ours.push((self.kernel.link_of(&pin)?.id, link));
            }
        }
        let mut standing = Vec::with_capacity(contents.entries.len());
        for entry in &contents.entries {
            let own = match entry.via {
                Via::TcxLink { link } => ours.iter().find(|(id, _)| *id == link).map(|(_, own)| *own),
                _ => None,
            };
            standing.push(match (own, entry.program) {
                (Some(own), _) => Standing::Ours(own),
                (None, program) => {
                    let program = program.unwrap_or(ProgramId(0));
                    let name = self.kernel.program(program)?.map(|facts| facts.name).unwrap_or_default();
                    Standing::Foreign(Foreign { program, name })
                }
            });
        }
        Ok((contents, standing))
    }

    /// How a tcx hook is to be, with `links` as ours. Where intents contradict each other because of how others' programs
    /// stand, those about them are left out.
    pub(crate) fn tcx_order(
        &self,
        key: &HookKey,
        interface: &Interface,
        links: &[Arc<LinkRecord>],
    ) -> Result<TcxOrder, EngineError> {
        let (contents, standing) = self.standing(key, interface)?;
        let places = self.state().places(key, links, None);
        let (solution, contradiction) = solve_or_fall_back(&places, &standing);
        Ok(TcxOrder { contents, standing, wanted: solution.order, waiting: solution.waiting, contradiction })
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
            return Err(self.contradiction(key, interface, contradiction, changed.id));
        }
        let places = self.state().places(key, &links, None);
        refuse_unknown(&order.waiting, key, interface, changed.id, &places, &order.standing)
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
    pub(crate) fn tcx_place(&self, key: &HookKey, link: &LinkRecord) -> Result<TcxPlace, EngineError> {
        let (Some((interface, _)), true) = (link.point.hook(), self.kernel.features().tcx) else {
            return Ok((Anchor::Last, None));
        };
        let links = self.with_changed(key, &Arc::new(link.clone()));
        let order = self.tcx_order(key, interface, &links)?;
        Ok(order.place(link.id))
    }

    /// Where the one link of a tc chain goes among programs of others, if its members care; else the end.
    ///
    /// With `changed`, its intents have to name what is there.
    pub(crate) fn block_place(
        &self,
        key: &HookKey,
        interface: &Interface,
        links: &[Arc<LinkRecord>],
        changed: Option<&LinkRecord>,
    ) -> Result<Option<BlockOrder>, EngineError> {
        if !links.iter().any(|link| link.order.names_foreign()) {
            return Ok(None);
        }
        let (contents, standing) = self.standing(key, interface)?;
        let foreign: Vec<Foreign> = standing.iter().filter_map(Standing::foreign).cloned().collect();
        let own = standing.iter().position(|entry| matches!(entry, Standing::Ours(_)));
        let places = self.state().places(key, links, None);
        let now = own.unwrap_or(foreign.len());
        let place = match (place_block(&places, &foreign, now), changed) {
            (Ok(place), _) => place,
            (Err(contradiction), Some(changed)) => {
                return Err(self.contradiction(key, interface, contradiction, changed.id));
            }
            // Others came to stand so that not all can hold: it stays where it is.
            (Err(contradiction), None) => {
                return Ok(Some(BlockOrder {
                    place: None,
                    waiting: Vec::new(),
                    contradiction: Some(contradiction),
                }));
            }
        };
        if let Some(changed) = changed {
            refuse_unknown(&place.waiting, key, interface, changed.id, &[], &standing)?;
        }
        let others: Vec<_> = contents
            .entries
            .iter()
            .zip(&standing)
            .filter(|(_, entry)| entry.foreign().is_some())
            .map(|(entry, _)| entry)
            .collect();
        let before = place.after.checked_sub(1).and_then(|at| others.get(at));
        let anchor = match (others.get(place.after), before) {
            (Some(next), _) => anchor(Side::Before, &next.via, next.program),
            (None, Some(last)) => anchor(Side::After, &last.via, last.program),
            (None, None) => Anchor::Last,
        };
        let right = own == Some(place.after);
        Ok(Some(BlockOrder {
            place: (!right).then_some((anchor, contents.revision)),
            waiting: place.waiting,
            contradiction: None,
        }))
    }

    /// Refuses intents about programs of others at a chain that is not entered by tcx.
    pub(crate) fn refuse_foreign_order(
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
        Err(EngineError::NoForeignOrder { anchor: anchor.clone(), hook: hook_text(key, interface), reason })
    }
}

/// Where the one link of a chain is to be.
pub struct BlockOrder {
    /// Where it has to go; none if it stands right.
    pub place: Option<TcxPlace>,
    /// Intents that wait.
    pub waiting: Vec<Waiting>,
    /// Why not all intents hold, if they cannot.
    pub contradiction: Option<Contradiction>,
}

impl TcxOrder {
    /// What runs now, first to last.
    fn now(&self) -> Vec<OrderedEntry> {
        let entry = |standing: &Standing| match standing {
            Standing::Ours(link) => OrderedEntry::Ours(*link),
            Standing::Foreign(foreign) => OrderedEntry::Foreign(foreign.program),
        };
        self.standing.iter().map(entry).collect()
    }

    /// What has to move; of two ways that are as short, the one that moves `changed`.
    pub fn moves(&self, changed: Option<LinkId>) -> Moves {
        moves(&self.now(), &self.wanted, changed)
    }

    /// True if a link stands at the hook.
    pub fn has(&self, link: LinkId) -> bool {
        self.standing.contains(&Standing::Ours(link))
    }

    /// Where a link that moves or comes goes.
    pub fn place(&self, link: LinkId) -> TcxPlace {
        let beside = self.moves(Some(link)).beside(link, &self.wanted);
        let anchor = beside.and_then(|(side, entry)| {
            let at = self.now().iter().position(|other| *other == entry)?;
            let found = self.contents.entries.get(at)?;
            Some(anchor(side, &found.via, found.program))
        });
        (anchor.unwrap_or(Anchor::Last), self.contents.revision)
    }
}

fn anchor(side: Side, via: &Via, program: Option<ProgramId>) -> Anchor {
    match (side, via, program) {
        (Side::Before, Via::TcxLink { link }, _) => Anchor::Before(*link),
        (Side::After, Via::TcxLink { link }, _) => Anchor::After(*link),
        (Side::Before, _, Some(program)) => Anchor::BeforeProgram(program),
        (Side::After, _, Some(program)) => Anchor::AfterProgram(program),
        (_, _, None) => Anchor::Last,
    }
}

/// Without the intents about programs of others where these contradict; then without any.
fn solve_or_fall_back(places: &[Place], standing: &[Standing]) -> (Solution, Option<Contradiction>) {
    let contradiction = match solve(places, standing) {
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
        let places: Vec<Place> =
            places.iter().map(|place| Place { intent: keep(&place.intent), ..place.clone() }).collect();
        solve(&places, standing).ok()
    };
    let solution = less(&keep).or_else(|| less(&drop_all)).unwrap_or_else(|| Solution {
        order: places.iter().map(|place| OrderedEntry::Ours(place.link)).collect(),
        waiting: Vec::new(),
    });
    (solution, Some(contradiction))
}
