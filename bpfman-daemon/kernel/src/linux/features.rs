//! Detection of kernel features.

use bpfman_model::ProgramType;
use bpfman_model::uapi::attach_type;

use super::attr::{Command, Query};
use super::feature_checks::{self, BtfKind};
use super::{extension, netns, perf, struct_ops, sys};
use crate::Features;

#[must_use]
pub fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

pub(super) fn version() -> (u32, u32) {
    parse_version(&release())
}

pub fn probe() -> Features {
    let release = release();
    let version = parse_version(&release);
    let patch = patch_of(&release, &rustix::system::uname().version().to_string_lossy());
    Features {
        tcx: has_tcx(),
        perf_links: feature_checks::perf_links(),
        frames_by_16: feature_checks::frames_by_16(),
        long_jumps: feature_checks::long_jumps(),
        freplace: extension::works(),
        device_bound: feature_checks::device_bound(),
        kprobes: perf::has_source("kprobe"),
        uprobes: perf::has_source("uprobe"),
        kprobe_multi: feature_checks::kprobe_multi(ProgramType::KprobeMulti),
        kprobe_session: feature_checks::kprobe_multi(ProgramType::KprobeSession),
        uprobe_multi: feature_checks::uprobe_multi(ProgramType::UprobeMulti),
        uprobe_session: feature_checks::uprobe_multi(ProgramType::UprobeSession),
        sockmap_links: feature_checks::sockmap_links(),
        netkit: feature_checks::netkit(),
        struct_ops_links: struct_ops::has_links(),
        trampoline_cookies: version >= (6, 0),
        raw_cookies: feature_checks::raw_cookies(),
        netfilter: feature_checks::netfilter(),
        netfilter_defragment: feature_checks::netfilter_defragment(),
        cgroup_order: feature_checks::cgroup_order(),
        netfilter_held: held_netfilter(version, patch),
        netns_cookies: netns::here().is_ok_and(|here| here.cookie != 0),
        xdp_contexts: feature_checks::xdp_contexts(),
        map_batches: feature_checks::map_batches(),
        btf_float: feature_checks::btf(BtfKind::Float),
        btf_decl_tag: feature_checks::btf(BtfKind::DeclTag),
        btf_type_tag: feature_checks::btf(BtfKind::TypeTag),
        btf_enum64: feature_checks::btf(BtfKind::Enum64),
        possible_cpus: aya::util::nr_cpus().map_or(1, |cpus| u32::try_from(cpus).unwrap_or(u32::MAX)),
        page_size: page_size(),
        switched_off: Vec::new(),
        version,
        patch,
        release,
    }
}

pub(super) fn page_size() -> u32 {
    u32::try_from(rustix::param::page_size()).unwrap_or(u32::MAX)
}

fn held_netfilter(version: (u32, u32), patch: u32) -> bool {
    match version {
        (6, 6) => patch >= 59,
        (6, 11) => patch >= 6,
        version => version >= (6, 12),
    }
}

/// Returns the third number of a version. Debian has it only in `uname -v` (`#1 SMP PREEMPT_DYNAMIC Debian 6.1.162-1`).
fn patch_of(release: &str, version: &str) -> u32 {
    let told = version.split_once("Debian ").map_or(release, |(_, told)| told);
    numbers(told).nth(2).unwrap_or(0)
}

fn parse_version(release: &str) -> (u32, u32) {
    let mut numbers = numbers(release);
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn numbers(release: &str) -> impl Iterator<Item = u32> {
    release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0))
}

/// Queries an impossible interface: with tcx, the kernel reports a missing device.
pub(super) fn has_tcx() -> bool {
    let mut query =
        Query { target: u32::MAX >> 1, attach_type: attach_type::TCX_INGRESS, ..Query::default() };
    matches!(sys::bpf(Command::ProgQuery, &mut query), Err(error) if error.raw_os_error() == Some(libc::ENODEV))
}

/// Raises the memory lock limit, which counts BPF memory before Linux 5.11. Errors are ignored.
pub fn raise_memlock() {
    let unlimited = rustix::process::Rlimit { current: None, maximum: None };
    if let Err(error) = rustix::process::setrlimit(rustix::process::Resource::Memlock, unlimited) {
        tracing::debug!(%error, "the memory lock limit stays as it is; Linux 5.11 and later do not need it raised");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_distributions_are_read() {
        assert_eq!(parse_version("6.1.0-37-cloud-amd64"), (6, 1));
        assert_eq!(parse_version("6.18.44-fc-v657"), (6, 18));
        assert_eq!(parse_version("odd"), (0, 0));
        let debian = "#1 SMP PREEMPT_DYNAMIC Debian 6.1.162-1 (2026-02-08)";
        assert_eq!(patch_of("6.1.0-43-cloud-amd64", debian), 162);
        assert_eq!(patch_of("6.18.44-fc-v657", "#1 SMP Thu"), 44);
        assert_eq!(patch_of("7.0", ""), 0);
        for (release, held) in [
            ("6.4.0", false),
            ("6.6.58-1-amd64", false),
            ("6.6.59", true),
            ("6.10.11", false),
            ("6.11.5", false),
            ("6.11.6", true),
            ("6.12.117+deb12-cloud-amd64", true),
            ("7.0", true),
        ] {
            assert_eq!(
                held_netfilter(parse_version(release), patch_of(release, "#1 SMP")),
                held,
                "{release}"
            );
        }
    }
}
