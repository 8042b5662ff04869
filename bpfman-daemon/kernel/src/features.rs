//! What kernels can and cannot do.

/// What this kernel can do, as far as the engine decides by it. What is true or false here has a name and a meaning in
/// [`crate::PROBES`], and can be switched off ([`Features::switch_off`]).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// `uname -r`.
    pub release: String,
    /// Probes that were switched off although the kernel has what they are for.
    pub switched_off: Vec<&'static str>,
    /// Major and minor version.
    pub version: (u32, u32),
    /// The third number of the version, which distributions tell apart from the release.
    pub patch: u32,
    /// tcx links (Linux 6.6 and later).
    pub tcx: bool,
    /// Links on perf events, with cookies (Linux 5.15 and later): without them probes cannot outlive the daemon.
    pub perf_links: bool,
    /// Frames are rounded up to 16 bytes instead of 32 (Linux 6.12 and later, where programs are compiled).
    pub frames_by_16: bool,
    /// Jumps with 32-bit offsets (Linux 6.6 and later).
    pub long_jumps: bool,
    /// Extensions that take the place of another program's function ("freplace"), loaded and attached for a try.
    pub freplace: bool,
    /// XDP programs for one interface, which know what its driver knows (Linux 6.3 and later).
    pub device_bound: bool,
    /// A source of events for kernel probes: programs for them load where there is none, and can be attached nowhere.
    pub kprobes: bool,
    /// The same for user-space probes.
    pub uprobes: bool,
    /// Probes of many kernel functions by one link (Linux 5.18 and later, built with fprobe).
    pub kprobe_multi: bool,
    /// Those that meet entry and return (Linux 6.10 and later).
    pub kprobe_session: bool,
    /// Probes of many user-space functions by one link (Linux 6.6 and later).
    pub uprobe_multi: bool,
    /// User-space probes of entry and return (Linux 6.13 and later).
    pub uprobe_session: bool,
    /// Links to maps of sockets (Linux 6.10 and later).
    pub sockmap_links: bool,
    /// Links at netkit devices (Linux 6.7 and later).
    pub netkit: bool,
    /// Links of structures of functions (Linux 6.4 and later).
    pub struct_ops_links: bool,
    /// Cookies of links to fentry, fexit, fmod_ret and LSM programs (Linux 6.0 and later).
    pub trampoline_cookies: bool,
    /// Cookies of links to raw trace points (Linux 6.10 and later).
    pub raw_cookies: bool,
    /// Netfilter programs (Linux 6.4 and later).
    pub netfilter: bool,
    /// Netfilter programs that see whole packets (Linux 6.6 and later).
    pub netfilter_defragment: bool,
    /// Places in the list of programs of a control group's hook (Linux 6.17 and later, and newer ones of 6.12).
    pub cgroup_order: bool,
    /// A netfilter link keeps its network namespace (CVE-2024-50130, corrected in Linux 6.6.59, 6.11.6 and 6.12): without,
    /// the kernel uses what it freed when a namespace goes before the link.
    pub netfilter_held: bool,
    /// Test runs of XDP programs are told the interface (Linux 5.15 and later).
    pub xdp_contexts: bool,
    /// Batches of entries of hash tables (Linux 5.6 and later).
    pub map_batches: bool,
    /// Floating-point numbers in BTF (Linux 5.13 and later).
    pub btf_float: bool,
    /// Tags of declarations in BTF (Linux 5.16 and later).
    pub btf_decl_tag: bool,
    /// Tags of types in BTF (Linux 5.17 and later).
    pub btf_type_tag: bool,
    /// Enumerations of 64 bits in BTF (Linux 6.0 and later).
    pub btf_enum64: bool,
    /// CPUs that this machine can have: so many values has an entry of a per-CPU map.
    pub possible_cpus: u32,
    /// Bytes of a page.
    pub page_size: u32,
}
