//! Flags of probes, tracepoints and perf events.

#![expect(missing_docs, reason = "flattened flags are documented where they are defined")]

use clap::Args;

use super::LinkMetadata;
use crate::args::{OutputForm, global_line};

/// `attach … tracepoint`.
#[derive(Args, Debug)]
pub struct AttachTracepoint {
    /// Tracepoint, for example syscalls/sys_enter_openat.
    #[arg(short, long, value_name = "CATEGORY/NAME")]
    pub tracepoint: String,
    #[command(flatten)]
    pub link: LinkMetadata,
}

/// `attach … raw-tracepoint`.
#[derive(Args, Debug)]
pub struct AttachRawTracepoint {
    /// Tracepoint without its category, for example sched_switch.
    #[arg(short, long, value_name = "NAME")]
    pub tracepoint: String,
    #[command(flatten)]
    pub link: LinkMetadata,
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
    #[command(flatten)]
    pub link: LinkMetadata,
    #[command(flatten)]
    pub form: LongOutput,
}

/// `attach … uprobe`.
#[derive(Args, Debug)]
pub struct AttachUprobe {
    /// Function. Without it, the offset is from the start of the file.
    #[arg(short, long)]
    pub fn_name: Option<String>,
    /// Bytes from the function's start.
    #[arg(short, long, default_value_t)]
    pub offset: u64,
    #[command(flatten)]
    pub file: ProbedFile,
    #[command(flatten)]
    pub link: LinkMetadata,
    #[command(flatten)]
    pub form: LongOutput,
}

/// `attach … kprobe-multi`.
#[derive(Args, Debug)]
pub struct AttachKprobeMulti {
    /// Kernel functions, and patterns of them, for example tcp_*; several with commas, or by repeating the flag.
    #[arg(short, long = "fn-name", value_delimiter = ',', required = true, value_name = "FUNCTION")]
    pub functions: Vec<String>,
    #[command(flatten)]
    pub link: LinkMetadata,
}

/// `attach … uprobe-multi`.
#[derive(Args, Debug)]
pub struct AttachUprobeMulti {
    /// Functions; several with commas, or by repeating the flag.
    #[arg(short, long = "fn-name", value_delimiter = ',', required = true, value_name = "FUNCTION")]
    pub functions: Vec<String>,
    #[command(flatten)]
    pub file: ProbedFile,
    #[command(flatten)]
    pub link: LinkMetadata,
}

/// `attach … usdt`.
#[derive(Args, Debug)]
pub struct AttachUsdt {
    /// The probe, as PROVIDER:NAME; readelf -n lists those of a file.
    #[arg(short, long, value_name = "PROVIDER:NAME", value_parser = usdt_name)]
    pub name: (String, String),
    #[command(flatten)]
    pub file: ProbedFile,
    #[command(flatten)]
    pub link: LinkMetadata,
}

fn usdt_name(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((provider, name)) if !provider.is_empty() && !name.is_empty() => {
            Ok((provider.to_owned(), name.to_owned()))
        }
        _ => Err("a USDT probe is named by its provider and its name: libc:setjmp".to_owned()),
    }
}

/// `attach … ksyscall`.
#[derive(Args, Debug)]
pub struct AttachKsyscall {
    /// The system call, for example openat.
    #[arg(short, long)]
    pub name: String,
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
    /// Count on this CPU only. Default without --pid: on all CPUs.
    #[arg(short, long, value_name = "NUMBER")]
    pub cpu: Option<u32>,
    /// Count for this thread only, and for threads and processes that it creates from now on.
    #[arg(short, long)]
    pub pid: Option<i32>,
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
        help_heading = global_line::HEADING
    )]
    pub output: OutputForm,
}
