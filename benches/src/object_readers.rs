//! Cost of reading object files in unprivileged processes: loads, attachments, and a start after a reboot, compared
//! with reading them in the daemon.

use bpfman_proto::v1::BpfmanProgramType as Type;

use crate::client::{Client, xdp};
use crate::daemon::{Daemon, Network};
use crate::objects::Objects;
use crate::samples::Results;

/// Loads of each variant, alternating.
const ROUNDS: usize = 200;
/// Pause between loads, in milliseconds: enough to start the next reader in advance.
const PAUSE: u64 = 40;
/// Programs that are restored after a reboot, and number of reboots.
const PROGRAMS: usize = 100;
const REBOOTS: usize = 5;
/// Members of a chain that is built by a daemon without cached programs.
const MEMBERS: i32 = 8;

pub async fn run(objects: &Objects) -> anyhow::Result<()> {
    let mut results = Results::new("object-readers")?;
    let ways = [("processes", "on"), ("in the daemon", "off")];
    let programs =
        [("trivial", "xdp_trivial", "no types of the kernel"), ("typed", "xdp_typed", "types of the kernel")];
    for (object, program, what) in programs {
        loads(objects, &mut results, ways, (object, program, what)).await?;
        starts(objects, &mut results, ways, (object, program, what)).await?;
    }
    Ok(())
}

async fn loads(
    objects: &Objects,
    results: &mut Results,
    ways: [(&str, &str); 2],
    (object, program, what): (&str, &str, &str),
) -> anyhow::Result<()> {
    let mut daemons = Vec::new();
    for (name, word) in ways {
        let daemon = Daemon::start_with(&format!("[cage]\nhelpers = \"{word}\"\n"), "")?;
        let client = Client::connect(&daemon.socket()).await?;
        daemons.push((name, daemon, client, Vec::new(), Vec::new()));
    }
    let object = objects.path(object);
    for paced in [true, false] {
        for _ in 0..ROUNDS {
            for (_, _, client, at_leisure, at_once) in &mut daemons {
                if paced {
                    tokio::time::sleep(std::time::Duration::from_millis(PAUSE)).await;
                }
                let (id, took) = client.load(&object, program, Type::Xdp).await?;
                if paced { &mut *at_leisure } else { at_once }.push(took);
                client.unload(id).await?;
            }
        }
    }
    for (name, _, _, at_leisure, at_once) in daemons {
        results.add(&format!("load from a file, {what}, {name}"), "ms", at_leisure)?;
        results.add(&format!("load from a file, {what}, {name}, one after the other"), "ms", at_once)?;
    }
    Ok(())
}

async fn starts(
    objects: &Objects,
    results: &mut Results,
    ways: [(&str, &str); 2],
    (object, program, what): (&str, &str, &str),
) -> anyhow::Result<()> {
    let object = objects.path(object);
    for (name, word) in ways {
        let network = Network::new()?;
        let mut daemon = Daemon::start_with(&format!("[cage]\nhelpers = \"{word}\"\n"), "")?;
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
        results.add(&format!("attach to XDP, texts not in memory, {what}, {name}"), "ms", attached)?;
        drop(client);
        // Links of the network end with it, so that only programs are restored.
        drop(network);
        let mut starts = Vec::new();
        for _ in 0..REBOOTS {
            starts.push(daemon.restart_without_programs()?);
        }
        results.add(&format!("start after a reboot, {PROGRAMS} programs, {what}, {name}"), "ms", starts)?;
    }
    Ok(())
}
