//! `bpfman run`: loads and attaches programs, shows their output, and removes everything at the end.

pub(super) mod changes;
mod file_watch;
pub(super) mod followed;
pub(super) mod plan;
pub(super) mod point;
mod prints;
pub(super) mod readers;
mod running;
pub(super) mod session;
pub(super) mod signals;

use bpfman_proto::ext::v1::LoadValues;
use bpfmand_object::ObjectFile;
use tokio::time::Instant;

use self::changes::MapSnapshots;
use self::file_watch::FileWatch;
use self::followed::check_records;
use self::plan::{PlannedProgram, plan};
use self::prints::PrintLines;
use self::running::RunningPrograms;
use self::session::{HeldLease, Session};
use self::signals::Signals;
use super::object_source::{self, ObjectSource};
use crate::args::Global;
use crate::args::run::RunPrograms;
use crate::args::value::load_values;
use crate::error::CliError;
use crate::show::event_writer::RunEventWriter;
use crate::show::run_event::RunEvent;

const INTERRUPTED: &str = "interrupted";

pub async fn run(global: &Global, command: RunPrograms) -> Result<(), CliError> {
    let values = load_values(&command.global, &command.map_size)?;
    let source = ObjectSource::of(&command.object);
    check(&command, &source)?;
    // From here on, a signal ends the run cleanly.
    let mut signals = Signals::new()?;
    // Watch the file before it is read for the first time, so that no later version is missed.
    let watch = source.file().filter(|_| command.watch).map(FileWatch::begin).transpose()?;
    let writer = RunEventWriter::start(global)?;
    let prepared = tokio::select! {
        prepared = prepare(global, &command, &source, values) => prepared?,
        () = signals.any() => {
            writer.tell(&RunEvent::Ended { why: INTERRUPTED })?;
            return finish(writer, &mut signals).await;
        }
    };
    let Prepared { object, planned, session, lease } = prepared;
    let mut running = RunningPrograms {
        writer,
        session,
        maps: Vec::new(),
        readers: None,
        snapshots: MapSnapshots::default(),
        prints: PrintLines::none(),
        source,
        command,
    };
    let begun = tokio::select! {
        begun = running.begin(&object, planned) => begun.map(|()| true),
        () = signals.any() => Ok(false),
    };
    let mut endings = Endings { signals, lease, time: None };
    let why = match begun {
        Ok(true) => running.follow(&mut endings, watch.map(FileWatch::changes)).await,
        Ok(false) => Ok(INTERRUPTED),
        Err(error) => {
            // Objects that these calls cannot remove are removed with the lease.
            let _by_the_lease = running.session.unload().await;
            return Err(finish(running.writer, &mut endings.signals).await.err().unwrap_or(error));
        }
    };
    let Endings { mut signals, lease, .. } = endings;
    let ended = tokio::select! {
        ended = running.end() => ended,
        // A second signal ends the wait.
        () = signals.any() => Ok(()),
    };
    // The lease removes the remains of an interrupted call.
    drop(lease);
    let told = match why {
        Ok(why) => ended.and_then(|()| running.tell(&RunEvent::Ended { why }).map(drop)),
        Err(error) => Err(error),
    };
    let finished = finish(running.writer, &mut signals).await;
    told.and(finished)
}

async fn finish(writer: RunEventWriter, signals: &mut Signals) -> Result<(), CliError> {
    tokio::select! {
        written = writer.finish() => written,
        () = signals.any() => Ok(()),
    }
}

struct Prepared {
    object: ObjectFile,
    planned: Vec<PlannedProgram>,
    session: Session,
    lease: HeldLease,
}

async fn prepare(
    global: &Global,
    command: &RunPrograms,
    source: &ObjectSource,
    values: Option<LoadValues>,
) -> Result<Prepared, CliError> {
    let local = source.file().map(object_source::read).transpose()?;
    let client = super::connect_fresh(global).await?;
    let object = match (local, source) {
        (None, ObjectSource::Image(image)) => {
            object_source::fetch(global, &mut client.services(), image).await?
        }
        (local, _) => local.ok_or(CliError::Incomplete { call: "run", part: "the object" })?,
    };
    let planned = planned(&object, command)?;
    let (session, lease) = Session::begin(client, values, command.priority).await?;
    Ok(Prepared { object, planned, session, lease })
}

fn planned(object: &ObjectFile, command: &RunPrograms) -> Result<Vec<PlannedProgram>, CliError> {
    check_records(object, &command.record)?;
    plan(object, &command.programs, &command.attach)
}

fn check(command: &RunPrograms, source: &ObjectSource) -> Result<(), CliError> {
    if command.watch && source.file().is_none() {
        return Err(CliError::Usage("--watch is for files: an image does not change".to_owned()));
    }
    if command.interval.is_zero() {
        return Err(CliError::Usage(
            "--interval is a second at least; --no-maps shows no changes".to_owned(),
        ));
    }
    Ok(())
}

struct Endings {
    signals: Signals,
    lease: HeldLease,
    time: Option<Instant>,
}

impl Endings {
    async fn any(&mut self) -> Result<&'static str, CliError> {
        tokio::select! {
            () = self.signals.any() => Ok(INTERRUPTED),
            () = at(self.time) => Ok("time"),
            lost = self.lease.lost() => Err(lost),
        }
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
