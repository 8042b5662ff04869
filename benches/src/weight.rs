//! Footprint of an idle daemon: memory, threads, and the size of its program.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::daemon::{Daemon, binary};
use crate::samples::Results;

const REST: Duration = Duration::from_secs(3);

pub fn run() -> anyhow::Result<()> {
    let mut results = Results::new("weight")?;
    let daemon = Daemon::start()?;
    std::thread::sleep(REST);
    let (all, private) = daemon.resident()?;
    results.add("resident, at rest", "MB", vec![all])?;
    results.add("resident, at rest, without files", "MB", vec![private])?;
    results.add("threads", "threads", vec![names_of_threads(daemon.pid())?.len() as f64])?;
    for name in names_of_threads(daemon.pid())? {
        println!("    {name}");
    }
    let workers = descendants(daemon.pid())?;
    results.add("processes beside it", "processes", vec![workers.len() as f64])?;
    for worker in workers {
        results.add("  resident, one of them", "MB", vec![resident(worker)?])?;
    }
    for name in ["bpfmand", "bpfman-worker", "bpfman"] {
        results.add(&format!("{name}, stripped"), "MB", vec![stripped(binary(name)?)?])?;
    }
    Ok(())
}

fn names_of_threads(pid: u32) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        names.push(fs::read_to_string(thread?.path().join("comm"))?.trim_end().to_owned());
    }
    names.sort();
    Ok(names)
}

fn descendants(pid: u32) -> anyhow::Result<Vec<u32>> {
    let mut found = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let children = fs::read_to_string(thread?.path().join("children"))?;
        for child in children.split_whitespace() {
            let child = child.parse()?;
            found.push(child);
            found.extend(descendants(child)?);
        }
    }
    Ok(found)
}

fn resident(pid: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.split_whitespace().next().context("no number")?.parse::<f64>()? / 1024.0)
}

fn stripped(program: PathBuf) -> anyhow::Result<f64> {
    let copy = tempfile::NamedTempFile::new()?;
    let status =
        Command::new("strip").arg("-o").arg(copy.path()).arg(program).status().context("cannot run strip")?;
    ensure!(status.success(), "strip failed");
    Ok(copy.as_file().metadata()?.len() as f64 / (1 << 20) as f64)
}
