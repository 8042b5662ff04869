use std::path::Path;
use std::time::Instant;

use bpfman_model::{Direction, HookKind, Interface, ProcessScope};
use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfmand_kernel::linux::LinuxKernel;
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::{LinkTarget, ListAnchor};
use bpfmand_store::{Batch, Store, StoreOptions, Table};

use crate::client::{Client, quiet_probe, tcx, xdp};
use crate::daemon::{Daemon, Network};
use crate::objects::Objects;
use crate::samples::{Results, ms};

const ROUNDS: usize = 100;
/// Number of repetitions: one call may wait for one or two grace periods of the kernel.
const REPEATS: usize = 50;

pub async fn run(objects: &Objects) -> anyhow::Result<()> {
    let mut results = Results::new("calls")?;
    let daemon = Daemon::start()?;
    let mut client = Client::connect(&daemon.socket()).await?;
    let object = objects.path("trivial");

    let (mut loads, mut unloads) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (id, took) = client.load(&object, "xdp_trivial", Type::Xdp).await?;
        loads.push(took);
        unloads.push(client.unload(id).await?);
    }
    results.add("grpc load from file", "ms", loads)?;
    results.add("grpc unload", "ms", unloads)?;
    results.add("one durable write of the store", "ms", durable_writes(daemon.folder())?)?;

    let mut cold = Vec::new();
    let mut warm = Vec::new();
    for _ in 0..ROUNDS {
        cold.push(daemon.cli(&["list", "programs"])?);
    }
    let path = object.display().to_string();
    for _ in 0..ROUNDS {
        warm.push(daemon.cli(&["load", "file", "--path", &path, "--programs", "xdp:xdp_trivial"])?);
    }
    results.add("cli list programs, none", "ms", cold)?;
    results.add("cli load file", "ms", warm)?;
    drop(daemon);

    attach(&mut results, objects).await
}

async fn attach(results: &mut Results, objects: &Objects) -> anyhow::Result<()> {
    let daemon = Daemon::start()?;
    let mut client = Client::connect(&daemon.socket()).await?;
    let network = Network::new()?;
    let object = objects.path("trivial");
    let mut ours: Vec<Vec<f64>> = vec![Vec::new(); 10];
    let mut kernel: Vec<Vec<f64>> = vec![Vec::new(); 10];
    let mut chains: Vec<Vec<f64>> = vec![Vec::new(); 10];
    for _ in 0..REPEATS {
        let (mut ids, mut chained) = (Vec::new(), Vec::new());
        for (priority, samples) in ours.iter_mut().enumerate() {
            let (id, _) = client.load(&object, "tcx_trivial", Type::Tcx).await?;
            samples.push(client.attach(id, tcx(&network.path(), priority as i32)).await?.1);
            ids.push(id);
        }
        for (priority, samples) in chains.iter_mut().enumerate() {
            let (id, _) = client.load(&object, "xdp_trivial", Type::Xdp).await?;
            samples.push(client.attach(id, xdp(&network.path(), priority as i32)).await?.1);
            chained.push(id);
        }
        for id in ids.into_iter().chain(chained) {
            client.unload(id).await?;
        }
        // Alternate, so that other load on the machine affects both.
        for (samples, took) in kernel.iter_mut().zip(kernel_alone(objects, &network.path())?) {
            samples.push(took);
        }
    }
    for at in [0, 1, 4, 9] {
        results.add(&format!("attach tcx, number {}", at + 1), "ms", ours[at].clone())?;
        results.add(&format!("  the kernel alone, number {}", at + 1), "ms", kernel[at].clone())?;
    }
    for at in [0, 1, 4, 9] {
        results.add(&format!("attach xdp, chain of {}", at + 1), "ms", chains[at].clone())?;
    }
    let (mut probes, mut ends, mut bare, mut closes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (probe, _) = client.load(&object, "uprobe_trivial", Type::Uprobe).await?;
    for _ in 0..ROUNDS {
        let (link, took) = client.attach(probe, quiet_probe()).await?;
        probes.push(took);
        ends.push(client.detach(link).await?);
        let (attached, closed) = kernel_probe_alone(objects)?;
        bare.push(attached);
        closes.push(closed);
    }
    client.unload(probe).await?;
    results.add("attach uprobe", "ms", probes)?;
    results.add("  the kernel alone", "ms", bare)?;
    results.add("detach uprobe, until the kernel let go", "ms", ends)?;
    results.add("  the kernel alone", "ms", closes)?;
    let (mut lists, mut gets) = (Vec::new(), Vec::new());
    let mut last = 0;
    for at in 0..10 {
        last = client.load(&object, "tcx_trivial", Type::Tcx).await?.0;
        client.attach(last, tcx(&network.path(), at)).await?;
    }
    for _ in 0..ROUNDS {
        lists.push(client.list().await?.1);
        gets.push(client.get(last).await?);
    }
    results.add("grpc list, 10 attached", "ms", lists)?;
    results.add("grpc get", "ms", gets)?;
    Ok(())
}

fn kernel_alone(objects: &Objects, netns: &str) -> anyhow::Result<Vec<f64>> {
    let mount = crate::packets::Mount::new()?;
    let kernel = LinuxKernel::new(mount.path())?;
    let netns = Path::new(netns);
    let interface = Interface { name: "va".to_owned(), netns: Some(netns.to_owned()) };
    let hook = kernel.find_hook(&interface, HookKind::Tcx(Direction::Ingress))?;
    let target = LinkTarget::Tcx {
        home: hook.netns.into(),
        netns: Some(netns),
        ifindex: hook.ifindex,
        direction: Direction::Ingress,
        anchor: ListAnchor::Last,
        expected_revision: None,
    };
    let mut links = Vec::new();
    (0..10)
        .map(|_| {
            let program = crate::packets::load(&kernel, objects, "trivial", "tcx_trivial")?;
            let start = Instant::now();
            links.push(kernel.attach(&program.handle, &target)?);
            Ok(ms(start))
        })
        .collect()
}

fn kernel_probe_alone(objects: &Objects) -> anyhow::Result<(f64, f64)> {
    let mount = crate::packets::Mount::new()?;
    let kernel = LinuxKernel::new(mount.path())?;
    let program = crate::packets::load(&kernel, objects, "trivial", "uprobe_trivial")?;
    let scope = ProcessScope::default();
    let target = LinkTarget::Uprobe {
        target: "libc",
        function: Some("fmtmsg"),
        offset: 0,
        scope: &scope,
        reader: None,
        on_return: false,
        known_only: false,
        cookie: 0,
    };
    let start = Instant::now();
    let link = kernel.attach(&program.handle, &target)?;
    let attached = ms(start);
    let start = Instant::now();
    drop(link);
    Ok((attached, ms(start)))
}

fn durable_writes(folder: &Path) -> anyhow::Result<Vec<f64>> {
    let store = Store::open(StoreOptions::new(folder.join("durable"), 1))?;
    (0..ROUNDS)
        .map(|round| {
            let mut batch = Batch::new();
            batch.put(Table("bench"), &round.to_ne_bytes(), vec![7; 900]);
            let start = Instant::now();
            store.commit(batch)?;
            Ok(ms(start))
        })
        .collect()
}
