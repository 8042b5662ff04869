//! Prints what programs read and write through OpenSSL.

mod calls;
mod heads;
mod piece;

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;

use anyhow::{Context, Result};
use bpfman_client::MapAccess;
use bpfman_examples::failure;
use bpfman_examples::follow::Followed;
use bpfman_examples::source::MapSource;
use clap::{Parser, Subcommand};
use serde_json::{Value, json};

use crate::calls::{Call, Calls};
use crate::heads::{Head, Heads};
use crate::piece::Piece;

/// Prints what the loaded tls_trace sees of programs that use OpenSSL, in plain text
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    maps: MapSource,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Print the heads of HTTP/1 requests and responses as they come
    Follow {
        /// What every call carried, not only heads: the beginning of it
        #[arg(long)]
        raw: bool,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
        /// Only this process
        #[arg(long, value_name = "PID")]
        pid: Option<u32>,
        /// End after so many
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        count: Option<u64>,
    },
}

fn main() -> ExitCode {
    failure::end(run(&Arguments::parse()))
}

fn run(Arguments { maps, action: Action::Follow { raw, json, pid, count } }: &Arguments) -> Result<()> {
    let ring = maps.open("pieces", MapAccess::Write)?;
    let mut pieces = Followed::new(ring, maps.open("lost", MapAccess::Read)?)?;
    let (mut calls, mut heads) = (Calls::default(), Heads::default());
    let mut left = count.unwrap_or(u64::MAX);
    let mut out = io::stdout();
    if !json {
        writeln!(out, "{:>8} {:<16} {:>10} {:<5} {:>9} TEXT", "PID", "COMMAND", "CGROUP", "CALL", "BYTES")?;
    }
    pieces.each(|record| {
        let piece = Piece::parse(record)
            .with_context(|| format!("a record of {} bytes is not this example's", record.len()))?;
        for call in calls.take(piece) {
            if pid.is_some_and(|wanted| wanted != call.caller.pid) {
                continue;
            }
            let head = if *raw { None } else { heads.take(&call) };
            if !raw && head.is_none() {
                continue;
            }
            if *json {
                writeln!(out, "{}", object(&call, head.as_ref()))?;
            } else {
                writeln!(out, "{}", line(&call, head.as_ref()))?;
            }
            left -= 1;
            if left == 0 {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    })
}

fn object(call: &Call, head: Option<&Head>) -> Value {
    let caller = &call.caller;
    let mut object = json!({
        "pid": caller.pid, "tid": caller.tid, "uid": caller.uid, "comm": caller.comm, "cgroup": caller.cgroup,
        "connection": call.connection, "call": call.direction.name(), "bytes": call.total,
    });
    match head {
        Some(head) => object["http"] = head.to_json(),
        None => object["text"] = String::from_utf8_lossy(&call.bytes).into(),
    }
    object
}

/// Programs choose their names and what they send, so what could steer a terminal is escaped.
fn line(call: &Call, head: Option<&Head>) -> String {
    let text = head.map_or_else(|| String::from_utf8_lossy(&call.bytes).into_owned(), Head::line);
    let caller = &call.caller;
    format!(
        "{:>8} {:<16} {:>10} {:<5} {:>9} {}",
        caller.pid,
        caller.comm.escape_debug().to_string(),
        caller.cgroup,
        call.direction.name(),
        call.total,
        text.escape_debug()
    )
}
