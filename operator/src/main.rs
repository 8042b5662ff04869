//! `bpfman-operator`: the controller, the node agent and the custom resource definitions.

use std::io::Write;

use bpfman_application::crd;
use bpfman_operator::{agent, clean, controller};
use clap::{Parser, Subcommand};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Manages eBPF programs of a Kubernetes cluster.
#[derive(Parser)]
#[command(name = "bpfman-operator", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the agent of one node: turns applications into calls of the daemon, and writes the results into state
    /// objects.
    Agent(agent::options::AgentOptions),
    /// Remove what daemon, agent and network plugin left on a node, after the Config object was deleted.
    CleanNode(clean::CleanFlags),
    /// Do nothing until SIGTERM: for a DaemonSet whose work is done by its init container.
    #[command(hide = true)]
    Stay,
    /// Print the custom resource definitions as YAML, for `kubectl apply --server-side -f -`.
    Crds {
        /// Leave out fields for `--field-selector`, which API servers before 1.30 refuse.
        #[arg(long)]
        without_selectable_fields: bool,
        /// Leave out rules in schemas as well, which API servers before 1.25 refuse.
        #[arg(long)]
        without_rules: bool,
    },
    /// Aggregate the state of nodes, deploy daemon and agent, and taint nodes that are not ready.
    Controller(controller::ControllerFlags),
    /// Print the Config object that the controller creates if there is none, as YAML.
    DefaultConfig {
        /// Namespace to deploy to
        #[arg(long, env = "POD_NAMESPACE", default_value = "bpfman")]
        namespace: String,
    },
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Agent(options) => run(agent::run(options)),
        Command::CleanNode(flags) => {
            clean::clean(&flags)?;
            println!("nothing is left on this node");
            Ok(())
        }
        Command::Stay => run(terminated()),
        Command::Controller(flags) => run(controller::start(flags)),
        Command::Crds { without_rules: true, .. } => print_definitions(crd::without_rules()),
        Command::Crds { without_selectable_fields: true, .. } => {
            print_definitions(crd::without_selectable_fields())
        }
        Command::Crds { .. } => print_definitions(crd::all()),
        Command::DefaultConfig { namespace } => {
            let images = controller::deploy::DeployImages::from_environment()?;
            let config = controller::deploy::default_config(&images, &namespace);
            std::io::stdout().write_all(serde_norway::to_string(&config)?.as_bytes())?;
            Ok(())
        }
    }
}

/// Runs on one thread, which mostly waits. The log filter is `BPFMAN_LOG`, else the published `GO_LOG`.
fn run(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let filter = ["BPFMAN_LOG", "GO_LOG"].into_iter().find_map(log_filter);
    let (text, filter) =
        filter.unwrap_or_else(|| ("info".to_owned(), Targets::new().with_default(LevelFilter::INFO)));
    // Hide warnings about refused connections of a starting server: `bpfman_runtime::outage` reports the outage.
    let filter = match text.contains("kube_runtime") {
        true => filter,
        false => filter.with_target("kube_runtime::watcher", LevelFilter::ERROR),
    };
    // Names that users chose must neither break a line nor send control characters to a terminal.
    let writer = || bpfman_proto::printable::LineEscaper(std::io::stderr());
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false);
    tracing_subscriber::registry().with(filter).with(lines).init();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

fn log_filter(variable: &str) -> Option<(String, Targets)> {
    let text = std::env::var(variable).ok()?;
    let directives: Vec<&str> =
        text.split(',').map(str::trim).filter(|directive| !directive.is_empty()).collect();
    let text = Some(directives.join(",")).filter(|text| !text.is_empty())?;
    // A filter by spans or fields would be parsed as the name of a target, which matches no line.
    let filter = text.parse().ok().filter(|_| !text.contains(['[', '{']))?;
    Some((text, filter))
}

async fn terminated() -> anyhow::Result<()> {
    tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?.recv().await;
    Ok(())
}

fn print_definitions(definitions: Vec<CustomResourceDefinition>) -> anyhow::Result<()> {
    let mut text = String::new();
    for crd in definitions {
        text.push_str("---\n");
        text.push_str(&serde_norway::to_string(&crd)?);
    }
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}
