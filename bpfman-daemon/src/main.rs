//! `bpfmand`: the command line.

mod arguments;
mod break_glass;
mod break_glass_watcher;
mod budgets;
mod cage;
mod check;
mod config;
mod csi;
mod csi_settings;
mod group;
mod image_answers;
mod image_runtime;
mod images;
mod journal_settings;
mod load_gate;
mod logging;
mod metrics;
mod metrics_settings;
mod own_actions;
mod policy;
mod predecessor;
mod radar;
mod registries;
mod reserve;
mod run;
mod serve;
mod sessions;
mod socket;
mod start_progress;
#[cfg(debug_assertions)]
mod step_kill;
mod subordinate_users;
mod supervisor;
mod watch;
mod workers;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|first| first == policy::check::COMMAND) {
        return policy::check::run();
    }
    let arguments = arguments::DaemonArguments::parse();
    ended(match arguments.command.as_deref() {
        // These commands work even if the configuration cannot be read.
        _ if arguments.break_glass => break_glass::begin(&arguments),
        _ if arguments.end_break_glass => break_glass::end(&arguments),
        _ if arguments.import_v0_6 => predecessor::import(&arguments),
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
