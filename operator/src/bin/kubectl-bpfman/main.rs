//! `kubectl bpfman`: how applications are doing, node by node, and what to do about it.

use clap::Parser;

/// Applications of eBPF programs, over all nodes.
#[derive(Parser)]
#[command(name = "kubectl-bpfman", version, arg_required_else_help = true)]
struct Cli {}

fn main() {
    let Cli {} = Cli::parse();
}
