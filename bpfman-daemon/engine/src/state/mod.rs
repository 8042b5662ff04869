//! Records in memory, with indexes.

pub mod budget_record;
pub mod chain_record;
mod changes;
mod concerns;
pub mod cpu_time;
mod declared_bytes;
mod encoding;
mod extensions;
pub mod filter_pin;
mod found;
pub mod guard_record;
pub mod hook_names;
mod hooks;
mod leases;
mod links;
mod lost;
mod map_group;
mod metadata;
mod migrations;
pub mod namespace_number;
pub mod paths;
mod pauses;
mod pin_users;
mod program_record;
pub mod records;
mod refusals;
mod standing;
mod stray;
mod turn;
mod unfinished;
mod unsent;
pub mod waiting;
mod xdp_placement;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use bpfman_model::{
    CpuExcess, HookKey, HookNetns, Interface, LinkId, MatchingId, OperationId, OrderedEntry, Place,
    ProgramId, ProgramUid, order_chain, order_links, solve,
};
use extensions::Extensions;
use hooks::Hooks;
use leases::Leases;
use links::Links;
use pauses::Pauses;
use pin_users::{PinUsers, Previous};
use refusals::RefusedTime;

use crate::state::records::{
    HookRecord, LeftoverFilter, LeftoverRecord, LinkRecord, MatchingRecord, ProgramRecord,
};

pub use bpfmand_store::BlobId;
pub use concerns::{HookConcern, SendersConcern};
pub use encoding::{encode, parse};
pub use extensions::{ExtendedProgram, ExtendsRecord};
pub use found::{FoundFilter, FoundFilters, HookPresence};
pub use leases::Leased;
pub use lost::{LostPrograms, Renewed};
pub use map_group::{
    BadClaim, MapGroup, OWNER_KEY, PROGRAM_NAME_KEY, PROGRAM_NAMESPACE_KEY, application_claim,
    recorded_application,
};
pub use metadata::{APPLICATION_KEYS, check_metadata, ensure_fits, has_pair, with_application};
pub use migrations::{MIGRATIONS, SCHEMA};
pub use pauses::payer;
pub use pin_users::version_paths;
pub use refusals::RefusalCredit;
pub use standing::{GonePlace, HookPart, Loss, Standing};
pub use stray::{Stray, StrayKind};
pub use unfinished::Unfinished;
pub use unsent::Unsent;
pub use xdp_placement::XdpPlacement;

pub use changes::{Change, Changes, Committed, Record, RecordKey, Written};
pub use leases::LeaseId;

#[derive(Debug, Default)]
pub struct State {
    pub programs: BTreeMap<ProgramUid, Arc<ProgramRecord>>,
    /// Changed by [`State::put_program`] and [`State::remove_program`] only, like `programs` and `extensions`.
    pub holdings: PinUsers,
    pub extensions: Extensions,
    pub previous: Previous,
    pub boot: String,
    pub by_id: HashMap<ProgramId, ProgramUid>,
    pub links: Links,
    pub hooks: Hooks,
    pub matchings: BTreeMap<MatchingId, Arc<MatchingRecord>>,
    pub unmatched: BTreeMap<MatchingId, Vec<Unmatched>>,
    pub drifted: HashMap<HookKey, Standing>,
    pub drifted_links: HashMap<LinkId, Standing>,
    /// Descriptions of program array slots whose program was unloaded, by the program that tail-calls them.
    pub slot_concerns: HashMap<(ProgramUid, OperationId), BTreeSet<String>>,
    /// Network namespaces in which a change may have altered the permission of tenants' programs to send.
    pub unsettled: HashSet<HookNetns>,
    /// Hooks whose links, programs or extensions changed since the last call of `settle_senders`.
    pub touched: HashSet<HookKey>,
    pub senders_concerns: HashMap<HookKey, SendersConcern>,
    pub disordered: HashMap<HookKey, String>,
    pub warned: BTreeMap<ProgramUid, CpuExcess>,
    /// Programs whose rollback for excess failed at the last check.
    pub not_taken_back: HashSet<ProgramUid>,
    pub departed: Option<cpu_time::FinalReadings>,
    pub pauses: Pauses,
    pub refusals: RefusedTime,
    pub lost: LostPrograms,
    /// True if it is unknown whether the last change is on disk.
    pub unsure: bool,
    pub in_doubt: Vec<RecordKey>,
    /// New versions of programs being replaced. Entries are added under the locks of the program and its hooks.
    pub replacing: HashMap<ProgramUid, Arc<ProgramRecord>>,
    pub strays: Vec<Stray>,
    pub strays_scanned: bool,
    pub uncleared: Vec<UnclearedLeftovers>,
    pub unfinished: Vec<Unfinished>,
    /// Filters whose record has ended, until they are removed: their namespaces still need their numbers.
    pub ending_filters: Vec<LeftoverFilter>,
    pub leases: Leases,
    /// Operations whose leftovers are gone from the kernel, but not yet from the store.
    pub cleaned: Vec<OperationId>,
    pub counter: u64,
    /// Numbers below this one are reserved in the store: a restart begins there.
    pub reserved: u64,
}

/// Leftovers of an operation that the kernel refused to remove.
#[derive(Debug)]
pub struct UnclearedLeftovers {
    pub operations: Vec<OperationId>,
    pub leftover: LeftoverRecord,
    pub hooks: Vec<HookKey>,
    /// Ended hooks whose links and filters are among the leftovers: their chains are needed until these are gone.
    pub ended: Vec<Arc<HookRecord>>,
}

impl UnclearedLeftovers {
    pub const fn without_hooks(operations: Vec<OperationId>, leftover: LeftoverRecord) -> Self {
        Self { operations, leftover, hooks: Vec::new(), ended: Vec::new() }
    }
}

#[derive(Clone, Debug)]
pub struct Unmatched {
    pub interface: Interface,
    pub reason: String,
    pub tried: Instant,
}

impl State {
    pub fn program(&self, id: ProgramId) -> Option<&Arc<ProgramRecord>> {
        self.programs.get(self.by_id.get(&id)?)
    }

    pub fn put_program(&mut self, record: Arc<ProgramRecord>) {
        let mut is_lost = false;
        if let Some(old) = self.programs.get(&record.uid).cloned() {
            self.forget_id(old.id, record.uid);
            self.holdings.remove(&old);
            self.extensions.remove(&old);
            // Keep the program lost if the change did not load it again.
            is_lost = old.operation == record.operation && self.lost.contains(&record.uid);
        }
        self.holdings.add(&record);
        self.extensions.add(&record);
        if is_lost {
            self.by_id.entry(record.id).or_insert(record.uid);
        } else {
            self.lost.remove(&record.uid);
            self.by_id.insert(record.id, record.uid);
        }
        self.programs.insert(record.uid, record);
    }

    pub fn remove_program(&mut self, uid: ProgramUid) {
        if let Some(old) = self.programs.remove(&uid) {
            self.previous.remove(&uid);
            self.warned.remove(&uid);
            self.not_taken_back.remove(&uid);
            self.lost.remove(&uid);
            self.holdings.remove(&old);
            self.extensions.remove(&old);
            self.forget_id(old.id, uid);
            self.matchings.retain(|_, matching| matching.program != uid);
            if !self.lost.is_empty() {
                // A program that had to yield its id to this one can be named again.
                self.index_ids();
            }
        }
    }

    /// Removes a program's id from the index, unless another program has it: ids start over with each boot.
    fn forget_id(&mut self, id: ProgramId, uid: ProgramUid) {
        if self.by_id.get(&id) == Some(&uid) {
            self.by_id.remove(&id);
        }
    }

    /// Rebuilds the index by kernel id. Of two records with one id, the later one is of this boot.
    pub fn index_ids(&mut self) {
        let mut all: Vec<_> = self.programs.values().collect();
        all.sort_unstable_by_key(|program| (!self.lost.contains(&program.uid), program.operation));
        self.by_id = all.into_iter().map(|program| (program.id, program.uid)).collect();
    }

    pub fn largest_number(&self) -> u64 {
        let versions = self.previous.values().map(|previous| previous.program.operation.0);
        let programs = self.programs.values().flat_map(|program| [program.uid.0, program.operation.0]);
        let programs = programs.chain(versions);
        let links =
            self.links.values().flat_map(|link| [u64::from(link.id.0), link.operation.0, link.sequence]);
        let hooks = self.hooks.values().map(|hook| hook.operation.0);
        let matchings = self.matchings.keys().map(|id| u64::from(id.0));
        programs.chain(links).chain(hooks).chain(matchings).max().unwrap_or(0)
    }

    /// Returns whether a record needs a path, except those of `without`. Lost programs need none.
    pub fn is_claimed(&self, path: &str, without: &[ProgramUid]) -> bool {
        let stays = |uid: &ProgramUid| !without.contains(uid);
        let is_link = || {
            let id = path.strip_prefix(paths::LINKS).and_then(|name| name.strip_prefix('/')?.parse().ok());
            id.is_some_and(|id| self.links.contains_key(&LinkId(id)))
        };
        let is_loaded = |uid: &ProgramUid| {
            stays(uid) && self.previous.get(uid).is_some_and(|previous| previous.boot == self.boot)
        };
        self.hooks.have_pin(path)
            || is_link()
            || self.holdings.holders(path).iter().any(|uid| stays(uid) && !self.lost.contains(uid))
            || self.previous.holdings.holders(path).iter().any(is_loaded)
    }

    pub fn needs_bytecode(&self, blob: &str) -> bool {
        self.holdings.needs_bytecode(blob) || self.previous.holdings.needs_bytecode(blob)
    }

    pub fn links_of(&self, program: ProgramUid) -> impl Iterator<Item = &Arc<LinkRecord>> {
        self.links.of_program(program)
    }

    pub fn matchings_of(&self, program: ProgramUid) -> Vec<MatchingId> {
        let all = self.matchings.values();
        all.filter(|matching| matching.program == program).map(|matching| matching.id).collect()
    }

    pub fn links_of_matching(&self, matching: MatchingId) -> impl Iterator<Item = &Arc<LinkRecord>> {
        self.links.values().filter(move |link| link.matching == Some(matching))
    }

    pub fn chain(&self, key: &HookKey) -> Vec<Arc<LinkRecord>> {
        let newcomer = self.hooks.get(key).and_then(|hook| hook.newcomer);
        let links = self.links.of_hook(key).cloned().collect();
        self.order(key, links, newcomer)
    }

    pub fn members(&self, key: &HookKey) -> Vec<Arc<LinkRecord>> {
        let mut links = self.chain(key);
        links.retain(|link| !self.is_withheld(link));
        links
    }

    pub fn is_withheld(&self, link: &LinkRecord) -> bool {
        let hook = link.hook.and_then(|key| self.hooks.get(&key));
        hook.is_some_and(|hook| hook.withheld.contains(&link.id))
    }

    pub fn order(
        &self,
        key: &HookKey,
        links: Vec<Arc<LinkRecord>>,
        newcomer: Option<LinkId>,
    ) -> Vec<Arc<LinkRecord>> {
        let places = self.places(key, &links, newcomer);
        let order: Vec<LinkId> = match solve(&places, &[]) {
            Ok(solution) => solution.order.iter().filter_map(OrderedEntry::link).collect(),
            // Changes that lead to a contradiction are refused; if there is one anyway, an order is still needed.
            Err(_) => places.iter().map(|place| place.link).collect(),
        };
        let by_id: HashMap<LinkId, Arc<LinkRecord>> = links.into_iter().map(|link| (link.id, link)).collect();
        order.iter().filter_map(|link| by_id.get(link).cloned()).collect()
    }

    pub fn places(&self, key: &HookKey, links: &[Arc<LinkRecord>], newcomer: Option<LinkId>) -> Vec<Place> {
        let mut places: Vec<Place> = links.iter().map(|link| self.place(link)).collect();
        match key.kind {
            bpfman_model::HookKind::Tcx(_) => order_links(&mut places),
            _ => order_chain(&mut places, newcomer),
        }
        places
    }

    pub fn place(&self, link: &LinkRecord) -> Place {
        let program = self.member(link.program);
        Place {
            link: link.id,
            program: link.program,
            name: program.map(|program| program.name.clone()).unwrap_or_default(),
            turn: program.map(|program| link.turn(program)).unwrap_or_default(),
            priority: link.point.priority().unwrap_or(0),
            sequence: link.sequence,
            intent: link.order.clone(),
        }
    }

    /// Returns a program for the building of chains: its new version while it is being replaced.
    pub fn member(&self, program: ProgramUid) -> Option<&Arc<ProgramRecord>> {
        self.replacing.get(&program).or_else(|| self.programs.get(&program))
    }

    pub fn users_of_folder(&self, folder: ProgramId) -> Vec<ProgramId> {
        let folder = paths::maps(folder).display().to_string();
        let holders = self.holdings.holders(&folder).iter();
        let mut users: Vec<ProgramId> =
            holders.filter_map(|uid| self.programs.get(uid)).map(|program| program.id).collect();
        users.sort_unstable();
        users
    }
}
