//! Takes CPU profiles of this machine.

mod debug_files;
mod debug_settings;
mod lease;
mod missing;
mod names;
mod samples;
mod serve;
mod take;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use bpfman_examples::control_group;
use bpfman_examples::failure;
use bpfman_examples::source::MapSource;
use bpfman_profile::Format;
use clap::{Parser, Subcommand};

use crate::debug_files::DebugFiles;
use crate::lease::Scope;
use crate::take::Profiler;

/// Takes profiles of what the CPUs of this machine run, in kernel and processes
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    maps: MapSource,
    /// Servers for the symbols of stripped binaries, instead of those in DEBUGINFOD_URLS. They learn which binaries run
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    debuginfod_urls: Vec<String>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Take one profile
    Record {
        /// Duration in seconds
        #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
        seconds: u64,
        /// folded (one stack per line), pprof (compressed), svg (a flame graph)
        #[arg(long, default_value = "folded")]
        format: Format,
        /// `-` is standard output
        #[arg(long, value_name = "FILE", default_value = "-")]
        output: PathBuf,
        /// Only this process
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        pid: Option<u32>,
        /// Only processes in this cgroup (version 2) and below it
        #[arg(long, value_name = "FOLDER")]
        cgroup: Option<PathBuf>,
    },
    /// Serve profiles over HTTP: GET /profile?seconds=N&format=folded|pprof|svg
    Serve {
        /// Address to listen on; every client that reaches it sees what this machine runs
        #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8179")]
        listen: SocketAddr,
    },
}

fn main() -> ExitCode {
    failure::end(run(Arguments::parse()))
}

fn run(Arguments { maps, debuginfod_urls, action }: Arguments) -> Result<()> {
    let debug_files = DebugFiles::new(&debuginfod_urls)?;
    match action {
        Action::Record { seconds, format, output, pid, cgroup } => {
            let control_group = cgroup.as_deref().map(control_group::id_and_level).transpose()?;
            let scope = Scope { process: pid, control_group };
            let profile = Profiler::open(&maps, debug_files)?.take(scope, Duration::from_secs(seconds))?;
            for note in &profile.notes {
                eprintln!("{note}");
            }
            write(&output, &format.write(&profile))
        }
        Action::Serve { listen } => serve::serve(Profiler::open(&maps, debug_files)?, listen),
    }
}

fn write(output: &Path, bytes: &[u8]) -> Result<()> {
    if output == Path::new("-") {
        return Ok(io::stdout().lock().write_all(bytes)?);
    }
    std::fs::write(output, bytes).with_context(|| format!("cannot write {}", output.display()))
}
