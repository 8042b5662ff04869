//! `bpfman attach`.

mod network;
mod probes;
#[cfg(test)]
mod tests;

use std::ffi::OsString;

use clap::{Args, Subcommand};

pub use self::network::{AttachNetfilter, AttachNetkit, AttachNetns, AttachTc, AttachTcx, AttachXdp};
pub use self::probes::{
    AttachKprobe, AttachKprobeMulti, AttachKsyscall, AttachPerfEvent, AttachRawTracepoint, AttachTracepoint,
    AttachUprobe, AttachUprobeMulti, AttachUsdt, LongOutput, ProbedFile,
};
use super::object_name::ObjectName;
use super::place::OrderFlags;
use super::value::KeyValue;

/// `bpfman attach PROGRAM_ID …`.
#[derive(Args, Debug)]
#[command(override_usage = "bpfman attach [OPTIONS] <ID|NAME> <HOOK|COMMAND>")]
pub struct Attach {
    /// Kernel id of the program, or its name if one program has it.
    #[arg(value_name = "ID|NAME")]
    pub program: ObjectName,
    /// Attach point: a hook such as `xdp:eth0`, as in `bpfman run`, or one of these commands with its flags.
    #[command(subcommand)]
    pub point: AttachTo,
}

/// Attach points.
#[derive(Debug, Subcommand)]
pub enum AttachTo {
    /// Attach to XDP: packets as the interface's driver receives them.
    Xdp(AttachXdp),
    /// Attach to traffic control of an interface, in the daemon's chain.
    Tc(AttachTc),
    /// Attach to traffic control of an interface, in the kernel's own chain (Linux 6.6 and later).
    Tcx(AttachTcx),
    /// Attach to a static tracepoint.
    Tracepoint(AttachTracepoint),
    /// Attach to the entry of a kernel function, or to its return if the program is a return probe.
    Kprobe(AttachKprobe),
    /// Attach to a function of a program or library, or to its return if the program is a return probe.
    Uprobe(AttachUprobe),
    /// Attach to the entry of the kernel function that the program was loaded for.
    Fentry(AttachBound),
    /// Attach to the exit of the kernel function that the program was loaded for.
    Fexit(AttachBound),
    /// Attach to the LSM hook that the program was loaded for.
    Lsm(AttachBound),
    /// Attach to a static tracepoint, by its name alone.
    #[command(alias = "raw_tracepoint")]
    RawTracepoint(AttachRawTracepoint),
    /// Attach to the tracepoint that the program was loaded for.
    #[command(alias = "tp_btf")]
    TpBtf(AttachBound),
    /// Attach to the kernel function whose return value the program was loaded to change.
    #[command(alias = "fmod_ret")]
    FmodRet(AttachBound),
    /// Attach an iterator: `bpfman iter` runs it.
    Iter(AttachBound),
    /// Replace the function of another program that the program was loaded for.
    Freplace(AttachBound),
    /// Attach to many kernel functions by one link, or to their returns.
    #[command(alias = "kprobe_multi")]
    KprobeMulti(AttachKprobeMulti),
    /// Attach to many functions of a program or library by one link, or to their returns (Linux 6.6 and later).
    #[command(alias = "uprobe_multi")]
    UprobeMulti(AttachUprobeMulti),
    /// Attach to a perf event: run after each number of events of a kernel or CPU counter (Linux 5.15 and later).
    #[command(alias = "perf_event")]
    PerfEvent(AttachPerfEvent),
    /// Attach to a sockmap, at the hook that the program was loaded for (Linux 6.10 and later).
    Sockmap(AttachSockmap),
    /// Attach to all places of a USDT probe in a program or library (Linux 6.6 and later).
    Usdt(AttachUsdt),
    /// Attach to a netkit device, at the end that the program was loaded for (Linux 6.7 and later).
    Netkit(AttachNetkit),
    /// Attach to the entry or return of a system call, under its name in this kernel.
    Ksyscall(AttachKsyscall),
    /// Have the kernel use a struct_ops map, for example a congestion control algorithm (Linux 6.4 and later).
    #[command(alias = "struct_ops")]
    StructOps(AttachStructOps),
    /// Attach to a cgroup and all cgroups below it, at the hook that the program was loaded for.
    Cgroup(AttachCgroup),
    /// Attach to a network namespace: sk_lookup and flow_dissector programs.
    Netns(AttachNetns),
    /// Attach to a netfilter hook (Linux 6.4 and later).
    Netfilter(AttachNetfilter),
    /// Attach to a hook, which `args::parse` replaces by one of the other forms.
    #[command(external_subcommand)]
    Hook(Vec<OsString>),
}

/// Metadata of the link, and how long it stays.
#[derive(Args, Debug)]
pub struct LinkMetadata {
    /// Metadata of the link; several with commas, or by repeating the flag.
    #[arg(short, long, value_delimiter = ',', value_name = "KEY=VALUE")]
    pub metadata: Vec<KeyValue>,
    /// Detach after this time: a number and s, m, h or d.
    #[arg(long, value_name = "TIME", value_parser = super::image::age)]
    pub ttl: Option<std::time::Duration>,
}

impl AttachTo {
    /// Returns metadata and lifetime of the link; none for a hook that was not replaced.
    #[must_use]
    pub const fn link(&self) -> Option<&LinkMetadata> {
        Some(match self {
            Self::Xdp(xdp) => &xdp.link,
            Self::Tc(tc) => &tc.link,
            Self::Tcx(tcx) => &tcx.link,
            Self::Tracepoint(tracepoint) => &tracepoint.link,
            Self::Kprobe(kprobe) => &kprobe.link,
            Self::Uprobe(uprobe) => &uprobe.link,
            Self::Fentry(bound)
            | Self::Fexit(bound)
            | Self::Lsm(bound)
            | Self::TpBtf(bound)
            | Self::FmodRet(bound)
            | Self::Freplace(bound)
            | Self::Iter(bound) => &bound.link,
            Self::RawTracepoint(tracepoint) => &tracepoint.link,
            Self::KprobeMulti(probes) => &probes.link,
            Self::UprobeMulti(probes) => &probes.link,
            Self::PerfEvent(event) => &event.link,
            Self::Sockmap(sockmap) => &sockmap.link,
            Self::Usdt(probe) => &probe.link,
            Self::Netkit(device) => &device.link,
            Self::Ksyscall(call) => &call.link,
            Self::StructOps(functions) => &functions.link,
            Self::Cgroup(cgroup) => &cgroup.link,
            Self::Netns(netns) => &netns.link,
            Self::Netfilter(netfilter) => &netfilter.link,
            Self::Hook(_) => return None,
        })
    }
}

/// `attach … sockmap`.
#[derive(Args, Debug)]
pub struct AttachSockmap {
    /// One of the program's own maps, by its name in the object.
    #[arg(long, value_name = "NAME")]
    pub map: String,
    /// Metadata.
    #[command(flatten)]
    pub link: LinkMetadata,
}

/// `attach … struct-ops`.
#[derive(Args, Debug)]
pub struct AttachStructOps {
    /// The variable of section .struct_ops.link (or .struct_ops) that holds the structure, by its name in the object.
    #[arg(long, value_name = "NAME")]
    pub map: String,
    /// Metadata.
    #[command(flatten)]
    pub link: LinkMetadata,
}

/// `attach … cgroup`.
#[derive(Args, Debug)]
pub struct AttachCgroup {
    /// Cgroup (version 2), by its path from the root of the hierarchy, for example /system.slice/web.service.
    #[arg(short, long, value_name = "PATH")]
    pub path: String,
    /// Place among others.
    #[command(flatten)]
    pub order: OrderFlags,
    /// Metadata.
    #[command(flatten)]
    pub link: LinkMetadata,
}

/// `attach … fentry`, `fexit` and `lsm`: their target was set when they were loaded.
#[derive(Args, Debug)]
pub struct AttachBound {
    /// Metadata.
    #[command(flatten)]
    pub link: LinkMetadata,
}
