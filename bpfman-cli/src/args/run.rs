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
    /// Programs to run, by their functions. Without: all that the object loads by itself.
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
    /// Place in the chains of interfaces: lower runs earlier. 0 to 1000.
    #[arg(short, long, default_value_t = WrittenPoint::DEFAULT_PRIORITY)]
    pub priority: i32,
    /// End after this time: a number and s, m, h or d. Without: at Ctrl-C.
    #[arg(long = "for", value_name = "TIME", value_parser = super::image::age)]
    pub run_for: Option<Duration>,
    /// Replace the programs when the file changes, with the maps that go on.
    #[arg(long)]
    pub watch: bool,
    /// Types of records, each MAP=TYPE, for ring and perf buffers whose declaration has none: events=struct event.
    #[arg(long, num_args = 1.., value_name = "MAP=TYPE")]
    pub record: Vec<KeyValue>,
    /// Show what changed in maps and global variables so often: a number and s, m, h or d.
    #[arg(long, value_name = "TIME", value_parser = super::image::age, default_value = "1s")]
    pub interval: Duration,
    /// Do not show what changes in maps and global variables.
    #[arg(long)]
    pub no_maps: bool,
    /// Values of global variables by their type, as for load: `rate=100`.
    #[arg(short, long, num_args = 1.., value_name = "NAME=VALUE")]
    pub global: Vec<GlobalValue>,
    /// Entries of maps, in the place of those that the object declares: events=1048576.
    #[arg(long, num_args = 1.., value_name = "MAP=ENTRIES")]
    pub map_size: Vec<MapSize>,
}
