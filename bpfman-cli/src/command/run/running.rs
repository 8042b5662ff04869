//! Programs that run: their output is shown, and a new version of the file replaces them.

use bpfmand_object::ObjectFile;
use bpfmand_requirements::{NeedKind, needs_of};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::changes::MapSnapshots;
use super::followed::{FollowedMap, MapContents, followed};
use super::plan::PlannedProgram;
use super::prints::{PrintLines, PrintNews};
use super::readers::{MapReaders, MapUpdate};
use super::session::Session;
use super::{Endings, planned};
use crate::args::run::RunPrograms;
use crate::command::object_source::{self, ObjectSource};
use crate::error::CliError;
use crate::show::event_writer::RunEventWriter;
use crate::show::run_event::{ReplacedMap, ReplacedProgram, RunEvent};
use crate::show::value::TypedValue;

const PRINTING: [&str; 2] = ["bpf_trace_printk", "bpf_trace_vprintk"];

pub(super) struct RunningPrograms {
    pub(super) writer: RunEventWriter,
    pub(super) session: Session,
    pub(super) maps: Vec<FollowedMap>,
    pub(super) readers: Option<MapReaders>,
    pub(super) snapshots: MapSnapshots,
    pub(super) prints: PrintLines,
    pub(super) source: ObjectSource,
    pub(super) command: RunPrograms,
}

impl RunningPrograms {
    pub(super) fn tell(&self, event: &RunEvent) -> Result<bool, CliError> {
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

    pub(super) async fn begin(
        &mut self,
        object: &ObjectFile,
        planned: Vec<PlannedProgram>,
    ) -> Result<(), CliError> {
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
        let (there, left_out) = self.session.maps().await?;
        for text in left_out {
            self.note(text)?;
        }
        let mut maps = followed(object, &there, &self.command.record)?;
        if self.command.no_maps {
            maps.retain(|map| matches!(map.contents, MapContents::Ring(_) | MapContents::Perf(_)));
        }
        let readers = MapReaders::begin(&self.session.client, &maps, self.command.interval).await;
        (self.maps, self.readers) = (maps, Some(readers));
        Ok(())
    }

    pub(super) async fn follow(
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
                    "{} stays attached to {there}: run again to move it",
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

    pub(super) async fn end(&mut self) -> Result<(), CliError> {
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
