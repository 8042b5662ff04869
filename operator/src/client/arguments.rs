//! Command line of `kubectl-bpfman`.

use std::net::SocketAddr;
use std::path::PathBuf;

use bpfman_profile::Format;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

/// Applications of eBPF programs, over all nodes of a cluster.
#[derive(Debug, Parser)]
#[command(name = "kubectl-bpfman", bin_name = "kubectl bpfman", version)]
pub struct ClientArguments {
    /// Path of the kubeconfig; otherwise that of KUBECONFIG, or `~/.kube/config`.
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// User to act as, as `kubectl --as` does.
    #[arg(long = "as", global = true, value_name = "USER")]
    pub as_user: Option<String>,
    /// Group to act as, beside --as; repeat the flag for several.
    #[arg(long, global = true, value_name = "GROUP", requires = "as_user")]
    pub as_group: Vec<String>,
    /// Context of the kubeconfig; otherwise the current one.
    #[arg(long, global = true)]
    pub context: Option<String>,
    /// Namespace of namespaced applications; otherwise the context's. Of `profile` and `flows`: of their pods; otherwise all.
    #[arg(short, long, global = true)]
    pub namespace: Option<String>,
    /// Command.
    #[command(subcommand)]
    pub command: ClientCommand,
}

/// Returns the definition of the command line, with examples in the help of each command.
#[must_use]
pub fn definition() -> clap::Command {
    ClientArguments::command().mut_subcommands(|command| {
        let lines = include_str!("examples.txt").lines().skip_while(|line| *line != command.get_name());
        let lines: Vec<&str> = lines.skip(1).take_while(|line| line.starts_with(' ')).collect();
        if lines.is_empty() {
            command
        } else {
            command.after_help(format!("Examples:\n{}", lines.join("\n")))
        }
    })
}

/// Command.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Show the status of applications: one line each, or one with its causes of failure and its rollout.
    Status(StatusOptions),
    /// Show the programs that a node should run, those that it runs, and the reasons for differences.
    Explain(ExplainOptions),
    /// Show the current CPU usage of applications, programs or nodes, highest first: every node is queried once.
    Top(TopOptions),
    /// Show which programs drop packets, and where most: every node is queried once.
    Drops(DropsOptions),
    /// Take a CPU profile of all nodes that run the gallery's profiler.
    Profile(ProfileOptions),
    /// Show network flows and dropped packets of all nodes that run the gallery's flows.
    Flows(FlowsOptions),
    /// Continue a rollout: end the soak, start the next wave, or accept a failure.
    Promote(ApplicationArgument),
    /// Roll every node back to the last stable revision.
    Abort(ApplicationArgument),
    /// Show the fleet in a browser on this machine: applications on all nodes, rollouts, causes of failure. Until Ctrl-C.
    Console(ConsoleOptions),
    /// Check on one node of each kernel whether a new application would load: the node loads it, and discards it.
    Check(CheckOptions),
    /// Load the applications of today on nodes of a kernel, and discard them: shows what a kernel upgrade would break.
    Rehearse(RehearseOptions),
    /// Print the program by which kubectl completes `kubectl bpfman`: save it as kubectl_complete-bpfman on PATH.
    Completion,
    /// Print the words that complete a line.
    #[command(name = "__complete", hide = true)]
    Complete {
        /// Words behind `kubectl bpfman`; the last one is completed.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

/// Application flags.
#[derive(Debug, Args)]
pub struct ApplicationArgument {
    /// Name of the application, `kind/name` if both scopes have one: `cluster/NAME` or `namespaced/NAME`.
    pub application: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
    /// For both.
    Yaml,
}

#[derive(Debug, Args)]
pub struct StatusOptions {
    /// Only this application.
    pub application: Option<String>,
    /// A line for each node.
    #[arg(long, requires = "application")]
    pub all: bool,
    /// Follow the application until its rollout is complete (exit code 0), has failed (1) or waits for a user (21).
    #[arg(
        short = 'f',
        long,
        visible_short_alias = 'w',
        visible_alias = "watch",
        requires = "application",
        conflicts_with = "all"
    )]
    pub follow: bool,
    /// With --follow: seconds after which it ends anyway (20).
    #[arg(long, requires = "follow", value_parser = clap::value_parser!(u64).range(1..=604_800))]
    pub timeout: Option<u64>,
    /// Applications of every namespace.
    #[arg(short = 'A', long, conflicts_with = "application")]
    pub all_namespaces: bool,
    /// Output format.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: OutputFormat,
}

#[derive(Debug, Args)]
pub struct TopOptions {
    /// View shown as a table. JSON and YAML contain all views.
    #[arg(value_enum, default_value_t)]
    pub view: FleetView,
    /// Most rows of each; 0: all.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
    /// Namespace that the operator runs in; otherwise that of the Config object: agents are its pods.
    #[arg(long)]
    pub operator_namespace: Option<String>,
    /// Output format.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: OutputFormat,
}

#[derive(Debug, Args)]
pub struct DropsOptions {
    /// Most rows; 0: all.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
    /// Namespace that the operator runs in; otherwise that of the Config object: agents are its pods.
    #[arg(long)]
    pub operator_namespace: Option<String>,
    /// Output format.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: OutputFormat,
}

/// Views of a fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum FleetView {
    /// Applications by CPU time over all nodes.
    #[default]
    Applications,
    /// Programs, by name, type and application.
    Programs,
    /// Nodes by CPU time spent in programs.
    Nodes,
}

/// Options of `profile`. Without --namespace, pods of all namespaces are queried.
#[derive(Debug, Args)]
pub struct ProfileOptions {
    /// Duration in seconds.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=300))]
    pub seconds: u64,
    /// folded (stacks, a line each), pprof (compressed), svg (a flame graph).
    #[arg(short, long, value_name = "FORMAT", alias = "format", default_value = "folded")]
    pub output: Format,
    /// Output file; - for standard output.
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub file: PathBuf,
}

/// Options of `flows`. Without --namespace, pods of all namespaces are queried.
#[derive(Debug, Args)]
pub struct FlowsOptions {
    /// Output format. JSON is one object per line, with all fields.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: OutputFormat,
    /// The same as `-o json`.
    #[arg(long, hide = true, conflicts_with = "output")]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ExplainOptions {
    /// Name of the node.
    pub node: String,
    /// Output format.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: OutputFormat,
}

#[derive(Debug, Args)]
pub struct ConsoleOptions {
    /// Loopback address and port to serve the page on; port 0 picks a free port.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0", value_parser = bpfman_console::loopback)]
    pub listen: SocketAddr,
    /// Print the address, and do not start a browser.
    #[arg(long)]
    pub no_open: bool,
    /// Namespace that the operator runs in; otherwise that of the Config object.
    #[arg(long)]
    pub operator_namespace: Option<String>,
    /// File with a service account token, for users that log in to the API server by other means. It is read at each
    /// request.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// Options of commands that request a dry run on nodes.
#[derive(Debug, Args)]
pub struct TrialOptions {
    /// Seconds to wait for answers, an hour at most.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout: u64,
    /// Namespace that the operator runs in; otherwise that of the Config object.
    #[arg(long)]
    pub operator_namespace: Option<String>,
    /// Output format.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: OutputFormat,
}

#[derive(Debug, Args)]
pub struct CheckOptions {
    /// Manifest of one application; - for standard input.
    #[arg(short, long, value_name = "FILE")]
    pub filename: String,
    /// Timeout and output format.
    #[command(flatten)]
    pub trial: TrialOptions,
}

#[derive(Debug, Args)]
pub struct RehearseOptions {
    /// The kernel, as `uname -r` prints it.
    #[arg(long)]
    pub kernel: String,
    /// Every node of that kernel; otherwise one for each chain composition.
    #[arg(long)]
    pub every_node: bool,
    /// Timeout and output format.
    #[command(flatten)]
    pub trial: TrialOptions,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn every_command_has_examples_that_are_accepted() {
        definition().debug_assert();
        for command in definition().get_subcommands().filter(|command| !command.is_hide_set()) {
            let help = command.clone().render_help().to_string();
            let (_, examples) = help.split_once("Examples:\n").unwrap();
            assert!((2..=3).contains(&examples.lines().count()), "{help}");
            for line in examples.lines() {
                let words = line.split_whitespace().skip(2).take_while(|word| !matches!(*word, ">" | "|"));
                let words: Vec<&str> = ["kubectl-bpfman"].into_iter().chain(words).collect();
                assert_eq!(words[1], command.get_name(), "{line}");
                if let Err(error) = ClientArguments::try_parse_from(words) {
                    panic!("{line}: {error}");
                }
            }
        }
        assert!(ClientArguments::try_parse_from(["kubectl-bpfman", "status", "filter", "-w"]).is_ok());
    }
}
