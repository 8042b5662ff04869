//! Compares attachments to matching interfaces with the interfaces of a namespace.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bpfman_model::{AttachRequest, HookKey, IfIndex, Interface, InterfaceFacts, LinkId, ProbeReader};
use bpfmand_kernel::Kernel;

use crate::attach::AttachFor;
use crate::follow::matching::at_interface;
use crate::follow::{FollowReport, Present};
use crate::state::Unmatched;
use crate::state::hook_names::place;
use crate::state::records::MatchingRecord;
use crate::{Engine, EngineError};

const AGAIN: Duration = Duration::from_secs(5);

/// Links that are created without a pause; then the kernel's network lock is left to other users for some time.
const BURST: usize = 8;

impl<K: Kernel> Engine<K> {
    pub(crate) fn follow_matches(&self, present: &Present<'_>, report: &mut FollowReport) {
        let matchings: Vec<Arc<MatchingRecord>> = self.state().matchings.values().cloned().collect();
        let mut made = 0;
        for matching in matchings {
            self.end_unmatched(&matching, present, report);
            if !self.is_in(&matching.interfaces, present.path) {
                continue;
            }
            let there = self.links_there(&matching, present);
            let mut wanted: Vec<&InterfaceFacts> = present
                .interfaces
                .values()
                .filter(|facts| !there.contains_key(&facts.ifindex))
                .filter(|facts| matching.interfaces.chooses(facts))
                .collect();
            wanted.sort_unstable_by_key(|facts| facts.ifindex);
            let before = self.failures_of(&matching, present);
            let mut failures = Vec::new();
            for facts in wanted {
                let interface = present.interface(facts);
                if let Some(earlier) = before.iter().find(|failure| failure.interface == interface)
                    && earlier.tried.elapsed() < AGAIN
                {
                    failures.push(earlier.clone());
                    continue;
                }
                let spent = self.held_network.spent();
                match self.attach_match(&matching, &interface) {
                    Ok(()) => report.attached += 1,
                    Err(EngineError::AlreadyThere { link, .. }) if self.is_made_by(link, &matching) => {}
                    Err(error) => failures.push(failed(&interface, &error, &before, report)),
                }
                made += 1;
                if made >= BURST {
                    // Leave at least half of the time to other users of the network lock.
                    std::thread::sleep(self.held_network.spent().saturating_sub(spent));
                }
            }
            self.keep_failures(&matching, present, failures);
        }
    }

    fn attach_match(&self, matching: &MatchingRecord, interface: &Interface) -> Result<(), EngineError> {
        let program = self.record(matching.program).ok_or(EngineError::NoMatching(matching.id))?;
        let request = AttachRequest {
            ttl: None,
            program: program.id,
            point: at_interface(&matching.point, interface),
            order: matching.order.clone(),
            sharing: matching.sharing,
            metadata: matching.metadata.clone(),
            owner: matching.owner.clone().unwrap_or_else(|| program.owner()),
            group: None,
        };
        self.attach_for(&request, AttachFor::Matching(matching.id), ProbeReader::Unknown).map(drop)
    }

    fn is_made_by(&self, link: LinkId, matching: &MatchingRecord) -> bool {
        self.state().links.get(&link).is_some_and(|link| link.matching == Some(matching.id))
    }

    fn links_there(&self, matching: &MatchingRecord, present: &Present<'_>) -> HashMap<IfIndex, LinkId> {
        let state = self.state();
        let here = |key: HookKey| key.netns.id() == Some(present.netns);
        state
            .links_of_matching(matching.id)
            .filter_map(|link| Some((link.hook.filter(|key| here(*key))?.ifindex, link.id)))
            .collect()
    }

    fn end_unmatched(&self, matching: &MatchingRecord, present: &Present<'_>, report: &mut FollowReport) {
        for (ifindex, link) in self.links_there(matching, present) {
            let still = present.interfaces.get(&ifindex).is_none_or(|facts| matching.interfaces.keeps(facts));
            if still {
                continue;
            }
            match self.detach(link) {
                Ok(()) => report.detached += 1,
                Err(EngineError::NoLink(_)) => {}
                Err(error) => {
                    report.problems.push(format!("ending link {link}, which no longer matches: {error}"))
                }
            }
        }
    }

    fn failures_of(&self, matching: &MatchingRecord, present: &Present<'_>) -> Vec<Unmatched> {
        let state = self.state();
        let all = state.unmatched.get(&matching.id).into_iter().flatten();
        all.filter(|failure| failure.interface.netns.as_deref() == present.path).cloned().collect()
    }

    fn keep_failures(&self, matching: &MatchingRecord, present: &Present<'_>, failures: Vec<Unmatched>) {
        let mut state = self.state();
        if !state.matchings.contains_key(&matching.id) {
            return;
        }
        let all = state.unmatched.entry(matching.id).or_default();
        all.retain(|failure| failure.interface.netns.as_deref() != present.path);
        all.extend(failures);
        if all.is_empty() {
            state.unmatched.remove(&matching.id);
        }
    }
}

fn failed(
    interface: &Interface,
    error: &EngineError,
    before: &[Unmatched],
    report: &mut FollowReport,
) -> Unmatched {
    let reason = error.to_string();
    let known = before.iter().any(|failure| failure.interface == *interface && failure.reason == reason);
    if !known {
        report.problems.push(format!("attaching to {}: {reason}", place(interface)));
    }
    Unmatched { interface: interface.clone(), reason, tried: Instant::now() }
}
