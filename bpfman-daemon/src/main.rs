//! `bpfmand`: flags, then configuration, then run.

mod acts;
mod arguments;
mod break_glass;
mod cage;
mod check;
mod config;
mod csi;
mod csi_settings;
mod glass;
mod group;
mod helpers;
mod image_answers;
mod image_runtime;
mod images;
mod journal_settings;
mod logging;
mod policy;
mod registries;
mod run;
mod socket;
#[cfg(debug_assertions)]
mod step_kill;
mod watch;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let told: Vec<String> = std::env::args().skip(1).collect();
    if let Some((helpers::COMMAND, of_helper)) =
        told.split_first().map(|(first, rest)| (first.as_str(), rest))
    {
        return ended(helpers::run(of_helper));
    }
    let arguments = arguments::DaemonArguments::parse();
    ended(match arguments.command.as_deref() {
        // Whatever the configuration says, and if it cannot be read.
        _ if arguments.break_glass => break_glass::begin(&arguments),
        _ if arguments.end_break_glass => break_glass::end(&arguments),
        Some("check") => check::check(&arguments.socket_path),
        Some("mount") => config::Config::read(&arguments).and_then(|config| run::mount(&config)),
        _ => config::Config::read(&arguments).and_then(|config| run::run(&config)),
    })
}

fn ended(done: anyhow::Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bpfmand: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
