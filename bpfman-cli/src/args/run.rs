//! `bpfman run`.

use std::time::Duration;

use bpfman_model::WrittenPoint;
use clap::Args;

use super::named_hook::NamedHook;
use super::object::ObjectArgument;
use super::value::{GlobalValue, KeyValue, MapSize};

/// `bpfman run FILE|IMAGE [PROGRAM...]`.
#[derive(Args, Debug)]
pub struct RunPrograms {
    /// Source of the object.
    #[command(flatten)]
    pub object: ObjectArgument,
    /// Functions of the programs to run. Default: all programs that the object loads automatically.
    #[arg(value_name = "PROGRAM")]
    pub programs: Vec<String>,
    /// Hooks, each [PROGRAM=]HOOK. A program whose section names its attach point needs none.
    ///
    /// HOOK: xdp:IFACE, tc:IFACE:ingress, tcx:IFACE:egress (with @/PATH for a network namespace), tracepoint:CATEGORY/NAME,
    /// raw_tracepoint:NAME, kprobe:FUNCTION, kretprobe:FUNCTION, uprobe:FILE:FUNCTION, uretprobe:FILE:FUNCTION,
    /// kprobe_multi:FUNCTION,..., uprobe_multi:FILE:FUNCTION,..., fentry:FUNCTION, fexit:FUNCTION, fmod_ret:FUNCTION,
    /// lsm:HOOK, tp_btf:NAME, cgroup:/PATH, netns[:/PATH], netfilter:FAMILY:HOOK:PRIORITY, perf_event:EVENT:HZ, sockmap:MAP.
    #[arg(long, num_args = 1.., value_name = "[PROGRAM=]HOOK")]
    pub attach: Vec<NamedHook>,
    /// Priority in the chains of interfaces: lower runs earlier. 0 to 1000.
    #[arg(short, long, default_value_t = WrittenPoint::DEFAULT_PRIORITY)]
    pub priority: i32,
    /// End after this time: a number and s, m, h or d. Default: at Ctrl-C.
    #[arg(long = "for", value_name = "TIME", value_parser = super::image::age)]
    pub run_for: Option<Duration>,
    /// Replace the programs when the file changes. Maps that fit the new version keep their entries.
    #[arg(long)]
    pub watch: bool,
    /// Types of records, each MAP=TYPE, for ring and perf buffers whose declaration does not name it: events=struct event.
    #[arg(long, num_args = 1.., value_name = "MAP=TYPE")]
    pub record: Vec<KeyValue>,
    /// Interval between reads of maps and global variables, whose changes are shown: a number and s, m, h or d.
    #[arg(long, value_name = "TIME", value_parser = super::image::age, default_value = "1s")]
    pub interval: Duration,
    /// Do not show changes of maps and global variables.
    #[arg(long)]
    pub no_maps: bool,
    /// Values of global variables by their type, as for load: `rate=100`.
    #[arg(short, long, num_args = 1.., value_name = "NAME=VALUE")]
    pub global: Vec<GlobalValue>,
    /// Maximum number of entries of maps, instead of what the object declares: events=1048576.
    #[arg(long, num_args = 1.., value_name = "MAP=ENTRIES")]
    pub map_size: Vec<MapSize>,
}
