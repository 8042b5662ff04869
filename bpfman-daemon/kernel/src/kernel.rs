//! The trait that stands for the kernel.

use std::path::Path;

use bpfmand_core::{
    BoundText, Direction, HookKey, HookKind, IfIndex, Interface, KernelLinkId, LinkFacts, MapFacts, MapId,
    MapSpec, ProcessScope, ProgramFacts, ProgramId, ProgramType,
};

use crate::KernelError;

/// How an XDP program is attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XdpMode {
    /// By the driver where it can, else generic.
    #[default]
    Auto,
    /// By the driver.
    Native,
    /// By the network stack, after the socket buffer is made.
    Generic,
    /// On the card.
    Offload,
}

/// Where a tcx link goes among the links of its hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// After all others.
    Last,
    /// Just before this one.
    Before(KernelLinkId),
    /// Just after this one.
    After(KernelLinkId),
}

/// What a link ties a program to.
#[derive(Clone, Debug)]
pub enum LinkTarget<'a> {
    /// An interface's XDP hook.
    Xdp {
        /// The namespace file, none for the daemon's own.
        netns: Option<&'a Path>,
        /// The interface in it.
        ifindex: IfIndex,
        /// How.
        mode: XdpMode,
    },
    /// An interface's tcx hook (Linux 6.6 and later).
    Tcx {
        /// The namespace file, none for the daemon's own.
        netns: Option<&'a Path>,
        /// The interface in it.
        ifindex: IfIndex,
        /// Which way.
        direction: Direction,
        /// Where among the others.
        anchor: Anchor,
    },
    /// A static trace point.
    Tracepoint {
        /// Folder.
        category: &'a str,
        /// Name.
        name: &'a str,
    },
    /// A kernel function.
    Kprobe {
        /// Symbol.
        function: &'a str,
        /// Bytes from its start.
        offset: u64,
        /// Fire on return.
        on_return: bool,
    },
    /// A user-space function.
    Uprobe {
        /// Absolute path, or a library's name.
        target: &'a str,
        /// Symbol, or none for a plain file offset.
        function: Option<&'a str>,
        /// Bytes.
        offset: u64,
        /// Which processes.
        scope: &'a ProcessScope,
        /// Fire on return.
        on_return: bool,
    },
    /// What an fentry, fexit or LSM program was loaded for.
    Trampoline,
}

/// What the kernel has to know of a program's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramKind {
    /// `enum bpf_prog_type`.
    pub kernel_type: u32,
    /// `enum bpf_attach_type`, 0 where the kernel asks for none.
    pub expected_attach_type: u32,
}

impl From<ProgramType> for ProgramKind {
    fn from(program_type: ProgramType) -> Self {
        let expected_attach_type = match program_type {
            ProgramType::Xdp => 37,
            ProgramType::Fentry => 24,
            ProgramType::Fexit => 25,
            ProgramType::Lsm => 27,
            _ => 0,
        };
        Self { kernel_type: program_type.kernel_type(), expected_attach_type }
    }
}

/// Whether the verifier's log is wanted from a load that succeeds. One that fails always has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogRequest {
    /// No: the fast way.
    #[default]
    OnFailure,
    /// No, but the stack depths that it ends with.
    StackDepths,
    /// Yes, whole.
    Always,
}

/// A program to load.
#[derive(Clone, Debug)]
pub struct ProgramLoad<'a> {
    /// Name for the kernel, which keeps 15 bytes.
    pub name: &'a str,
    /// What to load.
    pub text: &'a BoundText,
    /// As what.
    pub kind: ProgramKind,
    /// Id of the function or hook in the kernel's BTF, for fentry, fexit and LSM, else 0.
    pub attach_btf_id: u32,
    /// Log wanted?
    pub log: LogRequest,
}

/// A loaded program.
#[derive(Debug)]
pub struct Loaded<H> {
    /// Keeps it loaded.
    pub program: H,
    /// The verifier's log, if it was asked for.
    pub log: String,
    /// Bytes of stack of each function, in the order of the text, if they were asked for and the kernel told them.
    pub stack_depths: Option<Vec<u32>>,
}

/// A filter of ours on a clsact hook, as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcFilter {
    /// `prio` of `tc filter show`.
    pub priority: u16,
    /// `handle` of `tc filter show`.
    pub handle: u32,
}

impl TcFilter {
    /// Leaves room for filters of others before it, as v0.6.0 does.
    const PRIORITY: u16 = 50;

    /// The filter of an operation. Its handle is never one of the small numbers that tools choose.
    #[must_use]
    pub const fn of(operation: u64) -> Self {
        Self { priority: Self::PRIORITY, handle: 0x6270_0000 | (operation & 0xffff) as u32 }
    }
}

/// A filter and the hook that it is at.
#[derive(Clone, Copy, Debug)]
pub struct FilterPlace<'a> {
    /// The namespace file, none for the daemon's own.
    pub netns: Option<&'a Path>,
    /// The interface in it.
    pub ifindex: IfIndex,
    /// Which way.
    pub direction: Direction,
    /// Which filter.
    pub filter: TcFilter,
}

/// What this kernel can do, as far as the engine decides by it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// `uname -r`.
    pub release: String,
    /// Major and minor version.
    pub version: (u32, u32),
    /// tcx links (Linux 6.6 and later).
    pub tcx: bool,
    /// Links on perf events (Linux 5.15 and later): without them probes cannot outlive the daemon.
    pub perf_links: bool,
    /// Frames are rounded up to 16 bytes instead of 32 (Linux 6.12 and later).
    pub frames_by_16: bool,
    /// Jumps with 32-bit offsets (Linux 6.6 and later).
    pub long_jumps: bool,
}

/// The kernel. Paths of pins are relative to the root that the implementation was made with.
///
/// A handle keeps its object alive. Objects also live while pinned, and while another object uses them.
pub trait Kernel: Send + Sync + 'static {
    /// Holds a map, program, link or BTF.
    type Handle: Send + Sync;

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

    /// Loads a program; the maps that its text names must be alive.
    ///
    /// # Errors
    /// [`KernelError::Refused`] with the verifier's log.
    fn load_program(&self, load: &ProgramLoad<'_>) -> Result<Loaded<Self::Handle>, KernelError>;

    /// Makes a folder for pins and its parents; an existing one is fine.
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

    /// Ties a program to a target. The program runs from now on, until the link is dropped and not pinned.
    ///
    /// # Errors
    /// [`KernelError::HookHeld`] where a hook takes one program and has it; a missing target by name.
    fn attach(&self, program: &Self::Handle, target: &LinkTarget<'_>) -> Result<Self::Handle, KernelError>;

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
