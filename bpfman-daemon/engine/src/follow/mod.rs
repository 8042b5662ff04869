//! Keeps records consistent with interfaces that appear, disappear and change their names, by comparison: notifications
//! may be lost or late. A burst of changes costs only a few comparisons.

mod at_interface;
mod back;
mod gone;
mod matching;
mod matching_follow;
mod moved;
mod moved_dispatchers;
mod names;
mod namespaces;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use bpfman_model::{HookKey, HookKind, IfIndex, Interface, InterfaceFacts, NetnsId, ProgramUid};
use bpfmand_kernel::{Kernel, KernelError};

use crate::engine::locks::{Guard, Subject};
use crate::error::Interference;
use crate::follow::at_interface::{AtInterface, ChainOrLink};
use crate::{Engine, EngineError};

/// Result of comparing the interfaces of a namespace with the records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FollowReport {
    /// Links created for matching interfaces.
    pub attached: usize,
    /// Links ended because their interface is gone or no longer matches.
    pub detached: usize,
    /// Hooks and links whose interface was renamed.
    pub renamed: usize,
    /// Hooks and links that now wait for their interface.
    pub waiting: usize,
    /// Hooks and links that waited for their interface and are attached again.
    pub returned: usize,
    /// Failures with their causes. They are retried.
    pub problems: Vec<String>,
}

pub struct Present<'a> {
    pub path: Option<&'a Path>,
    pub netns: NetnsId,
    pub interfaces: HashMap<IfIndex, InterfaceFacts>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Gone {
    /// The interface is gone, unless a second search finds it in its namespace.
    Surely,
    /// Another interface has its number: it is gone only if its link is no longer attached.
    IfDead,
}

impl Present<'_> {
    pub fn interface(&self, facts: &InterfaceFacts) -> Interface {
        Interface { name: facts.name.clone(), netns: self.path.map(Path::to_owned) }
    }
}

impl FollowReport {
    /// Returns whether nothing had to be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn add(&mut self, result: Result<(), EngineError>, what: impl FnOnce() -> String) {
        if let Err(error) = result {
            self.problems.push(format!("{}: {error}", what()));
        }
    }
}

impl<K: Kernel> Engine<K> {
    /// Compares the interfaces of a namespace with the records and corrects them, also on [`KernelError::NoNamespace`].
    pub fn follow_interfaces(&self, netns: Option<&Path>) -> Result<FollowReport, EngineError> {
        let _operation = self.begin()?;
        let mut report = FollowReport::default();
        let present = match self.present(netns) {
            Ok(present) => present,
            Err(error @ EngineError::Kernel(KernelError::NoNamespace { .. })) => {
                let is_named = |at: &AtInterface<'_>| at.names().any(|name| name.netns.as_deref() == netns);
                self.let_go(|at, _| is_named(at).then_some(Gone::Surely), &mut report);
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        self.step("follow", "compare");
        self.let_go(
            |at, key| {
                let here = key.netns.id() == Some(present.netns);
                // Another namespace has the path now. Releasing checks whether the previous one has ended.
                let replaced = !here && at.names().any(|name| name.netns.as_deref() == netns);
                match present.interfaces.get(&key.ifindex) {
                    _ if replaced => Some(Gone::Surely),
                    None if here => Some(Gone::Surely),
                    // A new interface may have the number of one that is gone; links do not pass from one to the other.
                    Some(facts) if here && !facts.is_named(&at.interface.name) => Some(Gone::IfDead),
                    _ => None,
                }
            },
            &mut report,
        );
        let ended = self.end_orphans().map(|ended| report.detached += ended);
        report.add(ended, || "ending links of attachments to matching interfaces that have ended".to_owned());
        self.follow_names(&present, &mut report);
        self.bring_back(&present, &mut report);
        self.follow_matches(&present, &mut report);
        Ok(report)
    }

    pub(crate) fn present<'a>(&self, path: Option<&'a Path>) -> Result<Present<'a>, EngineError> {
        let interfaces = self.kernel.interfaces(path)?;
        // Any interface identifies its namespace. The loopback always exists, and always comes first.
        let mut identity = Err(EngineError::Fault("a network namespace without interfaces".to_owned()));
        for facts in &interfaces {
            let interface = Interface { name: facts.name.clone(), netns: path.map(Path::to_owned) };
            identity = self.kernel.find_hook(&interface, HookKind::Xdp).map_err(EngineError::from);
            if identity.is_ok() {
                break;
            }
        }
        let interfaces = interfaces.into_iter().map(|facts| (facts.ifindex, facts)).collect();
        Ok(Present { path, netns: identity?.netns.into(), interfaces })
    }

    fn let_go(
        &self,
        is_gone: impl Fn(&AtInterface<'_>, &HookKey) -> Option<Gone>,
        report: &mut FollowReport,
    ) {
        let gone = |at: AtInterface<'_>| Some((at.what, is_gone(&at, &at.key?)?));
        let all: Vec<_> = self.state().attached().filter_map(gone).collect();
        // Query the kernel without holding the lock of the records.
        for (what, gone) in all {
            if gone == Gone::IfDead && !self.is_dead(&what.pin()) {
                continue;
            }
            let result = match what {
                ChainOrLink::Chain(key) => self.let_hook_go(&key, report),
                ChainOrLink::Link(id) => self.let_link_go(id, report),
            };
            report.add(result, || format!("letting go of {what}"));
        }
    }

    fn bring_back(&self, present: &Present<'_>, report: &mut FollowReport) {
        // The kernel gives a name to one interface only, as its first or as an alternative name.
        let all = present.interfaces.values();
        let by_name: HashMap<&str, _> =
            all.flat_map(|facts| facts.names().map(move |name| (name, facts))).collect();
        let is_back = |at: AtInterface<'_>| match at.key {
            // Compare all names of the interface: the first may lead nowhere.
            None => {
                let mut here = at.names().filter(|name| name.netns.as_deref() == present.path);
                Some((at.what, *here.find_map(|name| by_name.get(&*name.name))?))
            }
            Some(_) => None,
        };
        let back: Vec<_> = self.state().attached().filter_map(is_back).collect();
        for (what, facts) in back {
            let result = match what {
                ChainOrLink::Chain(parked) => self.bring_hook_back(&parked, present, facts, report),
                ChainOrLink::Link(id) => self.bring_link_back(id, present, facts, report),
            };
            report.add(result, || format!("attaching to {} again", facts.name));
        }
    }

    pub(crate) fn lock_members(&self, hooks: &[HookKey]) -> Result<Vec<Guard>, EngineError> {
        /// Only a concurrent attach or detach causes another attempt.
        const MAX_ATTEMPTS: usize = 64;
        let hooks: BTreeSet<HookKey> = hooks.iter().copied().collect();
        let programs = || -> BTreeSet<ProgramUid> {
            let state = self.state();
            let there = |link: &HookKey| hooks.contains(link);
            state.links.values().filter(|l| l.hook.as_ref().is_some_and(there)).map(|l| l.program).collect()
        };
        for _ in 0..MAX_ATTEMPTS {
            let wanted = programs();
            let mut held: Vec<Guard> = wanted.iter().map(|uid| self.lock(Subject::Program(*uid))).collect();
            held.extend(self.lock_hooks(&hooks));
            if programs().is_subset(&wanted) {
                return Ok(held);
            }
        }
        Err(Interference::ConcurrentChanges.into())
    }
}
