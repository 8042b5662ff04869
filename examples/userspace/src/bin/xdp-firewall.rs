//! Fills and reads the maps of the XDP firewall.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
use aya::maps::lpm_trie::Key;
use aya::maps::{LpmTrie, MapData, MapError, PerCpuArray};
use bpfman_client::MapAccess;
use bpfman_examples::count::{Count, RawCount};
use bpfman_examples::failure;
use bpfman_examples::prefix::Prefix;
use bpfman_examples::source::MapSource;
use clap::{Parser, Subcommand};
use serde_json::json;

/// Says which source prefixes the loaded xdp_firewall drops, and shows what it dropped
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    maps: MapSource,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Drop packets from these prefixes
    Add {
        #[arg(required = true, value_name = "PREFIX")]
        prefixes: Vec<Prefix>,
    },
    /// Let packets from these prefixes pass again
    Remove {
        #[arg(required = true, value_name = "PREFIX")]
        prefixes: Vec<Prefix>,
    },
    /// Show each prefix with what it has dropped
    List {
        /// A JSON array instead of lines
        #[arg(long)]
        json: bool,
    },
    /// Show how many packets passed and were dropped in all
    Stats {
        /// A JSON object instead of lines
        #[arg(long)]
        json: bool,
    },
}

/// Do not overwrite: a prefix that is there keeps its counter.
const BPF_NOEXIST: u64 = 1;

/// What the slots of the map `stats` count, in the order of `enum outcome`.
const OUTCOMES: [&str; 5] = ["passed_ipv4", "passed_ipv6", "passed_other", "dropped_ipv4", "dropped_ipv6"];

struct Rules {
    v4: LpmTrie<MapData, [u8; 4], RawCount>,
    v6: LpmTrie<MapData, [u8; 16], RawCount>,
}

impl Rules {
    fn add(&mut self, prefix: Prefix) -> Result<&'static str> {
        let added = match prefix {
            Prefix::V4(address, length) => {
                self.v4.insert(&Key::new(length, address.octets()), [0, 0], BPF_NOEXIST)
            }
            Prefix::V6(address, length) => {
                self.v6.insert(&Key::new(length, address.octets()), [0, 0], BPF_NOEXIST)
            }
        };
        match added {
            Ok(()) => Ok("added"),
            Err(error) if is_system_error(&error, io::ErrorKind::AlreadyExists) => Ok("unchanged"),
            Err(error) => Err(error).with_context(|| format!("cannot add {prefix}")),
        }
    }

    fn remove(&mut self, prefix: Prefix) -> Result<&'static str> {
        let removed = match prefix {
            Prefix::V4(address, length) => self.v4.remove(&Key::new(length, address.octets())),
            Prefix::V6(address, length) => self.v6.remove(&Key::new(length, address.octets())),
        };
        match removed {
            Ok(()) => Ok("removed"),
            Err(MapError::KeyNotFound) => Ok("was not there"),
            Err(error) if is_system_error(&error, io::ErrorKind::NotFound) => Ok("was not there"),
            Err(error) => Err(error).with_context(|| format!("cannot remove {prefix}")),
        }
    }

    fn list(&self) -> Result<Vec<(Prefix, Count)>> {
        let v4 = self.v4.iter().map(|rule| rule.map(|(key, count)| (Prefix::from_v4(key), count)));
        let v6 = self.v6.iter().map(|rule| rule.map(|(key, count)| (Prefix::from_v6(key), count)));
        v4.chain(v6)
            .map(|rule| rule.map(|(prefix, count)| (prefix, count.into())))
            .collect::<Result<_, _>>()
            .context("cannot read the rules")
    }
}

fn is_system_error(error: &MapError, kind: io::ErrorKind) -> bool {
    matches!(error, MapError::SyscallError(error) if error.io_error.kind() == kind)
}

fn main() -> ExitCode {
    failure::end(run(Arguments::parse()))
}

fn run(Arguments { maps, action }: Arguments) -> Result<()> {
    let rules = |access| -> Result<Rules> {
        Ok(Rules { v4: maps.open("blocked_v4", access)?, v6: maps.open("blocked_v6", access)? })
    };
    let mut out = io::stdout().lock();
    match action {
        Action::Add { prefixes } => {
            let mut rules = rules(MapAccess::Write)?;
            for prefix in prefixes {
                writeln!(out, "{prefix} {}", rules.add(prefix)?)?;
            }
        }
        Action::Remove { prefixes } => {
            let mut rules = rules(MapAccess::Write)?;
            for prefix in prefixes {
                writeln!(out, "{prefix} {}", rules.remove(prefix)?)?;
            }
        }
        Action::List { json } => {
            let rules = rules(MapAccess::Read)?.list()?;
            if json {
                let rules = rules.into_iter().map(|(prefix, count)| {
                    json!({ "prefix": prefix.to_string(), "packets": count.packets, "bytes": count.bytes })
                });
                writeln!(out, "{}", serde_json::Value::from_iter(rules))?;
            } else {
                for (prefix, count) in rules {
                    writeln!(out, "{:<24} {count}", prefix.to_string())?;
                }
            }
        }
        Action::Stats { json } => {
            let stats: PerCpuArray<MapData, RawCount> = maps.open("stats", MapAccess::Read)?;
            let mut object = serde_json::Map::new();
            for (slot, name) in (0..).zip(OUTCOMES) {
                let cpus = stats.get(&slot, 0).with_context(|| format!("cannot read the counter {name}"))?;
                let count: Count = cpus.iter().copied().map(Count::from).sum();
                if json {
                    object.insert(name.to_owned(), count.to_json());
                } else {
                    writeln!(out, "{name:<24} {count}")?;
                }
            }
            if json {
                writeln!(out, "{}", serde_json::Value::Object(object))?;
            }
        }
    }
    Ok(())
}
