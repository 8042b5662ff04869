//! Time that the client takes to show a map of a million entries, from its start to its end.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use bpfman_proto::v1::BpfmanProgramType as Type;

use crate::client::Client;
use crate::daemon::{Daemon, binary};
use crate::objects::Objects;
use crate::samples::{Results, ms};

const ENTRIES: usize = 1_000_000;
const RUNS: usize = 5;

pub async fn run(objects: &Objects) -> anyhow::Result<()> {
    let mut results = Results::new("maps")?;
    let daemon = Daemon::start()?;
    let mut client = Client::connect(&daemon.socket()).await?;
    let (program, _) = client.load(&objects.path("filled"), "xdp_filled", Type::Xdp).await?;
    fill(program)?;
    let map = format!("{program}:flows");
    let before = daemon.resident()?.1;
    for (form, case) in [("table", "dump, as lines"), ("json", "dump, as JSON")] {
        let (mut times, mut memory, mut most) = (Vec::new(), Vec::new(), before);
        for _ in 0..RUNS {
            let (time, peak) = dump(&daemon, &map, form)?;
            times.push(time);
            memory.push(peak);
            most = most.max(daemon.resident()?.1);
        }
        results.add(&format!("{case}, {ENTRIES} entries"), "ms", times)?;
        results.add(&format!("{case}: most memory of the client"), "MB", memory)?;
        results.add(&format!("{case}: the daemon's memory, more than before"), "MB", vec![most - before])?;
    }
    let mut times = Vec::new();
    for number in 0..200 {
        let start = Instant::now();
        let key = format!("address={number},port={},zone=0", number & 1023);
        let mut command = client_of(&daemon)?;
        let shown = command.args(["map", "get", &map, &key]).output()?;
        ensure!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
        times.push(ms(start));
    }
    results.add("get one entry", "ms", times)?;
    Ok(())
}

fn fill(program: u32) -> anyhow::Result<()> {
    let packet = tempfile::NamedTempFile::new()?;
    std::fs::write(packet.path(), [0; 64])?;
    let filled = Command::new("bpftool")
        .args(["prog", "run", "id", &program.to_string(), "data_in"])
        .arg(packet.path())
        .output()
        .context("cannot run bpftool")?;
    ensure!(filled.status.success(), "bpftool: {}", String::from_utf8_lossy(&filled.stderr));
    Ok(())
}

fn client_of(daemon: &Daemon) -> anyhow::Result<Command> {
    let mut command = Command::new(binary("bpfman")?);
    command.env("BPFMAN_SOCKET_PATH", daemon.socket());
    Ok(command)
}

fn dump(daemon: &Daemon, map: &str, form: &str) -> anyhow::Result<(f64, f64)> {
    let start = Instant::now();
    let mut command = client_of(daemon)?;
    let mut process = command.args(["map", "dump", map, "-o", form]).stdout(Stdio::piped()).spawn()?;
    let mut lines = BufReader::with_capacity(1 << 16, process.stdout.take().context("no output")?);
    let (mut count, mut line, mut peak) = (0, Vec::new(), 0.0_f64);
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        count += 1;
        if count % 50_000 == 0 {
            peak = peak.max(most_memory(process.id())?);
        }
    }
    let time = ms(start);
    ensure!(process.wait()?.success(), "the client failed");
    ensure!((ENTRIES..ENTRIES + 10).contains(&count), "{count} lines");
    Ok((time, peak))
}

fn most_memory(process: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.map_or(Ok(0.0), str::parse)? / 1024.0)
}
