//! `bpfman run`: loads and attaches programs, shows their output, and removes everything at the end.

pub(super) mod changes;
mod file_watch;
pub(super) mod followed;
mod plan;
pub(super) mod point;
mod prints;
pub(super) mod readers;
mod session;
pub(super) mod signals;

use bpfman_proto::ext::v1::LoadValues;
use bpfmand_object::ObjectFile;
use bpfmand_requirements::{NeedKind, needs_of};
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::changes::MapSnapshots;
use self::file_watch::FileWatch;
use self::followed::{FollowedMap, MapContents, check_records, followed};
use self::plan::{PlannedProgram, plan};
use self::prints::{PrintLines, PrintNews};
use self::readers::{MapReaders, MapUpdate};
use self::session::{HeldLease, Session};
use self::signals::Signals;
use super::object_source::{self, ObjectSource};
use crate::args::Global;
use crate::args::run::RunPrograms;
use crate::args::value::load_values;
use crate::error::CliError;
use crate::show::event_writer::RunEventWriter;
use crate::show::run_event::{ReplacedMap, ReplacedProgram, RunEvent};
use crate::show::value::TypedValue;

/// BPF helpers that print.
const PRINTING: [&str; 2] = ["bpf_trace_printk", "bpf_trace_vprintk"];
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
    let mut running = Running {
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

struct Running {
    writer: RunEventWriter,
    session: Session,
    maps: Vec<FollowedMap>,
    readers: Option<MapReaders>,
    snapshots: MapSnapshots,
    prints: PrintLines,
    source: ObjectSource,
    command: RunPrograms,
}

impl Running {
    fn tell(&self, event: &RunEvent) -> Result<bool, CliError> {
        self.writer.tell(event)
    }

    fn note(&self, text: String) -> Result<bool, CliError> {
        self.tell(&RunEvent::Note { text })
    }

    /// Follows prints if a program prints. If they are not available, the run continues without them.
    async fn follow_prints(
        &mut self,
        object: &ObjectFile,
        planned: &[PlannedProgram],
    ) -> Result<(), CliError> {
        let needs = needs_of(object);
        let prints = |need: &&bpfmand_requirements::KernelNeed| {
            need.kind == NeedKind::Helper
                && PRINTING.contains(&need.name.as_str())
                && planned.iter().any(|program| need.wanted_by.contains(&program.name))
        };
        if !needs.needs.iter().any(|need| prints(&need)) {
            return Ok(());
        }
        match PrintLines::begin(self.session.client.services()).await {
            Ok(prints) => self.prints = prints,
            Err(error) => drop(self.note(format!("what the programs print is not shown: {error}"))?),
        }
        Ok(())
    }

    async fn begin(&mut self, object: &ObjectFile, planned: Vec<PlannedProgram>) -> Result<(), CliError> {
        self.follow_prints(object, &planned).await?;
        self.session.load(planned, self.source.location()).await?;
        for program in &self.session.programs {
            self.tell(&RunEvent::Loaded {
                program: program.planned.name.clone(),
                program_id: program.id,
                program_type: program.planned.type_name().to_owned(),
            })?;
        }
        self.writer.ids(self.session.programs.iter().map(|program| program.id));
        let openers = self.session.programs.iter().filter(|program| program.planned.is_for_openers());
        for program in openers {
            let (name, of, id) = (&program.planned.name, program.planned.type_name(), program.id);
            self.note(format!(
                "{name} is of type {of}, which whoever opens the pin of program {id} attaches"
            ))?;
        }
        self.read_maps(object).await?;
        self.attach().await?;
        let maps = self.maps.iter().map(|map| map.name.clone()).collect();
        self.tell(&RunEvent::Running { maps }).map(drop)
    }

    async fn attach(&mut self) -> Result<(), CliError> {
        let (writer, session) = (&self.writer, &mut self.session);
        let mut told = Ok(true);
        session
            .attach(|program, hook, link_id, warning| {
                let attached = RunEvent::Attached {
                    program: program.planned.name.clone(),
                    program_id: program.id,
                    hook: hook.to_owned(),
                    link_id,
                };
                // Report the first failure: later lines to a closed terminal fail as well.
                for event in [attached].into_iter().chain(warning.map(|text| RunEvent::Note { text })) {
                    if told.is_ok() {
                        told = writer.tell(&event);
                    }
                }
            })
            .await?;
        told.map(drop)
    }

    async fn read_maps(&mut self, object: &ObjectFile) -> Result<(), CliError> {
        let there = self.session.maps().await?;
        let mut maps = followed(object, &there, &self.command.record)?;
        if self.command.no_maps {
            maps.retain(|map| matches!(map.contents, MapContents::Ring(_) | MapContents::Perf(_)));
        }
        let readers = MapReaders::begin(&self.session.client, &maps, self.command.interval).await;
        (self.maps, self.readers) = (maps, Some(readers));
        Ok(())
    }

    async fn follow(
        &mut self,
        endings: &mut Endings,
        mut file: Option<mpsc::Receiver<()>>,
    ) -> Result<&'static str, CliError> {
        endings.time = self.command.run_for.map(|time| Instant::now() + time);
        loop {
            let news = tokio::select! {
                why = endings.any() => return why,
                () = changed(&mut file) => None,
                line = next_line(&self.writer, &mut self.prints) => Some(RunNews::Print(line)),
                (map, news) = next_of(&self.writer, &mut self.readers) => Some(RunNews::Map(map, news)),
            };
            let read = match news {
                None => tokio::select! {
                    why = endings.any() => return why,
                    read = self.replace() => read?,
                },
                Some(news) => self.show_news(news)?,
            };
            if !read {
                return Ok("output");
            }
        }
    }

    fn show_news(&mut self, news: RunNews) -> Result<bool, CliError> {
        match news {
            RunNews::Print(Ok(PrintNews::Lost(lines))) => {
                self.note(format!("{lines} lines that programs printed are lost: there was no room for more"))
            }
            RunNews::Print(Ok(PrintNews::Line(line))) => {
                self.tell(&RunEvent::Printed { task: line.task, cpu: line.cpu, text: line.text })
            }
            RunNews::Print(Err(error)) => self.note(format!("what programs print is shown no more: {error}")),
            RunNews::Map(index, news) => match self.maps.get(index).cloned() {
                Some(map) => self.show_map_news(&map, news),
                None => Ok(true),
            },
        }
    }

    fn show_map_news(&mut self, map: &FollowedMap, news: MapUpdate) -> Result<bool, CliError> {
        match news {
            MapUpdate::Record(bytes) => {
                let (MapContents::Ring(layout) | MapContents::Perf(layout)) = &map.contents else {
                    return Ok(true);
                };
                let value = TypedValue::read_as(layout.as_ref(), &bytes);
                self.tell(&RunEvent::Record { map: map.name.clone(), value })
            }
            MapUpdate::Lost(records) => self.tell(&RunEvent::Lost { map: map.name.clone(), records }),
            MapUpdate::Failed(error) => self.note(format!("map {} is not shown: {error}", map.name)),
            MapUpdate::Entries { entries, cut } => {
                let mut read = true;
                for change in self.snapshots.changes(map, entries, cut) {
                    read = self.tell(&change.event(&map.name))?;
                }
                Ok(read)
            }
        }
    }

    /// Replaces the running version by the current file. If that fails, the old version keeps running.
    async fn replace(&mut self) -> Result<bool, CliError> {
        let Some(path) = self.source.file() else { return Ok(true) };
        let new = object_source::read(path).and_then(|object| Ok((planned(&object, &self.command)?, object)));
        let (planned, object) = match new {
            Ok(new) => new,
            Err(error) => return self.not_replaced(&error),
        };
        let before: Vec<PlannedProgram> =
            self.session.programs.iter().map(|program| program.planned.clone()).collect();
        let outcomes = match self.session.replace(planned, self.source.location()).await {
            Ok(outcomes) => outcomes,
            Err(error) => return self.not_replaced(&error),
        };
        let is_kept = |map: &FollowedMap| {
            outcomes.iter().any(|outcome| outcome.name == map.name && outcome.outcome == "kept")
        };
        let kept = (0..self.maps.len()).filter(|index| is_kept(&self.maps[*index])).collect();
        // Show the output of the old version first.
        self.tell_rest(kept).await?;
        let is_new = |map: &&FollowedMap| !is_kept(map) || matches!(map.contents, MapContents::Variables(_));
        self.maps.iter().filter(is_new).for_each(|map| self.snapshots.forget(&map.name));
        let programs = self
            .session
            .programs
            .iter()
            .map(|program| ReplacedProgram { program: program.planned.name.clone(), program_id: program.id });
        let maps = outcomes
            .iter()
            .map(|outcome| ReplacedMap { map: outcome.name.clone(), outcome: outcome.outcome.clone() });
        let read = self.tell(&RunEvent::Replaced { programs: programs.collect(), maps: maps.collect() })?;
        self.note_other_hooks(&before)?;
        if let Err(error) = self.read_maps(&object).await {
            self.note(format!("maps of the new version are not shown: {error}"))?;
        }
        if let Err(error) = self.attach().await {
            self.note(format!("a program of the new version is not attached: {error}"))?;
        }
        Ok(read)
    }

    fn not_replaced(&self, error: &CliError) -> Result<bool, CliError> {
        self.tell(&RunEvent::NotReplaced { error: error.to_string() })
    }

    /// Notes that links stay at their hooks, even if the sections of a new version name others.
    fn note_other_hooks(&self, before: &[PlannedProgram]) -> Result<(), CliError> {
        for program in &self.session.programs {
            let old = before.iter().find(|old| old.name == program.planned.name);
            if let Some(old) = old.filter(|old| old.hooks != program.planned.hooks) {
                let there = old.hooks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                self.note(format!(
                    "{} stays attached to {there}: run anew to move it",
                    program.planned.name
                ))?;
            }
        }
        Ok(())
    }

    /// Shows what the readers have read or still find, and ends them; a later call continues an interrupted one. Ring
    /// buffers among the `kept` maps are left to the next readers.
    async fn tell_rest(&mut self, kept: Vec<usize>) -> Result<(), CliError> {
        let Some(readers) = &self.readers else { return Ok(()) };
        readers.stop(kept);
        loop {
            self.writer.room().await;
            let Some(readers) = &mut self.readers else { return Ok(()) };
            let Some((map, news)) = readers.rest().await else { return Ok(()) };
            self.show_news(RunNews::Map(map, news))?;
        }
    }

    async fn end(&mut self) -> Result<(), CliError> {
        self.session.detach().await?;
        let told = self.tell_rest(Vec::new()).await;
        for line in self.prints.last().await {
            self.writer.room().await;
            self.show_news(RunNews::Print(line))?;
        }
        self.session.unload().await?;
        told
    }
}

enum RunNews {
    Print(Result<PrintNews, CliError>),
    Map(usize, MapUpdate),
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

async fn changed(file: &mut Option<mpsc::Receiver<()>>) {
    let Some(changes) = file else { return std::future::pending().await };
    if changes.recv().await.is_none() {
        *file = None;
        std::future::pending().await
    }
}

async fn next_line(writer: &RunEventWriter, prints: &mut PrintLines) -> Result<PrintNews, CliError> {
    writer.room().await;
    prints.next().await
}

async fn next_of(writer: &RunEventWriter, readers: &mut Option<MapReaders>) -> (usize, MapUpdate) {
    let Some(readers) = readers else { return std::future::pending().await };
    writer.room().await;
    readers.next().await
}
