//! Simulated fleet whose nodes execute their orders, each at its own pace.

use std::collections::{BTreeMap, BTreeSet};

use bpfman_application::orders::NodeOrders;
use bpfman_application::rollout::{PreflightVerdict, Rollout, RolloutPhase, RolloutStatus};
use bpfman_application::state::node::{HealthAnswer, PreflightAnswer};
use bpfman_operator::rollout::command::{Numbered, RolloutCommand};
use bpfman_operator::rollout::{
    NodeHealth, Observation, RolloutDecision, RolloutNode, UnixSeconds, decide, revision,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

pub const V1: &str = "app-0000000001";
pub const V2: &str = "app-0000000002";
pub const OLD: &str = "6.1.0";
pub const NEW: &str = "6.12.0";

#[derive(Clone, Debug, Default)]
pub struct Version {
    pub name: String,
    pub digest: Option<String>,
    pub refused_by: BTreeSet<String>,
    pub fails_on: BTreeSet<String>,
    pub slow_on: BTreeSet<String>,
}

impl Version {
    pub fn good(number: u32) -> Self {
        Self { name: format!("app-{number:010}"), ..Self::default() }
    }
}

#[derive(Clone, Debug)]
pub struct Fleet {
    pub seen: Observation,
    pub versions: Vec<Version>,
    pub silent: BTreeSet<String>,
    pub told: BTreeMap<String, Vec<String>>,
    pub events: Vec<&'static str>,
}

pub fn node_name(number: usize) -> String {
    format!("node-{number:03}")
}

pub fn amount(text: &str) -> IntOrString {
    text.parse().map_or_else(|_| IntOrString::String(text.to_owned()), IntOrString::Int)
}

pub fn waves(amounts: &[&str]) -> Rollout {
    Rollout {
        waves: amounts.iter().map(|text| amount(text)).collect(),
        progress_deadline_seconds: 300,
        ..Rollout::default()
    }
}

pub fn names(numbers: std::ops::Range<usize>) -> BTreeSet<String> {
    numbers.map(node_name).collect()
}

impl Fleet {
    pub fn stable(kernels: &[(&str, usize)], rollout: Rollout) -> Self {
        let first = Rollout { progress_deadline_seconds: 300, ..Rollout::default() };
        let mut fleet = Self::new(kernels, first);
        fleet.release(Version::good(1));
        fleet.settle();
        assert_eq!(fleet.status().phase, RolloutPhase::Idle, "{:?}", fleet.status());
        fleet.seen.rollout = rollout;
        fleet.told.clear();
        fleet.events.clear();
        fleet
    }

    pub fn new(kernels: &[(&str, usize)], rollout: Rollout) -> Self {
        let mut fleet = Self {
            seen: Observation { now: UnixSeconds(1_700_000_000), rollout, ..Observation::default() },
            versions: Vec::new(),
            silent: BTreeSet::new(),
            told: BTreeMap::new(),
            events: Vec::new(),
        };
        for (kernel, count) in kernels {
            for _ in 0..*count {
                fleet.join(kernel);
            }
        }
        fleet
    }

    pub fn join(&mut self, kernel: &str) -> String {
        let name = (0..).map(node_name).find(|name| !self.seen.nodes.contains_key(name)).unwrap();
        let node = RolloutNode {
            selected: true,
            present: true,
            kernel: kernel.to_owned(),
            ..RolloutNode::default()
        };
        self.seen.nodes.insert(name.clone(), node);
        self.told.remove(&name);
        name
    }

    pub fn release(&mut self, version: Version) {
        self.seen.target.clone_from(&version.name);
        self.seen.tagged = version.digest.is_some();
        self.versions.retain(|other| other.name != version.name);
        self.versions.push(version);
    }

    pub fn split(&mut self, is_cut_off: impl Fn(usize) -> bool) {
        for (number, node) in self.seen.nodes.values_mut().enumerate() {
            node.present &= !is_cut_off(number);
        }
    }

    pub fn heal(&mut self) {
        self.seen.nodes.values_mut().for_each(|node| node.present = true);
    }

    pub fn say(&mut self, command: RolloutCommand) {
        let number = self.seen.command.map_or(0, |last| last.number) + 1;
        self.seen.command = Some(Numbered { number, command });
    }

    pub fn status(&self) -> &RolloutStatus {
        &self.seen.status
    }

    pub fn pass(&mut self, seconds: i64) {
        self.seen.now.0 += seconds;
    }

    pub fn with(&self, version: &str) -> Vec<&str> {
        let told =
            |node: &RolloutNode| node.orders.revision.as_deref().map(revision::source) == Some(version);
        self.seen.nodes.iter().filter(|(_, node)| told(node)).map(|(name, _)| name.as_str()).collect()
    }

    pub fn control(&mut self) -> RolloutDecision {
        self.control_and_stop_after(usize::MAX)
    }

    pub fn control_and_stop_after(&mut self, writes: usize) -> RolloutDecision {
        let decision = decide(&self.seen);
        self.check(&decision);
        let answers_at_once = decision.orders.iter().any(|(name, orders)| {
            let node = &self.seen.nodes[name];
            let tried = node.preflight.as_ref().map(|answer| &answer.revision);
            (orders.revision != node.orders.revision && orders.revision == node.observed)
                || (orders.preflight != node.orders.preflight && orders.preflight.as_ref() == tried)
        });
        if writes == 0 {
            return decision;
        }
        // The status is converted to text and back, as in the API server.
        let text = serde_json::to_string(&decision.status).unwrap();
        self.seen.status = serde_json::from_str(&text).unwrap();
        self.events.extend(decision.events.iter().map(|event| event.reason));
        for (name, orders) in decision.orders.iter().take(writes - 1) {
            let node = self.seen.nodes.get_mut(name).unwrap();
            if let Some(revision) =
                orders.revision.clone().filter(|new| Some(new) != node.orders.revision.as_ref())
            {
                self.told.entry(name.clone()).or_default().push(revision);
            }
            node.orders = orders.clone();
        }
        if writes == usize::MAX && !answers_at_once {
            // Orders that were withdrawn before the node executed them may end a phase; nothing else changes.
            let again = decide(&self.seen);
            assert!(again.orders.is_empty(), "decided twice: {again:?}");
            let mut later = self.seen.clone();
            later.status = again.status.clone();
            assert_eq!(
                decide(&later),
                RolloutDecision { events: Vec::new(), ..again },
                "decided three times"
            );
        }
        decision
    }

    fn check(&self, decision: &RolloutDecision) {
        let status = &decision.status;
        self.check_end(decision);
        self.check_stragglers(decision);
        let Some(target) = status.target_revision.as_deref() else { return };
        let has = |orders: &NodeOrders| {
            orders.revision.as_deref().is_some_and(|revision| revision::same_source(revision, target))
        };
        let after = |name: &String| decision.orders.get(name).unwrap_or(&self.seen.nodes[name].orders);
        let added: Vec<&String> = decision
            .orders
            .iter()
            .filter(|(name, orders)| has(orders) && !has(&self.seen.nodes[*name].orders))
            .map(|(name, _)| name)
            .collect();
        if added.is_empty() {
            return;
        }
        assert_eq!(status.phase, RolloutPhase::Progressing);
        let participants: Vec<&String> = self
            .seen
            .nodes
            .iter()
            .filter(|(_, node)| node.selected && (node.present || has(&node.orders)))
            .map(|(name, _)| name)
            .collect();
        let selected = self.seen.nodes.values().filter(|node| node.selected).count();
        let members: Vec<&&String> = participants.iter().filter(|name| has(after(name))).collect();
        let wave = usize::try_from(status.wave).unwrap();
        let total = participants.len();
        assert!(
            members.len() <= self.size_of(wave, selected),
            "wave {wave} of {selected} nodes has {} members",
            members.len()
        );
        let in_change = members
            .iter()
            .filter(|name| {
                let node = &self.seen.nodes[name.as_str()];
                !node.present || node.observed != after(name).revision || node.health == NodeHealth::Pending
            })
            .count();
        if let Some(limit) = &self.seen.rollout.max_unavailable {
            let limit = count(limit, total).max(1) + usize::try_from(status.tolerated).unwrap();
            assert!(in_change <= limit, "{in_change} nodes in change, {limit} allowed");
        }
        for name in added {
            assert!(self.seen.nodes[name].present && self.seen.nodes[name].selected, "{name} cannot hear");
        }
    }

    fn check_end(&self, decision: &RolloutDecision) {
        let before = &self.seen.status;
        let Some(target) = before.target_revision.as_deref() else { return };
        let stable = decision.status.stable_revision.as_deref();
        let ends = decision.status.target_revision.is_none()
            && stable.is_some_and(|stable| revision::same_source(stable, target));
        if !ends || decision.status.command != before.command {
            return;
        }
        let without = |node: &&RolloutNode| node.selected && !runs(node.orders.revision.as_ref(), target);
        let without = self.seen.nodes.values().filter(without).count();
        let first = self.first_wave();
        assert!(without <= first, "{without} nodes never had a wave, and a first wave has {first}");
    }

    fn check_stragglers(&self, decision: &RolloutDecision) {
        let status = &decision.status;
        let (RolloutPhase::Idle, Some(stable)) = (status.phase, status.stable_revision.as_deref()) else {
            return;
        };
        let forward = |(name, orders): &(&String, &NodeOrders)| {
            let node = &self.seen.nodes[*name];
            let old = node.orders.revision.as_ref();
            let failed = self.seen.status.failed_revision.as_deref();
            node.selected
                && old
                    .is_some_and(|old| old != stable && failed.is_none_or(|failed| !runs(Some(old), failed)))
                && orders.revision.as_deref() == Some(stable)
        };
        let moved = decision.orders.iter().filter(forward).count();
        let first = self.first_wave();
        assert!(moved <= first, "{moved} nodes change at once, and a first wave has {first}");
    }

    fn first_wave(&self) -> usize {
        let selected = self.seen.nodes.values().filter(|node| node.selected).count();
        let sizes = (1..=self.seen.rollout.waves.len() + 1).map(|wave| self.size_of(wave, selected));
        sizes.into_iter().find(|size| *size > 0).unwrap_or(1)
    }

    fn size_of(&self, wave: usize, total: usize) -> usize {
        let waves = &self.seen.rollout.waves;
        if wave > waves.len() {
            return total;
        }
        waves.iter().take(wave).map(|amount| count(amount, total)).max().unwrap_or(total)
    }

    pub fn work(&mut self, name: &str) {
        let Some(node) = self.seen.nodes.get_mut(name) else { return };
        if !node.present || self.silent.contains(name) {
            return;
        }
        let versions = &self.versions;
        let version_of = |revision: &str| {
            versions.iter().find(|one| one.name == revision::source(revision)).cloned().unwrap_or_default()
        };
        if let Some(ordered) = node.orders.revision.clone().filter(|_| node.selected) {
            let version = version_of(&ordered);
            let failed = version.refused_by.contains(&node.kernel) || version.fails_on.contains(name);
            node.health = if failed { NodeHealth::Failed } else { NodeHealth::Healthy };
            node.message = if failed { "the verifier refused it".to_owned() } else { String::new() };
            node.digest = version.digest.filter(|_| !failed);
            node.observed = Some(ordered);
        }
        node.preflight = node.orders.preflight.clone().map(|revision| {
            let version = version_of(&revision);
            let refused = version.refused_by.contains(&node.kernel);
            PreflightAnswer {
                revision,
                verdict: if refused { PreflightVerdict::Failed } else { PreflightVerdict::Passed },
                message: if refused { "R1 invalid mem access".to_owned() } else { String::new() },
                digest: version.digest,
                verified_instructions: None,
            }
        });
        node.gates = node.orders.soak.clone().map(|revision| {
            let slow = version_of(&revision).slow_on.contains(name);
            HealthAnswer {
                revision,
                within: !slow,
                message: if slow { "900 ns".to_owned() } else { String::new() },
            }
        });
    }

    pub fn work_all(&mut self) {
        for name in self.seen.nodes.keys().cloned().collect::<Vec<_>>() {
            self.work(&name);
        }
    }

    pub fn settle(&mut self) -> bool {
        for _ in 0..2_000 {
            self.control();
            self.work_all();
            if matches!(self.status().phase, RolloutPhase::Idle | RolloutPhase::Failed)
                && decide(&self.seen).orders.is_empty()
                && decide(&self.seen).status == *self.status()
            {
                return true;
            }
            self.pass(60);
        }
        false
    }
}

fn runs(told: Option<&String>, revision: &str) -> bool {
    told.is_some_and(|told| revision::same_source(told, revision))
}

fn count(amount: &IntOrString, total: usize) -> usize {
    match amount {
        IntOrString::Int(count) => usize::try_from(*count).unwrap().min(total),
        IntOrString::String(text) => {
            (total * text.trim_end_matches('%').parse::<usize>().unwrap()).div_ceil(100)
        }
    }
}
