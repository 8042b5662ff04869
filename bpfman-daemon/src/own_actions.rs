//! Audit log entries for actions of the daemon itself.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use bpfmand_engine::{CheckReport, DriftedPlace, Engine, FollowReport, RecoveryReport};
use bpfmand_journal::{DaemonPart, HistoryEntry, Journal};
use bpfmand_kernel::linux::LinuxKernel;

/// Maximum number of entries per check of all hooks; the remainder is only counted.
const MAX_ENTRIES: usize = 32;

fn record(journal: &Journal, part: DaemonPart, verb: &str, object: &str, problems: &[String]) {
    let why = problems.join("; ");
    let why = (!problems.is_empty()).then_some(why.as_str());
    journal.record(HistoryEntry::of_daemon(part, verb, object).unless_failed(why), None);
}

pub fn recover(engine: &Engine<LinuxKernel>, journal: &Journal) -> anyhow::Result<()> {
    let report = engine.recover().context("cannot compare the records with the kernel")?;
    for problem in &report.problems {
        tracing::warn!("not mended: {problem}");
    }
    let outcome = match report.problems.len() {
        0 => "records and kernel agree",
        _ => "records and kernel were compared, and differ in what was not mended",
    };
    tracing::info!(
        adopted = report.adopted,
        reloaded = report.reloaded,
        reattached = report.reattached,
        settled = report.settled,
        problems = report.problems.len(),
        "{outcome}"
    );
    of_start(journal, &report);
    Ok(())
}

/// Records the recovery at start, unless it changed nothing.
fn of_start(journal: &Journal, report: &RecoveryReport) {
    let RecoveryReport { adopted, reloaded, reattached, settled, problems } = report;
    if reloaded + reattached + settled > 0 || !problems.is_empty() {
        let object = format!(
            "{adopted} programs found, {reloaded} loaded again, {reattached} links and chains put back, {settled} \
             unfinished operations settled"
        );
        record(journal, DaemonPart::Start, "Recover", &object, problems);
    }
}

pub fn of_interfaces(journal: &Journal, netns: Option<&Path>, report: &FollowReport) {
    let FollowReport { attached, detached, renamed, waiting, returned, problems } = report;
    let netns = netns.map(|path| format!(" in {}", path.display())).unwrap_or_default();
    let object = format!(
        "interfaces{netns}: {attached} links attached, {detached} detached, {renamed} renamed, {waiting} wait, \
         {returned} returned"
    );
    record(journal, DaemonPart::Interfaces, "Follow", &object, problems);
}

/// Results of the checks of all hooks. Each finding is recorded once while it lasts.
pub struct Checks {
    journal: Arc<Journal>,
    lost: BTreeSet<DriftedPlace>,
}

impl Checks {
    pub const fn new(journal: Arc<Journal>) -> Self {
        Self { journal, lost: BTreeSet::new() }
    }

    pub fn tell(&mut self, report: &CheckReport) {
        let lost: BTreeSet<DriftedPlace> = report.lost.iter().cloned().collect();
        self.some(("PutBack", false), report.mended.iter());
        self.some(("Lost", true), lost.difference(&self.lost));
        self.lost = lost;
    }

    fn some<'s>(&self, (verb, lasting): (&str, bool), found: impl Iterator<Item = &'s DriftedPlace>) {
        let mut more = 0;
        for (place, what) in found.enumerate() {
            if place < MAX_ENTRIES {
                let entry = HistoryEntry::of_daemon(DaemonPart::Checks, verb, &what.what);
                let entry = HistoryEntry {
                    programs: what.programs.iter().map(|id| id.0).collect(),
                    links: what.links.iter().map(|id| id.0).collect(),
                    hooks: what.hook.iter().cloned().collect(),
                    owners: what.owners.iter().map(ToString::to_string).collect(),
                    ..entry
                };
                self.journal.record(entry.unless_failed(lasting.then_some("it is not back")), None);
            } else {
                more += 1;
            }
        }
        if more > 0 {
            record(&self.journal, DaemonPart::Checks, verb, &format!("{more} more"), &[]);
        }
    }
}
