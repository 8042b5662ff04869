//! Where programs are attached, and how.

use std::path::Path;

use bpfmand_core::{
    CgroupPath, Direction, FileIdentity, FileReader, FunctionPattern, IfIndex, KernelLinkId, MapId,
    NetfilterPlace, NetnsId, PerfEventPlace, ProcessScope, ProgramId, TargetIdentity,
};

/// How an XDP program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// By the driver.
    Native,
    /// By the network stack, after the socket buffer is made.
    Generic,
    /// On the card.
    Offload,
}

/// Where a link goes in a list of programs that the kernel keeps in order: of a tcx hook, or of a hook of a control group.
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
    /// The link or program in words; none for the ends.
    pub(crate) fn name(&self) -> Option<String> {
        match self {
            Self::First | Self::Last => None,
            Self::Before(link) | Self::After(link) => Some(format!("link {link}")),
            Self::BeforeProgram(program) | Self::AfterProgram(program) => Some(format!("program {program}")),
        }
    }
}

/// A global function of a loaded program, for another program to take its place ("freplace").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extends {
    /// The program; it must be loaded.
    pub program: ProgramId,
    /// The function: a type id in the program's own BTF ([`crate::KernelObjects::program_btf`]).
    pub function: u32,
}

/// What a link ties a program to.
#[derive(Clone, Debug)]
pub enum LinkTarget<'a> {
    /// An interface's XDP hook.
    Xdp {
        /// Network namespace of the interface.
        home: NetnsId,
        /// File that led to the namespace before, none for the daemon's own: where it is looked for first.
        netns: Option<&'a Path>,
        /// The interface in it.
        ifindex: IfIndex,
        /// How.
        mode: XdpMode,
    },
    /// An interface's tcx hook (Linux 6.6 and later).
    Tcx {
        /// Network namespace of the interface.
        home: NetnsId,
        /// File that led to the namespace before, none for the daemon's own: where it is looked for first.
        netns: Option<&'a Path>,
        /// The interface in it.
        ifindex: IfIndex,
        /// Which way.
        direction: Direction,
        /// Where among the others.
        anchor: ListAnchor,
        /// The hook's revision that this was decided by ([`bpfmand_core::HookContents::revision`]): if it is another
        /// by now, nothing is attached. None: whatever it is.
        expected_revision: Option<u64>,
    },
    /// A static trace point.
    Tracepoint {
        /// Folder.
        category: &'a str,
        /// Name.
        name: &'a str,
        /// What the program is told by `bpf_get_attach_cookie`; 0: nothing.
        cookie: u64,
    },
    /// A kernel function.
    Kprobe {
        /// Symbol.
        function: &'a str,
        /// Bytes from its start.
        offset: u64,
        /// Only inside of the function, as far as the kernel tells where it ends.
        inside_only: bool,
        /// Fire on return.
        on_return: bool,
        /// What the program is told by `bpf_get_attach_cookie`; 0: nothing.
        cookie: u64,
    },
    /// A system call, at the function by which the kernel of this machine enters it.
    Ksyscall {
        /// Its name, as `openat`.
        name: &'a str,
        /// Fire on return.
        on_return: bool,
        /// What the program is told by `bpf_get_attach_cookie`; 0: nothing.
        cookie: u64,
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
        /// The caller with whose rights the file is opened; none stands for root.
        reader: Option<&'a FileReader>,
        /// Fire on return.
        on_return: bool,
        /// Only at what is an instruction of a function that the file names.
        known_only: bool,
        /// What the program is told by `bpf_get_attach_cookie`; 0: nothing.
        cookie: u64,
    },
    /// A static trace point, by its name alone.
    RawTracepoint {
        /// Name.
        name: &'a str,
        /// What the program is told by `bpf_get_attach_cookie` (Linux 6.10 and later); 0: nothing.
        cookie: u64,
    },
    /// Kernel functions (Linux 5.18 and later).
    KprobeMulti {
        /// Names and patterns.
        functions: &'a [FunctionPattern],
        /// Fire on return.
        on_return: bool,
        /// `enum bpf_attach_type`, as the program was loaded: with a session, the entry asks for the return.
        attach_type: u32,
        /// What the program is told by `bpf_get_attach_cookie`; 0: nothing.
        cookie: u64,
    },
    /// User-space functions of one binary (Linux 6.6 and later).
    UprobeMulti {
        /// Absolute path, or a library's name.
        target: &'a str,
        /// Symbols.
        functions: &'a [String],
        /// Which processes.
        scope: &'a ProcessScope,
        /// The caller with whose rights the file is opened; none stands for root.
        reader: Option<&'a FileReader>,
        /// Fire on return.
        on_return: bool,
        /// Only at what is an instruction of a function that the file names.
        known_only: bool,
        /// `enum bpf_attach_type`, as the program was loaded: with a session (Linux 6.13), the entry asks for the return.
        attach_type: u32,
        /// What the program is told by `bpf_get_attach_cookie`; 0: nothing.
        cookie: u64,
    },
    /// A netkit device (Linux 6.7 and later), behind the programs that are there.
    Netkit {
        /// The namespace file, none for the daemon's own.
        netns: Option<&'a Path>,
        /// Its primary end.
        interface: &'a str,
        /// `enum bpf_attach_type`, as the program was loaded: at which end it runs.
        attach_type: u32,
    },
    /// A static probe of a binary (Linux 6.6 and later).
    Usdt {
        /// Absolute path, or a library's name.
        target: &'a str,
        /// Whose probe.
        provider: &'a str,
        /// Its name.
        name: &'a str,
        /// Which processes.
        scope: &'a ProcessScope,
        /// The caller with whose rights the file is opened; none stands for root.
        reader: Option<&'a FileReader>,
        /// The program's map of arguments, which is told where they are; none if it asks for none.
        specs: Option<MapId>,
    },
    /// A control group of version 2, at one of its hooks.
    Cgroup {
        /// The group.
        path: &'a CgroupPath,
        /// `enum bpf_attach_type`, as the program was loaded.
        attach_type: u32,
        /// Where among the programs of the group itself; elsewhere than last by [`crate::Features::cgroup_order`], and beside
        /// links only.
        anchor: ListAnchor,
        /// As for tcx ([`bpfmand_core::GroupContents::revision`]).
        expected_revision: Option<u64>,
    },
    /// A network namespace, at one of its hooks.
    Netns {
        /// The namespace; none if only its file is known.
        home: Option<NetnsId>,
        /// The namespace file, none for the daemon's own.
        netns: Option<&'a Path>,
        /// `enum bpf_attach_type`, as the program was loaded.
        attach_type: u32,
    },
    /// A netfilter hook of a network namespace (Linux 6.4 and later).
    Netfilter {
        /// The namespace; none if only its file is known.
        home: Option<NetnsId>,
        /// The namespace file, none for the daemon's own.
        netns: Option<&'a Path>,
        /// Which hook, and when.
        place: NetfilterPlace,
    },
    /// A map of sockets, at one of its hooks (Linux 6.10 and later).
    Sockmap {
        /// The map.
        map: MapId,
        /// `enum bpf_attach_type`, as the program was loaded.
        attach_type: u32,
    },
    /// The kernel's list of what it calls by name (Linux 6.4 and later).
    StructOps {
        /// The map that holds the structure, filled ([`crate::KernelObjects::fill_struct_ops`]).
        map: MapId,
    },
    /// A perf event, on one CPU or of one thread.
    PerfEvent {
        /// What is counted, and where: never on each CPU, which takes a link for each.
        place: PerfEventPlace,
    },
    /// What an iterator was loaded for (Linux 5.8 and later).
    Iterator,
    /// What an fentry, fexit, fmod_ret, LSM or typed trace point program was loaded for.
    Trampoline {
        /// `enum bpf_attach_type`, as the program was loaded.
        attach_type: u32,
        /// What the program is told by `bpf_get_attach_cookie` (Linux 6.0 and later); 0: nothing.
        cookie: u64,
    },
    /// A function of a loaded program, which an extension takes the place of (Linux 5.10 and later). It need not be
    /// the one that the extension was loaded for, but one that looks the same.
    Replacement(Extends),
}

impl<'a> LinkTarget<'a> {
    /// Returns the binary that is probed, and for which processes; none for targets in no binary.
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

/// A file that a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundFile {
    /// Its identity.
    pub identity: FileIdentity,
    /// Its file system is of a disk or of memory of this machine: it always answers.
    pub is_local: bool,
}

/// A new link, and what its target led to when it was made.
#[derive(Debug)]
pub struct NewLink<H> {
    /// The link.
    pub link: H,
    /// Files, processes and modules that can be other ones later under the same path, number or name.
    pub targets: Vec<TargetIdentity>,
}

/// Keeps a folder of pins to its holder until it is dropped.
#[derive(Debug)]
pub struct FolderLock {
    /// The lock goes with the descriptor.
    pub(crate) _held: Option<std::os::fd::OwnedFd>,
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

    /// Upper half of the handles of our filters.
    const HANDLES: u32 = 0x6270_0000;

    /// The filter of an operation. Its handle is never one of the small numbers that tools choose.
    #[must_use]
    pub const fn of(operation: u64) -> Self {
        Self { priority: Self::PRIORITY, handle: Self::HANDLES | (operation & 0xffff) as u32 }
    }

    /// Returns whether the numbers are such as [`TcFilter::of`] gives. Another daemon gives the same ones.
    #[must_use]
    pub const fn may_be_ours(self) -> bool {
        self.priority == Self::PRIORITY && self.handle & 0xffff_0000 == Self::HANDLES
    }
}

/// A filter and the hook that it is at.
#[derive(Clone, Copy, Debug)]
pub struct FilterPlace<'a> {
    /// Network namespace of the interface.
    pub home: NetnsId,
    /// File that led to the namespace before, none for the daemon's own: where it is looked for first.
    pub netns: Option<&'a Path>,
    /// The interface in it.
    pub ifindex: IfIndex,
    /// Which way.
    pub direction: Direction,
    /// Which filter.
    pub filter: TcFilter,
}
