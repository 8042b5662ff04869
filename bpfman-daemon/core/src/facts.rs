//! What the kernel says of its objects.

use std::time::SystemTime;

use crate::uapi::link_type;
use crate::{BtfId, IfIndex, KernelLinkId, MapId, ProgramId};

/// What the kernel counted of a program since it was loaded, during the times in which it counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunCounts {
    /// How often it ran.
    pub runs: u64,
    /// How long all these runs took.
    pub nanoseconds: u64,
    /// Events that it missed because it was running already on the same CPU; counted always, of tracing programs
    /// (Linux 5.12 and later).
    pub missed: u64,
}

/// A program, as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramFacts {
    /// The kernel's id.
    pub id: ProgramId,
    /// At most 15 bytes.
    pub name: String,
    /// `enum bpf_prog_type`.
    pub kernel_type: u32,
    /// Hash of the instructions, eight bytes.
    pub tag: [u8; 8],
    /// When it was loaded.
    pub loaded_at: SystemTime,
    /// User who loaded it.
    pub created_by_uid: u32,
    /// Licence allows GPL-only functions.
    pub gpl_compatible: bool,
    /// Its maps.
    pub map_ids: Vec<MapId>,
    /// Its BTF, if it has any.
    pub btf_id: Option<BtfId>,
    /// Bytes after the verifier.
    pub bytes_xlated: u32,
    /// Bytes of machine code; 0 if not compiled.
    pub bytes_jited: u32,
    /// Bytes of kernel memory.
    pub bytes_memlock: u32,
    /// Instructions the verifier walked through (Linux 5.16 and later, else 0).
    pub verified_insns: u32,
}

impl ProgramFacts {
    /// The tag as 16 hexadecimal digits.
    #[must_use]
    pub fn tag_text(&self) -> String {
        crate::hexadecimal(&self.tag)
    }
}

/// A map, as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapFacts {
    /// The kernel's id.
    pub id: MapId,
    /// At most 15 bytes.
    pub name: String,
    /// `enum bpf_map_type`.
    pub map_type: u32,
    /// Bytes.
    pub key_size: u32,
    /// Bytes.
    pub value_size: u32,
    /// Entries.
    pub max_entries: u32,
    /// `BPF_F_*`.
    pub flags: u32,
    /// Bytes of kernel memory.
    pub bytes_memlock: u64,
    /// Nobody can change its entries by bpf(2) any more.
    pub frozen: bool,
}

/// A link, as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkFacts {
    /// The kernel's id.
    pub id: KernelLinkId,
    /// `enum bpf_link_type`.
    pub kernel_type: u32,
    /// The program it runs; 0 for links of structures of functions.
    pub program: ProgramId,
    /// The map whose structure a `struct_ops` link has the kernel call; such links run no program of their own.
    pub map: Option<MapId>,
    /// Interface of XDP and tcx links; none if it is gone, or for other links.
    pub ifindex: Option<IfIndex>,
    /// What the link was attached to is gone, or it was detached by force: it runs nothing any more. The kernel tells of
    /// links at interfaces, control groups and network namespaces.
    pub gone: bool,
}

impl LinkFacts {
    /// `BPF_LINK_TYPE_XDP` of `enum bpf_link_type`.
    pub const XDP: u32 = link_type::XDP;
    /// `BPF_LINK_TYPE_TCX` of `enum bpf_link_type`.
    pub const TCX: u32 = link_type::TCX;

    /// True for links that attach to a network interface.
    #[must_use]
    pub const fn is_at_interface(&self) -> bool {
        matches!(self.kernel_type, Self::XDP | Self::TCX)
    }

    /// False for a link whose interface, control group or namespace is gone, or that was detached by force.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        !self.gone
    }
}
