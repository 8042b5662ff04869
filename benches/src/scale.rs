use bpfman_proto::v1::BpfmanProgramType as Type;

use crate::client::{Client, quiet_probe, tcx};
use crate::daemon::{Daemon, Network};
use crate::objects::Objects;
use crate::samples::Results;

pub async fn run(objects: &Objects) -> anyhow::Result<()> {
    let mut results = Results::new("scale")?;
    let object = objects.path("trivial");
    let mut daemon = Daemon::start()?;
    let mut client = Client::connect(&daemon.socket()).await?;
    let network = Network::new()?;

    let (fresh, fresh_private) = daemon.resident()?;
    results.add("resident, fresh", "MB", vec![fresh])?;
    results.add("resident, fresh, without files", "MB", vec![fresh_private])?;

    for _ in 0..10 {
        client.load(&object, "uprobe_trivial", Type::Uprobe).await?;
    }
    let unloads = load_and_unload(&mut client, objects).await?;
    results.add("unload, 10 others loaded", "ms", unloads)?;

    let alone = attach_and_detach(&mut client, objects, &network).await?;
    results.add("attach tcx, nothing else loaded", "ms", alone)?;

    for number in 0..500 {
        let (id, _) = client.load(&object, "uprobe_trivial", Type::Uprobe).await?;
        client.attach(id, quiet_probe()).await?;
        if number == 219 {
            let (all, private) = daemon.resident()?;
            results.add("resident, 220 loaded and attached", "MB", vec![all])?;
            results.add("resident, 220, without files", "MB", vec![private])?;
        }
    }
    let crowded = attach_and_detach(&mut client, objects, &network).await?;
    results.add("attach tcx, 500 others loaded", "ms", crowded)?;
    let mut starts = Vec::new();
    for _ in 0..5 {
        starts.push(daemon.restart()?);
    }
    results.add("start with 500 attached", "ms", starts)?;
    let mut client = Client::connect(&daemon.socket()).await?;
    for _ in 0..500 {
        client.load(&object, "uprobe_trivial", Type::Uprobe).await?;
    }
    let mut lists = Vec::new();
    for _ in 0..20 {
        lists.push(client.list().await?.1);
    }
    results.add("grpc list of 1,000", "ms", lists)?;
    let unloads = load_and_unload(&mut client, objects).await?;
    results.add("unload, 1,000 others loaded", "ms", unloads)?;
    Ok(())
}

async fn load_and_unload(client: &mut Client, objects: &Objects) -> anyhow::Result<Vec<f64>> {
    let object = objects.path("trivial");
    let mut took = Vec::new();
    for _ in 0..100 {
        let (id, _) = client.load(&object, "uprobe_trivial", Type::Uprobe).await?;
        took.push(client.unload(id).await?);
    }
    Ok(took)
}

/// Measures at a hook that has links: the first link would also pay for the kernel's static key.
async fn attach_and_detach(
    client: &mut Client,
    objects: &Objects,
    network: &Network,
) -> anyhow::Result<Vec<f64>> {
    let object = objects.path("trivial");
    let (first, _) = client.load(&object, "tcx_trivial", Type::Tcx).await?;
    client.attach(first, tcx(&network.path(), 1)).await?;
    let (second, _) = client.load(&object, "tcx_trivial", Type::Tcx).await?;
    let mut took = Vec::new();
    for _ in 0..20 {
        let (link, milliseconds) = client.attach(second, tcx(&network.path(), 2)).await?;
        took.push(milliseconds);
        client.detach(link).await?;
    }
    client.unload(second).await?;
    client.unload(first).await?;
    Ok(took)
}
