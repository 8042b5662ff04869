use crate::{Features, KernelError};

/// Feature of the kernel that the daemon uses.
#[derive(Clone, Copy)]
pub struct Probe {
    /// Name by which users switch it off.
    pub name: &'static str,
    pub feature: &'static str,
    /// Kernels that have the feature.
    pub needs: &'static str,
    /// Method by which the feature is found.
    pub found: ProbedBy,
    /// Behaviour without the feature.
    pub without: &'static str,
    of: fn(&Features) -> bool,
    field: fn(&mut Features) -> &mut bool,
}

/// Method by which a feature is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbedBy {
    /// By using it with an object that is removed at once.
    Trying,
    /// By the version of the kernel, which offers no query for it.
    Version,
}

/// There is no probe of that name.
#[derive(Debug, thiserror::Error)]
#[error("there is no probe \"{name}\"; the names are {}", names())]
pub struct UnknownProbe {
    /// The unknown name.
    pub name: String,
}

fn names() -> String {
    PROBES.iter().map(|probe| probe.name).collect::<Vec<_>>().join(", ")
}

macro_rules! probe {
    ($field:ident, $feature:literal, $needs:literal, $found:ident, $without:literal) => {
        Probe {
            name: stringify!($field),
            feature: $feature,
            needs: $needs,
            found: ProbedBy::$found,
            without: $without,
            of: |features| features.$field,
            field: |features| &mut features.$field,
        }
    };
}

#[rustfmt::skip]
#[allow(missing_docs, reason = "each says what it is")]
impl Probe {
    pub const TCX: Self = probe!(tcx, "tcx", "Linux 6.6 or later has it; type tc works here", Trying,
        "programs of type tc enter by clsact, type tcx is refused");
    pub const PERF_LINKS: Self = probe!(perf_links, "links on perf events", "Linux 5.15 or later has them", Trying,
        "tracepoint, kprobe, uprobe and perf_event programs are not attached: without links they would end with the daemon");
    pub const FRAMES_BY_16: Self = probe!(frames_by_16, "stack frames in steps of 16 bytes", "Linux 6.12 or later has them", Trying,
        "chains are planned for frames in steps of 32 bytes: fewer members share a program");
    pub const LONG_JUMPS: Self = probe!(long_jumps, "jumps of 32 bits", "Linux 6.6 or later has them, and newer ones of 6.1", Trying,
        "chains whose jumps do not fit into 16 bits are cut in parts");
    pub const FREPLACE: Self = probe!(freplace, "extensions of programs", "some kernels refuse to load or attach one", Trying,
        "programs join no dispatcher of libxdp, and a hook that has one is a conflict; freplace programs are refused");
    pub const DEVICE_BOUND: Self = probe!(device_bound, "XDP programs for one interface", "Linux 6.3 or later has them", Trying,
        "programs that ask the driver about a packet are refused");
    pub const KPROBES: Self = probe!(kprobes, "kernel probes", "the kernel must be built with CONFIG_KPROBE_EVENTS", Trying,
        "kprobe and kretprobe programs are not attached");
    pub const UPROBES: Self = probe!(uprobes, "user-space probes", "the kernel must be built with CONFIG_UPROBE_EVENTS", Trying,
        "uprobe and uretprobe programs are not attached");
    pub const KPROBE_MULTI: Self = probe!(kprobe_multi, "probes of many kernel functions",
        "Linux 5.18 or later has them, if it was built with fprobe", Trying,
        "kprobe_multi and kretprobe_multi programs are not attached");
    pub const KPROBE_SESSION: Self = probe!(kprobe_session, "probes of entry and return",
        "Linux 6.10 or later has them, if it was built with fprobe", Trying,
        "kprobe_session programs are not attached");
    pub const UPROBE_MULTI: Self = probe!(uprobe_multi, "probes of many user-space functions", "Linux 6.6 or later has them", Trying,
        "uprobe_multi, uretprobe_multi and usdt programs are not attached");
    pub const UPROBE_SESSION: Self = probe!(uprobe_session, "user-space probes of entry and return", "Linux 6.13 or later has them", Trying,
        "uprobe_session programs are not attached");
    pub const SOCKMAP_LINKS: Self = probe!(sockmap_links, "links on sockmaps", "Linux 6.10 or later has them", Trying,
        "sk_skb and sk_msg programs are not attached");
    pub const NETKIT: Self = probe!(netkit, "netkit devices", "Linux 6.7 or later has them, if it was built with CONFIG_NETKIT", Trying,
        "netkit programs are not attached");
    pub const STRUCT_OPS_LINKS: Self = probe!(struct_ops_links, "struct_ops links", "Linux 6.4 or later has them", Trying,
        "struct_ops programs are loaded, and not attached");
    pub const TRAMPOLINE_COOKIES: Self = probe!(trampoline_cookies, "cookies of links to functions", "Linux 6.0 or later has them", Version,
        "tenants' fentry, fexit, fmod_ret and LSM programs are refused: they cannot be guarded");
    pub const RAW_COOKIES: Self = probe!(raw_cookies, "cookies of links to raw trace points", "Linux 6.10 or later has them", Trying,
        "tenants' raw and typed trace points are refused: they cannot be guarded");
    pub const NETFILTER: Self = probe!(netfilter, "netfilter programs", "Linux 6.4 or later has them", Trying,
        "netfilter programs are refused");
    pub const NETFILTER_DEFRAGMENT: Self = probe!(netfilter_defragment, "netfilter programs that see whole packets", "Linux 6.6 or later has them", Trying,
        "netfilter programs that ask for whole packets are not attached");
    pub const NETFILTER_HELD: Self = probe!(netfilter_held, "netfilter programs in a network namespace that may go (CVE-2024-50130)",
        "Linux 6.6.59, 6.11.6, 6.12 or later has them; in the daemon's own namespace they work here", Version,
        "netfilter programs are attached in the daemon's own network namespace only");
    pub const CGROUP_ORDER: Self = probe!(cgroup_order, "order among programs of a cgroup", "Linux 6.17 or later has it, and newer ones of 6.12", Trying,
        "programs of cgroups run in the order in which they were attached; those that want another place are refused");
    pub const NETNS_COOKIES: Self = probe!(netns_cookies, "cookies of network namespaces", "Linux 5.14 or later has them", Trying,
        "the daemon holds each network namespace in which something is attached, while a path leads to it");
    pub const XDP_CONTEXTS: Self = probe!(xdp_contexts, "test runs of XDP programs that get their interface", "Linux 5.15 or later has them", Trying,
        "traced packets of XDP chains say nothing of the interface they came by");
    pub const MAP_BATCHES: Self = probe!(map_batches, "batches of map entries", "Linux 5.6 or later has them", Trying,
        "entries of maps are read and copied one by one; of a map that changes meanwhile some may be left out");
    pub const BTF_FLOAT: Self = probe!(btf_float, "floating-point numbers in BTF", "Linux 5.13 or later has them", Trying,
        "types of programs are loaded with structures of that size in their place");
    pub const BTF_DECL_TAG: Self = probe!(btf_decl_tag, "tags of declarations in BTF", "Linux 5.16 or later has them", Trying,
        "types of programs are loaded with integers in their place");
    pub const BTF_TYPE_TAG: Self = probe!(btf_type_tag, "tags of types in BTF", "Linux 5.17 or later has them", Trying,
        "types of programs are loaded with const in their place");
    pub const BTF_ENUM64: Self = probe!(btf_enum64, "enumerations of 64 bits in BTF", "Linux 6.0 or later has them", Trying,
        "types of programs are loaded with unions of that size in their place");
}

/// All features that the daemon uses.
pub static PROBES: &[Probe] = &[
    Probe::TCX,
    Probe::PERF_LINKS,
    Probe::FRAMES_BY_16,
    Probe::LONG_JUMPS,
    Probe::FREPLACE,
    Probe::DEVICE_BOUND,
    Probe::KPROBES,
    Probe::UPROBES,
    Probe::KPROBE_MULTI,
    Probe::KPROBE_SESSION,
    Probe::UPROBE_MULTI,
    Probe::UPROBE_SESSION,
    Probe::SOCKMAP_LINKS,
    Probe::NETKIT,
    Probe::STRUCT_OPS_LINKS,
    Probe::TRAMPOLINE_COOKIES,
    Probe::RAW_COOKIES,
    Probe::NETFILTER,
    Probe::NETFILTER_DEFRAGMENT,
    Probe::NETFILTER_HELD,
    Probe::CGROUP_ORDER,
    Probe::NETNS_COOKIES,
    Probe::XDP_CONTEXTS,
    Probe::MAP_BATCHES,
    Probe::BTF_FLOAT,
    Probe::BTF_DECL_TAG,
    Probe::BTF_TYPE_TAG,
    Probe::BTF_ENUM64,
];

impl Probe {
    pub fn named(name: &str) -> Result<&'static Self, UnknownProbe> {
        let found = PROBES.iter().find(|probe| probe.name == name);
        found.ok_or_else(|| UnknownProbe { name: name.to_owned() })
    }
}

impl std::fmt::Debug for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Probe").field(&self.name).finish()
    }
}

impl Features {
    /// Returns whether the kernel has the feature, and it is not switched off.
    #[must_use]
    pub fn has(&self, probe: &Probe) -> bool {
        (probe.of)(self)
    }

    /// Continues as on a kernel without this feature.
    pub fn switch_off(&mut self, probe: &Probe) {
        if std::mem::replace((probe.field)(self), false) {
            self.switched_off.push(probe.name);
        }
    }

    /// Returns `uname -r`, with a remark if the feature is switched off.
    #[must_use]
    pub fn release_without(&self, probe: &Probe) -> String {
        match self.switched_off.contains(&probe.name) {
            true => format!("{}, {} switched off", self.release, probe.name),
            false => self.release.clone(),
        }
    }

    /// Refuses an operation that needs a missing feature.
    pub fn require(&self, probe: &Probe) -> Result<(), KernelError> {
        if self.has(probe) {
            return Ok(());
        }
        let release = self.release_without(probe);
        Err(KernelError::Unsupported { feature: probe.feature, release, needs: probe.needs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_switched_off_by_its_name() {
        let mut features = Features { release: "6.18".to_owned(), tcx: true, ..Features::default() };
        let tcx = Probe::named("tcx").unwrap();
        features.require(tcx).unwrap();
        features.switch_off(tcx);
        assert!(!features.tcx);
        let error = features.require(tcx).unwrap_err().to_string();
        assert_eq!(
            error,
            "this kernel (6.18, tcx switched off) has no tcx; Linux 6.6 or later has it; type tc works here"
        );
        features.switch_off(Probe::named("freplace").unwrap());
        assert_eq!(features.switched_off, ["tcx"]);
        let error = Probe::named("tcxx").unwrap_err().to_string();
        assert!(error.starts_with("there is no probe \"tcxx\"; the names are tcx, perf_links, "), "{error}");
    }

    #[test]
    fn each_probe_has_a_field_of_its_own() {
        for probe in PROBES {
            let mut features = Features::default();
            *(probe.field)(&mut features) = true;
            let found: Vec<_> = PROBES.iter().filter(|other| features.has(other)).collect();
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0].name, probe.name);
            assert!(std::ptr::eq(Probe::named(probe.name).unwrap(), probe), "{probe:?}");
        }
    }

    fn rows() -> String {
        let row = |probe: &Probe| {
            let found = if probe.found == ProbedBy::Trying { "tried" } else { "by version" };
            format!("| `{}` | {} | {found} | {} |\n", probe.name, probe.needs, probe.without)
        };
        PROBES.iter().map(row).collect()
    }

    #[test]
    fn the_documentation_has_each_probe() {
        let page = include_str!("../../../docs/kernels.md");
        assert!(page.contains(&rows()), "docs/kernels.md has to have these rows:\n{}", rows());
    }
}
