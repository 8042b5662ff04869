//! The radar's thread: maintains the programs, reads their events and records them.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant, SystemTime};

use bpfmand_api::{RadarRefusal, RadarReport, RadarSource, RadarState};
use bpfmand_journal::{DaemonPart, EntryResult, HistoryEntry};

use super::activity::ActivityKind;
use super::calibrate::{Calibration, FinalEvents, calibrate};
use super::counts::CallCounts;
use super::event::RadarEvent;
use super::fetch::ImageFetch;
use super::identification::Identification;
use super::ids::KnownIds;
use super::own_objects::OursAndBefore;
use super::programs::{RadarLoader, RadarPrograms};
use super::settings::RadarObject;
use super::short_lived::IdWatermark;
use super::tally::Tallies;
use super::{RadarCommand, RadarParts};

const TURN: Duration = Duration::from_secs(1);
/// Maximum delay of a command.
const ATTENTION: Duration = Duration::from_millis(100);
const AGAIN: Duration = Duration::from_secs(30);
const AT_ONCE: usize = 4096;

pub(super) struct AttachedRadar {
    programs: RadarPrograms,
    counts: CallCounts,
    /// Process id of this daemon in the initial pid namespace.
    pub(super) own: u32,
}

pub struct RadarWatch {
    pub(super) parts: RadarParts,
    loader: RadarLoader,
    pub(super) standing: Arc<RadarState>,
    wanted: Option<(RadarObject, bool)>,
    pub(super) at_work: Option<AttachedRadar>,
    looked: bool,
    tried: Option<Instant>,
    fetching: Option<ImageFetch>,
    /// Change counter at which the programs were last found complete.
    whole_at: Option<u64>,
    known: KnownIds,
    passed: IdWatermark,
    pub(super) ours: OursAndBefore,
    pub(super) tallies: Tallies,
    pub(super) identification: Identification,
    turned: Instant,
}

impl RadarWatch {
    pub fn new(parts: RadarParts, standing: Arc<RadarState>) -> Self {
        let loader = RadarLoader { engine: Arc::clone(&parts.engine), kernel: Arc::clone(&parts.kernel) };
        let wanted = parts.settings.clone().map(|object| (object, false));
        Self {
            parts,
            loader,
            standing,
            wanted,
            at_work: None,
            looked: false,
            tried: None,
            fetching: None,
            whole_at: None,
            known: KnownIds::default(),
            passed: IdWatermark::default(),
            ours: OursAndBefore::default(),
            tallies: Tallies::default(),
            identification: Identification::default(),
            turned: Instant::now(),
        }
    }

    /// Runs until it must stop (`false`), or until there is nothing to do before the next command (`true`).
    pub fn run(&mut self, commands: &Receiver<RadarCommand>) -> bool {
        self.keep();
        loop {
            let command = match (&self.at_work, &self.wanted) {
                (None, None) if self.looked && self.tallies.next().is_none() => match commands.try_recv() {
                    Err(TryRecvError::Empty) => return true,
                    Err(TryRecvError::Disconnected) => return false,
                    Ok(command) => command,
                },
                (None, _) => match commands.recv_timeout(self.tallies.next().unwrap_or(TURN).min(TURN)) {
                    Err(RecvTimeoutError::Disconnected) => return false,
                    Err(RecvTimeoutError::Timeout) => RadarCommand::Nothing,
                    Ok(command) => command,
                },
                (Some(_), _) => match commands.try_recv() {
                    Err(TryRecvError::Disconnected) => return false,
                    Err(TryRecvError::Empty) => RadarCommand::Nothing,
                    Ok(command) => command,
                },
            };
            if !self.obey(command) {
                return false;
            }
            self.read();
            if self.turned.elapsed() >= TURN {
                self.turned = Instant::now();
                self.keep();
                self.turn();
            }
            self.tell(false);
        }
    }

    pub fn obey(&mut self, command: RadarCommand) -> bool {
        match command {
            RadarCommand::End => return false,
            RadarCommand::Nothing => {}
            RadarCommand::Start(object, answer) => {
                let _gone = answer.send(self.start(object));
            }
            RadarCommand::Stop(answer) => {
                let _gone = answer.send(self.stop());
            }
        }
        true
    }

    pub fn end(&mut self) {
        self.tell(true);
    }

    fn start(&mut self, object: RadarObject) -> Result<(), RadarRefusal> {
        if let Some(configured) = &self.parts.settings {
            return match &self.at_work {
                Some(_) if *configured == object => Ok(()),
                _ => Err(RadarRefusal::Configured(configured.to_string())),
            };
        }
        if self.at_work.as_ref().is_some_and(|at_work| at_work.programs.object == object) {
            return Ok(());
        }
        self.take_down().map_err(|error| RadarRefusal::Failed(format!("{error:#}")))?;
        match self.put_up(&object, true) {
            Ok(()) => {
                self.wanted = Some((object, true));
                Ok(())
            }
            Err(error) => {
                self.mark_off("");
                Err(RadarRefusal::Failed(format!("{error:#}")))
            }
        }
    }

    fn stop(&mut self) -> Result<(), RadarRefusal> {
        if let Some(configured) = &self.parts.settings {
            return Err(RadarRefusal::Configured(configured.to_string()));
        }
        self.read();
        self.take_down().map_err(|error| RadarRefusal::Failed(format!("{error:#}")))
    }

    fn take_down(&mut self) -> anyhow::Result<()> {
        self.at_work = None;
        self.wanted = None;
        self.fetching = None;
        self.looked = true;
        let removed = self.loader.remove_all()?;
        if removed > 0 {
            self.note("StopRadar", format!("{removed} programs"), EntryResult::Done);
        }
        self.mark_off("");
        Ok(())
    }

    fn keep(&mut self) {
        // Callers that start or stop the radar wait for this thread inside the change gate, and break-glass waits for
        // them. Do not enter the gate without work: this thread could block on break-glass, and thus on those callers.
        if self.looked && self.wanted.is_none() && self.at_work.is_none() {
            return;
        }
        let changes = Arc::clone(&self.parts.changes);
        // Contact no registry while everything is detached.
        let fetched = changes.check().is_ok().then(|| self.fetch());
        let (Some(fetched), Ok(_inside)) = (fetched, changes.enter()) else {
            (self.at_work, self.looked, self.tried, self.fetching) = (None, false, None, None);
            self.mark_off("everything of bpfman is detached");
            return;
        };
        if !self.looked {
            self.looked = true;
            self.go_on();
        }
        let Some((object, by_call)) = self.wanted.clone() else { return };
        if self.at_work.is_some() && !self.check_programs() {
            self.read();
            self.at_work = None;
            self.tried = None;
            let why = "a program of the radar was unloaded or detached; all are loaded anew".to_owned();
            tracing::warn!("{why}");
            self.mark_off(&why);
            self.note("Lost", why, EntryResult::Done);
            if let Err(error) = self.loader.remove_all() {
                tracing::warn!("{error:#}");
            }
        }
        if self.at_work.is_some() || self.tried.is_some_and(|tried| tried.elapsed() < AGAIN) {
            return;
        }
        let Some(fetched) = fetched else { return };
        self.tried = Some(Instant::now());
        if let Err(error) = fetched.and_then(|()| self.put_up(&object, by_call)) {
            self.polls(&object, format!("{error:#}"));
        }
    }

    fn fetch(&mut self) -> Option<anyhow::Result<()>> {
        let is_due = self.at_work.is_none() && self.tried.is_none_or(|tried| tried.elapsed() >= AGAIN);
        if self.fetching.is_none() {
            let Some((RadarObject::Image(url), _)) = self.wanted.as_ref().filter(|_| is_due) else {
                return Some(Ok(()));
            };
            match ImageFetch::start(&self.parts.images, url) {
                Ok(fetching) => self.fetching = Some(fetching),
                Err(error) => return Some(Err(error)),
            }
        }
        let fetched = self.fetching.as_ref()?.wait(ATTENTION)?;
        self.fetching = None;
        Some(fetched)
    }

    fn go_on(&mut self) {
        let found = match self.loader.find() {
            Ok(None) => return,
            Ok(Some(found)) => found,
            Err(error) => {
                let why = format!("nobody knows what the radar's programs of before saw: {error:#}");
                tracing::warn!("{why}");
                self.note("Lost", why, EntryResult::Done);
                return self.remove_older();
            }
        };
        let is_wanted = match &self.wanted {
            Some((object, _)) => *object == found.object && !found.by_call,
            None => found.by_call,
        };
        if !is_wanted {
            return self.remove_older();
        }
        self.wanted = Some((found.object.clone(), found.by_call));
        let mut found = found;
        let Calibration { own, early } = calibrate(&self.parts.kernel, &mut found);
        match own {
            Some(own) => self.mark_attached(found, own, early, "goes on"),
            None => {
                // Unload first: afterwards their maps do not change any more.
                self.remove_older();
                self.unproven(FinalEvents::of(&self.parts.kernel, &mut found, early));
            }
        }
    }

    fn remove_older(&self) {
        match self.loader.remove_all() {
            Ok(0) => {}
            Ok(removed) => self.note("StopRadar", format!("{removed} programs of before"), EntryResult::Done),
            Err(error) => tracing::warn!("{error:#}"),
        }
    }

    fn put_up(&mut self, object: &RadarObject, by_call: bool) -> anyhow::Result<()> {
        let (mut seen, mut unproven) = (None, Vec::new());
        let programs = self.loader.put_up(object, by_call, |programs| {
            let Calibration { own, early } = calibrate(&self.parts.kernel, programs);
            match own {
                Some(own) => seen = Some((own, early)),
                None => unproven.push(FinalEvents::of(&self.parts.kernel, programs, early)),
            }
            own.is_some()
        });
        // New programs that observe nothing lose nothing when they are dropped.
        for last in unproven.into_iter().filter(|last| !last.is_empty()) {
            self.unproven(last);
        }
        let programs = programs?;
        let (own, early) = seen.unwrap_or_default();
        self.mark_attached(programs, own, early, "sees");
        Ok(())
    }

    fn mark_attached(&mut self, programs: RadarPrograms, own: u32, early: Vec<RadarEvent>, how: &str) {
        let (source, object) = (programs.source, programs.object.to_string());
        let unseen = programs.unseen.iter().map(|what| format!("; not: {what}")).collect::<String>();
        let text = format!("{how} by {}, {object}{unseen}", source.name());
        tracing::info!("the radar {text}");
        self.note("StartRadar", text, EntryResult::Done);
        let mut report = self.standing.lock();
        // Keep what is known of other processes: created objects and affected hooks.
        *report = RadarReport {
            source,
            object,
            why: programs.why.clone(),
            unseen: programs.unseen.clone(),
            since: now(),
            events: 0,
            own: 0,
            aggregated: 0,
            lost: 0,
            ..std::mem::take(&mut *report)
        };
        drop(report);
        self.whole_at = None;
        self.at_work = Some(AttachedRadar { programs, counts: CallCounts::default(), own });
        for event in early {
            self.see(&event);
        }
    }

    fn polls(&mut self, object: &RadarObject, why: String) {
        let mut report = self.standing.lock();
        let is_new = report.source != RadarSource::Polling || report.why != why;
        if !is_new {
            return;
        }
        *report = RadarReport {
            source: RadarSource::Polling,
            object: object.to_string(),
            why: why.clone(),
            unseen: vec![
                "who did it, refused calls, maps, pins, detaching, and what is there for less than two seconds: of programs \
                 how many they were"
                    .to_owned(),
            ],
            since: now(),
            ..RadarReport::default()
        };
        drop(report);
        (self.known, self.passed) = (KnownIds::default(), IdWatermark::default());
        tracing::warn!("the radar reads lists of ids: {why}");
        let entry = HistoryEntry::of_daemon(DaemonPart::Radar, "StartRadar", "sees by polling alone");
        self.parts.journal.record(entry.unless_failed(Some(&why)), None);
        self.turn();
    }

    fn mark_off(&self, why: &str) {
        let mut report = self.standing.lock();
        *report = RadarReport {
            why: why.to_owned(),
            touched: std::mem::take(&mut report.touched),
            ..RadarReport::default()
        };
    }

    /// Returns whether all programs are loaded and attached. Checks only after a change of the records.
    fn check_programs(&mut self) -> bool {
        let changes = self.parts.engine.wait_for_change(self.whole_at.unwrap_or(u64::MAX), Duration::ZERO);
        if self.whole_at == Some(changes) {
            return true;
        }
        let all = self.at_work.as_ref().is_none_or(|at_work| self.loader.are_whole(&at_work.programs));
        self.whole_at = all.then_some(changes);
        all
    }

    fn read(&mut self) {
        let Some(at_work) = &mut self.at_work else { return };
        let wait = self.tallies.next().unwrap_or(ATTENTION).min(ATTENTION);
        if let Err(error) = at_work.programs.ring.wait(wait) {
            tracing::warn!(%error, "the radar cannot wait for events");
            std::thread::sleep(wait);
        }
        for _ in 0..AT_ONCE {
            let record = self.at_work.as_mut().and_then(|at_work| at_work.programs.ring.take());
            let Some(record) = record else { break };
            if let Some(event) = RadarEvent::parse(&record) {
                self.see(&event);
            }
        }
    }

    fn turn(&mut self) {
        let read = self.at_work.as_mut().map(|at_work| {
            at_work.counts.read(&self.parts.kernel, &at_work.programs.counts, &at_work.programs.floods)
        });
        match read {
            Some(Ok(news)) => {
                self.standing.lock().events = news.events;
                self.counted(news);
                if let Some(at_work) = &mut self.at_work {
                    at_work.counts.store_reported(&self.parts.kernel, &at_work.programs.counts);
                }
            }
            Some(Err(error)) => tracing::warn!(%error, "nobody knows what the radar lost"),
            None => {}
        }
        if self.standing.is_on() {
            let looked = self.ours.refresh(&self.parts.engine).map_err(|error| error.to_string());
            let made = self.standing.report();
            let changed = looked.and_then(|()| {
                self.known.look(&self.parts.kernel, self.ours.now(), &made).map_err(|error| error.to_string())
            });
            match changed {
                Ok(changed) => self.changed(changed),
                Err(error) => tracing::warn!(%error, "nobody knows which programs are there"),
            }
            if self.at_work.is_none() {
                match self.passed.look(&self.parts.kernel) {
                    Ok(gone) => self.came_and_went(gone),
                    Err(error) => tracing::debug!(%error, "nobody knows how many programs came and went"),
                }
            }
        }
    }

    fn tell(&mut self, all: bool) {
        for told in self.tallies.tell(&self.parts.journal, all) {
            if let (ActivityKind::Touch, Some(hook)) = (told.key.act, &told.key.hook) {
                let command = told.key.command.replace(char::is_control, "?");
                let who = format!("{command:?} of user {}, process {}", told.key.user, told.key.process);
                tracing::warn!("a stranger touched {hook}: {} by {who}", told.object);
                self.standing.lock().touch(format!("{} {hook}: {} by {who}", now(), told.object));
            }
        }
    }

    pub(super) fn note(&self, verb: &str, object: String, result: EntryResult) {
        let entry = HistoryEntry { result, ..HistoryEntry::of_daemon(DaemonPart::Radar, verb, &object) };
        self.parts.journal.record(entry, None);
    }
}

fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}
