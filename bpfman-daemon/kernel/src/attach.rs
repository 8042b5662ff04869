use std::path::Path;

use bpfman_model::{
    CgroupPath, Direction, FileIdentity, FileReader, FunctionPattern, IfIndex, KernelLinkId, MapId,
    NetfilterPlace, NetnsId, PerfEventPlace, ProcessScope, ProgramId, TargetIdentity,
};

/// Attach mode of an XDP program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver.
    Native,
    /// In the network stack, after the socket buffer is allocated.
    Generic,
    /// On the network card.
    Offload,
}

/// Position of a link in an ordered list of programs: of a tcx hook, or of a cgroup hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListAnchor {
    /// Before all others.
    First,
    /// After all others.
    Last,
    /// Just before this link.
    Before(KernelLinkId),
    /// Just after this link.
    After(KernelLinkId),
    /// Just before this program, however it is attached.
    BeforeProgram(ProgramId),
    /// Just after this program, however it is attached.
    AfterProgram(ProgramId),
}

impl ListAnchor {
    pub(crate) fn name(&self) -> Option<String> {
        match self {
            Self::First | Self::Last => None,
            Self::Before(link) | Self::After(link) => Some(format!("link {link}")),
            Self::BeforeProgram(program) | Self::AfterProgram(program) => Some(format!("program {program}")),
        }
    }
}

/// Global function of a loaded program that another program replaces ("freplace").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extends {
    /// Id of the program, which must be loaded.
    pub program: ProgramId,
    /// Type id of the function in the program's own BTF ([`crate::KernelObjects::program_btf`]).
    pub function: u32,
}

/// Attach target of a link.
#[derive(Clone, Debug)]
pub enum LinkTarget<'a> {
    /// An interface's XDP hook.
    Xdp {
        /// Network namespace of the interface.
        home: NetnsId,
        /// Path that last led to the namespace, tried first; `None` for the daemon's own.
        netns: Option<&'a Path>,
        ifindex: IfIndex,
        mode: XdpMode,
    },
    /// An interface's tcx hook (Linux 6.6 and later).
    Tcx {
        /// Network namespace of the interface.
        home: NetnsId,
        /// Path that last led to the namespace, tried first; `None` for the daemon's own.
        netns: Option<&'a Path>,
        ifindex: IfIndex,
        direction: Direction,
        /// Position among the programs of the hook.
        anchor: ListAnchor,
        /// Expected revision of the hook ([`bpfman_model::HookContents::revision`]): with another one, nothing is
        /// attached. `None`: any.
        expected_revision: Option<u64>,
    },
    Tracepoint {
        category: &'a str,
        name: &'a str,
        /// Attach cookie (`bpf_get_attach_cookie`); 0 for none.
        cookie: u64,
    },
    /// A kernel function.
    Kprobe {
        function: &'a str,
        /// Offset from the symbol, in bytes.
        offset: u64,
        /// Refuse an offset behind the end of the function, if the kernel knows the end.
        inside_only: bool,
        /// Fire on return.
        on_return: bool,
        /// Attach cookie (`bpf_get_attach_cookie`); 0 for none.
        cookie: u64,
    },
    /// A system call, at its entry function on this machine.
    Ksyscall {
        /// Name of the system call, such as `openat`.
        name: &'a str,
        /// Set for a return probe.
        on_return: bool,
        /// Attach cookie (`bpf_get_attach_cookie`); 0 for none.
        cookie: u64,
    },
    /// A user-space function.
    Uprobe {
        /// Absolute path, or name of a library.
        target: &'a str,
        /// Symbol, or `None` for a plain file offset.
        function: Option<&'a str>,
        /// Offset in bytes.
        offset: u64,
        /// Processes to probe.
        scope: &'a ProcessScope,
        /// The caller with whose rights the file is opened; none stands for root.
        reader: Option<&'a FileReader>,
        /// Fire on return.
        on_return: bool,
        /// Set to accept only instructions of a function known from the file's symbols.
        known_only: bool,
        /// Attach cookie (`bpf_get_attach_cookie`); 0 for none.
        cookie: u64,
    },
    RawTracepoint {
        name: &'a str,
        /// Attach cookie (`bpf_get_attach_cookie`, Linux 6.10 and later); 0 for none.
        cookie: u64,
    },
    /// Kernel functions (Linux 5.18 and later).
    KprobeMulti {
        functions: &'a [FunctionPattern],
        /// Set for return probes.
        on_return: bool,
        /// `enum bpf_attach_type` from the load. In a session, the run at entry decides whether the return is probed.
        attach_type: u32,
        /// Attach cookie (`bpf_get_attach_cookie`); 0 for none.
        cookie: u64,
    },
    /// User-space functions of one binary (Linux 6.6 and later).
    UprobeMulti {
        /// Absolute path, or name of a library.
        target: &'a str,
        functions: &'a [String],
        /// Processes to probe.
        scope: &'a ProcessScope,
        /// The caller with whose rights the file is opened; none stands for root.
        reader: Option<&'a FileReader>,
        /// Fire on return.
        on_return: bool,
        /// Set to accept only instructions of a function known from the file's symbols.
        known_only: bool,
        /// `enum bpf_attach_type` from the load. In a session (Linux 6.13), the run at entry decides whether the return is
        /// probed.
        attach_type: u32,
        /// Attach cookie (`bpf_get_attach_cookie`); 0 for none.
        cookie: u64,
    },
    /// A netkit device (Linux 6.7 and later), after the programs already attached.
    Netkit {
        /// Namespace; `None` if only its path is known.
        home: Option<NetnsId>,
        /// Path of the namespace; `None` for the daemon's own.
        netns: Option<&'a Path>,
        /// Primary end of the device.
        interface: &'a str,
        /// `enum bpf_attach_type` from the load: the end at which the program runs.
        attach_type: u32,
    },
    /// A USDT probe of a binary (Linux 6.6 and later).
    Usdt {
        /// Absolute path, or name of a library.
        target: &'a str,
        provider: &'a str,
        name: &'a str,
        /// Processes to probe.
        scope: &'a ProcessScope,
        /// The caller with whose rights the file is opened; none stands for root.
        reader: Option<&'a FileReader>,
        /// Map that receives the locations of the arguments; none if the program reads no arguments.
        specs: Option<MapId>,
    },
    /// A hook of a cgroup (version 2).
    Cgroup {
        path: &'a CgroupPath,
        /// `enum bpf_attach_type` from the load.
        attach_type: u32,
        /// Position among the cgroup's own programs; any but the last needs [`crate::Features::cgroup_order`].
        anchor: ListAnchor,
        /// Expected revision ([`bpfman_model::GroupContents::revision`]), as for tcx.
        expected_revision: Option<u64>,
    },
    /// A hook of a network namespace.
    Netns {
        /// Namespace; `None` if only its path is known.
        home: Option<NetnsId>,
        /// Path of the namespace; `None` for the daemon's own.
        netns: Option<&'a Path>,
        /// `enum bpf_attach_type` from the load.
        attach_type: u32,
    },
    /// A netfilter hook of a network namespace (Linux 6.4 and later).
    Netfilter {
        /// Namespace; `None` if only its path is known.
        home: Option<NetnsId>,
        /// Path of the namespace; `None` for the daemon's own.
        netns: Option<&'a Path>,
        place: NetfilterPlace,
    },
    /// A hook of a sockmap (Linux 6.10 and later).
    Sockmap {
        map: MapId,
        /// `enum bpf_attach_type` from the load.
        attach_type: u32,
    },
    /// The kernel's registry of a struct_ops type (Linux 6.4 and later).
    StructOps {
        /// Map with the filled value ([`crate::KernelObjects::fill_struct_ops`]).
        map: MapId,
    },
    /// A perf event, on one CPU or of one thread.
    PerfEvent {
        /// Event and location: never all CPUs, which need a link each.
        place: PerfEventPlace,
    },
    /// The iterator of the load (Linux 5.8 and later).
    Iterator,
    /// The target of the load of an fentry, fexit, fmod_ret, LSM or BTF tracepoint program.
    Trampoline {
        /// `enum bpf_attach_type` from the load.
        attach_type: u32,
        /// Attach cookie (`bpf_get_attach_cookie`, Linux 6.0 and later); 0 for none.
        cookie: u64,
    },
    /// A function of a loaded program (Linux 5.10): that of the load, or another one with the same signature.
    Replacement(Extends),
}

impl<'a> LinkTarget<'a> {
    /// Returns the probed binary and processes; `None` for targets outside of binaries.
    #[must_use]
    pub fn binary(&self) -> Option<(&'a str, &'a ProcessScope)> {
        match *self {
            Self::Uprobe { target, scope, .. }
            | Self::UprobeMulti { target, scope, .. }
            | Self::Usdt { target, scope, .. } => Some((target, scope)),
            _ => None,
        }
    }
}

/// File found by its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundFile {
    pub identity: FileIdentity,
    /// Set if the file system is local, on disk or in memory: it never hangs.
    pub is_local: bool,
}

/// New link, with the identities of its targets.
#[derive(Debug)]
pub struct NewLink<H> {
    pub link: H,
    /// Files, processes and modules: their path, pid or name may denote another one later.
    pub targets: Vec<TargetIdentity>,
}

/// Identity of a pin. The kernel never changes the object of a pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PinIdentity {
    pub device: u64,
    /// Inode number, which the kernel may reuse.
    pub inode: u64,
    /// Last change of the inode, in nanoseconds.
    pub changed: i128,
}

/// Exclusive lock of a folder of pins, until dropped.
#[derive(Debug)]
pub struct FolderLock {
    pub(crate) _held: Option<std::os::fd::OwnedFd>,
}

/// Filter of the daemon on a clsact hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcFilter {
    /// `prio` of `tc filter show`.
    pub priority: u16,
    /// `handle` of `tc filter show`.
    pub handle: u32,
}

impl TcFilter {
    /// Other tools can add filters that run before this priority. v0.6.0 used the same value.
    const PRIORITY: u16 = 50;

    const HANDLES: u32 = 0x6270_0000;

    /// Returns the filter of an operation. Other tools choose small handles; this one is never small.
    #[must_use]
    pub const fn of(operation: u64) -> Self {
        Self { priority: Self::PRIORITY, handle: Self::HANDLES | (operation & 0xffff) as u32 }
    }

    /// Returns whether [`TcFilter::of`] may have chosen these numbers; another daemon chooses the same ones.
    #[must_use]
    pub const fn may_be_ours(self) -> bool {
        self.priority == Self::PRIORITY && self.handle & 0xffff_0000 == Self::HANDLES
    }
}

/// Filter with its hook.
#[derive(Clone, Copy, Debug)]
pub struct FilterPlace<'a> {
    /// Network namespace of the interface.
    pub home: NetnsId,
    /// Path that last led to the namespace, tried first; `None` for the daemon's own.
    pub netns: Option<&'a Path>,
    pub ifindex: IfIndex,
    pub direction: Direction,
    pub filter: TcFilter,
}
