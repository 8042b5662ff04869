//! `bpfman-fleet`: many simulated nodes on a real API server.
//!
//! etcd, the API server and the controller are real processes. Each node runs the real code of the agent, with its own
//! client, and of the daemon's engine and services, with a connection between them. The kernels and the stream of
//! interfaces ([`stream`]) are simulated. All agents log in as the server's administrator; there is no admission webhook.
//!
//! Nodes run in processes of this program ([`part`]), as many per process as the limit of open files allows, and execute
//! the orders of the [`fleet`].
//!
//! Metrics are printed as JSON lines, then as a table. Violations are printed as BROKEN, and fail the program.

mod agent;
mod applications;
mod cluster;
mod controller;
mod daemon;
mod files;
mod fleet;
mod link;
mod node;
mod order;
mod part;
mod process;
mod report;
mod scenarios;
mod stage;
mod stream;
mod totals;
mod version;

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::json;
use tokio::runtime::Runtime;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::cluster::Cluster;
use crate::fleet::Fleet;
use crate::report::Report;
use crate::stage::Stage;

const MAX_THREADS: usize = 48;

/// Simulates a fleet.
#[derive(Parser)]
#[command(name = "bpfman-fleet", version, args_conflicts_with_subcommands = true)]
struct Options {
    #[command(subcommand)]
    part: Option<Process>,
    /// Number of nodes
    #[arg(long, default_value_t = 1000)]
    nodes: usize,
    /// Number of applications of every node: 1 or 2
    #[arg(long, default_value_t = 2)]
    applications: usize,
    /// Duration of the observation of a steady fleet, in seconds
    #[arg(long, default_value_t = 60)]
    steady: u64,
    /// Duration of the network partition, in seconds
    #[arg(long, default_value_t = 30)]
    split: u64,
    /// Timeout of every wait, in seconds
    #[arg(long, default_value_t = 900)]
    patience: u64,
    /// Leave rollouts out
    #[arg(long, conflicts_with = "only_rollouts")]
    no_rollouts: bool,
    /// Leave all but rollouts out
    #[arg(long)]
    only_rollouts: bool,
    /// Maximum number of nodes of one process [default: as many as its open files allow]
    #[arg(long)]
    together: Option<usize>,
}

/// Other roles of this program.
#[derive(Subcommand)]
enum Process {
    /// Runs some of the nodes; started by the fleet
    #[command(hide = true)]
    Part(part::Options),
}

fn main() -> Result<()> {
    let options = Options::parse();
    let filter = std::env::var("BPFMAN_LOG").ok().and_then(|filter| filter.parse::<Targets>().ok());
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    tracing_subscriber::registry().with(filter.unwrap_or_default()).with(lines).init();
    if let Some(Process::Part(part)) = &options.part {
        let runtime = runtime()?;
        let ended = runtime.block_on(part::run(part));
        // Agents would otherwise run until they notice that the API server does not answer.
        runtime.shutdown_background();
        return ended;
    }
    let together = files::nodes_in_a_process(options.nodes)?;
    let together = options.together.map_or(together, |wanted| wanted.clamp(1, together));
    let Some(plane) = bpfman_cluster_tests::Cluster::own() else { return Ok(()) };
    // Threads that start from here on are in the API server's network namespace.
    move_into_link_name_space(File::open(plane.netns())?.as_fd(), Some(LinkNameSpaceType::Network))?;
    // All connections come from one address, with a port for each agent, and two while one is replaced.
    std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "1024 65535").context("more ports")?;
    let runtime = runtime()?;
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())?;
    let well = runtime.block_on(run(&options, together, plane, folder.path()));
    if well.is_err() {
        let log = std::fs::read_to_string(controller::log(folder.path())).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        eprintln!("--- the controller's log, its end ---");
        lines[lines.len().saturating_sub(40)..].iter().for_each(|line| eprintln!("{line}"));
    }
    runtime.shutdown_background();
    if !well? {
        bail!("what has to hold did not");
    }
    Ok(())
}

fn runtime() -> Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    Ok(builder.enable_all().max_blocking_threads(MAX_THREADS).thread_stack_size(4 << 20).build()?)
}

async fn run(
    options: &Options,
    together: usize,
    plane: bpfman_cluster_tests::Cluster,
    folder: &Path,
) -> Result<bool> {
    let begun = Instant::now();
    let mut report = Report::default();
    version::ALL.iter().for_each(|version| version.compile(folder));
    plane.apply_definitions().await;
    let kubeconfig = Kubeconfig::read_from(plane.kubeconfig())?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let cluster = Cluster(Client::try_from(config)?);
    for server in ["kube-apiserver", "etcd"] {
        let number = std::fs::read_to_string(plane.path(format!("{server}.pid")))?;
        report.follow(server, number.split(' ').next().unwrap_or_default().parse()?);
    }
    cluster.make_nodes(options.nodes).await.context("making nodes")?;
    report.figures("make nodes", begun.elapsed(), json!({ "nodes": options.nodes }));

    let begun_daemons = Instant::now();
    let patience = Duration::from_secs(options.patience);
    let fleet = Fleet::start(options.nodes, together, folder, &plane.kubeconfig(), patience).await?;
    fleet.processes().for_each(|process| report.follow("nodes", process));
    let processes = fleet.processes().count();
    report.figures("start daemons", begun_daemons.elapsed(), json!({ "processes": processes }));
    let mut stage = Stage {
        plane,
        cluster,
        fleet,
        controller: None,
        folder: folder.to_owned(),
        report,
        steady: Duration::from_secs(options.steady),
        split: Duration::from_secs(options.split),
    };
    stage.start_controller()?;
    let begun_agents = Instant::now();
    stage.fleet.start_agents(|_| true).await?;
    let asked = stage.fleet.totals().await?.figures(options.nodes);
    stage.report.figures("start agents", begun_agents.elapsed(), asked);

    if !options.only_rollouts {
        scenarios::apply::run(&mut stage, options.applications).await?;
        scenarios::memory::run(&mut stage, begun.elapsed()).await?;
        scenarios::steady::run(&mut stage).await?;
        scenarios::few::run(&mut stage).await?;
        scenarios::restart::run(&mut stage).await?;
        scenarios::fail::run(&mut stage).await?;
        scenarios::split::run(&mut stage).await?;
    }
    if !options.no_rollouts {
        scenarios::rollout::run(&mut stage).await?;
    }
    scenarios::rename::run(&mut stage).await?;
    scenarios::memory::run(&mut stage, begun.elapsed()).await?;
    let well = stage.report.end();
    stage.fleet.stop_agents(|_| true).await?;
    Ok(well)
}
