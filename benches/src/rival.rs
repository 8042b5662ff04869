//! Comparison with another daemon that implements `bpfman.v1`: the same client calls both alternately.

use std::path::Path;

use anyhow::{Context as _, ensure};
use bpfman_proto::v1::BpfmanProgramType as Type;

use crate::client::{Client, tcx};
use crate::daemon::{Daemon, Network};
use crate::objects::Objects;
use crate::samples::Results;

pub const RIVAL: &str = "rival";
const ROUNDS: usize = 100;
const LOADED: usize = 500;
const CALLS: [&str; 7] =
    ["load a new object", "load it again", "get", "list", "attach tcx", "detach tcx", "unload"];

struct Side {
    client: Client,
    /// Number of objects used here. Each load has its own, because a daemon may cache parsed objects.
    objects: u32,
    took: [Vec<f64>; CALLS.len()],
}

pub async fn run(objects: &Objects, socket: &Path) -> anyhow::Result<()> {
    let loaded = std::env::var("LOADED").map_or(Ok(LOADED), |number| number.parse()).context("LOADED")?;
    let daemon = Daemon::start()?;
    let network = Network::new()?;
    let mut results = Results::new(RIVAL)?;
    let mut sides = [Side::connect(&daemon.socket()).await?, Side::connect(socket).await?];
    for side in &mut sides {
        let (others, _) = side.client.list().await?;
        ensure!(others == 0, "a daemon has {others} programs already: both have to begin with none");
    }
    compare(&mut sides, objects, &network, &mut results, 0).await?;

    let mut ids = [Vec::new(), Vec::new()];
    for (side, ids) in sides.iter_mut().zip(&mut ids) {
        for _ in 0..loaded {
            ids.push(side.client.load(&objects.path("trivial"), "uprobe_trivial", Type::Uprobe).await?.0);
        }
    }
    let compared = compare(&mut sides, objects, &network, &mut results, loaded).await;
    for (side, ids) in sides.iter_mut().zip(ids) {
        for id in ids {
            side.client.unload(id).await?;
        }
    }
    compared
}

/// Measures both daemons in turn, so that other load on the machine affects both.
async fn compare(
    sides: &mut [Side; 2],
    objects: &Objects,
    network: &Network,
    results: &mut Results,
    loaded: usize,
) -> anyhow::Result<()> {
    for round in 0..ROUNDS {
        for turn in [round % 2, (round + 1) % 2] {
            sides[turn].turn(objects, network).await?;
        }
    }
    for (at, call) in CALLS.iter().enumerate() {
        let [ours, theirs] =
            [(0, "here"), (1, "rival")].map(|(side, name)| (name, std::mem::take(&mut sides[side].took[at])));
        let case = format!("{call}, {loaded} loaded");
        let ours = results.add(&format!("{case}, {}", ours.0), "ms", ours.1)?;
        let theirs = results.add(&format!("{case}, {}", theirs.0), "ms", theirs.1)?;
        results.add(&format!("{case}, here / rival"), "x", vec![ours / theirs])?;
    }
    Ok(())
}

impl Side {
    async fn connect(socket: &Path) -> anyhow::Result<Self> {
        let client =
            Client::connect(socket).await.with_context(|| format!("no daemon at {}", socket.display()))?;
        Ok(Self { client, objects: 0, took: Default::default() })
    }

    async fn turn(&mut self, objects: &Objects, network: &Network) -> anyhow::Result<()> {
        let client = &mut self.client;
        self.objects += 1;
        let object = objects.another("trivial", self.objects)?;
        let (id, load) = client.load(&object, "tcx_trivial", Type::Tcx).await?;
        client.unload(id).await?;
        let (id, again) = client.load(&object, "tcx_trivial", Type::Tcx).await?;
        let get = client.get(id).await?;
        let list = client.list().await?.1;
        let (link, attach) = client.attach(id, tcx(&network.path(), 1)).await?;
        let detach = client.detach(link).await?;
        let unload = client.unload(id).await?;
        for (samples, took) in self.took.iter_mut().zip([load, again, get, list, attach, detach, unload]) {
            samples.push(took);
        }
        Ok(())
    }
}
