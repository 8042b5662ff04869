//! `bpfman-fleet`: many simulated nodes on a real API server.
//!
//! Real: etcd, the API server, the controller (a process of its own), and of each node the agent's code with a client
//! of its own, the daemon's engine and services, and a connection between them. Simulated: the kernels, and the stream
//! of interfaces ([`stream`]). All agents log in as the server's administrator; there is no admission webhook.
//!
//! Figures come as JSON lines, then a table. What has to hold and does not is printed as BROKEN, and fails the program.

mod agent;
mod applications;
mod cluster;
mod controller;
mod daemon;
mod fleet;
mod link;
mod node;
mod report;
mod scenarios;
mod stage;
mod stream;
mod totals;
mod version;

use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::json;

use crate::cluster::Cluster;
use crate::fleet::Fleet;
use crate::report::Report;
use crate::stage::Stage;

/// Threads on which requests to daemons run.
const MOST_THREADS: usize = 48;

/// Simulates a fleet.
#[derive(Parser)]
#[command(name = "bpfman-fleet", version)]
struct Options {
    /// How many nodes
    #[arg(long, default_value_t = 1000)]
    nodes: usize,
    /// How many applications every node has: 1 or 2
    #[arg(long, default_value_t = 2)]
    applications: usize,
    /// Seconds for which a steady fleet is watched
    #[arg(long, default_value_t = 60)]
    steady: u64,
    /// Seconds for which lines are cut
    #[arg(long, default_value_t = 30)]
    split: u64,
    /// Seconds after which what is waited for counts as never coming
    #[arg(long, default_value_t = 900)]
    patience: u64,
    /// Leave rollouts out
    #[arg(long)]
    no_rollouts: bool,
}

/// Open files that a node takes in this program: two of its store, two of the connection to the daemon, one of the lock
/// of who acts, and one of the agent's connection to the API server, two while it is replaced.
const FILES_A_NODE: u64 = 7;

/// Open files of everything else.
const FILES_OF_ALL: u64 = 500;

/// Refuses more nodes than this program, or the API server that it starts, can have connections of.
fn enough_files(nodes: usize) -> Result<()> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    let needed = FILES_A_NODE * nodes as u64 + FILES_OF_ALL;
    if needed > limit {
        bail!(
            "{nodes} nodes take {needed} open files here, and {limit} are allowed: raise the limit (`ulimit -n {needed}`), \
             or simulate at most {} nodes (`--nodes`)",
            limit.saturating_sub(FILES_OF_ALL) / FILES_A_NODE
        );
    }
    Ok(())
}

fn main() -> Result<()> {
    let options = Options::parse();
    enough_files(options.nodes)?;
    let filter = tracing_subscriber::EnvFilter::try_from_env("BPFMAN_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("off"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let Some(plane) = bpfman_cluster_tests::Cluster::own() else { return Ok(()) };
    // Threads that are made from here on are where the API server is.
    move_into_link_name_space(File::open(plane.netns())?.as_fd(), Some(LinkNameSpaceType::Network))?;
    // All connections come from one address: one for each agent, two while it is replaced.
    std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "1024 65535").context("more ports")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(MOST_THREADS)
        .thread_stack_size(4 << 20)
        .build()?;
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())?;
    let well = runtime.block_on(run(&options, plane, folder.path()));
    if well.is_err() {
        let log = std::fs::read_to_string(controller::log(folder.path())).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        eprintln!("--- the controller's log, its end ---");
        lines[lines.len().saturating_sub(40)..].iter().for_each(|line| eprintln!("{line}"));
    }
    // Agents would go on until they notice that nobody answers.
    runtime.shutdown_background();
    if !well? {
        bail!("what has to hold did not");
    }
    Ok(())
}

async fn run(options: &Options, plane: bpfman_cluster_tests::Cluster, folder: &Path) -> Result<bool> {
    let begun = Instant::now();
    let mut report = Report::default();
    version::ALL.iter().for_each(|version| version.compile(folder));
    plane.apply_definitions().await;
    let kubeconfig = Kubeconfig::read_from(plane.kubeconfig())?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let server: SocketAddr = "127.0.0.1:443".parse()?;
    let cluster = Cluster(Client::try_from(config.clone())?);
    cluster.make_nodes(options.nodes).await.context("making nodes")?;
    report.figures("make nodes", begun.elapsed(), json!({ "nodes": options.nodes }));

    let begun_daemons = Instant::now();
    let patience = Duration::from_secs(options.patience);
    let fleet = Fleet::start(options.nodes, folder, config, server, patience).await?;
    report.figures("start daemons", begun_daemons.elapsed(), json!({}));
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
    let asked = stage.fleet.totals().figures(options.nodes);
    stage.report.figures("start agents", begun_agents.elapsed(), asked);

    scenarios::apply::run(&mut stage, options.applications).await?;
    scenarios::memory::run(&mut stage, begun.elapsed()).await?;
    scenarios::steady::run(&mut stage).await?;
    scenarios::few::run(&mut stage).await?;
    scenarios::restart::run(&mut stage).await?;
    scenarios::fail::run(&mut stage).await?;
    scenarios::split::run(&mut stage).await?;
    if !options.no_rollouts {
        scenarios::rollout::run(&mut stage).await?;
    }
    scenarios::memory::run(&mut stage, begun.elapsed()).await?;
    let well = stage.report.end();
    stage.fleet.stop_agents(|_| true).await;
    Ok(well)
}
