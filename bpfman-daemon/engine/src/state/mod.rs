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
mod pin_users;
mod program_record;
pub mod records;
mod standing;
mod stray;
mod turn;
mod unfinished;
mod unsent;
pub mod waiting;
mod xdp_placement;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use bpfmand_core::{
    CpuExcess, HookKey, HookNetns, Interface, LinkId, MatchingId, OperationId, OrderedEntry, Place,
    ProgramId, ProgramUid, order_chain, order_links, solve,
};
use extensions::Extensions;
use hooks::Hooks;
use leases::Leases;
use links::Links;
use pin_users::{PinUsers, Previous};

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
pub use pin_users::version_paths;
pub use standing::{HookPart, Loss, Standing};
pub use stray::{Stray, StrayKind};
pub use unfinished::Unfinished;
pub use unsent::Unsent;
pub use xdp_placement::XdpPlacement;

pub use changes::{Change, Changes, Committed, Record, RecordKey, Written};
pub use leases::LeaseId;

/// Contents of the store in memory, with the state that is not stored.
#[derive(Debug, Default)]
pub struct State {
    /// Programs by uid.
    pub programs: BTreeMap<ProgramUid, Arc<ProgramRecord>>,
    /// Index of the objects that programs use. Changed by [`State::put_program`] and [`State::remove_program`] only,
    /// like `programs`.
    pub holdings: PinUsers,
    /// Index of extensions, changed likewise.
    pub extensions: Extensions,
    /// Versions of programs before their last replacement.
    pub previous: Previous,
    /// This boot.
    pub boot: String,
    /// Uids of programs by kernel id.
    pub by_id: HashMap<ProgramId, ProgramUid>,
    /// Links by id.
    pub links: Links,
    /// Hooks by key.
    pub hooks: Hooks,
    /// Attachments to all interfaces that match, by id.
    pub matchings: BTreeMap<MatchingId, Arc<MatchingRecord>>,
    /// Interfaces at which attachments by interface selectors failed.
    pub unmatched: BTreeMap<MatchingId, Vec<Unmatched>>,
    /// Differences from the records at hooks of chains that could not be repaired.
    pub drifted: HashMap<HookKey, Standing>,
    /// Differences of links that are not members of chains.
    pub drifted_links: HashMap<LinkId, Standing>,
    /// Network namespaces in which programs of tenants may send what they may not since the last change.
    pub unsettled: HashSet<HookNetns>,
    /// Hooks whose own links, programs or extensions changed since then.
    pub touched: HashSet<HookKey>,
    /// Chains with members of tenants that cannot be built as they should.
    pub senders_concerns: HashMap<HookKey, SendersConcern>,
    /// Reasons why links at a hook do not stand in their order.
    pub disordered: HashMap<HookKey, String>,
    /// Programs that exceed their CPU limit and still run.
    pub warned: BTreeMap<ProgramUid, CpuExcess>,
    /// Programs whose rollback for excess failed at the last check.
    pub not_taken_back: HashSet<ProgramUid>,
    /// Final readings of CPU time since the last check, if CPU time is measured.
    pub departed: Option<cpu_time::FinalReadings>,
    /// Programs of another boot that could not be loaded again.
    pub lost: LostPrograms,
    /// True if it is unknown whether the last change is on disk.
    pub unsure: bool,
    /// Records of such changes.
    pub in_doubt: Vec<RecordKey>,
    /// New versions of programs that are being replaced. An entry is added by the holder of the program's and its
    /// hooks' locks.
    pub replacing: HashMap<ProgramUid, Arc<ProgramRecord>>,
    /// Objects in the bpffs without a record, as found by the last start.
    pub strays: Vec<Stray>,
    /// True if the last start has searched for strays.
    pub knows_strays: bool,
    /// Leftovers of operations that could not be removed from the kernel yet.
    pub uncleared: Vec<UnclearedLeftovers>,
    /// Steps of failed operations that could not be undone yet.
    pub unfinished: Vec<Unfinished>,
    /// Filters whose record has ended, until they are removed. Their namespaces still need their numbers.
    pub ending_filters: Vec<LeftoverFilter>,
    /// Chains that are kept by operations, besides those that hooks' records name.
    pub leases: Leases,
    /// Operations whose leftovers are gone from the kernel, but not yet from the store.
    pub cleaned: Vec<OperationId>,
    /// Next number for a new id.
    pub counter: u64,
    /// Numbers below this one are reserved in the store: a restart begins there.
    pub reserved: u64,
}

/// Leftovers of an operation that the kernel refused to remove.
#[derive(Debug)]
pub struct UnclearedLeftovers {
    /// The operation, and further operations under which the store lists its leftovers.
    pub operations: Vec<OperationId>,
    /// Kernel objects to be removed.
    pub leftover: LeftoverRecord,
    /// Hooks that it left, ascending.
    pub hooks: Vec<HookKey>,
    /// Hooks that ended, whose links and filters are among what is left. Their chains are needed until these are gone.
    pub ended: Vec<Arc<HookRecord>>,
}

impl UnclearedLeftovers {
    /// Creates the leftovers of an operation that left no hooks.
    pub const fn without_hooks(operations: Vec<OperationId>, leftover: LeftoverRecord) -> Self {
        Self { operations, leftover, hooks: Vec::new(), ended: Vec::new() }
    }
}

/// Matching interface without a link of the attachment.
#[derive(Clone, Debug)]
pub struct Unmatched {
    /// Interface, with the path of its namespace.
    pub interface: Interface,
    /// Reason of the failure.
    pub reason: String,
    /// Time of the failure.
    pub tried: Instant,
}

impl State {
    /// A program by the kernel's id.
    pub fn program(&self, id: ProgramId) -> Option<&Arc<ProgramRecord>> {
        self.programs.get(self.by_id.get(&id)?)
    }

    /// Adds or replaces a program.
    pub fn put_program(&mut self, record: Arc<ProgramRecord>) {
        let mut is_lost = false;
        if let Some(old) = self.programs.get(&record.uid).cloned() {
            self.forget_id(old.id, record.uid);
            self.holdings.remove(&old);
            self.extensions.remove(&old);
            // Keep it lost if the change did not load it again.
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

    /// Forgets a program.
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

    /// Kernel ids start again after a reboot: until all programs are loaded again, the id of one may be the former id
    /// of another.
    fn forget_id(&mut self, id: ProgramId, uid: ProgramUid) {
        if self.by_id.get(&id) == Some(&uid) {
            self.by_id.remove(&id);
        }
    }

    /// Finds programs by the ids of their records again. Where two have one id, the record that was written later is
    /// the one of this boot.
    pub fn index_ids(&mut self) {
        let mut all: Vec<_> = self.programs.values().collect();
        all.sort_unstable_by_key(|program| (!self.lost.contains(&program.uid), program.operation));
        self.by_id = all.into_iter().map(|program| (program.id, program.uid)).collect();
    }

    /// The largest number in any record.
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

    /// Returns whether a record needs a path, other than the records of programs that are about to be removed. Lost
    /// programs need none.
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

    /// Returns whether a program, or its previous version, uses these bytes.
    pub fn needs_bytecode(&self, blob: &str) -> bool {
        self.holdings.needs_bytecode(blob) || self.previous.holdings.needs_bytecode(blob)
    }

    /// Links of a program, by id.
    pub fn links_of(&self, program: ProgramUid) -> impl Iterator<Item = &Arc<LinkRecord>> {
        self.links.of_program(program)
    }

    /// Attachments of a program to matching interfaces.
    pub fn matchings_of(&self, program: ProgramUid) -> Vec<MatchingId> {
        let all = self.matchings.values();
        all.filter(|matching| matching.program == program).map(|matching| matching.id).collect()
    }

    /// Links that an attachment to matching interfaces made, by id.
    pub fn links_of_matching(&self, matching: MatchingId) -> impl Iterator<Item = &Arc<LinkRecord>> {
        self.links.values().filter(move |link| link.matching == Some(matching))
    }

    /// Links of a hook, in the order in which their programs run.
    pub fn chain(&self, key: &HookKey) -> Vec<Arc<LinkRecord>> {
        let newcomer = self.hooks.get(key).and_then(|hook| hook.newcomer);
        let links = self.links.of_hook(key).cloned().collect();
        self.order(key, links, newcomer)
    }

    /// Links of a hook that its chain has, in the order in which their programs run.
    pub fn members(&self, key: &HookKey) -> Vec<Arc<LinkRecord>> {
        let mut links = self.chain(key);
        links.retain(|link| !self.is_withheld(link));
        links
    }

    /// Returns whether a link's chain leaves it out.
    pub fn is_withheld(&self, link: &LinkRecord) -> bool {
        let hook = link.hook.and_then(|key| self.hooks.get(&key));
        hook.is_some_and(|hook| hook.withheld.contains(&link.id))
    }

    /// Sorts links of one hook into the order in which their programs run.
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

    /// Returns the links of one hook in the order of their priorities, together with their intents.
    pub fn places(&self, key: &HookKey, links: &[Arc<LinkRecord>], newcomer: Option<LinkId>) -> Vec<Place> {
        let mut places: Vec<Place> = links.iter().map(|link| self.place(link)).collect();
        match key.kind {
            bpfmand_core::HookKind::Tcx(_) => order_links(&mut places),
            _ => order_chain(&mut places, newcomer),
        }
        places
    }

    /// Returns the properties that decide a link's position.
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

    /// Kernel ids of the programs that use a map folder, ascending.
    pub fn users_of_folder(&self, folder: ProgramId) -> Vec<ProgramId> {
        let folder = paths::maps(folder).display().to_string();
        let holders = self.holdings.holders(&folder).iter();
        let mut users: Vec<ProgramId> =
            holders.filter_map(|uid| self.programs.get(uid)).map(|program| program.id).collect();
        users.sort_unstable();
        users
    }
}
