use std::os::fd::OwnedFd;

use bpfmand_core::{MapFacts, MapId, MapSpec, ProgramFacts, ProgramId};

use crate::{
    EntryRule, KernelError, Loaded, MapEntry, MapPage, MapPlace, ProgramLoad, StructOpsSpec, TestRun,
    TestRunResult,
};

/// Maps, programs and type information: loaded, opened, described, read and written.
pub trait KernelObjects: Send + Sync + 'static {
    /// Handle of a map, program, link or BTF.
    type Handle: Send + Sync + std::fmt::Debug;

    /// Returns the ids of all loaded programs, ascending. Fails if the kernel refuses.
    fn program_ids(&self) -> Result<Vec<ProgramId>, KernelError>;

    /// Returns facts about a program; `None` if it is gone. Fails if the kernel refuses.
    fn program(&self, id: ProgramId) -> Result<Option<ProgramFacts>, KernelError>;

    /// Returns facts about a map; `None` if it is gone. Fails if the kernel refuses.
    fn map(&self, id: MapId) -> Result<Option<MapFacts>, KernelError>;

    /// Returns facts about an open program. Fails if the kernel refuses, or the handle is of another object.
    fn program_of(&self, handle: &Self::Handle) -> Result<ProgramFacts, KernelError>;

    /// Returns facts about an open map. Fails if the kernel refuses, or the handle is of another object.
    fn map_of(&self, handle: &Self::Handle) -> Result<MapFacts, KernelError>;

    /// Opens a map by id. Fails if it is gone, or the kernel refuses.
    fn open_map(&self, id: MapId) -> Result<Self::Handle, KernelError>;

    /// Opens a map by id for reading only (Linux 4.15): the handle allows writes neither with bpf(2) nor through a
    /// mapping. A process that can pin the handle in a bpffs of its own can reopen it for writing from there. Fails if
    /// it is gone, or the kernel refuses.
    fn open_map_to_read(&self, id: MapId) -> Result<Self::Handle, KernelError>;

    /// Returns the descriptor of a handle, for another process; `None` for a simulated kernel.
    fn descriptor_of(&self, handle: Self::Handle) -> Option<OwnedFd>;

    /// Loads type information. Fails if the kernel refuses.
    fn load_btf(&self, btf: &[u8]) -> Result<Self::Handle, KernelError>;

    /// Creates a map with its initial contents, frozen if its role requires it. Fails if the kernel refuses.
    fn create_map(&self, spec: &MapSpec, btf: Option<&Self::Handle>) -> Result<Self::Handle, KernelError>;

    /// Creates a map of a tenant, without CAP_PERFMON: the kernel then masks indexes of arrays against speculative reads.
    fn create_map_of_tenant(
        &self,
        spec: &MapSpec,
        btf: Option<&Self::Handle>,
    ) -> Result<Self::Handle, KernelError> {
        self.create_map(spec, btf)
    }

    /// Stores a map or program in a slot of a map of maps or an array of programs. Fails if the kernel refuses.
    fn fill_slot(&self, map: &Self::Handle, slot: u32, value: &Self::Handle) -> Result<(), KernelError>;

    /// Creates a struct_ops map for links (Linux 6.4). `btf` contains the object's types that the kernel needs. Fails
    /// if the kernel lacks the struct_ops type, or refuses; [`KernelError::Unsupported`] before Linux 6.4.
    fn create_struct_ops(
        &self,
        spec: &StructOpsSpec<'_>,
        btf: &Self::Handle,
    ) -> Result<Self::Handle, KernelError>;

    /// Sets the value of a struct_ops map, once. `programs` are stored at their byte offsets. Fails if a program is for
    /// another member, a function is missing, or the kernel refuses a value.
    fn fill_struct_ops(
        &self,
        map: &Self::Handle,
        value: &[u8],
        programs: &[(u32, &Self::Handle)],
    ) -> Result<(), KernelError>;

    /// Clears a slot of a map of maps or an array of programs; an empty one is no error. Fails if the map has no such
    /// slot, or the kernel refuses.
    fn clear_slot(&self, map: &Self::Handle, slot: u32) -> Result<(), KernelError>;

    /// Returns the values of all possible CPUs, in the order of their numbers, in one entry of a per-CPU map (array,
    /// hash, LRU hash) with 4-byte keys. Each has the map's value size. Fails if the map has another type or no such
    /// entry, or the kernel refuses.
    fn read_per_cpu(&self, map: &Self::Handle, key: u32) -> Result<Vec<Vec<u8>>, KernelError>;

    /// Sets an entry of a per-CPU map, as in [`KernelObjects::read_per_cpu`], to the same value for every CPU. Fails if
    /// the map has another type or value size, or the kernel refuses.
    fn write_per_cpu(&self, map: &Self::Handle, key: u32, value: &[u8]) -> Result<(), KernelError>;

    /// Returns at most `most` keys and values of a data map: hash, LRU hash, LPM trie or array, per-CPU or not. A
    /// per-CPU value consists of all CPUs' values, each padded to 8 bytes. An array has all entries, unused ones are
    /// zero. Entries that programs add or remove meanwhile may be missing. Fails if the map has another type, or the
    /// kernel refuses.
    fn map_entries(&self, map: &Self::Handle, most: usize) -> Result<Vec<MapEntry>, KernelError>;

    /// Returns the value of a one-entry array that is constant: frozen (Linux 5.2), and read-only for programs, as the
    /// verifier requires for constants. `None` for any other map, and for a missing one. Fails if the kernel refuses.
    fn frozen_value(&self, map: MapId) -> Result<Option<Vec<u8>>, KernelError>;

    /// Returns about a mebibyte of entries of a data map, or of a map of maps, from a place on. Values of maps of maps
    /// are map ids of four bytes each.
    ///
    /// A permanent entry appears in exactly one page: the kernel reads a bucket of a hash table at once, and arrays by
    /// index. LPM tries, and hash tables without [`Probe::MAP_BATCHES`](crate::Probe::MAP_BATCHES), are read key by
    /// key, and from the beginning if a key is gone: the walk then ends, and its last page reports it. Fails if the map
    /// has another type, or the kernel refuses.
    fn map_page(&self, map: &Self::Handle, from: &MapPlace) -> Result<MapPage, KernelError>;

    /// Returns the value of one entry of a data map or map of maps; `None` if it is missing. An empty key peeks at the
    /// next value of a queue or stack. Fails if the map has another type or key size, or the kernel refuses.
    fn map_value(&self, map: &Self::Handle, key: &[u8]) -> Result<Option<Vec<u8>>, KernelError>;

    /// Sets an entry of a data map by a rule, or pushes one to a queue or stack (with an empty key); returns `false` if
    /// the rule forbids it. Errors: As in [`KernelObjects::write_entry`].
    fn set_entry(&self, map: &Self::Handle, entry: &MapEntry, rule: EntryRule) -> Result<bool, KernelError>;

    /// Sets an entry of a map as in [`KernelObjects::map_entries`]. Fails if the map has another type or is full, key
    /// or value have another size, or the kernel refuses.
    fn write_entry(&self, map: &Self::Handle, entry: &MapEntry) -> Result<(), KernelError>;

    /// Removes an entry of a map as in [`KernelObjects::map_entries`]; returns whether it existed. Fails if entries of
    /// the map cannot be removed (arrays), the key has another size, or the kernel refuses.
    fn remove_entry(&self, map: &Self::Handle, key: &[u8]) -> Result<bool, KernelError>;

    /// Copies all entries of a data map, as in [`KernelObjects::map_entries`], into another; returns their number. The
    /// maps must be of the same family (array to array, LPM trie to LPM trie, any hash to any hash; per-CPU or not),
    /// with equal key and value sizes; an array may grow. Fields that only the kernel can set (timers, spin locks,
    /// kernel pointers) are not copied. Concurrent changes by programs may be missing. Errors: The maps are
    /// incompatible: nothing was copied. The new map is too small, or the kernel refuses: some entries were copied.
    fn copy_map(&self, from: &Self::Handle, to: &Self::Handle) -> Result<usize, KernelError>;

    /// Waits until all packets that were inside a program before the call have left it: after a swap, the old program
    /// no longer writes to its maps. Takes some milliseconds. Does not wait for sleepable programs. Fails if the kernel
    /// refuses the map needed for it.
    fn wait_for_readers(&self) -> Result<(), KernelError>;

    /// Runs an XDP or SCHED_CLS program on a packet, without a network. The context fields need Linux 5.18 for XDP.
    /// Fails if the kernel cannot run programs of this type, or with such a packet; a simulated kernel runs only
    /// programs with a predefined result.
    fn test_run(&self, program: &Self::Handle, run: &TestRun<'_>) -> Result<TestRunResult, KernelError>;

    /// Returns the BTF of a program; `None` if it was loaded without. Fails if the kernel refuses.
    fn program_btf(&self, program: &Self::Handle) -> Result<Option<Vec<u8>>, KernelError>;

    /// Loads a program; the maps in its text must be open. Errors: [`KernelError::Refused`] with the verifier's log.
    fn load_program(&self, load: &ProgramLoad<'_>) -> Result<Loaded<Self::Handle>, KernelError>;

    /// Opens a loaded program by id; `None` if it is gone. Fails if the kernel refuses.
    fn open_program(&self, id: ProgramId) -> Result<Option<Self::Handle>, KernelError>;
}
