//! Definition of the command line, from which help, completions and manual pages are generated.

pub mod access;
pub mod apply;
pub mod attach;
pub mod chain;
pub mod change;
pub mod check;
mod command_groups;
pub mod completed_value;
pub mod console;
pub mod credential;
pub mod detach;
pub mod drops;
pub mod entry_filters;
pub mod events;
mod examples;
pub mod features;
mod global_line;
pub mod history;
mod hook_words;
pub mod image;
pub mod interface;
pub mod list;
pub mod load;
pub mod map;
pub mod named_hook;
pub mod object;
pub mod object_name;
pub mod parse;
pub mod place;
pub mod policy;
pub mod radar;
pub mod registry;
pub mod run;
pub mod run_as;
pub mod selector;
pub mod source_name;
pub mod stray;
pub mod suggestion;
pub mod support_bundle;
pub mod top;
pub mod unload;
pub mod value;
pub mod value_error;
pub mod wait;
pub mod watch;

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::exit::Exit;

/// Loads eBPF programs, chains them on hooks, and shows what runs.
///
/// A client of the daemon bpfmand, which does the work.
#[derive(Debug, Parser)]
#[command(name = "bpfman", version, long_version = LONG_VERSION, after_long_help = after_help())]
pub struct Cli {
    /// Flags that every command takes.
    #[command(flatten)]
    pub global: Global,
    /// Command.
    #[command(subcommand)]
    pub command: CliCommand,
}

/// Text of `--version` and `bpfman version` after the name.
pub const LONG_VERSION: &str =
    concat!(env!("CARGO_PKG_VERSION"), " (api bpfman.v1 and bpfman.ext.v1, ", env!("CARGO_PKG_LICENSE"), ")");

/// Flags that every command takes, before or after the command's name.
#[derive(Args, Clone, Debug)]
pub struct Global {
    /// Socket of the daemon.
    #[arg(long, global = true, value_name = "PATH", env = bpfman_proto::SOCKET_PATH_VARIABLE,
          hide_env_values = true,
          default_value = bpfman_proto::DEFAULT_SOCKET_PATH, help_heading = global_line::HEADING)]
    pub socket_path: PathBuf,
    /// Output format. The names and types in JSON and YAML are stable.
    #[arg(
        short,
        long,
        global = true,
        value_name = "FORM",
        value_enum,
        default_value_t,
        help_heading = global_line::HEADING
    )]
    pub output: OutputForm,
    /// Print only ids, one per line.
    #[arg(short, long, global = true, help_heading = global_line::HEADING)]
    pub quiet: bool,
    /// Show progress of long operations on standard error: on a terminal, always, or never. JSON and YAML have none.
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        value_enum,
        default_value_t,
        help_heading = global_line::HEADING
    )]
    pub progress: ProgressChoice,
}

/// Condition for showing progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ProgressChoice {
    /// On a terminal.
    #[default]
    Auto,
    /// Always: as lines if standard error is no terminal.
    Always,
    /// Never.
    Never,
}

/// Forms of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputForm {
    /// For people.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// One YAML document.
    Yaml,
}

/// Command.
#[derive(Debug, Subcommand)]
pub enum CliCommand {
    /// Load programs from an object file or an image.
    #[command(subcommand)]
    Load(load::LoadCommand),
    /// Load and attach programs, show their output until Ctrl-C, and remove them.
    Run(run::RunPrograms),
    /// Run a command that loads eBPF itself, without privileges: the daemon makes its calls, as your grants allow.
    RunAs(run_as::RunAs),
    /// Detach programs everywhere and unload them.
    Unload(unload::Unload),
    /// Attach a loaded program: to a hook such as xdp:eth0, as in `bpfman run`, or by a command with its flags.
    Attach(attach::Attach),
    /// Remove attachments.
    Detach(detach::Detach),
    /// Change an attachment in place.
    #[command(subcommand)]
    Update(change::UpdateCommand),
    /// Replace a program by a new version, wherever it is attached.
    Replace(change::Replace),
    /// Adopt a program that another tool attached by a link, without detaching it.
    Adopt(change::Adopt),
    /// Apply manifests of applications to this machine.
    Apply(apply::Apply),
    /// Show what `apply` would change. Exits with 1 if it would change anything.
    Diff(apply::Diff),
    /// Detach and unload the applications that manifests name.
    Delete(apply::Delete),
    /// List programs, links, attachments by pattern, or sessions.
    List(list::List),
    /// Show one program, link or session.
    Get(list::Get),
    /// List maps, show and set their entries, and watch them change.
    #[command(subcommand)]
    Map(map::MapCommand),
    /// Work with bytecode images.
    #[command(subcommand)]
    Image(image::ImageCommand),
    /// Show, verify and trace the chains of hooks, and set their switches.
    #[command(subcommand)]
    Chain(chain::ChainCommand),
    /// Run an iterator and print what it writes.
    Iter(list::Iterate),
    /// Explain why packets reach the programs of a hook, or do not.
    Explain(chain::Explain),
    /// Freeze a chain, or make its programs visible to tracing tools.
    #[command(subcommand)]
    Debug(chain::DebugCommand),
    /// List or remove programs and links of bpfman that have no record any more.
    #[command(subcommand)]
    Stray(stray::StrayCommand),
    /// Show how the daemon identifies you, and what your grants allow.
    Whoami,
    /// Ask what you may do.
    #[command(subcommand)]
    Auth(access::AuthCommand),
    /// Check, show or extend the policy: which images may be loaded, and which users may do what.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Show who changed what, and who was refused: the newest entries of the daemon's journal, in order of time.
    History(history::History),
    /// Show events: the daemon's journal as a stream, the oldest entry first.
    Events(events::ShowEvents),
    /// Show hooks, programs, maps and the journal of this machine in a browser, live: a page on loopback, until Ctrl-C.
    Console(console::ShowConsole),
    /// Show what other tools have loaded and attached on this machine, and what they do.
    Radar(radar::Radar),
    /// Wait until a program or link is loaded, attached, detached or gone: for scripts. Exits with 20 on timeout.
    Wait(wait::WaitFor),
    /// Show what takes CPU time and memory, live: programs, chains with the verdicts of their members, maps and owners.
    Top(top::ShowTop),
    /// Show what drops packets: programs with their verdicts, rates and rule commands, and the kernel with its reasons.
    Drops(drops::ShowDrops),
    /// Compare the recorded state with what the kernel runs.
    Doctor,
    /// Collect in one archive what support needs: doctor, history, kernel, chains, settings without secrets, log.
    SupportBundle(support_bundle::SupportBundle),
    /// Check which kernel features an object file needs, since which Linux, and whether this host can load it.
    Check(check::Check),
    /// Show the features of the running kernel, and those that it lacks and the daemon would use.
    Features(features::ShowFeatures),
    /// Print the versions of client, daemon and kernel.
    Version,
    /// Write the manual pages.
    #[command(hide = true)]
    Man {
        /// Folder to write to. The command creates it if it does not exist.
        out_dir: PathBuf,
    },
    /// Print the completions of a shell.
    Completion {
        /// Shell to complete for.
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Print the objects that complete a line, for the completions of shells.
    #[command(hide = true)]
    Complete {
        /// Line up to the cursor.
        line: String,
    },
    /// Write the completions of one shell, or of all.
    #[command(hide = true)]
    Completions {
        /// Folder to write to. The command creates it if it does not exist.
        out_dir: PathBuf,
        /// Only this shell.
        #[arg(short, long, value_enum)]
        shell: Option<Shell>,
    },
}

/// Returns the whole command line as `clap`'s definition.
#[must_use]
pub fn definition() -> clap::Command {
    global_line::shortened(command_groups::grouped(Cli::command()))
}

fn after_help() -> String {
    let mut text = String::from("Exit codes:\n   0  done\n");
    for (exit, meaning) in Exit::ALL {
        text.push_str(&format!("{:4}  {meaning}\n", exit.number()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        definition().debug_assert();
    }

    #[test]
    fn global_flags_stand_anywhere() {
        for line in [
            &["bpfman", "-o", "json", "--socket-path", "/s", "list", "programs"][..],
            &["bpfman", "list", "-o", "json", "programs", "--socket-path", "/s"],
            &["bpfman", "list", "programs", "-o", "json", "--socket-path", "/s"],
        ] {
            let cli = Cli::try_parse_from(line).unwrap();
            assert_eq!(cli.global.output, OutputForm::Json, "{line:?}");
            assert_eq!(cli.global.socket_path, PathBuf::from("/s"), "{line:?}");
        }
    }

    #[test]
    fn a_wrong_command_line_ends_with_two() {
        for line in [&["bpfman", "lode"][..], &["bpfman", "unload"], &["bpfman", "unload", "x:y"]] {
            let error = Cli::try_parse_from(line).unwrap_err();
            assert_eq!(error.exit_code(), i32::from(Exit::Usage.number()), "{line:?}");
        }
    }
}
