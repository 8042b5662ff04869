//! `bpfman-bench`: measures a release build of the daemon, and chains on this machine's kernel.
//!
//! Each case prints a line and adds it to `target/bench/<name>.json`. docs/benchmarks.md has the measured values.

mod audit;
mod calls;
mod client;
mod crowd;
mod daemon;
mod followers;
mod growth;
mod guards;
mod guards_user;
mod hooks;
mod images;
mod large;
mod maps;
mod metrics;
mod object_readers;
mod objects;
mod packets;
mod readers;
mod rival;
mod samples;
mod scale;
mod top;
mod weight;

use std::path::Path;

use anyhow::{Context as _, bail};

fn main() -> anyhow::Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let Some((large::MEMORY, rest)) = wanted.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return large::print_memory(rest.first().map(String::as_str));
    }
    if let Some((rival::RIVAL, rest)) = wanted.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        let socket =
            rest.first().context("the other daemon's socket is missing: bpfman-bench rival SOCKET")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        return runtime.block_on(rival::run(&objects()?, Path::new(socket)));
    }
    let all = [
        "calls",
        "crowd",
        "audit",
        "followers",
        "hooks",
        "scale",
        "packets",
        "growth",
        "guards",
        "images",
        "large",
        "object-readers",
        "readers",
        "maps",
        "metrics",
        "top",
        "weight",
    ];
    if let Some(unknown) = wanted.iter().find(|name| !all.contains(&name.as_str())) {
        bail!("unknown benchmark \"{unknown}\": expected {}", all.join(", "));
    }
    let runs = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    let objects = objects()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if runs("calls") {
        runtime.block_on(calls::run(&objects))?;
    }
    if runs("crowd") {
        runtime.block_on(crowd::run(&objects))?;
    }
    if runs("audit") {
        audit::run()?;
    }
    if runs("followers") {
        runtime.block_on(followers::run())?;
    }
    if runs("hooks") {
        runtime.block_on(hooks::run(&objects))?;
    }
    if runs("scale") {
        runtime.block_on(scale::run(&objects))?;
    }
    if runs("packets") {
        packets::run(&objects)?;
    }
    if runs("growth") {
        runtime.block_on(growth::run(&objects))?;
    }
    if runs("guards") {
        runtime.block_on(guards::run(&objects))?;
    }
    if runs("images") {
        runtime.block_on(images::run(&objects))?;
    }
    if runs("large") {
        large::run()?;
    }
    if runs("object-readers") {
        runtime.block_on(object_readers::run(&objects))?;
    }
    if runs("readers") {
        runtime.block_on(readers::run(&objects))?;
    }
    if runs("maps") {
        runtime.block_on(maps::run(&objects))?;
    }
    if runs("metrics") {
        runtime.block_on(metrics::run(&objects))?;
    }
    if runs("top") {
        runtime.block_on(top::run(&objects))?;
    }
    if runs("weight") {
        weight::run()?;
    }
    Ok(())
}

fn objects() -> anyhow::Result<objects::Objects> {
    objects::Objects::compile().context("cannot compile the benchmark's programs")
}
