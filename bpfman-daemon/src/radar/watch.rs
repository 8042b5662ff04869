//! The radar's thread: maintains the programs, reads their events and records them.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant, SystemTime};

use bpfmand_api::RadarState;
use bpfmand_journal::{DaemonPart, EntryResult, HistoryEntry};

use super::activity::ActivityKind;
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

const TICK: Duration = Duration::from_secs(1);
/// Maximum time until the thread notices a command.
pub(super) const COMMAND_POLL_INTERVAL: Duration = Duration::from_millis(100);
const MAX_EVENTS_PER_READ: usize = 4096;

pub(super) struct AttachedRadar {
    pub(super) programs: RadarPrograms,
    pub(super) counts: CallCounts,
    /// Process id of this daemon in the initial pid namespace.
    pub(super) own: u32,
}

pub struct RadarWatch {
    pub(super) parts: RadarParts,
    pub(super) loader: RadarLoader,
    pub(super) standing: Arc<RadarState>,
    pub(super) wanted: Option<(RadarObject, bool)>,
    pub(super) at_work: Option<AttachedRadar>,
    pub(super) looked: bool,
    pub(super) tried: Option<Instant>,
    pub(super) fetching: Option<ImageFetch>,
    /// Change counter at which the programs were last found complete.
    pub(super) whole_at: Option<u64>,
    pub(super) known: KnownIds,
    pub(super) passed: IdWatermark,
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
                (None, _) => match commands.recv_timeout(self.tallies.next().unwrap_or(TICK).min(TICK)) {
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
            if self.turned.elapsed() >= TICK {
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

    pub(super) fn read(&mut self) {
        let Some(at_work) = &mut self.at_work else { return };
        let wait = self.tallies.next().unwrap_or(COMMAND_POLL_INTERVAL).min(COMMAND_POLL_INTERVAL);
        if let Err(error) = at_work.programs.ring.wait(wait) {
            tracing::warn!(%error, "the radar cannot wait for events");
            std::thread::sleep(wait);
        }
        for _ in 0..MAX_EVENTS_PER_READ {
            let record = self.at_work.as_mut().and_then(|at_work| at_work.programs.ring.take());
            let Some(record) = record else { break };
            if let Some(event) = RadarEvent::parse(&record) {
                self.see(&event);
            }
        }
    }

    pub(super) fn turn(&mut self) {
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
            Some(Err(error)) => tracing::warn!(%error, "it is unknown what the radar lost"),
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
                Err(error) => tracing::warn!(%error, "it is unknown which programs are there"),
            }
            if self.at_work.is_none() {
                match self.passed.look(&self.parts.kernel) {
                    Ok(gone) => self.came_and_went(gone),
                    Err(error) => tracing::debug!(%error, "it is unknown how many programs came and went"),
                }
            }
        }
    }

    fn tell(&mut self, all: bool) {
        for told in self.tallies.tell(&self.parts.journal, all) {
            if let (ActivityKind::Touch, Some(hook)) = (told.key.act, &told.key.hook) {
                let command = told.key.command.replace(char::is_control, "?");
                let who = format!("{command:?} of user {}, process {}", told.key.user, told.key.process);
                tracing::warn!("another process touched {hook}: {} by {who}", told.object);
                self.standing.lock().touch(format!("{} {hook}: {} by {who}", now(), told.object));
            }
        }
    }

    pub(super) fn note(&self, verb: &str, object: String, result: EntryResult) {
        let entry = HistoryEntry { result, ..HistoryEntry::of_daemon(DaemonPart::Radar, verb, &object) };
        self.parts.journal.record(entry, None);
    }
}

pub(super) fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}
