//! Watches the break-glass marker: suspends changes while it exists, restores attachments after it is removed.

use std::sync::Arc;

use bpfmand_api::Gate;
use bpfmand_engine::Engine;
use bpfmand_journal::{DaemonPart, HistoryEntry, Journal};
use bpfmand_kernel::linux::LinuxKernel;
use bpfmand_reader::ReaderClient;

use crate::break_glass::Marker;
use crate::own_actions;

pub struct BreakGlassWatcher {
    marker: Marker,
    gate: Arc<Gate>,
    engine: Arc<Engine<LinuxKernel>>,
    journal: Arc<Journal>,
    /// Readers with a short timeout until recovery has finished.
    readers: Arc<ReaderClient>,
    /// True once recovery has run since the start of this daemon.
    recovered: bool,
    broken: bool,
    told: bool,
}

impl BreakGlassWatcher {
    pub fn start(
        marker: Marker,
        engine: &Arc<Engine<LinuxKernel>>,
        journal: &Arc<Journal>,
        readers: Arc<ReaderClient>,
    ) -> anyhow::Result<Self> {
        let gate = Arc::<Gate>::default();
        let (engine, journal) = (Arc::clone(engine), Arc::clone(journal));
        let mut glass =
            Self { marker, gate, engine, journal, readers, recovered: false, broken: false, told: false };
        if !glass.poll() {
            glass.recover()?;
        }
        Ok(glass)
    }

    pub fn gate(&self) -> Arc<Gate> {
        Arc::clone(&self.gate)
    }

    /// Reads the marker, and suspends or resumes the daemon accordingly. Returns whether attachments are suspended.
    pub fn poll(&mut self) -> bool {
        match (self.marker.read(), self.broken) {
            (Some(why), false) => {
                tracing::warn!("standing still: {why}");
                self.gate.close(&why);
                self.note("BreakGlass", &why, None);
                self.broken = true;
            }
            (None, true) => {
                self.end();
            }
            _ => {}
        }
        self.broken
    }

    fn end(&mut self) {
        let failed = self.put_back().err().map(|error| format!("{error:#}"));
        match &failed {
            None => {
                tracing::warn!("break-glass ended: all attachments are restored");
                self.gate.open();
                (self.broken, self.told) = (false, false);
            }
            Some(_) if self.told => return,
            Some(error) => {
                tracing::error!(error, "not everything could be put back, and it is tried again");
                self.told = true;
            }
        }
        self.note("EndBreakGlass", "everything is put back", failed);
    }

    fn put_back(&mut self) -> anyhow::Result<()> {
        if !self.recovered {
            return self.recover();
        }
        let report = self.engine.check_all();
        for lost in &report.lost {
            tracing::warn!("not put back: {lost}");
        }
        Ok(())
    }

    fn recover(&mut self) -> anyhow::Result<()> {
        own_actions::recover(&self.engine, &self.journal)?;
        self.recovered = true;
        self.readers.mark_started();
        Ok(())
    }

    fn note(&self, verb: &str, object: &str, failed: Option<String>) {
        let entry = HistoryEntry::of_daemon(DaemonPart::BreakGlass, verb, object);
        self.journal.record(entry.unless_failed(failed.as_deref()), None);
    }
}
