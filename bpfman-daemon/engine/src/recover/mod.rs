//! Start: compares the records with the kernel, and corrects what differs after a signal, a crash between two steps, or
//! a reboot. Failures are reported and stay recorded.

mod chains;
mod empty_slots;
mod hooks;
mod joined_names;
mod left_slots;
mod links;
mod machine_maps;
mod moves;
mod passes;
mod pending;
mod programs;
mod retries;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use bpfman_model::ProgramId;
use bpfmand_kernel::Kernel;

use crate::engine::RecoveryReport;
use crate::recover::links::RecoveredLinks;
use crate::state::Changes;
use crate::state::records::{MapRecord, ProgramRecord};
use crate::{Engine, EngineError, paths};

/// Largest number of a pin above which new numbers may begin: a third-party folder could otherwise use up all numbers.
const MAX_NUMBER_OF_PINS: u64 = 1 << 31;

impl<K: Kernel> Engine<K> {
    /// Makes kernel, pins and records consistent. Must be called once, before the first request.
    pub fn recover(&self) -> Result<RecoveryReport, EngineError> {
        let mut report = RecoveryReport::default();
        // Create the folders first: iproute2 creates links called `xdp` and `ip` in the first bpffs that it finds.
        for folder in paths::FOLDERS {
            self.kernel.make_folder(Path::new(folder))?;
        }
        let reserved = self.begin_above_pins(&mut report)?;
        // If this fails, the numbers are still unique: the next start also begins above the pins of this one.
        report.note("making a block of numbers durable", reserved);
        let held = self.hold_namespaces();
        report.note("holding network namespaces without a cookie", held.map_err(EngineError::from));
        let leftovers = self.leftovers()?;
        let filters = leftovers.iter().flat_map(|(_, leftover)| leftover.filters.clone());
        self.state().ending_filters.extend(filters);
        for (operation, leftover) in leftovers {
            report.settled += 1;
            let leftover = self.unclaimed(leftover);
            let result = self.clear_leftover("recover", &[operation], &leftover);
            report.note(format!("cleaning up after operation {operation}"), result);
        }
        let kept = self.settle_pending(&mut report)?;
        self.forget_adopted(&mut report);
        self.forget_left_by_clients(&mut report);
        self.report_programs(&mut report, joined_names::problem);
        let reloaded = self.recover_programs(&mut report);
        if !self.state().lost.is_empty() && !self.options.objects.is_able() {
            // Otherwise all programs of tenants would count as programs that cannot be loaded again.
            return Err(EngineError::Reader("no process is left that reads objects".to_owned()));
        }
        self.follow_moved_dispatchers(&mut report);
        self.forget_absent_matches(&mut report);
        // Extensions first: no packet or task may reach the functions that they replace.
        self.recover_links(RecoveredLinks::Extensions, &mut report);
        self.recover_hooks(&reloaded, &mut report);
        self.sweep_chains(&mut report);
        self.recover_links(RecoveredLinks::Others, &mut report);
        self.sweep_pending_versions(&kept, &mut report);
        self.settle_all_senders();
        for key in self.ordered_hooks() {
            self.keep_order(&key);
        }
        let result = self.end_orphans().map(|ended| report.settled += ended);
        report.note("ending links of attachments to matching interfaces", result);
        self.sweep_maps(&mut report);
        self.report_programs(&mut report, machine_maps::problem);
        self.note_slots_again();
        self.find_strays(&mut report);
        let forgotten = self.forget_unused_namespaces();
        report.note("forgetting numbers of network namespaces", forgotten);
        self.sweep_bytecode()?;
        Ok(report)
    }

    fn report_programs(&self, report: &mut RecoveryReport, problem: fn(&ProgramRecord) -> Option<String>) {
        report.problems.extend(self.state().programs.values().filter_map(|program| problem(program)));
    }

    /// Makes a block of numbers durable, above the numbers of all pins, so that none is reused. The outer error means
    /// that the pins cannot be read; the inner result is that of the write.
    fn begin_above_pins(&self, report: &mut RecoveryReport) -> Result<Result<(), EngineError>, EngineError> {
        let mut largest = 0;
        for folder in [paths::PENDING, paths::CHAINS, paths::LINKS] {
            for name in self.kernel.list_folder(Path::new(folder))? {
                // Link ids have 32 bits, so none of our numbers is larger.
                let number = name.parse::<u32>().map_or(0, u64::from);
                if number > MAX_NUMBER_OF_PINS && number > self.state().counter {
                    let reason = "its number is none that this daemon gave, and is passed over";
                    report.problems.push(format!("{folder}/{name}: {reason}"));
                } else {
                    largest = largest.max(number);
                }
            }
        }
        {
            let mut state = self.state();
            state.counter = state.counter.max(largest + 1);
        }
        if let Some(left) = self.few_numbers_left() {
            report.problems.push(format!("{left}: begin with an empty state folder before they are used up"));
        }
        Ok(self.commit(Changes::default()).map(drop))
    }

    fn sweep_maps(&self, report: &mut RecoveryReport) {
        let (folders, shared): (HashSet<_>, HashSet<_>) = {
            let state = self.state();
            // Programs that could not be loaded again count too: the next start tries again, with the existing maps.
            let loaded = state.previous.values().filter(|previous| previous.boot == state.boot);
            let loaded: Vec<_> = loaded.map(|previous| &previous.program).collect();
            let programs = || state.programs.values().map(|program| &**program).chain(loaded.iter().copied());
            (
                programs().map(|program| paths::maps(program.map_folder)).collect(),
                programs()
                    .flat_map(|program| program.maps.iter().filter_map(MapRecord::shared_pin))
                    .collect(),
            )
        };
        for (folder, wanted) in [(paths::MAPS, &folders), (paths::SHARED, &shared)] {
            let result = self.sweep_folder(Path::new(folder), wanted, &mut report.settled);
            report.note(format!("sweeping {folder}"), result);
        }
        let result = self.sweep_groups(&shared, &mut report.settled);
        report.note(format!("sweeping {}", paths::GROUPS), result);
    }

    fn sweep_groups(&self, wanted: &HashSet<PathBuf>, swept: &mut usize) -> Result<(), EngineError> {
        for name in self.kernel.list_folder(Path::new(paths::GROUPS))? {
            let folder = Path::new(paths::GROUPS).join(name);
            self.sweep_folder(&folder, wanted, swept)?;
            if self.kernel.list_folder(&folder)?.is_empty() {
                self.kernel.remove_folder(&folder)?;
            }
        }
        Ok(())
    }

    fn sweep_folder(
        &self,
        folder: &Path,
        wanted: &HashSet<PathBuf>,
        swept: &mut usize,
    ) -> Result<(), EngineError> {
        for name in self.kernel.list_folder(folder)? {
            let path = folder.join(&name);
            // A program that is pinned here without a record may belong to an earlier daemon, and be in use.
            let has_program = name.parse().is_ok_and(|id| {
                self.kernel.open_pin(&paths::program(ProgramId(id))).map_or(true, |pin| pin.is_some())
            });
            if wanted.contains(&path) || has_program {
                continue;
            }
            tracing::info!(path = %path.display(), "removing pins that no program uses");
            if self.kernel.open_pin(&path).is_ok_and(|pin| pin.is_some()) {
                self.kernel.unpin(&path)?;
            } else {
                self.remove_tree(&path)?;
            }
            *swept += 1;
        }
        Ok(())
    }
}
