//! The radar's programs: loaded and attached as configured or as requested, resumed after a restart, and removed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bpfmand_api::{RadarRefusal, RadarReport, RadarSource};
use bpfmand_journal::{DaemonPart, EntryResult, HistoryEntry};

use super::calibrate::{Calibration, FinalEvents, calibrate};
use super::counts::CallCounts;
use super::event::RadarEvent;
use super::fetch::ImageFetch;
use super::ids::KnownIds;
use super::programs::RadarPrograms;
use super::settings::RadarObject;
use super::short_lived::IdWatermark;
use super::watch::{AttachedRadar, COMMAND_POLL_INTERVAL, RadarWatch, now};

const AGAIN: Duration = Duration::from_secs(30);

impl RadarWatch {
    pub(super) fn start(&mut self, object: RadarObject) -> Result<(), RadarRefusal> {
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

    pub(super) fn stop(&mut self) -> Result<(), RadarRefusal> {
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

    pub(super) fn keep(&mut self) {
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
            self.mark_off("all programs of bpfman are detached");
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
            let why = "a program of the radar was unloaded or detached; all are loaded again".to_owned();
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
        let fetched = self.fetching.as_ref()?.wait(COMMAND_POLL_INTERVAL)?;
        self.fetching = None;
        Some(fetched)
    }

    fn go_on(&mut self) {
        let found = match self.loader.find() {
            Ok(None) => return,
            Ok(Some(found)) => found,
            Err(error) => {
                let why = format!("it is unknown what the radar's programs of before saw: {error:#}");
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
}
