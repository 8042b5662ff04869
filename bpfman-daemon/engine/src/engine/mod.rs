//! The engine, with the state and the locks that all operations share.

pub mod bytecode;
pub mod callers_network;
pub mod change_count;
mod client_leases;
pub mod client_measurements;
mod commit;
mod deadlines;
mod drift_counts;
pub mod file_checks;
pub mod freeze_exemption;
pub mod held_network;
mod hook_members;
pub mod inner_maps;
mod kept_open;
mod kernel_links;
pub mod kernel_types;
mod known_pins;
mod leftovers;
pub mod locks;
pub mod map_sizes;
pub mod members;
pub mod objects;
mod open_programs;
mod operation;
mod options;
pub mod orphaned_maps;
pub mod overlay;
pub mod pin_finding;
mod pins;
mod preorder_links;
pub mod recorded_counts;
mod recovery_report;
pub mod steps;
pub mod stored_texts;
pub mod swap_counts;
pub mod tenant_calls;
pub mod undo;
mod unknown_commit;
mod work_counts;

use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use bpfman_model::{KeptShare, OperationId, ProgramId, ProgramUid};
use bpfmand_kernel::Kernel;
use bpfmand_object::BtfFeatures;
use bpfmand_store::Blobs;

use crate::EngineError;
use crate::engine::change_count::{ChangeCount, ChangeListener};
use crate::engine::client_leases::ClientLeases;
use crate::engine::client_measurements::ClientMeasurements;
use crate::engine::file_checks::FileChecks;
use crate::engine::held_network::{HeldNetwork, HookChanges};
use crate::engine::inner_maps::FoundInnerMaps;
use crate::engine::kept_open::KeptOpen;
use crate::engine::kernel_types::KernelTypes;
use crate::engine::known_pins::KnownPins;
use crate::engine::locks::Locks;
use crate::engine::members::MemberCache;
use crate::engine::open_programs::OpenPrograms;
use crate::engine::operation::Operation;
use crate::engine::orphaned_maps::OrphanedMaps;
use crate::engine::preorder_links::PreorderLinks;
use crate::engine::swap_counts::SwapCounts;
use crate::state::records::{LeftoverRecord, LinkRecord, ProgramRecord};
use crate::state::{BlobId, Change, Changes, Record, State, parse, records};

pub use client_leases::{LeasesTaken, MAX_LEASES, MAX_LEASES_OF_ONE};
pub use drift_counts::DriftCounts;
pub use options::{
    CountersMode, DEFAULT_MAP_BYTES, DEFAULT_OWNERS_MAP_BYTES, EngineOptions, LIBXDP_PINS, OwnerBudget,
    XdpModes,
};
pub use recovery_report::RecoveryReport;
pub use work_counts::{WorkCounters, WorkCounts};

/// Numbers below this are low: at a thousand changes per hour, they last for two years.
const LOW_NUMBERS: u64 = 1 << 24;

/// The engine, which alone owns the state. Every method may be called from many threads.
pub struct Engine<K: Kernel> {
    pub(crate) kernel: Arc<K>,
    pub(crate) options: EngineOptions,
    pub(crate) blobs: Blobs,
    pub(crate) members: MemberCache,
    pub(crate) boot: String,
    pub(crate) held_network: HeldNetwork,
    pub(crate) swaps: SwapCounts,
    pub(crate) drifts: DriftCounts,
    pub(crate) work: WorkCounts,
    pub(crate) open_programs: OpenPrograms<K::Handle>,
    kept_open: KeptOpen<K::Handle>,
    pub(crate) client_leases: ClientLeases,
    pub(crate) found_inner_maps: FoundInnerMaps,
    pub(crate) client_measurements: ClientMeasurements,
    pub(crate) preorder_links: PreorderLinks,
    pub(crate) left_maps: OrphanedMaps,
    pub(crate) file_looks: FileChecks,
    known_pins: KnownPins,
    changes: ChangeCount,
    pub(crate) settling: Mutex<()>,
    state: Mutex<State>,
    locks: Arc<Locks>,
    /// Held shared by loads until the bytecode has a record, exclusively by unloads that remove bytecode.
    bytecode_use: RwLock<()>,
    /// Bytecode of refused loads, which the next operation with exclusive use of the bytecode removes.
    unneeded: Mutex<Vec<BlobId>>,
    /// Number of loads that keep their reader until their end.
    pub(crate) kept_readers: AtomicUsize,
}

impl<K: Kernel> Engine<K> {
    /// Reads the records. Nothing of the kernel is touched until [`Engine::recover`].
    pub fn open(kernel: Arc<K>, options: EngineOptions) -> Result<Self, EngineError> {
        let mut engine = Self {
            boot: kernel.boot()?,
            kernel,
            blobs: Blobs::open(options.bytecode_folder.clone())?,
            members: MemberCache::default(),
            held_network: HeldNetwork::default(),
            swaps: SwapCounts::default(),
            drifts: DriftCounts::default(),
            work: WorkCounts::default(),
            open_programs: OpenPrograms::default(),
            kept_open: KeptOpen::default(),
            client_leases: ClientLeases::default(),
            found_inner_maps: FoundInnerMaps::default(),
            client_measurements: ClientMeasurements::default(),
            preorder_links: PreorderLinks::default(),
            left_maps: OrphanedMaps::default(),
            file_looks: FileChecks::default(),
            known_pins: KnownPins::default(),
            changes: ChangeCount::default(),
            settling: Mutex::default(),
            state: Mutex::default(),
            locks: Arc::default(),
            options,
            bytecode_use: RwLock::default(),
            unneeded: Mutex::default(),
            kept_readers: AtomicUsize::new(0),
        };
        engine.read_records()?;
        Ok(engine)
    }

    fn read_records(&mut self) -> Result<(), EngineError> {
        let snapshot = self.options.store.load()?;
        let mut state = State { boot: self.boot.clone(), ..State::default() };
        for table in Record::TABLES {
            for (_, value) in snapshot.table(table) {
                state.apply(Change::Put(Record::parse(table, value)?));
            }
        }
        let stored = snapshot.get(records::META, records::COUNTER).map(parse).transpose()?.unwrap_or(1);
        let mut largest = state.largest_number();
        for (key, _) in snapshot.table(records::LEFTOVERS) {
            largest = largest.max(parse(key)?);
        }
        // Two commits near the end of the reserved numbers may be written in reverse: `stored` may be low.
        state.counter = largest.saturating_add(1).max(stored);
        state.reserved = state.counter;
        *self.state() = state;
        Ok(())
    }

    pub(crate) fn leftovers(&self) -> Result<Vec<(OperationId, LeftoverRecord)>, EngineError> {
        let snapshot = self.options.store.load()?;
        snapshot
            .table(records::LEFTOVERS)
            .map(|(key, value)| Ok((OperationId(parse(key)?), parse(value)?)))
            .collect()
    }

    /// Locks the records in memory: for look-ups and the change after a commit, never across a kernel call. A panic
    /// leaves them whole: they change one insertion at a time.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the share of places that is kept for root and the cluster.
    #[must_use]
    pub fn kept_share(&self) -> KeptShare {
        self.options.kept
    }

    #[must_use]
    pub fn manages(&self, id: ProgramId) -> bool {
        self.state().program(id).is_some()
    }

    pub(crate) fn record(&self, uid: ProgramUid) -> Option<Arc<ProgramRecord>> {
        self.state().programs.get(&uid).cloned()
    }

    pub(crate) fn member_record(&self, uid: ProgramUid) -> Option<Arc<ProgramRecord>> {
        self.state().member(uid).cloned()
    }

    pub(crate) fn keep_bytecode(&self) -> RwLockReadGuard<'_, ()> {
        self.bytecode_use.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn drop_bytecode<'b>(&self, blobs: impl IntoIterator<Item = &'b BlobId>) {
        let _alone = self.bytecode_use.write().unwrap_or_else(PoisonError::into_inner);
        let blobs: Vec<BlobId> = blobs.into_iter().cloned().chain(self.take_unneeded()).collect();
        self.remove_bytecode(&blobs);
    }

    /// Removes bytecode like [`Self::drop_bytecode`], but without waiting: if bytecode is in use, at the next removal.
    pub(crate) fn drop_bytecode_soon(&self, blob: BlobId) {
        self.unneeded.lock().unwrap_or_else(PoisonError::into_inner).push(blob);
        if let Ok(_alone) = self.bytecode_use.try_write() {
            self.remove_bytecode(&self.take_unneeded());
        }
    }

    fn take_unneeded(&self) -> Vec<BlobId> {
        std::mem::take(&mut *self.unneeded.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The caller holds `bytecode_use` exclusively.
    fn remove_bytecode(&self, blobs: &[BlobId]) {
        for blob in blobs {
            let state = self.state();
            // A change with an unknown outcome may need the bytecode.
            if !state.unsure && !state.needs_bytecode(blob.as_str()) {
                drop(state);
                self.blobs.remove(blob);
            }
        }
    }

    pub(crate) fn sweep_bytecode(&self) -> Result<(), EngineError> {
        let _alone = self.bytecode_use.write().unwrap_or_else(PoisonError::into_inner);
        Ok(self.blobs.sweep(|name| self.state().needs_bytecode(name))?)
    }

    pub(crate) fn number(&self) -> u64 {
        let mut state = self.state();
        state.counter += 1;
        state.counter - 1
    }

    /// Describes how many numbers of links and operations are left, if they are few.
    #[must_use]
    pub fn few_numbers_left(&self) -> Option<String> {
        let left = u64::from(u32::MAX).saturating_sub(self.state().counter);
        let are_few = left < LOW_NUMBERS;
        are_few.then(|| format!("{left} numbers for links and operations are left, of {}", u32::MAX))
    }

    pub(crate) fn operation(&self) -> OperationId {
        OperationId(self.number())
    }

    pub(crate) fn step(&self, operation: &'static str, step: &'static str) {
        self.options.observer.before(operation, step);
    }

    pub(crate) fn admit_changes(&self) -> Result<(), EngineError> {
        if self.state().unsure { Err(EngineError::StoreUnsure) } else { Ok(()) }
    }

    /// Returns whether programs can be loaded and changed: the contents of the store on disk are known.
    #[must_use]
    pub fn takes_changes(&self) -> bool {
        self.admit_changes().is_ok()
    }

    /// Begins a changing operation. The caller holds no lock, neither now nor when the operation ends.
    pub(crate) fn begin(&self) -> Result<Operation<'_, K>, EngineError> {
        self.settle_doubts();
        self.admit_changes()?;
        self.retry_unfinished();
        self.retry_leftovers();
        Ok(Operation(self))
    }

    /// Refuses links of lost programs: the kernel may have reused their ids. A chain is never built without one of its
    /// members, because it would pass packets that this member stops.
    pub(crate) fn ensure_not_lost<'a>(
        &self,
        links: impl IntoIterator<Item = &'a LinkRecord>,
    ) -> Result<(), EngineError> {
        let state = self.state();
        match links.into_iter().find(|link| state.lost.contains(&link.program)) {
            None => Ok(()),
            Some(link) => Err(EngineError::Lost {
                link: link.id,
                program: state.programs.get(&link.program).map(|p| p.name.clone()).unwrap_or_default(),
                why: state.lost.why(&link.program).unwrap_or_default(),
            }),
        }
    }

    /// Waits, at most for `timeout`, until a change is recorded after `seen`, the result of the previous call.
    #[must_use]
    pub fn wait_for_change(&self, seen: u64, timeout: Duration) -> u64 {
        self.changes.wait(seen, timeout)
    }

    /// Adds a listener that is called after each record or repair, as long as the caller holds it.
    pub fn on_change(&self, listener: &Arc<ChangeListener>) {
        self.changes.add_listener(listener);
    }

    pub(crate) fn announce_change(&self) {
        self.changes.tell();
    }

    /// Returns the number of changes of hooks, and the time that the kernel needed for them.
    #[must_use]
    pub fn hook_changes(&self) -> HookChanges {
        self.held_network.counted()
    }

    /// Removes the records of leftovers that are gone; called after the last request. An error loses no data.
    pub fn close(&self) -> Result<(), EngineError> {
        self.settle_doubts();
        self.retry_unfinished();
        self.retry_leftovers();
        if self.state().cleaned.is_empty() {
            return Ok(());
        }
        self.commit(Changes::default()).map(drop)
    }

    /// Returns the kernel, for queries that do not concern the daemon's objects.
    #[must_use]
    pub fn kernel(&self) -> &K {
        &self.kernel
    }

    pub(crate) fn btf_features(&self) -> BtfFeatures {
        let features = self.kernel.features();
        BtfFeatures {
            float: features.btf_float,
            decl_tag: features.btf_decl_tag,
            type_tag: features.btf_type_tag,
            enum64: features.btf_enum64,
        }
    }

    pub(crate) fn kernel_types(&self) -> KernelTypes<'_> {
        KernelTypes::new(|| self.kernel.btf()).with_index(|| self.options.objects.kernel_types())
    }

    pub(crate) fn remove_tree(&self, path: &Path) -> Result<(), EngineError> {
        for name in self.kernel.list_folder(path)? {
            let child = path.join(name);
            self.remove_tree(&child)?;
            if self.kernel.open_pin(&child).is_ok_and(|pin| pin.is_some()) {
                self.kernel.unpin(&child)?;
            }
        }
        // A pin has no entries and is no folder: the caller, or the loop above, removes it.
        if self.kernel.open_pin(path).is_ok_and(|pin| pin.is_some()) {
            return Ok(());
        }
        Ok(self.kernel.remove_folder(path)?)
    }
}
