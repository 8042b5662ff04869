//! Kernel's descriptions of its objects.

use std::time::SystemTime;

use crate::uapi::link_type;
use crate::{BtfId, IfIndex, KernelLinkId, MapId, ProgramId};

/// Counts of a program since it was loaded, from the times in which the kernel's run statistics were on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunCounts {
    /// Number of runs.
    pub runs: u64,
    /// Time of these runs, in nanoseconds.
    pub nanoseconds: u64,
    /// Events that were missed because the program was running already on the same CPU. Always counted, for tracing
    /// programs (Linux 5.12).
    pub missed: u64,
}

/// Program, as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramFacts {
    /// Kernel id.
    pub id: ProgramId,
    /// Name, at most 15 bytes.
    pub name: String,
    /// Value of `enum bpf_prog_type`.
    pub kernel_type: u32,
    /// Hash of the instructions, eight bytes.
    pub tag: [u8; 8],
    /// Time of the load.
    pub loaded_at: SystemTime,
    /// User that loaded the program.
    pub created_by_uid: u32,
    /// True if the licence allows GPL-only functions.
    pub gpl_compatible: bool,
    /// Ids of the program's maps.
    pub map_ids: Vec<MapId>,
    /// Id of the program's BTF, if it has any.
    pub btf_id: Option<BtfId>,
    /// Size of the instructions after the verifier, in bytes.
    pub bytes_xlated: u32,
    /// Size of the machine code, in bytes; 0 if not compiled.
    pub bytes_jited: u32,
    /// Kernel memory, in bytes.
    pub bytes_memlock: u32,
    /// Instructions that the verifier processed (Linux 5.16 and later, else 0).
    pub verified_insns: u32,
}

impl ProgramFacts {
    /// Returns the tag as 16 hexadecimal digits.
    #[must_use]
    pub fn tag_text(&self) -> String {
        crate::hexadecimal(&self.tag)
    }
}

/// Map, as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapFacts {
    /// Kernel id.
    pub id: MapId,
    /// Name, at most 15 bytes.
    pub name: String,
    /// Value of `enum bpf_map_type`.
    pub map_type: u32,
    /// Size of a key, in bytes.
    pub key_size: u32,
    /// Size of a value, in bytes.
    pub value_size: u32,
    /// Maximum number of entries.
    pub max_entries: u32,
    /// Flags, `BPF_F_*`.
    pub flags: u32,
    /// Kernel memory, in bytes.
    pub bytes_memlock: u64,
    /// True if bpf(2) can no longer change the entries.
    pub frozen: bool,
}

/// Link, as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkFacts {
    /// Kernel id.
    pub id: KernelLinkId,
    /// Value of `enum bpf_link_type`.
    pub kernel_type: u32,
    /// Program that the link runs; 0 for struct_ops links.
    pub program: ProgramId,
    /// Map with the structure that a struct_ops link registers; such links run no program of their own.
    pub map: Option<MapId>,
    /// Interface of XDP and tcx links; `None` if it was removed, and for other links.
    pub ifindex: Option<IfIndex>,
    /// True if the link runs nothing any more, because its target was removed or it was detached by force. The kernel
    /// reports that for links at interfaces, cgroups and network namespaces.
    pub gone: bool,
}

impl LinkFacts {
    /// `BPF_LINK_TYPE_XDP` of `enum bpf_link_type`.
    pub const XDP: u32 = link_type::XDP;
    /// `BPF_LINK_TYPE_TCX` of `enum bpf_link_type`.
    pub const TCX: u32 = link_type::TCX;

    /// Returns whether the link attaches to a network interface.
    #[must_use]
    pub const fn is_at_interface(&self) -> bool {
        matches!(self.kernel_type, Self::XDP | Self::TCX)
    }

    /// Returns whether the link still has its interface, cgroup or namespace, and was not detached by force.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        !self.gone
    }
}
