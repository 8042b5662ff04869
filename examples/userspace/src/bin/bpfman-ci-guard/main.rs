//! Runs one command and reports what it started, where it connected, and what it wrote outside of its workspace.

mod event;
mod gate;
mod group;
mod job;
mod policy;

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, ExitCode, ExitStatus};

use anyhow::{Context, Result};
use bpfman_examples::failure;
use bpfman_examples::source::MapSource;
use clap::{CommandFactory as _, Parser, Subcommand, error::ErrorKind};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::{Value, json};

use crate::event::JobAction;
use crate::group::{Group, Place};
use crate::job::Job;
use crate::policy::Policy;

const UNEXPECTED: u8 = 20;
const INCOMPLETE: u8 = 21;
const NOT_STARTED: u8 = 127;

/// Runs a command and reports what it and all its descendants did
#[derive(Parser)]
#[command(name = "bpfman-ci-guard", mut_group("MapSource", |group| group.required(false)))]
struct Arguments {
    #[command(flatten)]
    maps: Option<MapSource>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run a command, and exit with its status, unless the policy is enforced and was violated
    Run {
        /// Policy file: `exec`, `connect`, `write`, `enforce`
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
        /// File for the report, instead of standard error
        #[arg(long, value_name = "FILE")]
        report: Option<PathBuf>,
        /// Parent of the job's cgroup: the cgroup with this folder, this process's (`own`), or no cgroup for the job
        /// (`none`); default: this process's, if possible
        #[arg(long, value_name = "FOLDER")]
        cgroup: Option<Place>,
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<String>,
    },
    #[command(name = group::VERB, hide = true)]
    Keeper { folder: PathBuf },
    #[command(name = gate::VERB, hide = true)]
    Gate {
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

fn main() -> ExitCode {
    let Arguments { maps, verb } = Arguments::parse();
    match (verb, maps) {
        (Verb::Gate { command }, _) => {
            eprintln!("error: cannot start {}: {}", command[0].escape_debug(), gate::pass(&command));
            ExitCode::from(NOT_STARTED)
        }
        (Verb::Keeper { folder }, _) => failure::end(group::keep(&folder)),
        (Verb::Run { .. }, None) => Arguments::command()
            .error(
                ErrorKind::MissingRequiredArgument,
                "one of --program, --app and --map-dir selects which ci-guard",
            )
            .exit(),
        (Verb::Run { policy, report, cgroup, command }, Some(maps)) => {
            match run(&maps, policy, report, cgroup.as_ref(), &command) {
                Ok(code) => code,
                Err(error) => failure::end(Err(error)),
            }
        }
    }
}

fn run(
    maps: &MapSource,
    policy: Option<PathBuf>,
    report: Option<PathBuf>,
    place: Option<&Place>,
    command: &[String],
) -> Result<ExitCode> {
    let policy = policy.map_or_else(|| Ok(Policy::default()), |path| Policy::read(&path))?;
    let workspace = std::env::current_dir().context("there is no working folder")?;
    let workspace = workspace.to_str().context("the workspace's path is not UTF-8")?.to_owned();
    let mut out: Box<dyn io::Write> = match &report {
        Some(path) => {
            Box::new(File::create(path).with_context(|| format!("cannot write {}", path.display()))?)
        }
        None => Box::new(io::stderr()),
    };
    let mut job = Job::begin(maps)?;
    let mut group = Group::make(place)?;
    let mut child = gate::start(command)?;
    let followed = group::enter(&mut group, &child, place)
        .and_then(|()| follow(&mut job, group.as_ref().ok(), &mut child, &policy, &workspace));
    if followed.is_err() {
        let _ended_already = child.kill();
        let _reaped = child.wait();
    }
    let (folder, no_group) = match &group {
        Ok(group) => (Some(group.folder().to_string_lossy().into_owned()), None),
        Err(reason) => (None, Some(reason.clone())),
    };
    // End the cgroup's processes before another job can acquire the slot.
    let group_ended = group.map_or(Ok(()), Group::end);
    let ended = job.end();
    let mut seen = followed?;
    ended?;
    group_ended?;
    let incomplete = seen.lost > 0 || !seen.whole || seen.execs.is_empty();
    let verdict = match (seen.unexpected, incomplete) {
        (_, true) => "incomplete",
        (0, false) => "clean",
        (_, false) => "unexpected",
    };
    let whole = json!({
        "verdict": verdict,
        "command": command,
        "workspace": workspace,
        "cgroup": folder,
        "no_cgroup": no_group,
        "exit_code": seen.status.code(),
        "signal": seen.status.signal(),
        "unexpected": seen.unexpected,
        "lost": seen.lost,
        "exec": seen.execs.drain(..).collect::<Value>(),
        "connect": seen.connects.drain(..).collect::<Value>(),
        "write": seen.writes.drain(..).collect::<Value>(),
    });
    writeln!(out, "{whole:#}").context("cannot write the report")?;
    Ok(match (policy.enforce, verdict) {
        (true, "unexpected") => ExitCode::from(UNEXPECTED),
        (true, "incomplete") if seen.unexpected > 0 => ExitCode::from(UNEXPECTED),
        (true, "incomplete") => ExitCode::from(INCOMPLETE),
        _ => ExitCode::from(code_of(seen.status)),
    })
}

fn code_of(status: ExitStatus) -> u8 {
    let signal = status.signal().map(|signal| 128 + signal);
    u8::try_from(status.code().or(signal).unwrap_or(1)).unwrap_or(1)
}

struct Seen {
    status: ExitStatus,
    execs: Vec<Value>,
    connects: Vec<Value>,
    writes: Vec<Value>,
    unexpected: u64,
    lost: u64,
    whole: bool,
}

fn follow(
    job: &mut Job,
    group: Option<&Group>,
    child: &mut Child,
    policy: &Policy,
    workspace: &str,
) -> Result<Seen> {
    let ended =
        pidfd_open(Pid::from_child(child), PidfdFlags::empty()).context("cannot wait for the command")?;
    if let Some(group) = group {
        job.watch_group(group.id)?;
    }
    job.enter(child.id())?;
    gate::open(child)?;
    let (mut execs, mut connects, mut writes, mut unexpected) = (Vec::new(), Vec::new(), Vec::new(), 0);
    let mut status = None;
    let whole = loop {
        // Before reading the ring buffer, which then contains everything that ended processes did.
        let over = job.is_over(group)?;
        let mut idle = true;
        while let Some(event) = job.next()? {
            idle = false;
            let expected = policy.expects(&event.deed, workspace);
            unexpected += u64::from(!expected);
            match event.deed {
                JobAction::Exec { .. } => execs.push(event.to_json(expected)),
                JobAction::Connect { .. } => connects.push(event.to_json(expected)),
                JobAction::Write { path: Some(ref path) }
                    if std::path::Path::new(path).starts_with(workspace) => {}
                JobAction::Write { .. } => writes.push(event.to_json(expected)),
                JobAction::Exit => {}
            }
        }
        if over {
            break true;
        }
        if !idle {
            continue;
        }
        if status.is_some() && job.has_missed(child.id())? {
            break false;
        }
        let mut sources = vec![PollFd::new(&job.ring, PollFlags::IN)];
        if status.is_none() {
            sources.push(PollFd::new(&ended, PollFlags::IN));
        }
        // Last: the code below finds the other sources by position.
        sources.extend(group.map(|group| PollFd::new(group.events(), PollFlags::PRI)));
        match poll(&mut sources, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot wait for the command"),
        }
        if status.is_none() && sources.get(1).is_some_and(|one| !one.revents().is_empty()) {
            status = child.try_wait().context("cannot wait for the command")?;
        }
    };
    let status = match status {
        Some(status) => status,
        None => child.wait().context("cannot wait for the command")?,
    };
    Ok(Seen { status, execs, connects, writes, unexpected, lost: job.lost()?, whole })
}
