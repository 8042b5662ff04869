//! `bpfman attach`.

use std::ffi::OsString;
use std::path::PathBuf;

use bpfman_model::Direction;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};

use super::OutputForm;
use super::interface::InterfaceFlags;
use super::object_name::ObjectName;
use super::place::{OrderFlags, SharingFlags};
use super::value::KeyValue;
use crate::verdict;

/// `bpfman attach PROGRAM_ID …`.
#[derive(Args, Debug)]
pub struct Attach {
    /// Kernel id of the program, or its name if one program has it.
    #[arg(value_name = "ID|NAME")]
    pub program: ObjectName,
    /// Place: a hook such as `xdp:eth0`, as in `bpfman run`, or one of these with its flags.
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
    /// Attach to the function of another program that the program was loaded for: it runs in its place.
    Freplace(AttachBound),
    /// Attach to many kernel functions by one link, or to their returns.
    #[command(alias = "kprobe_multi")]
    KprobeMulti(AttachKprobeMulti),
    /// Attach to many functions of a program or library by one link, or to their returns (Linux 6.6 and later).
    #[command(alias = "uprobe_multi")]
    UprobeMulti(AttachUprobeMulti),
    /// Attach to a perf event: run each time a kernel or CPU counter has advanced by a number (Linux 5.15 and later).
    #[command(alias = "perf_event")]
    PerfEvent(AttachPerfEvent),
    /// Attach to a sockmap, at the hook that the program was loaded for (Linux 6.10 and later).
    Sockmap(AttachSockmap),
    /// Attach to a static probe of a program or library (USDT), wherever it has it (Linux 6.6 and later).
    Usdt(AttachUsdt),
    /// Attach to a netkit device, at the end that the program was loaded for (Linux 6.7 and later).
    Netkit(AttachNetkit),
    /// Attach to a system call, at its entry or return, wherever this machine's kernel enters it.
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

/// `attach … xdp`.
#[derive(Args, Debug)]
pub struct AttachXdp {
    /// Interface flags.
    #[command(flatten)]
    pub interface: InterfaceFlags,
    /// Verdicts after which the next program runs: aborted, drop, pass, tx, redirect, dispatcher_return.
    /// Without this flag: pass dispatcher_return.
    #[arg(long, num_args = 1.., value_delimiter = ',', value_name = "VERDICT", value_parser = xdp_verdict)]
    pub proceed_on: Vec<i32>,
    /// Place among others.
    #[command(flatten)]
    pub order: OrderFlags,
    /// Sharing flags.
    #[command(flatten)]
    pub sharing: SharingFlags,
    /// Metadata.
    #[command(flatten)]
    pub link: LinkMetadata,
}

/// `attach … tc`.
#[derive(Args, Debug)]
pub struct AttachTc {
    /// Side of the interface.
    #[arg(short, long, value_parser = directions())]
    pub direction: Direction,
    /// Interface flags.
    #[command(flatten)]
    pub interface: InterfaceFlags,
    /// Verdicts after which the next program runs: unspec, ok, reclassify, shot, pipe, stolen, queued, repeat,
    /// redirect, trap, dispatcher_return. Without this flag: pipe dispatcher_return.
    #[arg(long, num_args = 1.., value_delimiter = ',', value_name = "VERDICT", value_parser = tc_verdict)]
    pub proceed_on: Vec<i32>,
    /// Place among others.
    #[command(flatten)]
    pub order: OrderFlags,
    /// Sharing flags.
    #[command(flatten)]
    pub sharing: SharingFlags,
    /// Metadata.
    #[command(flatten)]
    pub link: LinkMetadata,
}

/// `attach … tcx`.
#[derive(Args, Debug)]
pub struct AttachTcx {
    /// Side of the interface.
    #[arg(short, long, value_parser = directions())]
    pub direction: Direction,
    /// Interface flags.
    #[command(flatten)]
    pub interface: InterfaceFlags,
    /// Place among others.
    #[command(flatten)]
    pub order: OrderFlags,
    /// Not possible: the kernel itself goes by the verdicts of tcx programs. Attach as tc instead.
    #[arg(long, hide = true)]
    pub shadow: bool,
    /// Metadata.
    #[command(flatten)]
    pub link: LinkMetadata,
}

/// `attach … tracepoint`.
#[derive(Args, Debug)]
pub struct AttachTracepoint {
    /// Tracepoint, for example syscalls/sys_enter_openat.
    #[arg(short, long, value_name = "CATEGORY/NAME")]
    pub tracepoint: String,
    /// Metadata.
    #[command(flatten)]
    pub link: LinkMetadata,
}

/// `attach … raw-tracepoint`.
#[derive(Args, Debug)]
pub struct AttachRawTracepoint {
    /// Tracepoint without its category, for example sched_switch.
    #[arg(short, long, value_name = "NAME")]
    pub tracepoint: String,
    /// Metadata.
    #[command(flatten)]
    pub link: LinkMetadata,
}

/// `attach … kprobe-multi`.
#[derive(Args, Debug)]
pub struct AttachKprobeMulti {
    /// Kernel functions, and patterns of them, for example tcp_*; several with commas, or by repeating the flag.
    #[arg(short, long = "fn-name", value_delimiter = ',', required = true, value_name = "FUNCTION")]
    pub functions: Vec<String>,
    /// Metadata.
    #[command(flatten)]
    pub link: LinkMetadata,
}

/// `attach … uprobe-multi`.
#[derive(Args, Debug)]
pub struct AttachUprobeMulti {
    /// Functions; several with commas, or by repeating the flag.
    #[arg(short, long = "fn-name", value_delimiter = ',', required = true, value_name = "FUNCTION")]
    pub functions: Vec<String>,
    /// Probed file, and the processes.
    #[command(flatten)]
    pub file: ProbedFile,
    /// Metadata.
    #[command(flatten)]
    pub link: LinkMetadata,
}

/// `attach … perf-event`.
#[derive(Args, Debug)]
#[group(id = "rate", args = ["frequency", "period"], required = true, multiple = false)]
pub struct AttachPerfEvent {
    /// Event to count, by perf's name, for example cpu-clock, page-faults, context-switches or cycles.
    #[arg(short, long)]
    pub event: String,
    /// Run about this many times a second.
    #[arg(short, long, value_name = "HZ")]
    pub frequency: Option<u64>,
    /// Run once per this number of events; for clocks, once per this number of nanoseconds.
    #[arg(long, value_name = "NUMBER")]
    pub period: Option<u64>,
    /// Count on this CPU only; without it and without --pid, on each.
    #[arg(short, long, value_name = "NUMBER")]
    pub cpu: Option<u32>,
    /// Count for this thread only, and for threads and processes that it makes from now on.
    #[arg(short, long)]
    pub pid: Option<i32>,
    /// Metadata.
    #[command(flatten)]
    pub link: LinkMetadata,
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

/// `attach … netkit`.
#[derive(Args, Debug)]
pub struct AttachNetkit {
    /// The primary end of the device, for programs of either end.
    #[arg(short, long)]
    pub iface: String,
    /// Attach in this network namespace; the daemon's own if not given.
    #[arg(short, long, value_name = "FILE")]
    pub netns: Option<PathBuf>,
    /// Metadata.
    #[command(flatten)]
    pub link: LinkMetadata,
}

/// `attach … usdt`.
#[derive(Args, Debug)]
pub struct AttachUsdt {
    /// The probe, as PROVIDER:NAME; readelf -n lists those of a file.
    #[arg(short, long, value_name = "PROVIDER:NAME", value_parser = usdt_name)]
    pub name: (String, String),
    /// Probed file, and the processes.
    #[command(flatten)]
    pub file: ProbedFile,
    /// Metadata.
    #[command(flatten)]
    pub link: LinkMetadata,
}

fn usdt_name(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((provider, name)) if !provider.is_empty() && !name.is_empty() => {
            Ok((provider.to_owned(), name.to_owned()))
        }
        _ => Err("a static probe is named by its provider and its name: libc:setjmp".to_owned()),
    }
}

/// `attach … ksyscall`.
#[derive(Args, Debug)]
pub struct AttachKsyscall {
    /// The system call, for example openat.
    #[arg(short, long)]
    pub name: String,
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

/// `attach … netns`.
#[derive(Args, Debug)]
pub struct AttachNetns {
    /// Network namespace file; without it, the daemon's own namespace.
    #[arg(short, long, value_name = "PATH")]
    pub netns: Option<PathBuf>,
    /// Metadata.
    #[command(flatten)]
    pub link: LinkMetadata,
}

/// `attach … netfilter`.
#[derive(Args, Debug)]
pub struct AttachNetfilter {
    /// Packets of this protocol.
    #[arg(short, long, value_parser = ["ipv4", "ipv6"])]
    pub family: String,
    /// Hook, as nft names it.
    #[arg(long, value_parser = ["prerouting", "input", "forward", "output", "postrouting"])]
    pub hook: String,
    /// The least runs first; the rules of filter tables have 0. A program needs one that nothing else at the hook has.
    #[arg(short, long, allow_negative_numbers = true)]
    pub priority: i32,
    /// Put fragments together before the program sees them (Linux 6.6 and later).
    #[arg(long)]
    pub defragment: bool,
    /// Network namespace file; without it, the daemon's own namespace.
    #[arg(short, long, value_name = "PATH")]
    pub netns: Option<PathBuf>,
    /// Metadata.
    #[command(flatten)]
    pub link: LinkMetadata,
}

/// The file that a probe of user space is in.
#[derive(Args, Debug)]
pub struct ProbedFile {
    /// Path of a program or library, or a library's name, for example libc.
    #[arg(short, long)]
    pub target: String,
    /// Attach only in this process.
    #[arg(short, long)]
    pub pid: Option<i32>,
    /// Find the target in the mount namespace of this process, which runs in a container.
    #[arg(short, long, value_name = "PID")]
    pub container_pid: Option<i32>,
}

/// `attach … kprobe`.
#[derive(Args, Debug)]
pub struct AttachKprobe {
    /// Kernel function.
    #[arg(short, long)]
    pub fn_name: String,
    /// Bytes from the function's start.
    #[arg(short, long, default_value_t)]
    pub offset: u64,
    /// Not supported for kernel functions.
    #[arg(short, long, value_name = "PID")]
    pub container_pid: Option<i32>,
    /// Metadata.
    #[command(flatten)]
    pub link: LinkMetadata,
    /// The global flag, long only.
    #[command(flatten)]
    pub form: LongOutput,
}

/// `attach … uprobe`.
#[derive(Args, Debug)]
pub struct AttachUprobe {
    /// Function; without it the offset counts from the start of the file.
    #[arg(short, long)]
    pub fn_name: Option<String>,
    /// Bytes from the function's start.
    #[arg(short, long, default_value_t)]
    pub offset: u64,
    /// Probed file, and the processes.
    #[command(flatten)]
    pub file: ProbedFile,
    /// Metadata.
    #[command(flatten)]
    pub link: LinkMetadata,
    /// The global flag, long only.
    #[command(flatten)]
    pub form: LongOutput,
}

/// `attach … fentry`, `fexit` and `lsm`: their target was set when they were loaded.
#[derive(Args, Debug)]
pub struct AttachBound {
    /// Metadata.
    #[command(flatten)]
    pub link: LinkMetadata,
}

/// The global `--output` without its short form: in these commands `-o` has always been the offset.
///
/// Has the global flag's name, so that `clap` takes this definition here and carries the value up.
#[derive(Args, Debug)]
pub struct LongOutput {
    /// Output format. The names and types in JSON and YAML are stable.
    #[arg(
        long,
        global = true,
        value_name = "FORM",
        value_enum,
        default_value_t,
        help_heading = super::global_line::HEADING
    )]
    pub output: OutputForm,
}

fn directions() -> impl TypedValueParser<Value = Direction> {
    let ingress = PossibleValue::new("ingress").help("Packets that come in");
    let egress = PossibleValue::new("egress").help("Packets that go out");
    PossibleValuesParser::new([ingress, egress]).try_map(|name| name.parse::<Direction>())
}

fn xdp_verdict(name: &str) -> Result<i32, verdict::UnknownVerdictName> {
    verdict::number(verdict::XDP, name)
}

fn tc_verdict(name: &str) -> Result<i32, verdict::UnknownVerdictName> {
    verdict::number(verdict::TC, name)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, CliCommand};

    fn parse(line: &str) -> Cli {
        Cli::try_parse_from(line.split_whitespace()).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    fn point(line: &str) -> AttachTo {
        match parse(line).command {
            CliCommand::Attach(attach) => attach.point,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn xdp_with_every_flag() {
        let line =
            "bpfman attach 7 xdp -i eth0 -p 35 --proceed-on drop pass --proceed-on tx -n /run/netns/b -m a=b";
        let AttachTo::Xdp(xdp) = point(line) else { panic!() };
        assert_eq!((xdp.interface.iface.as_deref(), xdp.interface.priority), (Some("eth0"), 35));
        assert_eq!(xdp.proceed_on, [1, 2, 3]);
        assert_eq!(xdp.interface.netns, Some(PathBuf::from("/run/netns/b")));
    }

    #[test]
    fn tc_needs_a_direction_and_knows_its_own_verdicts() {
        let AttachTo::Tc(tc) = point("bpfman attach 7 tc -d egress -i eth0 -p 1 --proceed-on unspec ok")
        else {
            panic!()
        };
        assert_eq!((tc.direction, &tc.proceed_on[..]), (Direction::Egress, &[-1, 0][..]));
        for line in [
            "bpfman attach 7 tc -i eth0 -p 1",
            "bpfman attach 7 tc -d sideways -i eth0 -p 1",
            "bpfman attach 7 tc -d ingress -i eth0 -p 1 --proceed-on pass",
            "bpfman attach 7 tcx -d ingress -i eth0 -p 1 --proceed-on ok",
            "bpfman attach 7 xdp -i eth0",
            "bpfman attach xdp -i eth0 -p 1",
        ] {
            assert!(Cli::try_parse_from(line.split_whitespace()).is_err(), "{line}");
        }
    }

    #[test]
    fn a_negative_priority_is_the_daemons_to_refuse() {
        let AttachTo::Tcx(tcx) = point("bpfman attach 7 tcx -d ingress -i eth0 -p -1") else { panic!() };
        assert_eq!(tcx.interface.priority, -1);
    }

    #[test]
    fn the_short_o_of_probes_is_the_offset() {
        let AttachTo::Kprobe(kprobe) = point("bpfman attach 7 kprobe -f vfs_unlink -o 16") else { panic!() };
        assert_eq!((kprobe.fn_name.as_str(), kprobe.offset), ("vfs_unlink", 16));
        let AttachTo::Uprobe(uprobe) = point("bpfman attach 7 uprobe -f malloc -o 8 -t libc -p 3 -c 4")
        else {
            panic!()
        };
        assert_eq!((uprobe.offset, uprobe.file.pid, uprobe.file.container_pid), (8, Some(3), Some(4)));
    }

    #[test]
    fn the_form_of_the_answer_of_probes_is_still_global() {
        for line in [
            "bpfman attach 7 kprobe -f f -o 16 --output json",
            "bpfman -o json attach 7 kprobe -f f -o 16",
            "bpfman attach -o json 7 uprobe -t libc -o 16",
        ] {
            assert_eq!(parse(line).global.output, OutputForm::Json, "{line}");
        }
        assert_eq!(parse("bpfman attach 7 kprobe -f f").global.output, OutputForm::Table);
    }

    #[test]
    fn intents_and_sharing_are_for_chains() {
        let AttachTo::Xdp(xdp) = point(
            "bpfman attach 7 xdp -i eth0 -p 1 --before 8,role=lb --after foreign:x --role firewall --isolated \
             --allow-redirect --keep-attached",
        ) else {
            panic!()
        };
        assert_eq!((xdp.order.before.len(), xdp.order.after.len()), (2, 1));
        assert!(xdp.sharing.isolated && xdp.sharing.allow_redirect && xdp.sharing.keep_attached);
        for line in [
            "bpfman attach 7 tcx -d ingress -i eth0 -p 1 --isolated",
            "bpfman attach 7 xdp -i eth0 -p 1 --before role=",
            "bpfman attach 7 kprobe -f f --role x",
        ] {
            assert!(Cli::try_parse_from(line.split_whitespace()).is_err(), "{line}");
        }
    }

    #[test]
    fn types_bound_at_load_take_only_metadata() {
        for kind in ["fentry", "fexit", "lsm"] {
            let cli = parse(&format!("bpfman attach 7 {kind} -m owner=acme"));
            let CliCommand::Attach(attach) = cli.command else { panic!() };
            let (AttachTo::Fentry(bound) | AttachTo::Fexit(bound) | AttachTo::Lsm(bound)) = attach.point
            else {
                panic!()
            };
            assert_eq!(bound.link.metadata.len(), 1);
        }
    }
}
