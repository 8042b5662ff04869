//! `bpfman-operator`: the controller, the node agent and the custom resource definitions.

use std::io::Write;

use clap::{Parser, Subcommand};

/// Manages eBPF programs of a Kubernetes cluster.
#[derive(Parser)]
#[command(name = "bpfman-operator", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What to do.
#[derive(Subcommand)]
enum Command {
    /// Print the custom resource definitions as YAML, for `kubectl apply --server-side -f -`.
    Crds {
        /// Leave out rules in schemas, which API servers before 1.25 refuse.
        #[arg(long)]
        without_rules: bool,
    },
}

fn main() -> anyhow::Result<()> {
    let Command::Crds { without_rules } = Cli::parse().command;
    let definitions =
        if without_rules { bpfman_application::crd::without_rules() } else { bpfman_application::crd::all() };
    let mut text = String::new();
    for crd in definitions {
        text.push_str("---\n");
        text.push_str(&serde_norway::to_string(&crd)?);
    }
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}
