//! Configures the backends behind virtual addresses, checks their health, and shows statistics.

mod balancer;
mod config;
mod health;
mod maglev;
mod service;
mod show;
mod slots;

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use bpfman_examples::failure::{self, Failure};
use bpfman_examples::follow_file::FollowFlags;
use bpfman_examples::rule_file;
use bpfman_examples::source::MapSource;
use clap::{Parser, Subcommand};

use crate::balancer::Balancer;
use crate::config::Config;
use crate::health::{Change, Health, Thresholds, ask};
use crate::service::{Backend, State};

/// Sets the backends behind the virtual addresses of the loaded xdp_balancer, and shows their traffic
///
/// A change takes effect as a whole: every packet meets the old services or the new ones. Connections stay with the backend
/// that they have.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    maps: MapSource,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Replace services and backends by those of a file: `source ADDRESS`, `mtu BYTES`, `service ADDRESS tcp|udp PORT`, and
    /// under a service `backend ADDRESS [weight N] [draining]`
    Apply {
        /// `-` is standard input
        #[arg(value_name = "FILE")]
        file: String,
        #[command(flatten)]
        keeping: FollowFlags,
    },
    /// Show services with their backends, and the traffic of each
    List {
        /// A JSON array instead of lines
        #[arg(long)]
        json: bool,
    },
    /// Show how many packets for the services had which outcome
    Stats {
        /// A JSON object instead of lines
        #[arg(long)]
        json: bool,
    },
    /// Give backends no new connections; existing ones stay
    Drain {
        #[arg(required = true, value_name = "ADDRESS")]
        backends: Vec<IpAddr>,
    },
    /// Give backends new connections again
    Undrain {
        #[arg(required = true, value_name = "ADDRESS")]
        backends: Vec<IpAddr>,
    },
    /// Check the backends of TCP services by connecting to them: those that do not answer get no packets until they do
    Watch {
        /// Seconds between two rounds of checks
        #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = clap::value_parser!(f64))]
        interval: f64,
        /// Seconds until a connection has failed
        #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = clap::value_parser!(f64))]
        timeout: f64,
        /// Failures in a row that take a backend out
        #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u32).range(1..))]
        failures: u32,
        /// Answers in a row that bring it back
        #[arg(long, value_name = "N", default_value = "2", value_parser = clap::value_parser!(u32).range(1..))]
        successes: u32,
        /// End after this number of rounds
        #[arg(long, value_name = "N")]
        rounds: Option<u32>,
    },
    /// Release the lock of a process in another container that was killed while it wrote
    Unlock,
}

fn main() -> ExitCode {
    failure::end(run(Arguments::parse()))
}

fn run(Arguments { maps, action }: Arguments) -> Result<()> {
    let mut out = io::stdout().lock();
    match action {
        Action::Apply { file, keeping } => keeping.apply(&file, || {
            let (text, name) = rule_file::read(&file)?;
            let config = Config::parse(&text, &name)?;
            Balancer::open(&maps)?.apply(&config)?;
            let backends: usize = config.services.iter().map(|(_, members)| members.len()).sum();
            writeln!(out, "{} services with {backends} backends", config.services.len())?;
            Ok(())
        })?,
        Action::List { json } => show::services(&maps, &mut out, json)?,
        Action::Stats { json } => show::outcomes(&maps, &mut out, json)?,
        Action::Drain { backends } => put(&maps, &backends, State::Draining)?,
        Action::Undrain { backends } => put(&maps, &backends, State::Up)?,
        Action::Watch { interval, timeout, failures, successes, rounds } => {
            let thresholds = Thresholds { failures, successes };
            watch(&maps, seconds("interval", interval)?, seconds("timeout", timeout)?, thresholds, rounds)?;
        }
        Action::Unlock => Balancer::open(&maps)?.unlock()?,
    }
    Ok(())
}

fn seconds(flag: &str, value: f64) -> Result<Duration> {
    match Duration::try_from_secs_f64(value) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(Failure::invalid(format!("--{flag} {value} is no time"), "give seconds, as 0.5").into()),
    }
}

fn put(maps: &MapSource, addresses: &[IpAddr], state: State) -> Result<()> {
    Balancer::open(maps)?.change(|backends| {
        for address in addresses {
            let Some(backend) = find(backends, *address) else {
                let known: Vec<String> =
                    backends.values().map(|backend| backend.address.to_string()).collect();
                return Err(Failure::not_found(
                    format!("there is no backend {address}"),
                    format!("nothing was changed; backends are {}", known.join(", ")),
                )
                .into());
            };
            backend.state = state;
        }
        Ok(())
    })
}

fn find(backends: &mut BTreeMap<u32, Backend>, address: IpAddr) -> Option<&mut Backend> {
    backends.values_mut().find(|backend| backend.address == address)
}

fn put_changes(balancer: &mut Balancer, changes: &[Change]) -> Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    balancer.change(|backends| {
        for change in changes {
            // The backend may have been removed or set to drain since it was checked.
            if let Some(backend) = find(backends, change.address)
                && backend.state != State::Draining
            {
                backend.state = change.state;
            }
        }
        Ok(())
    })
}

fn watch(
    maps: &MapSource,
    interval: Duration,
    timeout: Duration,
    thresholds: Thresholds,
    rounds: Option<u32>,
) -> Result<()> {
    let mut balancer = Balancer::open(maps)?;
    let mut health = Health::default();
    let mut round = 0;
    loop {
        let now = balancer.in_force()?;
        let changes = health.evaluate(&now, ask(&now, timeout), thresholds);
        match put_changes(&mut balancer, &changes) {
            Ok(()) => {
                health.made(&changes);
                for change in &changes {
                    writeln!(
                        io::stdout(),
                        "{} is {}: {}",
                        change.address,
                        change.state.word(),
                        change.reason
                    )?;
                }
            }
            // The other writer finishes soon; the next round finds the same changes.
            Err(error) if failure::is_conflict(&error) => eprintln!("warning: {error:#}; trying again"),
            Err(error) => return Err(error),
        }
        round += 1;
        if rounds.is_some_and(|rounds| round >= rounds) {
            return Ok(());
        }
        std::thread::sleep(interval);
    }
}
