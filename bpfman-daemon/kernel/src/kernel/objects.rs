use std::os::fd::OwnedFd;

use bpfman_model::{MapFacts, MapId, MapSpec, ProgramFacts, ProgramId};

use crate::{
    EntryRule, KernelError, Loaded, MapEntry, MapPage, MapPlace, ProgramLoad, StructOpsSpec, TestRun,
    TestRunResult,
};

/// Maps, programs and type information: loaded, opened, described, read and written.
pub trait KernelObjects: Send + Sync + 'static {
    /// Handle of a map, program, link or BTF.
    type Handle: Send + Sync + std::fmt::Debug;

    /// Returns the ids of all loaded programs, ascending.
    fn program_ids(&self) -> Result<Vec<ProgramId>, KernelError>;

    /// Returns facts about a program; `None` if it is gone.
    fn program(&self, id: ProgramId) -> Result<Option<ProgramFacts>, KernelError>;

    /// Returns facts about a map; `None` if it is gone.
    fn map(&self, id: MapId) -> Result<Option<MapFacts>, KernelError>;

    /// Returns facts about an open program. Fails for a handle of another object.
    fn program_of(&self, handle: &Self::Handle) -> Result<ProgramFacts, KernelError>;

    /// Returns facts about an open map. Fails for a handle of another object.
    fn map_of(&self, handle: &Self::Handle) -> Result<MapFacts, KernelError>;

    /// Opens a map by id. Fails if it is gone.
    fn open_map(&self, id: MapId) -> Result<Self::Handle, KernelError>;

    /// Opens a map for reading only (Linux 4.15). A process with a bpffs can pin the map, and reopen it for writing.
    fn open_map_to_read(&self, id: MapId) -> Result<Self::Handle, KernelError>;

    /// Returns the descriptor of a handle, for another process; `None` for a simulated kernel.
    fn descriptor_of(&self, handle: Self::Handle) -> Option<OwnedFd>;

    fn load_btf(&self, btf: &[u8]) -> Result<Self::Handle, KernelError>;

    /// Creates a map with its initial contents, frozen if its role requires it.
    fn create_map(&self, spec: &MapSpec, btf: Option<&Self::Handle>) -> Result<Self::Handle, KernelError>;

    /// Creates a map without CAP_PERFMON: the kernel masks array indexes against speculative reads.
    fn create_map_of_tenant(
        &self,
        spec: &MapSpec,
        btf: Option<&Self::Handle>,
    ) -> Result<Self::Handle, KernelError> {
        self.create_map(spec, btf)
    }

    /// Returns the program in a slot of an array of programs.
    fn program_in_slot(&self, map: &Self::Handle, slot: u32) -> Result<Option<ProgramId>, KernelError>;

    /// Returns whether a slot of an array of programs has one.
    fn has_slot(&self, map: &Self::Handle, slot: u32) -> Result<bool, KernelError> {
        Ok(self.program_in_slot(map, slot)?.is_some())
    }

    /// Lets a program hold a map that its instructions do not name.
    fn bind_map(&self, program: &Self::Handle, map: &Self::Handle) -> Result<(), KernelError>;

    /// Stores a map or program in a slot of a map of maps or an array of programs.
    fn fill_slot(&self, map: &Self::Handle, slot: u32, value: &Self::Handle) -> Result<(), KernelError>;

    /// Creates a struct_ops map for links, with the object's types. [`KernelError::Unsupported`] before Linux 6.4.
    fn create_struct_ops(
        &self,
        spec: &StructOpsSpec<'_>,
        btf: &Self::Handle,
    ) -> Result<Self::Handle, KernelError>;

    /// Sets the value of a struct_ops map, once. `programs`: byte offset of a member, and program loaded for it.
    fn fill_struct_ops(
        &self,
        map: &Self::Handle,
        value: &[u8],
        programs: &[(u32, &Self::Handle)],
    ) -> Result<(), KernelError>;

    /// Clears a slot of a map of maps or an array of programs; an empty one is no error.
    fn clear_slot(&self, map: &Self::Handle, slot: u32) -> Result<(), KernelError>;

    /// Returns the values of all possible CPUs in one entry of a per-CPU array, hash or LRU hash with 4-byte keys.
    fn read_per_cpu(&self, map: &Self::Handle, key: u32) -> Result<Vec<Vec<u8>>, KernelError>;

    /// Sets an entry of a per-CPU map, as in [`KernelObjects::read_per_cpu`], to the same value for every CPU.
    fn write_per_cpu(&self, map: &Self::Handle, key: u32, value: &[u8]) -> Result<(), KernelError>;

    /// Returns up to `most` entries of a data map; per-CPU values are padded to 8 bytes. Concurrent changes may be
    /// missing.
    fn map_entries(&self, map: &Self::Handle, most: usize) -> Result<Vec<MapEntry>, KernelError>;

    /// Returns the value of a frozen (Linux 5.2), read-only array of one entry: a constant for the verifier.
    fn frozen_value(&self, map: MapId) -> Result<Option<Vec<u8>>, KernelError>;

    /// Returns about a mebibyte of entries of a data map, or of a map of maps (values: map ids), from `from` on. An
    /// entry that exists during the whole walk is in exactly one page. LPM tries, and hash tables without
    /// [`Probe::MAP_BATCHES`](crate::Probe::MAP_BATCHES), are read key by key: if a key is gone, the walk ends, and its
    /// last page reports it.
    fn map_page(&self, map: &Self::Handle, from: &MapPlace) -> Result<MapPage, KernelError>;

    /// Returns one value of a data map or map of maps; an empty key peeks at the next of a queue or stack.
    fn map_value(&self, map: &Self::Handle, key: &[u8]) -> Result<Option<Vec<u8>>, KernelError>;

    /// Sets an entry by a rule, or pushes to a queue or stack (empty key); returns `false` if the rule forbids it.
    fn set_entry(&self, map: &Self::Handle, entry: &MapEntry, rule: EntryRule) -> Result<bool, KernelError>;

    /// Sets an entry, padded as by [`KernelObjects::map_entries`]. Fails if a size is wrong, or if the map is full.
    fn write_entry(&self, map: &Self::Handle, entry: &MapEntry) -> Result<(), KernelError>;

    /// Removes an entry; returns whether it existed. Fails for arrays.
    fn remove_entry(&self, map: &Self::Handle, key: &[u8]) -> Result<bool, KernelError>;

    /// Copies all entries into another map of the same family (any hash to any hash) and sizes; an array may grow.
    /// Timers, spin locks, kernel pointers and concurrent changes may be missing. Incompatible maps: nothing was
    /// copied.
    fn copy_map(&self, from: &Self::Handle, to: &Self::Handle) -> Result<usize, KernelError>;

    /// Waits some milliseconds until no packet is in a replaced program. Does not wait for sleepable programs.
    fn wait_for_readers(&self) -> Result<(), KernelError>;

    /// Runs an XDP or SCHED_CLS program on a packet; XDP contexts need Linux 5.18. Simulated: a predefined result.
    fn test_run(&self, program: &Self::Handle, run: &TestRun<'_>) -> Result<TestRunResult, KernelError>;

    /// Returns the BTF of a program; `None` if it was loaded without.
    fn program_btf(&self, program: &Self::Handle) -> Result<Option<Vec<u8>>, KernelError>;

    /// Loads a program; the maps in its text must be open. [`KernelError::Refused`] has the verifier's log.
    fn load_program(&self, load: &ProgramLoad<'_>) -> Result<Loaded<Self::Handle>, KernelError>;

    /// Opens a loaded program by id; `None` if it is gone.
    fn open_program(&self, id: ProgramId) -> Result<Option<Self::Handle>, KernelError>;
}
