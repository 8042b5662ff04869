//! Drift: what was put at a hook is compared with what is there, and comes back where others took it away.
//!
//! Strangers can delete filters by number, flush a queueing discipline, force a link off or remove a pin. None of that is
//! prevented by the kernel, so it is looked for. What they put in our place is named and stays.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::Ordering;

use bpfmand_core::{HookKey, HookKind, LinkId};
use bpfmand_kernel::{Kernel, KernelError};

use super::{HookCheck, Standing};
use crate::state::State;
use crate::state::records::LinkRecord;
use crate::{Engine, EngineError};

/// What checks of all hooks and links found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// How many were compared.
    pub checked: usize,
    /// What was lost and is back.
    pub mended: Vec<String>,
    /// What was lost and is not back.
    pub lost: Vec<String>,
}

impl<K: Kernel> Engine<K> {
    /// Compares all hooks, and links that are in no chain, with the kernel, and brings back what is lost.
    pub fn check_all(&self) -> CheckReport {
        let mut report = CheckReport::default();
        if self.begin().is_err() {
            return report;
        }
        report.lost.extend(self.unfinished());
        let (hooks, links) = {
            let state = self.state();
            let hooks: Vec<HookKey> = state.hooks.keys().copied().collect();
            let in_chain =
                |link: &LinkRecord| matches!(link.point.hook(), Some((_, HookKind::Xdp | HookKind::Tc(_))));
            let links = state.links.values().filter(|link| !in_chain(link));
            let links: Vec<LinkId> = links.map(|link| link.id).collect();
            (hooks, links)
        };
        for key in hooks {
            report.add(self.check_hook(&key), || format!("hook {key:?}"));
        }
        for link in links {
            report.add(self.check_link(link), || format!("link {link}"));
        }
        // Others come and go among ours too.
        for key in self.ordered_hooks() {
            match self.check_order(&key) {
                Ok(order) => report.mended.extend(
                    order
                        .moved
                        .iter()
                        .map(|link| format!("link {link} stood where its order does not want it")),
                ),
                Err(EngineError::Kernel(KernelError::HookGone { .. })) => {}
                Err(error) => report.lost.push(format!("the order at {key:?}: {error}")),
            }
        }
        report
    }

    /// How often something was found lost or changed, and how often it came back.
    #[must_use]
    pub fn drift_counts(&self) -> (u64, u64) {
        self.drifts.counted()
    }

    /// Keeps what is lost among all that are, and counts and logs a drift, once for as long as it is the same.
    pub(crate) fn note_drift<P: Eq + Hash>(
        &self,
        what: &str,
        place: P,
        found: &HookCheck,
        all: impl Fn(&mut State) -> &mut HashMap<P, Standing>,
    ) {
        let known = match found {
            HookCheck::Lost(standing) => all(&mut self.state()).insert(place, standing.clone()),
            _ => all(&mut self.state()).remove(&place),
        };
        if known.is_none() && matches!(found, HookCheck::Lost(_) | HookCheck::Mended(_)) {
            self.drifts.found.fetch_add(1, Ordering::Relaxed);
        }
        match found {
            HookCheck::Lost(now) if known.as_ref() != Some(now) => {
                tracing::warn!("{what} is lost: {}", now.cause());
                self.tell_change();
            }
            HookCheck::Mended(was) => {
                self.drifts.mended.fetch_add(1, Ordering::Relaxed);
                tracing::warn!("{what} was lost and is back: {}", was.cause());
                self.tell_change();
            }
            HookCheck::Lost(_) => {}
            HookCheck::Right | HookCheck::Absent => {
                if known.is_some() {
                    tracing::info!("{what} is as it was again");
                    self.tell_change();
                }
            }
        }
    }
}

impl CheckReport {
    fn add(&mut self, check: Result<HookCheck, EngineError>, what: impl Fn() -> String) {
        match check {
            Ok(HookCheck::Right) => self.checked += 1,
            Ok(HookCheck::Mended(was)) => {
                self.checked += 1;
                self.mended.push(format!("{}: {}", what(), was.cause()));
            }
            Ok(HookCheck::Lost(now)) => {
                self.checked += 1;
                self.lost.push(format!("{}: {}", what(), now.cause()));
            }
            Ok(HookCheck::Absent) => {}
            Err(error) => self.lost.push(format!("{}: {error}", what())),
        }
    }
}
