use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bpfman_proto::v1::BpfmanProgramType as Type;
use tokio::task::JoinSet;

use crate::client::{Client, quiet_probe};
use crate::daemon::Daemon;
use crate::objects::Objects;
use crate::samples::{Results, ms};

const READERS: usize = 1_000;
/// Number of connections, below the daemon's limit of 512: each carries several readers.
const CONNECTIONS: usize = 250;
const PROGRAMS: usize = 100;
const LASTS: Duration = Duration::from_secs(20);
const EVERY: Duration = Duration::from_secs(1);

pub async fn run(objects: &Objects) -> anyhow::Result<()> {
    let mut results = Results::new("readers")?;
    let daemon = Daemon::start()?;
    let mut client = Client::connect(&daemon.socket()).await?;
    let object = objects.path("trivial");
    let mut ids = Vec::new();
    for _ in 0..PROGRAMS {
        ids.push(client.load(&object, "uprobe_trivial", Type::Uprobe).await?.0);
    }
    let alone = changes(&mut client, ids[0], Duration::from_secs(5)).await?;
    results.add("attach, no readers", "ms", alone)?;
    for (every, name) in [(EVERY, "each second"), (Duration::ZERO, "at once again")] {
        let ended = Arc::new(AtomicBool::new(false));
        let mut readers = JoinSet::new();
        for connection in 0..CONNECTIONS {
            let connected = Client::connect(&daemon.socket()).await?;
            for reader in 0..READERS / CONNECTIONS {
                let number = connection * READERS / CONNECTIONS + reader;
                readers.spawn(read(
                    connected.clone(),
                    ids[number % PROGRAMS],
                    number,
                    every,
                    Arc::clone(&ended),
                ));
            }
        }
        let attached = changes(&mut client, ids[0], LASTS).await?;
        ended.store(true, Ordering::Relaxed);
        let mut took = Vec::new();
        while let Some(samples) = readers.join_next().await {
            took.extend(samples??);
        }
        took.sort_by(f64::total_cmp);
        let p99 = took[took.len() * 99 / 100];
        results.add(&format!("1,000 readers, {name}: a question"), "ms", took)?;
        results.add(&format!("1,000 readers, {name}: p99"), "ms", vec![p99])?;
        results.add(&format!("1,000 readers, {name}: attach"), "ms", attached)?;
    }
    Ok(())
}

async fn read(
    mut client: Client,
    id: u32,
    number: usize,
    every: Duration,
    ended: Arc<AtomicBool>,
) -> anyhow::Result<Vec<f64>> {
    let mut next = Instant::now() + every * u32::try_from(number)? / u32::try_from(READERS)?;
    let mut took = Vec::new();
    for question in number.. {
        tokio::time::sleep_until(next.into()).await;
        if ended.load(Ordering::Relaxed) {
            break;
        }
        let start = Instant::now();
        if question % 10 == 0 {
            client.list().await?;
        } else {
            client.get(id).await?;
        }
        took.push(ms(start));
        next = (next + every).max(Instant::now());
    }
    Ok(took)
}

async fn changes(client: &mut Client, id: u32, lasts: Duration) -> anyhow::Result<Vec<f64>> {
    let (begun, mut took) = (Instant::now(), Vec::new());
    while begun.elapsed() < lasts {
        let (link, milliseconds) = client.attach(id, quiet_probe()).await?;
        took.push(milliseconds);
        client.detach(link).await?;
    }
    Ok(took)
}
