//! Process that runs some of the nodes and executes the fleet's orders.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;
use futures::{StreamExt as _, TryStreamExt as _};
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::node::Node;
use crate::order::{Loads, Message, Needs, Order};
use crate::process;
use crate::totals::Totals;

const AT_A_TIME: usize = 32;

/// Flags of one part of the fleet.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Number of the first node
    #[arg(long)]
    pub first: usize,
    /// Number of nodes
    #[arg(long)]
    pub count: usize,
    /// Folder of the nodes' state
    #[arg(long)]
    pub folder: PathBuf,
    /// Kubeconfig of the agents
    #[arg(long)]
    pub kubeconfig: PathBuf,
}

pub async fn run(options: &Options) -> Result<()> {
    let kubeconfig = Kubeconfig::read_from(&options.kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let nodes = start_daemons(options).await;
    let mut part = match nodes {
        Ok(nodes) => Part { first: options.first, nodes, config, server: "127.0.0.1:443".parse()? },
        Err(error) => return answer(&Err(format!("{error:#}"))),
    };
    answer(&Ok(Value::Array(Vec::new())))?;
    let mut orders = orders();
    while let Some(line) = orders.recv().await {
        let message: Message = serde_json::from_str(&line)?;
        let done = part.obey(&message).await;
        answer(&done.map_err(|error| format!("{error:#}")))?;
    }
    Ok(())
}

fn orders() -> mpsc::Receiver<String> {
    let (send, orders) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if send.blocking_send(line).is_err() {
                return;
            }
        }
    });
    orders
}

fn answer(answer: &Result<Value, String>) -> Result<()> {
    println!("{}", serde_json::to_string(answer)?);
    Ok(())
}

async fn start_daemons(options: &Options) -> Result<Vec<Node>> {
    let start = |number: usize| async move {
        let folder = options.folder.join(Node::name_of(number));
        // The daemon's tasks must belong to this runtime.
        let runtime = tokio::runtime::Handle::current();
        let start = tokio::task::spawn_blocking(move || {
            let _within = runtime.enter();
            Node::start(number, folder)
        });
        start.await?.with_context(|| format!("the daemon of node {number}"))
    };
    let numbers = options.first..options.first + options.count;
    futures::stream::iter(numbers.map(start)).buffered(AT_A_TIME).try_collect().await
}

struct Part {
    first: usize,
    nodes: Vec<Node>,
    config: Config,
    server: SocketAddr,
}

impl Part {
    async fn obey(&mut self, message: &Message) -> Result<Value> {
        let numbers = message.nodes.iter().map(|number| number - self.first);
        match message.order {
            Order::StartAgents => {
                for number in numbers {
                    self.nodes[number].start_agent(&self.config, self.server)?;
                }
                list::<()>([])
            }
            Order::StopAgents => {
                let named =
                    self.nodes.iter_mut().filter(|node| message.nodes.binary_search(&node.number).is_ok());
                futures::future::join_all(named.map(Node::stop_agent)).await;
                list::<()>([])
            }
            Order::Unready => list(self.named(numbers).find_map(Node::not_ready)),
            Order::Busy(looks) => list(self.named(numbers).find_map(|node| {
                let (looked, done) = node.looks();
                let busy = looked < looks || !done;
                busy.then(|| format!("{} has looked {looked} times, done: {done}", node.name))
            })),
            Order::FirstWith(version) => {
                list(self.named(numbers).find(|node| node.daemon.runs(version)).map(|node| &node.name))
            }
            Order::Totals => {
                let mut all = Totals::default();
                self.named(numbers).for_each(|node| all += &node.totals());
                list([all])
            }
            Order::Writes => list(self.named(numbers).map(|node| node.totals().writes)),
            Order::Running => list(self.named(numbers).map(|node| node.daemon.running())),
            Order::Rename => {
                for number in numbers {
                    self.nodes[number].rename().await;
                }
                list::<()>([])
            }
            Order::Loaded => list(self.named(numbers).map(|node| node.daemon.loaded())),
            Order::Loads(version) => list(self.named(numbers).map(|node| {
                let seen = node.daemon.loads(version);
                Loads { asked: seen.asked, accepted: seen.accepted }
            })),
            Order::Runs(version) => list(self.named(numbers).map(|node| node.daemon.runs(version))),
            Order::Refuse(version, refused) => {
                self.named(numbers).for_each(|node| node.daemon.refuse(version, refused));
                list::<()>([])
            }
            Order::Line(line) => {
                self.named(numbers).for_each(|node| node.link.set(line));
                list::<()>([])
            }
            Order::Needs => list([Needs {
                resident_kib: process::status("self", "VmRSS").unwrap_or_default(),
                threads: process::status("self", "Threads").unwrap_or_default(),
                open_files: std::fs::read_dir(Path::new("/proc/self/fd"))?.count() as u64,
            }]),
        }
    }

    fn named(&self, numbers: impl Iterator<Item = usize>) -> impl Iterator<Item = &Node> {
        numbers.map(|number| &self.nodes[number])
    }
}

fn list<T: Serialize>(items: impl IntoIterator<Item = T>) -> Result<Value> {
    Ok(serde_json::to_value(items.into_iter().collect::<Vec<T>>())?)
}
