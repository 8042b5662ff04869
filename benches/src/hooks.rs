//! Latency of hooks: after an interface appears, and during the verification of another hook's chain.

use std::time::Instant;

use anyhow::ensure;
use bpfman_proto::v1::BpfmanProgramType as Type;

use crate::client::{Client, xdp, xdp_at};
use crate::daemon::{Daemon, Network};
use crate::objects::Objects;
use crate::samples::{Results, ms};

const ROUNDS: usize = 50;

pub async fn run(objects: &Objects) -> anyhow::Result<()> {
    let mut results = Results::new("hooks")?;
    appear(objects, &mut results).await?;
    beside_heavy(objects, &mut results).await
}

async fn appear(objects: &Objects, results: &mut Results) -> anyhow::Result<()> {
    let daemon = Daemon::start()?;
    let network = Network::new()?;
    let mut client = Client::connect(&daemon.socket()).await?;
    let (program, _) = client.load(&objects.path("trivial"), "xdp_trivial", Type::Xdp).await?;
    client.attach_matching(program, xdp(&network.path(), 1), "hp*", &network.path()).await?;
    let mut samples = Vec::new();
    for round in 0..ROUNDS {
        let name = format!("hp{round}");
        network.add(&name)?;
        let start = Instant::now();
        while client.links_of_matchings().await? <= round {
            ensure!(ms(start) < 60_000.0, "no program at {name} after a minute");
        }
        samples.push(ms(start));
    }
    results.add("an interface appears, until its program runs", "ms", samples)?;
    Ok(())
}

async fn beside_heavy(objects: &Objects, results: &mut Results) -> anyhow::Result<()> {
    const HEAVY: i32 = 3;
    let daemon = Daemon::start()?;
    let network = Network::new()?;
    let mut client = Client::connect(&daemon.socket()).await?;
    let (trivial, _) = client.load(&objects.path("trivial"), "xdp_trivial", Type::Xdp).await?;
    for priority in 0..HEAVY {
        let (heavy, _) = client.load(&objects.path("heavy"), "heavy", Type::Xdp).await?;
        client.attach(heavy, xdp(&network.path(), priority)).await?;
    }
    let here = || xdp_at(&network.path(), "vb", 1);
    let mut alone = Vec::new();
    for _ in 0..ROUNDS {
        let (link, took) = client.attach(trivial, here()).await?;
        alone.push(took);
        client.detach(link).await?;
    }
    let mut changer = Client::connect(&daemon.socket()).await?;
    let (mut beside, mut changes) = (Vec::new(), Vec::new());
    let attach = async {
        for _ in 0..ROUNDS {
            let (link, took) = client.attach(trivial, here()).await?;
            beside.push(took);
            client.detach(link).await?;
        }
        anyhow::Ok(())
    };
    let change = async {
        loop {
            if let Err(error) = change_heavy(&mut changer, objects, &network, HEAVY, &mut changes).await {
                return error;
            }
        }
    };
    tokio::select! {
        done = attach => done?,
        failed = change => return Err(failed),
    }
    results.add("a change of a chain with heavy members", "ms", changes)?;
    let alone = results.add("attach at another hook, alone", "ms", alone)?;
    let beside = results.add("attach at another hook, meanwhile", "ms", beside)?;
    results.add("  meanwhile / alone", "ratio", vec![beside / alone])?;
    Ok(())
}

async fn change_heavy(
    client: &mut Client,
    objects: &Objects,
    network: &Network,
    priority: i32,
    took: &mut Vec<f64>,
) -> anyhow::Result<()> {
    let (heavy, _) = client.load(&objects.path("heavy"), "heavy", Type::Xdp).await?;
    let (link, one) = client.attach(heavy, xdp(&network.path(), priority)).await?;
    took.push(one);
    client.detach(link).await?;
    client.unload(heavy).await?;
    Ok(())
}
