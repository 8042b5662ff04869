//! Cost of reading object files in unprivileged processes: loads, attachments, and a start after a reboot.

use bpfman_proto::v1::BpfmanProgramType as Type;

use crate::client::{Client, xdp};
use crate::daemon::{Daemon, Network};
use crate::objects::Objects;
use crate::samples::Results;

/// Number of loads of each variant.
const ROUNDS: usize = 200;
const PAUSE: u64 = 40;
const PROGRAMS: usize = 100;
const REBOOTS: usize = 5;
const MEMBERS: i32 = 8;

pub async fn run(objects: &Objects) -> anyhow::Result<()> {
    let mut results = Results::new("object-readers")?;
    let programs =
        [("trivial", "xdp_trivial", "no types of the kernel"), ("typed", "xdp_typed", "types of the kernel")];
    for (object, program, what) in programs {
        loads(objects, &mut results, (object, program, what)).await?;
        starts(objects, &mut results, (object, program, what)).await?;
    }
    Ok(())
}

async fn loads(
    objects: &Objects,
    results: &mut Results,
    (object, program, what): (&str, &str, &str),
) -> anyhow::Result<()> {
    let daemon = Daemon::start()?;
    let mut client = Client::connect(&daemon.socket()).await?;
    let object = objects.path(object);
    for (how, pause) in [("", PAUSE), (", one after the other", 0)] {
        let mut samples = Vec::new();
        for _ in 0..ROUNDS {
            tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
            let (id, took) = client.load(&object, program, Type::Xdp).await?;
            samples.push(took);
            client.unload(id).await?;
        }
        results.add(&format!("load from a file, {what}{how}"), "ms", samples)?;
    }
    Ok(())
}

async fn starts(
    objects: &Objects,
    results: &mut Results,
    (object, program, what): (&str, &str, &str),
) -> anyhow::Result<()> {
    let object = objects.path(object);
    let network = Network::new()?;
    let mut daemon = Daemon::start()?;
    let mut client = Client::connect(&daemon.socket()).await?;
    let mut members = Vec::new();
    for _ in 0..PROGRAMS {
        members.push(client.load(&object, program, Type::Xdp).await?.0);
    }
    drop(client);
    daemon.restart()?;
    let mut client = Client::connect(&daemon.socket()).await?;
    let mut attached = Vec::new();
    for (member, priority) in members.into_iter().zip(1..=MEMBERS) {
        attached.push(client.attach(member, xdp(&network.path(), priority)).await?.1);
    }
    results.add(&format!("attach to XDP, texts not in memory, {what}"), "ms", attached)?;
    drop(client);
    // Links end with their network, so that only programs are restored.
    drop(network);
    let mut starts = Vec::new();
    for _ in 0..REBOOTS {
        starts.push(daemon.restart_without_programs()?);
    }
    results.add(&format!("start after a reboot, {PROGRAMS} programs, {what}"), "ms", starts)?;
    Ok(())
}
