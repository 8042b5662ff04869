//! Drift: compares attachments with their records, and restores those that were removed. Third parties can delete
//! filters, force-detach links or remove pins; a program that they put in our place is reported and stays.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::atomic::Ordering;

use bpfman_model::{HookKey, LinkId, Owner, ProgramId, ProgramUid};
use bpfmand_kernel::{Kernel, KernelError};

use super::{HookCheck, Standing};
use crate::engine::file_checks::FoundFiles;
use crate::state::State;
use crate::state::records::LinkRecord;
use crate::{Engine, EngineError};

/// Result of checking all hooks and links.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    pub checked: usize,
    /// Places that differed and were restored.
    pub mended: Vec<DriftedPlace>,
    /// Places that differed and were not restored.
    pub lost: Vec<DriftedPlace>,
}

/// A place that was found to differ from its record.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct DriftedPlace {
    /// Description of the place and of the difference.
    pub what: String,
    /// Hook as commands name it, if the place is a hook.
    pub hook: Option<String>,
    /// Recorded links of the place.
    pub links: Vec<LinkId>,
    /// Loaded programs of these links.
    pub programs: Vec<ProgramId>,
    /// Owners of the links and programs.
    pub owners: BTreeSet<Owner>,
}

impl std::fmt::Display for DriftedPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

impl From<String> for DriftedPlace {
    fn from(what: String) -> Self {
        Self { what, ..Self::default() }
    }
}

impl<K: Kernel> Engine<K> {
    /// Compares all hooks, and links that are in no chain, with the kernel, and restores what is lost.
    pub fn check_all(&self) -> CheckReport {
        let mut report = CheckReport::default();
        let Ok(_operation) = self.begin() else { return report };
        report.lost.extend(self.unfinished().into_iter().map(DriftedPlace::from));
        for uid in self.retry_lost() {
            let what = "it could not be loaded at the start, and is loaded now";
            report.mended.push(self.program_place(uid).found(what));
        }
        let (programs, hooks, links) = {
            let state = self.state();
            let programs: Vec<ProgramUid> = state.programs.keys().copied().collect();
            let hooks: Vec<HookKey> = state.hooks.keys().copied().collect();
            let links = state.links.values().filter(|link| !link.is_in_chain());
            let links: Vec<LinkId> = links.map(|link| link.id).collect();
            (programs, hooks, links)
        };
        for uid in programs {
            match self.check_pins_of(uid) {
                Ok(HookCheck::Right) => {}
                check => report.add(check, || self.program_place(uid)),
            }
        }
        for key in hooks {
            let was_unreachable = self.state().drifted.get(&key) == Some(&Standing::Unreachable);
            let check = self.check_hook(&key);
            // A namespace ends some time after its last path has gone.
            if matches!(check, Ok(HookCheck::Unreachable)) && !was_unreachable {
                report.checked += 1;
                continue;
            }
            report.add(check, || self.hook_place(&key));
        }
        self.file_looks.keep(&links);
        let mut found = FoundFiles::default();
        for link in links {
            report.add(self.check_link_among(link, &mut found), || self.link_place(link));
        }
        self.settle_all_senders();
        self.prune_left_maps();
        let ordered = self.ordered_hooks();
        self.state().disordered.retain(|key, _| ordered.iter().any(|hook| hook.of_chain() == *key));
        for key in ordered {
            match self.check_order(&key) {
                Ok(order) => {
                    report.mended.extend(order.moved.iter().map(|link| {
                        self.link_place(*link).found("it stood where its order does not want it")
                    }))
                }
                Err(EngineError::Kernel(
                    KernelError::HookGone { .. } | KernelError::NamespaceNotFound { .. },
                )) => {}
                Err(error) => {
                    report.lost.push(self.hook_place(&key).found(format_args!("its order: {error}")))
                }
            }
        }
        report
    }

    fn hook_place(&self, key: &HookKey) -> DriftedPlace {
        let state = self.state();
        let of_hook = state.hooks.get(key).map(|hook| key.kind.at(&hook.interface));
        let of_link = |link: &LinkRecord| link.point.hook().map(|(interface, _)| key.kind.at(interface));
        let name = of_hook.or_else(|| state.links.of_hook(key).find_map(|link| of_link(link)));
        let gone =
            || format!("a hook that is gone ({} of interface number {})", key.pin_folder(), key.ifindex);
        let what = name.as_ref().map_or_else(gone, |name| format!("hook {name}"));
        DriftedPlace { hook: name, ..place_of(&state, what, state.links.of_hook(key).map(|link| &**link)) }
    }

    fn program_place(&self, uid: ProgramUid) -> DriftedPlace {
        let state = self.state();
        let Some(program) = state.programs.get(&uid) else {
            return DriftedPlace::from(format!("program of number {uid}"));
        };
        let what = format!("program {} \"{}\"", program.id, program.name);
        let place = place_of(&state, what, state.links_of(uid).map(|link| &**link));
        let owners = BTreeSet::from([program.owner()]);
        DriftedPlace { programs: vec![program.id], owners, ..place }
    }

    fn link_place(&self, id: LinkId) -> DriftedPlace {
        let state = self.state();
        let link = state.links.get(&id).map(|link| &**link);
        let what = link.map_or_else(|| format!("link {id}"), |link| format!("link {id} at {}", link.point));
        place_of(&state, what, link.into_iter())
    }

    /// Returns how often a place was found lost or changed, and how often it was restored.
    #[must_use]
    pub fn drift_counts(&self) -> (u64, u64) {
        self.drifts.counted()
    }

    /// Counts and logs a drift once while it stays the same.
    pub(crate) fn note_drift<P: Eq + Hash>(
        &self,
        what: &str,
        place: P,
        found: &HookCheck,
        all: impl Fn(&mut State) -> &mut HashMap<P, Standing>,
    ) {
        let known = match found {
            HookCheck::Lost(standing) => all(&mut self.state()).insert(place, standing.clone()),
            HookCheck::Unreachable => all(&mut self.state()).insert(place, Standing::Unreachable),
            _ => all(&mut self.state()).remove(&place),
        };
        if known.is_none() && matches!(found, HookCheck::Lost(_) | HookCheck::Mended(_)) {
            self.drifts.found.fetch_add(1, Ordering::Relaxed);
        }
        match found {
            HookCheck::Lost(now) if known.as_ref() != Some(now) => {
                tracing::warn!("{what} is lost: {}", now.cause());
                self.announce_change();
            }
            HookCheck::Mended(was) => {
                self.drifts.mended.fetch_add(1, Ordering::Relaxed);
                tracing::warn!("{what} was lost and is back: {}", was.cause());
                self.announce_change();
            }
            HookCheck::Unreachable if known != Some(Standing::Unreachable) => {
                tracing::warn!("{what} cannot be reached: {}", Standing::Unreachable.cause());
                self.announce_change();
            }
            HookCheck::Lost(_) | HookCheck::Unreachable => {}
            HookCheck::Right | HookCheck::Absent => {
                if known.is_some() {
                    tracing::info!("{what} is as it was again");
                    self.announce_change();
                }
            }
        }
    }
}

fn place_of<'l>(state: &State, what: String, links: impl Iterator<Item = &'l LinkRecord>) -> DriftedPlace {
    let mut place = DriftedPlace { what, ..DriftedPlace::default() };
    for link in links {
        place.links.push(link.id);
        let Some(program) = state.programs.get(&link.program) else { continue };
        place.owners.insert(link.owner(program));
        if !place.programs.contains(&program.id) {
            place.programs.push(program.id);
        }
    }
    place
}

impl DriftedPlace {
    fn found(mut self, what: impl std::fmt::Display) -> Self {
        self.what.push_str(&format!(": {what}"));
        self
    }
}

impl CheckReport {
    fn add(&mut self, check: Result<HookCheck, EngineError>, place: impl Fn() -> DriftedPlace) {
        match check {
            Ok(HookCheck::Right) => self.checked += 1,
            Ok(HookCheck::Mended(was)) => {
                self.checked += 1;
                self.mended.push(place().found(was.cause()));
            }
            Ok(HookCheck::Lost(now)) => {
                self.checked += 1;
                self.lost.push(place().found(now.cause()));
            }
            Ok(HookCheck::Unreachable) => {
                self.checked += 1;
                self.lost.push(place().found(Standing::Unreachable.cause()));
            }
            Ok(HookCheck::Absent) => {}
            Err(error) => self.lost.push(place().found(error)),
        }
    }
}
