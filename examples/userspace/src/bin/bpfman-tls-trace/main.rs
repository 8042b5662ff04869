//! Prints the data that programs read and write through OpenSSL and Go's `crypto/tls`.

mod calls;
mod go;
mod heads;
mod piece;
mod secrets;

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use bpfman_client::MapAccess;
use bpfman_examples::failure;
use bpfman_examples::follow::Followed;
use bpfman_examples::source::MapSource;
use clap::{Args, Parser, Subcommand};
use serde_json::{Value, json};

use crate::calls::{Call, Calls};
use crate::go::GoFile;
use crate::heads::{Head, Heads};
use crate::piece::Piece;
use crate::secrets::Secrets;

/// Prints what the loaded tls_trace sees of programs that use OpenSSL or Go's TLS, in plain text
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
    Follow(FollowArguments),
    /// Attach the loaded programs to the file of a Go program: all its processes are traced, also those that run already
    Go {
        /// File of the program. After the file is replaced, attach again: its functions are at other offsets
        #[arg(value_name = "PROGRAM_FILE")]
        file: PathBuf,
        /// Process in whose mount namespace the file is, for example of a container
        #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
        container_pid: Option<i32>,
        /// Detach what `go` attached to the file
        #[arg(long)]
        detach: bool,
    },
}

#[derive(Args)]
struct FollowArguments {
    /// Also show the beginning of the data of every call, not only heads
    #[arg(long)]
    raw: bool,
    /// Also show the values of the headers Authorization, Proxy-Authorization, Cookie and Set-Cookie
    #[arg(long)]
    show_secrets: bool,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
    /// Trace only this process
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// End after this number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

fn main() -> ExitCode {
    failure::end(run(&Arguments::parse()))
}

fn run(Arguments { maps, action }: &Arguments) -> Result<()> {
    match action {
        Action::Follow(arguments) => follow(maps, arguments),
        Action::Go { file, container_pid, detach } => {
            let file = GoFile::new(file, *container_pid)?;
            if *detach { go::detach(maps, &file) } else { go::attach(maps, &file) }
        }
    }
}

fn follow(
    maps: &MapSource,
    FollowArguments { raw, show_secrets, json, pid, count }: &FollowArguments,
) -> Result<()> {
    let ring = maps.open("pieces", MapAccess::Write)?;
    let mut pieces = Followed::new(ring, maps.open("lost", MapAccess::Read)?)?;
    let (mut calls, mut heads, mut secrets) = (Calls::default(), Heads::default(), Secrets::default());
    let mut left = count.unwrap_or(u64::MAX);
    let mut out = io::stdout();
    if !json {
        writeln!(out, "{:>8} {:<16} {:>10} {:<5} {:>9} TEXT", "PID", "COMMAND", "CGROUP", "CALL", "BYTES")?;
    }
    pieces.each(|record| {
        let piece = Piece::parse(record)
            .with_context(|| format!("a record of {} bytes is not this example's", record.len()))?;
        for mut call in calls.take(piece) {
            if pid.is_some_and(|wanted| wanted != call.caller.pid) {
                continue;
            }
            let mut head = if *raw { None } else { heads.take(&call) };
            if !raw && head.is_none() {
                continue;
            }
            if !show_secrets {
                match &mut head {
                    Some(head) => head.hide_secrets(),
                    None => call.bytes = secrets.hide(&call),
                }
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

/// Formats a call. Programs choose their names and data, so control characters of terminals are escaped.
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
