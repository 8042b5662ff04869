//! What loads and attachments need of a kernel.

use bpfmand_core::uapi::{attach_type, prog_type};

use crate::{Features, KernelError, LinkTarget, Probe, ProgramLoad};

impl Features {
    /// Refuses a program that this kernel has no place for. Whether it takes the type at all, the kernel says itself.
    ///
    /// # Errors
    /// [`KernelError::Unsupported`] names what is missing.
    pub(crate) fn check_load(&self, load: &ProgramLoad<'_>) -> Result<(), KernelError> {
        let is_netfilter = load.kind.kernel_type == prog_type::NETFILTER;
        let needed = [("device_bound", load.device.is_some()), ("netfilter", is_netfilter)];
        needed.iter().filter(|(_, asked)| *asked).try_for_each(|(name, _)| self.require_all(&[name]))
    }

    /// Refuses a link that this kernel cannot make: it says little itself, mostly that something is invalid.
    ///
    /// # Errors
    /// [`KernelError::Unsupported`] names what is missing.
    pub(crate) fn check_target(&self, target: &LinkTarget<'_>) -> Result<(), KernelError> {
        let needed: &[&str] = match target {
            LinkTarget::Tcx { .. } => &["tcx"],
            LinkTarget::Tracepoint { .. } | LinkTarget::PerfEvent { .. } => &["perf_links"],
            LinkTarget::Sockmap { .. } => &["sockmap_links"],
            LinkTarget::Kprobe { .. } => &["perf_links", "kprobes"],
            LinkTarget::Uprobe { .. } => &["perf_links", "uprobes"],
            LinkTarget::KprobeMulti { attach_type: attach_type::TRACE_KPROBE_SESSION, .. } => {
                &["kprobe_session"]
            }
            LinkTarget::KprobeMulti { .. } => &["kprobe_multi"],
            LinkTarget::UprobeMulti { .. } => &["uprobe_multi"],
            LinkTarget::Trampoline { cookie, .. } if *cookie != 0 => &["trampoline_cookies"],
            LinkTarget::RawTracepoint { cookie, .. } if *cookie != 0 => &["raw_cookies"],
            LinkTarget::Netfilter { netns, place } => match (netns, place.defragment) {
                // The daemon's own namespace does not go before its links.
                (None, false) => &["netfilter"],
                (None, true) => &["netfilter", "netfilter_defragment"],
                (Some(_), false) => &["netfilter", "netfilter_held"],
                (Some(_), true) => &["netfilter", "netfilter_defragment", "netfilter_held"],
            },
            LinkTarget::Xdp { .. }
            | LinkTarget::Replacement(_)
            | LinkTarget::Cgroup { .. }
            | LinkTarget::Netns { .. }
            | LinkTarget::Iterator
            | LinkTarget::RawTracepoint { .. }
            | LinkTarget::Trampoline { .. } => &[],
        };
        self.require_all(needed)
    }

    fn require_all(&self, needed: &[&str]) -> Result<(), KernelError> {
        needed.iter().filter_map(|name| Probe::named(name).ok()).try_for_each(|probe| self.require(probe))
    }
}
