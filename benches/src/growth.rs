//! Leaks after ten thousand changes and a hundred thousand calls: memory, descriptors, pins, files.

use std::path::Path;

use bpfman_proto::v1::BpfmanProgramType as Type;

use crate::client::{Client, quiet_probe, tcx, xdp};
use crate::daemon::{Daemon, Network};
use crate::objects::Objects;
use crate::samples::Results;

const CHANGES: usize = 7;
const ROUNDS: usize = 10_000 / CHANGES + 1;

const CALLS: usize = 100_000;
const CALLS_OF_A_CLIENT: usize = 10;

pub async fn run(objects: &Objects) -> anyhow::Result<()> {
    let mut results = Results::new("growth")?;
    changes(objects, &mut results).await?;
    calls(objects, &mut results).await
}

async fn changes(objects: &Objects, results: &mut Results) -> anyhow::Result<()> {
    let daemon = Daemon::start()?;
    let mut client = Client::connect(&daemon.socket()).await?;
    let network = Network::new()?;
    let object = objects.path("trivial");
    for round in 0..=ROUNDS {
        // The first thousand changes warm up permanent state: caches, threads, the allocator.
        if round == ROUNDS / 10 || round == ROUNDS {
            let when = format!("after {} changes", round * CHANGES / 100 * 100);
            measure(&daemon, &when, results)?;
        }
        let (name, kind, place) = match round % 3 {
            0 => ("uprobe_trivial", Type::Uprobe, quiet_probe()),
            1 => ("tcx_trivial", Type::Tcx, tcx(&network.path(), 1)),
            _ => ("xdp_trivial", Type::Xdp, xdp(&network.path(), 1)),
        };
        let (first, _) = client.load(&object, name, kind).await?;
        let (second, _) = client.load(&object, name, kind).await?;
        let (link, _) = client.attach(first, place.clone()).await?;
        client.attach(second, place).await?;
        client.detach(link).await?;
        client.unload(second).await?;
        client.unload(first).await?;
    }
    Ok(())
}

async fn calls(objects: &Objects, results: &mut Results) -> anyhow::Result<()> {
    let daemon = Daemon::start()?;
    let network = Network::new()?;
    let object = objects.path("trivial");
    let mut kept = Client::connect(&daemon.socket()).await?;
    let (attached, _) = kept.load(&object, "tcx_trivial", Type::Tcx).await?;
    kept.attach(attached, tcx(&network.path(), 1)).await?;
    for client in 0..=CALLS / CALLS_OF_A_CLIENT {
        let made = client * CALLS_OF_A_CLIENT;
        if [CALLS / 100, CALLS / 10, CALLS / 2, CALLS].contains(&made) {
            measure(&daemon, &format!("after {made} mixed calls"), results)?;
        }
        let mut client = Client::connect(&daemon.socket()).await?;
        let (id, _) = client.load(&object, "xdp_trivial", Type::Xdp).await?;
        client.get(id).await?;
        client.list().await?;
        client.get(attached).await?;
        client.list().await?;
        anyhow::ensure!(client.get(u32::MAX).await.is_err(), "there is no such program");
        anyhow::ensure!(
            client.attach(id, tcx(&network.path(), 1)).await.is_err(),
            "an XDP program is not for tcx"
        );
        anyhow::ensure!(client.detach(u32::MAX).await.is_err(), "there is no such link");
        client.unload(id).await?;
        anyhow::ensure!(client.unload(id).await.is_err(), "the program is gone");
    }
    Ok(())
}

fn measure(daemon: &Daemon, when: &str, results: &mut Results) -> anyhow::Result<()> {
    let (all, private) = daemon.resident()?;
    results.add(&format!("{when}: resident"), "MB", vec![all])?;
    results.add(&format!("{when}: resident, without files"), "MB", vec![private])?;
    results.add(&format!("{when}: descriptors"), "", vec![daemon.descriptors()? as f64])?;
    let run = daemon.folder().join("run");
    let (pins, _) = contents(&run.join("fs"))?;
    results.add(&format!("{when}: pins"), "", vec![pins as f64])?;
    let (all, bytes) = contents(&run)?;
    results.add(&format!("{when}: files"), "", vec![(all - pins) as f64])?;
    results.add(&format!("{when}: bytes of files"), "kB", vec![bytes as f64 / 1000.0])?;
    Ok(())
}

fn contents(folder: &Path) -> anyhow::Result<(usize, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    let (mut files, mut bytes) = (0, 0);
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let facts = entry.metadata()?;
        if facts.is_dir() {
            let (more, larger) = contents(&entry.path())?;
            (files, bytes) = (files + more, bytes + larger);
        } else {
            (files, bytes) = (files + 1, bytes + facts.blocks() * 512);
        }
    }
    Ok((files, bytes))
}
