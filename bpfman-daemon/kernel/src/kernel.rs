//! The trait that stands for the kernel.

use std::path::{Path, PathBuf};

use bpfmand_core::{
    AddressedInterface, ContainerFacts, Held, Holder, HookContents, HookKey, HookKind, Interface,
    InterfaceFacts, KernelLinkId, LinkFacts, MapFacts, MapId, MapSpec, Peer, ProgramFacts, ProgramId,
    RunCounts, WantedContainers, XdpRunsIn,
};

use crate::{
    Features, FilterPlace, FolderLock, InterfaceWatch, KernelError, LinkTarget, Loaded, MapEntry,
    NetworkWatch, ProgramLoad, RunClock, TestRun, TestRunResult,
};

/// The kernel. Paths of pins are relative to the root that the implementation was made with; absolute ones are in a
/// bpffs of others.
///
/// A handle keeps its object alive. Objects also live while pinned, and while another object uses them.
pub trait Kernel: Send + Sync + 'static {
    /// Holds a map, program, link or BTF.
    type Handle: Send + Sync + std::fmt::Debug;

    /// What this kernel can do.
    fn features(&self) -> &Features;

    /// Names this boot: what was recorded under another name is of a boot that has ended.
    ///
    /// # Errors
    /// The kernel does not tell.
    fn boot(&self) -> Result<String, KernelError>;

    /// The kernel's own BTF, raw.
    ///
    /// # Errors
    /// The kernel has none, or it cannot be read.
    fn btf(&self) -> Result<Vec<u8>, KernelError>;

    /// The BTF of each loaded module, raw and split: it goes on where [`Kernel::btf`] ends. Names ascend. Modules without are
    /// left out.
    ///
    /// # Errors
    /// It cannot be read.
    fn module_btfs(&self) -> Result<Vec<(String, Vec<u8>)>, KernelError>;

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

    /// Facts of a link that is held.
    ///
    /// # Errors
    /// The kernel refuses to tell, or the handle holds something else.
    fn link_of(&self, handle: &Self::Handle) -> Result<LinkFacts, KernelError>;

    /// Holds a map by id.
    ///
    /// # Errors
    /// It is gone, or the kernel refuses.
    fn open_map(&self, id: MapId) -> Result<Self::Handle, KernelError>;

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

    /// Sets an entry of a per-CPU map, as in [`Kernel::read_per_cpu`], to the same value for every CPU.
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

    /// Sets an entry of a map as in [`Kernel::map_entries`].
    ///
    /// # Errors
    /// The map is of another kind or full, the key or value has another size than its own, or the kernel refuses.
    fn write_entry(&self, map: &Self::Handle, entry: &MapEntry) -> Result<(), KernelError>;

    /// Removes an entry of a map as in [`Kernel::map_entries`]; tells whether it was there.
    ///
    /// # Errors
    /// Entries of such a map cannot be removed (arrays), the key has another size, or the kernel refuses.
    fn remove_entry(&self, map: &Self::Handle, key: &[u8]) -> Result<bool, KernelError>;

    /// Copies all entries of a map of data, as in [`Kernel::map_entries`], into another; tells how many. The maps are
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

    /// Has the runs of all programs of the machine counted until what it answers is dropped, or this process ends.
    ///
    /// # Errors
    /// The kernel cannot (before Linux 5.8), or refuses.
    fn count_runs(&self) -> Result<Box<dyn RunClock>, KernelError>;

    /// What was counted of a program since it was loaded, while anyone had it counted.
    ///
    /// # Errors
    /// The kernel refuses to tell.
    fn run_counts(&self, program: &Self::Handle) -> Result<RunCounts, KernelError>;

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

    /// Makes a folder for pins and its parents; an existing one is fine. At an absolute path, in a bpffs of others, only
    /// the folder itself is made.
    ///
    /// # Errors
    /// The file system refuses.
    fn make_folder(&self, path: &Path) -> Result<(), KernelError>;

    /// Removes an empty folder; an absent one is fine.
    ///
    /// # Errors
    /// It is not empty, or the file system refuses.
    fn remove_folder(&self, path: &Path) -> Result<(), KernelError>;

    /// Names in a folder, sorted; none if it is absent.
    ///
    /// # Errors
    /// The file system refuses.
    fn list_folder(&self, path: &Path) -> Result<Vec<String>, KernelError>;

    /// Pins an object. The path must be free.
    ///
    /// # Errors
    /// The path is taken, or the kernel refuses.
    fn pin(&self, handle: &Self::Handle, path: &Path) -> Result<(), KernelError>;

    /// Holds a pinned object; none if nothing is pinned there.
    ///
    /// # Errors
    /// The kernel refuses.
    fn open_pin(&self, path: &Path) -> Result<Option<Self::Handle>, KernelError>;

    /// Removes a pin; an absent one is fine.
    ///
    /// # Errors
    /// The file system refuses.
    fn unpin(&self, path: &Path) -> Result<(), KernelError>;

    /// Moves a pin or a folder of pins; the new path must be free.
    ///
    /// # Errors
    /// The file system refuses.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), KernelError>;

    /// Finds the hook of an interface.
    ///
    /// # Errors
    /// [`KernelError::NoInterface`], [`KernelError::NoNamespace`].
    fn find_hook(&self, interface: &Interface, kind: HookKind) -> Result<HookKey, KernelError>;

    /// Everything that runs at a hook, ours and others', in the order in which packets meet it. XDP: one program, or one
    /// of the card and one of the driver or the stack. Tcx: the tcx programs. Tc: the tcx programs, then the filters.
    ///
    /// # Errors
    /// [`KernelError::HookGone`] if the interface is gone or the path is of another namespace by now.
    fn hook_contents(&self, netns: Option<&Path>, key: &HookKey) -> Result<HookContents, KernelError>;

    /// Processes with an open descriptor of an object, this one included, by pid. Looks through `/proc`, which takes
    /// some milliseconds a hundred processes; processes that end meanwhile are left out, and so is what one could see
    /// only after a million descriptors.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    fn holders(&self, of: Held) -> Result<Vec<Holder>, KernelError>;

    /// Containers that have processes now, by the names of their control groups: all of them with one look, in no
    /// order. Looks at some thousand folders on a full node, which takes some milliseconds; containers that end
    /// meanwhile are left out.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    fn containers(&self, wanted: &WantedContainers) -> Result<Vec<ContainerFacts>, KernelError>;

    /// The place of the first of these paths of which something is kept from this caller by user and groups. Of the others
    /// the caller sees what is there, or that nothing is, and with `read` may read it.
    ///
    /// # Errors
    /// The kernel does not tell.
    fn first_hidden(&self, peer: &Peer, paths: &[PathBuf], read: bool) -> Result<Option<usize>, KernelError>;

    /// True if a process is in a container: it sees other files than the host's first process does.
    fn is_contained(&self, pid: u32) -> bool;

    /// Ids of all links, ascending.
    ///
    /// # Errors
    /// The kernel refuses to tell.
    fn link_ids(&self) -> Result<Vec<KernelLinkId>, KernelError>;

    /// Holds a link by id; none if it is gone.
    ///
    /// # Errors
    /// The kernel refuses.
    fn open_link(&self, id: KernelLinkId) -> Result<Option<Self::Handle>, KernelError>;

    /// All interfaces of a namespace, by number.
    ///
    /// # Errors
    /// [`KernelError::NoNamespace`], or the kernel refuses to tell.
    fn interfaces(&self, netns: Option<&Path>) -> Result<Vec<InterfaceFacts>, KernelError>;

    /// Watches the interfaces of a namespace from now on. The watch keeps the namespace alive, also when its path is
    /// gone: see [`InterfaceEvent::NamespaceGone`](bpfmand_core::InterfaceEvent::NamespaceGone).
    ///
    /// # Errors
    /// [`KernelError::NoNamespace`], or the kernel refuses.
    fn watch_interfaces(&self, netns: Option<&Path>) -> Result<Box<dyn InterfaceWatch>, KernelError>;

    /// Files of the network namespaces that have a name (`ip netns`), sorted. Not every one need be a namespace. A
    /// namespace with several names is there once, the daemon's own not at all.
    fn named_namespaces(&self) -> Vec<PathBuf>;

    /// All interfaces of a namespace with their addresses, by number.
    ///
    /// # Errors
    /// [`KernelError::NoNamespace`], or the kernel refuses to tell.
    fn addressed_interfaces(&self, netns: Option<&Path>) -> Result<Vec<AddressedInterface>, KernelError>;

    /// A watch of the interfaces and addresses of many namespaces, of none so far.
    fn watch_network(&self) -> Box<dyn NetworkWatch>;

    /// Ties a program to a target. The program runs from now on, until the link is dropped and not pinned.
    ///
    /// # Errors
    /// [`KernelError::HookHeld`] where a hook takes one program and has it; [`KernelError::HookChanged`] at another
    /// revision than expected; [`KernelError::NoAnchor`]; [`KernelError::HookFull`]; a missing target by name.
    fn attach(&self, program: &Self::Handle, target: &LinkTarget<'_>) -> Result<Self::Handle, KernelError>;

    /// Looks a target of a probe or trace point up, as [`Kernel::attach`] would, without a program. Targets
    /// of other kinds are looked up by other calls.
    ///
    /// # Errors
    /// A missing target by name; the kernel lacks such targets.
    fn find_target(&self, target: &LinkTarget<'_>) -> Result<(), KernelError>;

    /// Puts another program in a link's place, atomically for packets.
    ///
    /// # Errors
    /// [`KernelError::HookChanged`] if the link does not run `expected`.
    fn replace(
        &self,
        link: &Self::Handle,
        program: &Self::Handle,
        expected: &Self::Handle,
    ) -> Result<(), KernelError>;

    /// Puts a program at an XDP hook without a link, as libxdp does, atomically for packets, if the hook runs `expected`
    /// there, which has no link either; none stands for nothing. No program: what is expected is taken away. The program
    /// stays when this process ends.
    ///
    /// # Errors
    /// [`KernelError::HookChanged`] if the hook runs anything else: it is left as it is. [`KernelError::HookGone`].
    fn replace_unlinked_xdp(
        &self,
        netns: Option<&Path>,
        key: &HookKey,
        mode: XdpRunsIn,
        program: Option<&Self::Handle>,
        expected: Option<&Self::Handle>,
    ) -> Result<(), KernelError>;

    /// Holds a folder of pins alone (`flock`), which is how those who share one agree on who changes it. Waits for
    /// others some seconds at most. A simulated kernel has no others and no locks.
    ///
    /// # Errors
    /// There is no such folder, or others do not let go of it.
    fn lock_folder(&self, path: &Path) -> Result<FolderLock, KernelError>;

    /// True if a link at XDP or tcx is at a hook. An interface that is moved to another network namespace takes its links
    /// along, and keeps its number where that is free: the number alone does not tell where a link is.
    ///
    /// The kernel does not name the namespace of an XDP link: one that runs the program of this hook counts as being here.
    ///
    /// # Errors
    /// As [`Kernel::hook_contents`].
    fn is_link_at(&self, netns: Option<&Path>, key: &HookKey, link: &LinkFacts) -> Result<bool, KernelError> {
        Ok(self.hook_contents(netns, key)?.entries.iter().any(|entry| entry.may_be_link(link.id)))
    }

    /// Looks whether users reach the pins by the path they know.
    ///
    /// # Errors
    /// [`KernelError::NotMounted`]: the path leads elsewhere by now. Calls on pins work all the same.
    fn check_pins(&self) -> Result<(), KernelError>;

    /// Holds a loaded program by id; none if it is gone.
    ///
    /// # Errors
    /// The kernel refuses.
    fn open_program(&self, id: ProgramId) -> Result<Option<Self::Handle>, KernelError>;

    /// Ends a link that is pinned at `path`, and returns when the kernel has let go of it.
    ///
    /// An absent pin is fine.
    ///
    /// # Errors
    /// The kernel refuses.
    fn end_link(&self, path: &Path) -> Result<(), KernelError>;

    /// Adds a direct-action filter to an interface's clsact hook, which is made if it is missing. No other filter may
    /// have its numbers.
    ///
    /// # Errors
    /// An ingress qdisc of another kind is in the way, or the kernel refuses.
    fn add_filter(&self, at: &FilterPlace<'_>, program: &Self::Handle, name: &str)
    -> Result<(), KernelError>;

    /// Puts another program in a filter's place, atomically for packets, if the filter still runs `expected`.
    ///
    /// # Errors
    /// [`KernelError::HookChanged`] if it runs another program or is gone.
    fn replace_filter(
        &self,
        at: &FilterPlace<'_>,
        program: &Self::Handle,
        expected: ProgramId,
        name: &str,
    ) -> Result<(), KernelError>;

    /// Removes a filter if it still runs `expected`; a filter or interface that is gone is fine.
    ///
    /// # Errors
    /// The kernel refuses.
    fn remove_filter(&self, at: &FilterPlace<'_>, expected: ProgramId) -> Result<(), KernelError>;

    /// The program that a filter runs; none if there is no such filter of a BPF program.
    ///
    /// # Errors
    /// The kernel refuses to tell.
    fn filter_program(&self, at: &FilterPlace<'_>) -> Result<Option<ProgramId>, KernelError>;
}
