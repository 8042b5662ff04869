//! Many clients that each load, attach, detach and unload a program at one interface.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bpfman_proto::v1::BpfmanProgramType as Type;
use tokio::task::JoinSet;

use crate::client::{Client, tcx};
use crate::daemon::{Daemon, Network};
use crate::objects::Objects;
use crate::samples::Results;

const CLIENTS: [i32; 2] = [1, 50];
const LASTS: Duration = Duration::from_secs(15);
const CALLS: [&str; 4] = ["load", "attach tcx", "detach", "unload"];

pub async fn run(objects: &Objects) -> anyhow::Result<()> {
    let mut results = Results::new("crowd")?;
    let network = Network::new()?;
    for clients in CLIENTS {
        let daemon = Daemon::start()?;
        let until = Instant::now() + LASTS;
        let mut crowd = JoinSet::new();
        for number in 0..clients {
            let client = Client::connect(&daemon.socket()).await?;
            crowd.spawn(cycles(client, objects.path("trivial"), network.path(), number + 1, until));
        }
        let mut took: [Vec<f64>; CALLS.len()] = Default::default();
        while let Some(samples) = crowd.join_next().await {
            took.iter_mut().zip(samples??).for_each(|(all, some)| all.extend(some));
        }
        let a_second = took[0].len() as f64 / LASTS.as_secs_f64();
        results.add(&format!("{clients} clients: cycles"), "/s", vec![a_second])?;
        for (call, took) in CALLS.iter().zip(took) {
            results.add(&format!("{clients} clients: {call}"), "ms", took)?;
        }
    }
    Ok(())
}

async fn cycles(
    mut client: Client,
    object: PathBuf,
    netns: String,
    priority: i32,
    until: Instant,
) -> anyhow::Result<[Vec<f64>; CALLS.len()]> {
    let mut took: [Vec<f64>; CALLS.len()] = Default::default();
    while Instant::now() < until {
        let (id, load) = client.load(&object, "tcx_trivial", Type::Tcx).await?;
        let (link, attach) = client.attach(id, tcx(&netns, priority)).await?;
        let detach = client.detach(link).await?;
        let unload = client.unload(id).await?;
        took.iter_mut().zip([load, attach, detach, unload]).for_each(|(samples, one)| samples.push(one));
    }
    Ok(took)
}
