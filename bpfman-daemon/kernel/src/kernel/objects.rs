//! Maps, programs and type information: loaded, opened, described, read and written.

use std::os::fd::OwnedFd;

use bpfmand_core::{MapFacts, MapId, MapSpec, ProgramFacts, ProgramId};

use crate::{
    EntryRule, KernelError, Loaded, MapEntry, MapPage, MapPlace, ProgramLoad, StructOpsSpec, TestRun,
    TestRunResult,
};

/// Maps, programs and type information: loaded, opened, described, read and written.
pub trait KernelObjects: Send + Sync + 'static {
    /// Holds a map, program, link or BTF.
    type Handle: Send + Sync + std::fmt::Debug;

    /// Ids of all loaded programs, ascending.
    ///
    /// # Errors
    /// The kernel refuses to tell.
    fn program_ids(&self) -> Result<Vec<ProgramId>, KernelError>;

    /// Facts of a program; none if it is gone.
    ///
    /// # Errors
    /// The kernel refuses to tell.
    fn program(&self, id: ProgramId) -> Result<Option<ProgramFacts>, KernelError>;

    /// Facts of a map; none if it is gone.
    ///
    /// # Errors
    /// The kernel refuses to tell.
    fn map(&self, id: MapId) -> Result<Option<MapFacts>, KernelError>;

    /// Facts of a program that is held.
    ///
    /// # Errors
    /// The kernel refuses to tell, or the handle holds something else.
    fn program_of(&self, handle: &Self::Handle) -> Result<ProgramFacts, KernelError>;

    /// Facts of a map that is held.
    ///
    /// # Errors
    /// The kernel refuses to tell, or the handle holds something else.
    fn map_of(&self, handle: &Self::Handle) -> Result<MapFacts, KernelError>;

    /// Holds a map by id.
    ///
    /// # Errors
    /// It is gone, or the kernel refuses.
    fn open_map(&self, id: MapId) -> Result<Self::Handle, KernelError>;

    /// Holds a map by id so that by this handle it is read and not written (Linux 4.15): neither by bpf(2) nor by mapping
    /// it. Whoever may pin the handle in a bpffs of its own opens it from there as it likes.
    ///
    /// # Errors
    /// It is gone, or the kernel refuses.
    fn open_map_to_read(&self, id: MapId) -> Result<Self::Handle, KernelError>;

    /// The descriptor of a handle, to be given to another process; none where the kernel is a simulated one.
    fn descriptor_of(&self, handle: Self::Handle) -> Option<OwnedFd>;

    /// Loads type information.
    ///
    /// # Errors
    /// The kernel refuses it.
    fn load_btf(&self, btf: &[u8]) -> Result<Self::Handle, KernelError>;

    /// Creates a map, with its first contents, frozen where its role asks for it.
    ///
    /// # Errors
    /// The kernel refuses it.
    fn create_map(&self, spec: &MapSpec, btf: Option<&Self::Handle>) -> Result<Self::Handle, KernelError>;

    /// Puts a map or program into a slot of a map of maps or an array of programs.
    ///
    /// # Errors
    /// The kernel refuses it.
    fn fill_slot(&self, map: &Self::Handle, slot: u32, value: &Self::Handle) -> Result<(), KernelError>;

    /// Makes a map that holds a structure of functions for the kernel, and is there for links (Linux 6.4). `btf`: types of
    /// an object, of which the kernel wants some.
    ///
    /// # Errors
    /// The kernel has no such structure, or refuses; [`KernelError::Unsupported`] before Linux 6.4.
    fn create_struct_ops(
        &self,
        spec: &StructOpsSpec<'_>,
        btf: &Self::Handle,
    ) -> Result<Self::Handle, KernelError>;

    /// Gives such a map its value, once. Programs go to the bytes that are named beside them.
    ///
    /// # Errors
    /// The kernel refuses: a program is for another member, a function is missing, a value is not one that it takes.
    fn fill_struct_ops(
        &self,
        map: &Self::Handle,
        value: &[u8],
        programs: &[(u32, &Self::Handle)],
    ) -> Result<(), KernelError>;

    /// Empties a slot of a map of maps or an array of programs; an empty one is fine.
    ///
    /// # Errors
    /// The map has no such slot or no slots at all, or the kernel refuses.
    fn clear_slot(&self, map: &Self::Handle, slot: u32) -> Result<(), KernelError>;

    /// The value of each possible CPU, in the order of their numbers, of one entry of a per-CPU map (array, hash, LRU
    /// hash) whose keys have 4 bytes. Each value has the map's value size.
    ///
    /// # Errors
    /// The map is of another kind, has no such entry, or the kernel refuses.
    fn read_per_cpu(&self, map: &Self::Handle, key: u32) -> Result<Vec<Vec<u8>>, KernelError>;

    /// Sets an entry of a per-CPU map, as in [`KernelObjects::read_per_cpu`], to the same value for every CPU.
    ///
    /// # Errors
    /// The map is of another kind, the value has another size than its values, or the kernel refuses.
    fn write_per_cpu(&self, map: &Self::Handle, key: u32, value: &[u8]) -> Result<(), KernelError>;

    /// Keys and values of a map of data: hash, LRU hash, LPM trie or array, per CPU or not; at most `most`. A per-CPU
    /// value is all CPUs' values, each padded to 8 bytes. An array's entries are all there, the untouched ones zero.
    /// While programs change the map, entries that come or go meanwhile may be missing.
    ///
    /// # Errors
    /// The map is of another kind, or the kernel refuses.
    fn map_entries(&self, map: &Self::Handle, most: usize) -> Result<Vec<MapEntry>, KernelError>;

    /// The value of an array of one entry that nobody can write any more: frozen (Linux 5.2), and read-only for programs. So
    /// the verifier takes it for constant, as it will be. None for any other map, and for one that is gone.
    ///
    /// # Errors
    /// The kernel refuses to tell.
    fn frozen_value(&self, map: MapId) -> Result<Option<Vec<u8>>, KernelError>;

    /// Entries of a map of data, or of maps, from a place on: about a mebibyte of them. Values of maps of maps are ids of
    /// maps, of four bytes each.
    ///
    /// An entry that is there all the time is in one page, once: the kernel reads a bucket of a hash table at once, and
    /// arrays by number. It walks LPM tries, and without [`Probe::MAP_BATCHES`](crate::Probe::MAP_BATCHES) hash tables, from
    /// key to key, and from the beginning where a key is gone: the walk ends there, and its last page says so.
    ///
    /// # Errors
    /// The map is of another kind, or the kernel refuses.
    fn map_page(&self, map: &Self::Handle, from: &MapPlace) -> Result<MapPage, KernelError>;

    /// The value of one entry of a map of data or of maps; none if there is no such entry. An empty key is that of the next
    /// value of a queue or a stack, which stays there.
    ///
    /// # Errors
    /// The map is of another kind, the key has another size, or the kernel refuses.
    fn map_value(&self, map: &Self::Handle, key: &[u8]) -> Result<Option<Vec<u8>>, KernelError>;

    /// Sets an entry of a map of data by a rule, or adds one to a queue or a stack (by an empty key); false if the rule
    /// forbids it.
    ///
    /// # Errors
    /// As in [`KernelObjects::write_entry`].
    fn set_entry(&self, map: &Self::Handle, entry: &MapEntry, rule: EntryRule) -> Result<bool, KernelError>;

    /// Sets an entry of a map as in [`KernelObjects::map_entries`].
    ///
    /// # Errors
    /// The map is of another kind or full, the key or value has another size than its own, or the kernel refuses.
    fn write_entry(&self, map: &Self::Handle, entry: &MapEntry) -> Result<(), KernelError>;

    /// Removes an entry of a map as in [`KernelObjects::map_entries`]; tells whether it was there.
    ///
    /// # Errors
    /// Entries of such a map cannot be removed (arrays), the key has another size, or the kernel refuses.
    fn remove_entry(&self, map: &Self::Handle, key: &[u8]) -> Result<bool, KernelError>;

    /// Copies all entries of a map of data, as in [`KernelObjects::map_entries`], into another; tells how many. The maps are
    /// of the same family (array to array, LPM trie to LPM trie, any hash to any hash; per CPU or not), with the same
    /// sizes of keys and values; an array may grow. What only the kernel can hold in a value (timers, spin locks,
    /// kernel pointers) is not copied. Entries that programs change meanwhile may be copied as they were before.
    ///
    /// # Errors
    /// The maps do not fit together: nothing was copied. The new map is too small, or the kernel refuses: some was.
    fn copy_map(&self, from: &Self::Handle, to: &Self::Handle) -> Result<usize, KernelError>;

    /// Returns when every packet that was inside a program before the call has left it: after a swap, nobody writes to
    /// the old program's maps any more. Takes some milliseconds. Programs that may sleep are not waited for.
    ///
    /// # Errors
    /// The kernel refuses to make the map that this is done with.
    fn wait_for_readers(&self) -> Result<(), KernelError>;

    /// Runs a program of type XDP or SCHED_CLS on a packet, without a network. The context fields need Linux 5.18 for
    /// XDP.
    ///
    /// # Errors
    /// The kernel cannot run programs of this type, or not on such a packet; a simulated kernel runs none but those
    /// whose result it was told.
    fn test_run(&self, program: &Self::Handle, run: &TestRun<'_>) -> Result<TestRunResult, KernelError>;

    /// The BTF that a program was loaded with, raw; none if it was loaded without.
    ///
    /// # Errors
    /// The kernel refuses to tell.
    fn program_btf(&self, program: &Self::Handle) -> Result<Option<Vec<u8>>, KernelError>;

    /// Loads a program; the maps that its text names must be alive.
    ///
    /// # Errors
    /// [`KernelError::Refused`] with the verifier's log.
    fn load_program(&self, load: &ProgramLoad<'_>) -> Result<Loaded<Self::Handle>, KernelError>;

    /// Holds a loaded program by id; none if it is gone.
    ///
    /// # Errors
    /// The kernel refuses.
    fn open_program(&self, id: ProgramId) -> Result<Option<Self::Handle>, KernelError>;
}
