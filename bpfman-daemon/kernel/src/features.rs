//! What kernels can and cannot do.

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
    /// Extensions that take the place of another program's function ("freplace"), loaded and attached for a try.
    pub freplace: bool,
    /// XDP programs for one interface, which know what its driver knows (Linux 6.3 and later).
    pub device_bound: bool,
    /// A source of events for kernel probes: programs for them load where there is none, and can be attached nowhere.
    pub kprobes: bool,
    /// The same for user-space probes.
    pub uprobes: bool,
    /// CPUs that this machine can have: so many values has an entry of a per-CPU map.
    pub possible_cpus: u32,
    /// Bytes of a page.
    pub page_size: u32,
}
