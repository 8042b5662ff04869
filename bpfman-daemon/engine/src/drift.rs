//! Drift: what was put at a hook is compared with what is there, and comes back where others took it away.
//!
//! Strangers can delete filters by number, flush a queueing discipline, force a link off or remove a pin. None of that is
//! prevented by the kernel, so it is looked for. What they put in our place is named and stays.

use std::sync::atomic::{AtomicU64, Ordering};

use bpfmand_core::{HookEntry, HookKey, HookKind, LinkId, ProgramId, Via};
use bpfmand_kernel::{Kernel, KernelError, TcFilter};

use crate::chain::{filter_place, hook_text};
use crate::locks::Subject;
use crate::records::{Entry, HookRecord, LinkRecord};
use crate::recover_moves::is_parked;
use crate::{Engine, EngineError, paths};

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookCheck {
    /// What was put is there.
    Right,
    /// Something was lost and is back.
    Mended(String),
    /// Something was lost or changed by someone, and is not back.
    Lost(String),
    /// There is nothing to be compared: no such record, or its interface is gone.
    Absent,
}

/// What checks of all hooks and tcx links found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// How many were compared.
    pub checked: usize,
    /// What was lost and is back.
    pub mended: Vec<String>,
    /// What was lost and is not back.
    pub lost: Vec<String>,
}

/// How often something was found to differ since the engine was opened. What stays lost counts once.
#[derive(Debug, Default)]
pub struct DriftCounts {
    found: AtomicU64,
    mended: AtomicU64,
}

impl DriftCounts {
    /// Found, and of these mended.
    pub fn counted(&self) -> (u64, u64) {
        (self.found.load(Ordering::Relaxed), self.mended.load(Ordering::Relaxed))
    }
}

/// What is where a chain or link of ours was put.
pub enum Look<H> {
    /// What was put there.
    Right,
    /// The link is there, but not its pin.
    Unpinned(H),
    /// Someone put another program into our link.
    Changed(String),
    /// Nothing of ours is there.
    Lost(String),
    /// The interface is gone too.
    Gone,
    /// It runs, but someone took away what it leads to.
    Torn(String),
}

impl<K: Kernel> Engine<K> {
    /// Compares all hooks and tcx links with the kernel, and brings back what is lost.
    pub fn check_all(&self) -> CheckReport {
        let mut report = CheckReport::default();
        if self.begin().is_err() {
            return report;
        }
        report.lost.extend(self.unfinished());
        let (hooks, links) = {
            let state = self.state();
            let hooks: Vec<HookKey> = state.hooks.keys().copied().collect();
            let is_tcx = |key: HookKey| matches!(key.kind, HookKind::Tcx(_));
            let links = state.links.values().filter(|link| link.hook.is_some_and(is_tcx));
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

    /// Compares a hook with the kernel, and enters it again if what was put there is lost. Nobody's program is replaced.
    ///
    /// # Errors
    /// The kernel refuses to tell what is there.
    pub fn check_hook(&self, key: &HookKey) -> Result<HookCheck, EngineError> {
        if self.set_moved_aside(key)? {
            return Ok(HookCheck::Absent);
        }
        let _lock = self.lock(Subject::Hook(*key));
        let (hook, links) = {
            let state = self.state();
            let Some(hook) = state.hooks.get(key).cloned() else { return Ok(HookCheck::Absent) };
            (hook, state.chain(key))
        };
        if is_parked(key) {
            return Ok(HookCheck::Absent);
        }
        let mut look = self.look_at_hook(&hook)?;
        if let (Look::Right, Some(chain)) = (&look, &hook.chain)
            && !self.is_whole(chain)?
        {
            // The kernel empties an array that nobody holds.
            look = Look::Torn("pins of its chain were removed".to_owned());
        }
        let is_torn = matches!(look, Look::Torn(_));
        let found = self.settle_drift(look, &paths::hook_link(key), || {
            self.step("check", "enter again");
            if is_torn {
                self.keep_or_swap(&hook, &links, true).map(drop)
            } else {
                self.reenter_hook(&hook, &links)
            }
        })?;
        let known = match &found {
            HookCheck::Lost(what) => self.state().drifted.insert(*key, what.clone()),
            _ => self.state().drifted.remove(key),
        };
        self.tell_drift(&hook_text(key, &hook.interface), &found, known);
        Ok(found)
    }

    /// The same for a tcx link.
    ///
    /// # Errors
    /// The kernel refuses to tell what is there.
    pub fn check_link(&self, id: LinkId) -> Result<HookCheck, EngineError> {
        let find = || self.state().links.get(&id).cloned();
        let Some(link) = find() else { return Ok(HookCheck::Absent) };
        let _program_lock = self.lock(Subject::Program(link.program));
        let Some(link) = find() else { return Ok(HookCheck::Absent) };
        let Some(key) = link.hook.filter(|key| matches!(key.kind, HookKind::Tcx(_))) else {
            return Ok(HookCheck::Absent);
        };
        let _hook_lock = self.lock(Subject::Hook(key));
        if self.link_is_elsewhere(&link)? {
            self.record_place_of(&link, None)?;
            return Ok(HookCheck::Absent);
        }
        let look = self.look_at_link(&link, &key)?;
        let pin = paths::link(id);
        let found = self.settle_drift(look, &pin, || {
            self.end_dead_link(&pin, link.adopted)?;
            self.step("check", "attach again");
            self.reattach(&link)
        })?;
        let known = match &found {
            HookCheck::Lost(what) => self.state().drifted_links.insert(id, what.clone()),
            _ => self.state().drifted_links.remove(&id),
        };
        self.tell_drift(&format!("link {id} at {}", link.point), &found, known);
        Ok(found)
    }

    fn settle_drift(
        &self,
        look: Look<K::Handle>,
        pin: &std::path::Path,
        come_back: impl FnOnce() -> Result<(), EngineError>,
    ) -> Result<HookCheck, EngineError> {
        Ok(match look {
            Look::Right => HookCheck::Right,
            Look::Gone => HookCheck::Absent,
            Look::Unpinned(link) => {
                self.kernel.pin(&link, pin)?;
                HookCheck::Mended("the pin of its link was removed".to_owned())
            }
            Look::Changed(what) => HookCheck::Lost(what),
            Look::Lost(what) | Look::Torn(what) => match come_back() {
                Ok(()) => HookCheck::Mended(what),
                Err(error) => HookCheck::Lost(format!("{what}; {error}")),
            },
        })
    }

    /// Counts and logs a drift, once for as long as it is the same.
    fn tell_drift(&self, what: &str, found: &HookCheck, known: Option<String>) {
        match found {
            HookCheck::Lost(now) if known.as_deref() != Some(now) => {
                if known.is_none() {
                    self.drifts.found.fetch_add(1, Ordering::Relaxed);
                }
                tracing::warn!("{what} is lost: {now}");
                self.tell_change();
            }
            HookCheck::Mended(why) => {
                if known.is_none() {
                    self.drifts.found.fetch_add(1, Ordering::Relaxed);
                }
                self.drifts.mended.fetch_add(1, Ordering::Relaxed);
                tracing::warn!("{what} was lost and is back: {why}");
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

    pub(crate) fn look_at_hook(&self, hook: &HookRecord) -> Result<Look<K::Handle>, EngineError> {
        match hook.entry {
            Entry::Link => self.look_at_pin(
                &paths::hook_link(&hook.key),
                hook.program,
                &hook.key,
                hook.interface.netns.as_deref(),
            ),
            Entry::Dispatcher => {
                if self.contents(hook.interface.netns.as_deref(), &hook.key)?.is_none() {
                    return Ok(Look::Gone);
                }
                Ok(match self.dispatcher_with_ours(hook)? {
                    Some(standing) if standing.has_all_of(hook) => {
                        self.follow_dispatcher(hook, &standing)?;
                        Look::Right
                    }
                    Some(_) => Look::Torn("someone took a program out of libxdp's dispatcher".to_owned()),
                    None => Look::Lost("libxdp's dispatcher, with it in a slot, was taken away".to_owned()),
                })
            }
            Entry::Filter { priority, handle } => {
                let Some(at) = filter_place(&hook.key, &hook.interface, TcFilter { priority, handle }) else {
                    return Ok(Look::Gone);
                };
                // The path may be of another namespace by now, in which an interface has the same number.
                if self.contents(hook.interface.netns.as_deref(), &hook.key)?.is_none() {
                    return Ok(Look::Gone);
                }
                let program = match self.kernel.filter_program(&at) {
                    Err(KernelError::NoNamespace { .. }) => return Ok(Look::Gone),
                    result => result?,
                };
                Ok(match program {
                    Some(program) if program == hook.program => Look::Right,
                    Some(other) => {
                        Look::Lost(format!("its filter was replaced by one of {}", self.name_of(other)))
                    }
                    None => Look::Lost("its filter was removed".to_owned()),
                })
            }
        }
    }

    pub(crate) fn look_at_link(
        &self,
        link: &LinkRecord,
        key: &HookKey,
    ) -> Result<Look<K::Handle>, EngineError> {
        let Some(program) = self.record(link.program) else { return Ok(Look::Gone) };
        let netns = link.point.hook().and_then(|(interface, _)| interface.netns.as_deref());
        self.look_at_pin(&paths::link(link.id), program.id, key, netns)
    }

    fn look_at_pin(
        &self,
        pin: &std::path::Path,
        program: ProgramId,
        key: &HookKey,
        netns: Option<&std::path::Path>,
    ) -> Result<Look<K::Handle>, EngineError> {
        if let Some(link) = self.kernel.open_pin(pin)? {
            let facts = self.kernel.link_of(&link)?;
            if facts.ifindex.is_some() {
                return Ok(if facts.program == program {
                    Look::Right
                } else {
                    let other = self.name_of(facts.program);
                    Look::Changed(format!("someone put {other} into its link, which is left as it is"))
                });
            }
            drop(link);
            return Ok(match self.contents(netns, key)? {
                Some(_) => Look::Lost("its link was detached by force".to_owned()),
                None => Look::Gone,
            });
        }
        let Some(entries) = self.contents(netns, key)? else { return Ok(Look::Gone) };
        for entry in entries.iter().filter(|entry| entry.program == Some(program)) {
            let links = match &entry.via {
                Via::XdpLink { links, .. } => links.clone(),
                Via::TcxLink { link } => vec![*link],
                _ => continue,
            };
            for id in links {
                // One that is about to go can no longer be opened.
                let Some(link) = self.kernel.open_link(id)? else { continue };
                if self.kernel.link_of(&link)?.ifindex == Some(key.ifindex) {
                    return Ok(Look::Unpinned(link));
                }
            }
        }
        Ok(Look::Lost("its link was removed".to_owned()))
    }

    /// What is at a hook; none if the hook is gone.
    fn contents(
        &self,
        netns: Option<&std::path::Path>,
        key: &HookKey,
    ) -> Result<Option<Vec<HookEntry>>, EngineError> {
        match self.kernel.hook_contents(netns, key) {
            Ok(contents) => Ok(Some(contents.entries)),
            Err(KernelError::HookGone { .. } | KernelError::NoNamespace { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn name_of(&self, program: ProgramId) -> String {
        match self.kernel.program(program) {
            Ok(Some(facts)) => format!("program {program} \"{}\"", facts.name),
            _ => format!("program {program}"),
        }
    }
}

impl CheckReport {
    fn add(&mut self, check: Result<HookCheck, EngineError>, what: impl Fn() -> String) {
        match check {
            Ok(HookCheck::Right) => self.checked += 1,
            Ok(HookCheck::Mended(why)) => {
                self.checked += 1;
                self.mended.push(format!("{}: {why}", what()));
            }
            Ok(HookCheck::Lost(why)) => {
                self.checked += 1;
                self.lost.push(format!("{}: {why}", what()));
            }
            Ok(HookCheck::Absent) => {}
            Err(error) => self.lost.push(format!("{}: {error}", what())),
        }
    }
}
