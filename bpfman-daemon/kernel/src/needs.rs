//! Features of the kernel that loads and attachments need.

use bpfman_model::uapi::{attach_type, prog_type};

use crate::{Features, KernelError, LinkTarget, ListAnchor, Probe, ProgramLoad};

impl Features {
    /// Fails if the kernel lacks a needed feature. The kernel itself refuses other program types that it does not know.
    pub(crate) fn check_load(&self, load: &ProgramLoad<'_>) -> Result<(), KernelError> {
        let is_netfilter = load.kind.kernel_type == prog_type::NETFILTER;
        let needed = [(Probe::DEVICE_BOUND, load.device.is_some()), (Probe::NETFILTER, is_netfilter)];
        needed.iter().filter(|(_, asked)| *asked).try_for_each(|(probe, _)| self.require(probe))
    }

    /// Fails with the name of a missing feature, for which the kernel mostly reports only an invalid argument.
    pub(crate) fn check_target(&self, target: &LinkTarget<'_>) -> Result<(), KernelError> {
        let needed: &[Probe] = match target {
            LinkTarget::Tcx { .. } => &[Probe::TCX],
            LinkTarget::Tracepoint { .. } | LinkTarget::PerfEvent { .. } => &[Probe::PERF_LINKS],
            LinkTarget::Sockmap { .. } => &[Probe::SOCKMAP_LINKS],
            LinkTarget::Netkit { .. } => &[Probe::NETKIT],
            LinkTarget::StructOps { .. } => &[Probe::STRUCT_OPS_LINKS],
            LinkTarget::Kprobe { .. } | LinkTarget::Ksyscall { .. } => &[Probe::PERF_LINKS, Probe::KPROBES],
            LinkTarget::Uprobe { .. } => &[Probe::PERF_LINKS, Probe::UPROBES],
            LinkTarget::KprobeMulti { attach_type: attach_type::TRACE_KPROBE_SESSION, .. } => {
                &[Probe::KPROBE_SESSION]
            }
            LinkTarget::KprobeMulti { .. } => &[Probe::KPROBE_MULTI],
            LinkTarget::UprobeMulti { attach_type: attach_type::TRACE_UPROBE_SESSION, .. } => {
                &[Probe::UPROBE_SESSION]
            }
            LinkTarget::UprobeMulti { .. } | LinkTarget::Usdt { .. } => &[Probe::UPROBE_MULTI],
            LinkTarget::Trampoline { cookie, .. } if *cookie != 0 => &[Probe::TRAMPOLINE_COOKIES],
            LinkTarget::RawTracepoint { cookie, .. } if *cookie != 0 => &[Probe::RAW_COOKIES],
            LinkTarget::Netfilter { netns, place, .. } => match (netns, place.defragment) {
                // The daemon's namespace does not end before its links.
                (None, false) => &[Probe::NETFILTER],
                (None, true) => &[Probe::NETFILTER, Probe::NETFILTER_DEFRAGMENT],
                (Some(_), false) => &[Probe::NETFILTER, Probe::NETFILTER_HELD],
                (Some(_), true) => &[Probe::NETFILTER, Probe::NETFILTER_DEFRAGMENT, Probe::NETFILTER_HELD],
            },
            LinkTarget::Cgroup { anchor, .. } if *anchor != ListAnchor::Last => &[Probe::CGROUP_ORDER],
            LinkTarget::Xdp { .. }
            | LinkTarget::Replacement(_)
            | LinkTarget::Cgroup { .. }
            | LinkTarget::Netns { .. }
            | LinkTarget::Iterator
            | LinkTarget::RawTracepoint { .. }
            | LinkTarget::Trampoline { .. } => &[],
        };
        needed.iter().try_for_each(|probe| self.require(probe))
    }
}
