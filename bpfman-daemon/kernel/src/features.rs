/// Features of the kernel that affect decisions. Boolean ones are in [`crate::PROBES`], and can be disabled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features {
    pub release: String,
    /// Names of features that were disabled although the kernel has them.
    pub switched_off: Vec<&'static str>,
    /// Major and minor version.
    pub version: (u32, u32),
    /// Third number of the version, which distributions report separately from the release.
    pub patch: u32,
    /// tcx links (Linux 6.6 and later).
    pub tcx: bool,
    /// Links on perf events, with cookies (Linux 5.15 and later): without them, probes end with the daemon.
    pub perf_links: bool,
    /// Stack frames are rounded up to 16 bytes instead of 32 (Linux 6.12 and later, with JIT).
    pub frames_by_16: bool,
    /// Jumps with 32-bit offsets (Linux 6.6 and later).
    pub long_jumps: bool,
    /// Extensions that replace another program's function ("freplace"), tested by loading and attaching one.
    pub freplace: bool,
    /// XDP programs bound to one interface, with access to its driver's metadata (Linux 6.3 and later).
    pub device_bound: bool,
    /// kprobe events: without them, kprobe programs load but cannot be attached.
    pub kprobes: bool,
    pub uprobes: bool,
    /// Probes of many kernel functions with one link (Linux 5.18 and later, built with fprobe).
    pub kprobe_multi: bool,
    /// Sessions of such probes at entry and return (Linux 6.10 and later).
    pub kprobe_session: bool,
    /// Probes of many user-space functions with one link (Linux 6.6 and later).
    pub uprobe_multi: bool,
    /// Sessions of user-space probes at entry and return (Linux 6.13 and later).
    pub uprobe_session: bool,
    /// Links to sockmaps (Linux 6.10 and later).
    pub sockmap_links: bool,
    /// Links at netkit devices (Linux 6.7 and later).
    pub netkit: bool,
    /// struct_ops links (Linux 6.4 and later).
    pub struct_ops_links: bool,
    /// Cookies of links to fentry, fexit, fmod_ret and LSM programs (Linux 6.0 and later).
    pub trampoline_cookies: bool,
    /// Cookies of links to raw tracepoints (Linux 6.10 and later).
    pub raw_cookies: bool,
    /// Netfilter programs (Linux 6.4 and later).
    pub netfilter: bool,
    /// Netfilter programs with defragmentation (Linux 6.6 and later).
    pub netfilter_defragment: bool,
    /// Positions in the program list of a cgroup hook (Linux 6.17 and later, and later releases of 6.12).
    pub cgroup_order: bool,
    /// Netfilter links hold their namespace (CVE-2024-50130, fixed in 6.6.59, 6.11.6 and 6.12: use after free).
    pub netfilter_held: bool,
    /// Cookies of network namespaces (Linux 5.14 and later): without them, a namespace has only its inode.
    pub netns_cookies: bool,
    /// Test runs of XDP programs with an interface in the context (Linux 5.15 and later).
    pub xdp_contexts: bool,
    /// Batch operations on hash tables (Linux 5.6 and later).
    pub map_batches: bool,
    /// Floating-point numbers in BTF (Linux 5.13 and later).
    pub btf_float: bool,
    /// Declaration tags in BTF (Linux 5.16 and later).
    pub btf_decl_tag: bool,
    /// Type tags in BTF (Linux 5.17 and later).
    pub btf_type_tag: bool,
    /// 64-bit enumerations in BTF (Linux 6.0 and later).
    pub btf_enum64: bool,
    /// Number of possible CPUs, which is the number of values in an entry of a per-CPU map.
    pub possible_cpus: u32,
    /// Page size, in bytes.
    pub page_size: u32,
}
