//! Property test: in any order of events, a written status is a verdict on the spec of its generation.

use std::collections::{BTreeMap, BTreeSet};

use kube::runtime::watcher::Event;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::controller::decide::decide as plan;
use crate::controller::memory::Memory;
use crate::controller::memory::tests::fixture::{agent, application, empty, id, node, state};
use bpfman_application::scope::Scope;

const NODES: [&str; 3] = ["n1", "n2", "n3"];

#[derive(Clone, Copy, Debug)]
enum Step {
    Edit(usize),
    Rollout(bool),
    Know,
    Control,
    Act(usize),
    Away(usize),
    Break(usize, usize),
    Pass(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let node = || 0..NODES.len();
    prop_oneof![
        3 => (0usize..3).prop_map(Step::Edit),
        1 => prop::bool::weighted(0.8).prop_map(Step::Rollout),
        5 => Just(Step::Know),
        8 => Just(Step::Control),
        8 => node().prop_map(Step::Act),
        1 => node().prop_map(Step::Away),
        2 => (node(), 0usize..3).prop_map(|(node, spec)| Step::Break(node, spec)),
        2 => (0i64..30).prop_map(Step::Pass),
    ]
}

#[derive(Clone, Debug)]
struct LastReport {
    spec: usize,
    revision: String,
    fails: bool,
    away: Option<i64>,
}

struct Fleet {
    memory: Memory,
    rollouts: Rollouts,
    spec: usize,
    has_rollout: bool,
    generation: i64,
    status: Value,
    orders: BTreeMap<String, NodeOrders>,
    reports: BTreeMap<String, LastReport>,
    broken: BTreeSet<(usize, usize)>,
    moment: i64,
    verdicts: BTreeSet<String>,
}

fn revision_of(spec: usize) -> String {
    format!("app-a-{spec}")
}

impl Fleet {
    fn new() -> Self {
        let mut memory = empty();
        for name in NODES {
            memory.node(Event::Apply(node(name, json!({}))));
            memory.agent(Event::Apply(agent(name, "True")));
        }
        let mut fleet = Self {
            memory,
            rollouts: Rollouts::default(),
            spec: 0,
            has_rollout: true,
            generation: 1,
            status: Value::Null,
            orders: BTreeMap::new(),
            reports: BTreeMap::new(),
            broken: BTreeSet::new(),
            moment: 1_000_000,
            verdicts: BTreeSet::new(),
        };
        fleet.show_application();
        NODES.iter().for_each(|name| fleet.show_node(name));
        fleet
    }

    fn show_application(&mut self) {
        let mut spec = json!({ "nodeSelector": {}, "number": self.spec });
        if self.has_rollout {
            spec["rollout"] = json!({ "preflight": "Never", "soakSeconds": 5 });
        }
        let mut wire = application("a", 1, spec);
        wire.metadata.generation = Some(self.generation);
        wire.status = Some(self.status.clone()).filter(|status| !status.is_null());
        self.memory.application(Scope::Cluster, Event::Apply(wire));
    }

    fn show_node(&mut self, name: &str) {
        let (condition, more) = match self.reports.get(name) {
            None => ("Pending", json!({ "observedRevision": null })),
            Some(report) => {
                let mut more = json!({ "observedRevision": report.revision });
                if report.fails || report.away.is_some() {
                    more["failure"] = json!({ "reason": "kernel-refused", "message": "it failed" });
                }
                (if more.get("failure").is_some() { "Error" } else { "Success" }, more)
            }
        };
        let mut wire = state("a", name, condition, more);
        if let (Some(report), Some(status)) = (self.reports.get(name), wire.status.as_mut()) {
            status.conditions[0].observed_generation = report.away.or(report.revision.parse().ok());
        }
        let orders = self.orders.get(name).cloned().unwrap_or_default();
        let orders = orders
            .annotations()
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned())));
        wire.metadata.annotations = Some(orders.collect());
        self.memory.answer(Scope::Cluster, Event::Apply(wire));
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Edit(spec) if spec != self.spec => {
                self.spec = spec;
                self.generation += 1;
                self.show_application();
            }
            Step::Rollout(has) if has != self.has_rollout => {
                self.has_rollout = has;
                self.generation += 1;
                self.show_application();
            }
            Step::Edit(_) | Step::Rollout(_) => {}
            Step::Know => {
                let known = KnownRevisions {
                    generation: self.generation,
                    target: revision_of(self.spec),
                    data: json!({ "number": self.spec }),
                    names: (0..3).map(revision_of).collect(),
                    number: 3,
                };
                self.rollouts.known.insert(id("a"), known);
            }
            Step::Control => self.control(),
            Step::Act(number) => self.act(number),
            Step::Away(number) => {
                let generation = self.generation;
                if let Some(report) = self.reports.get_mut(NODES[number]) {
                    report.away = Some(generation);
                    self.show_node(NODES[number]);
                }
            }
            Step::Break(node, spec) => {
                if !self.broken.remove(&(node, spec)) {
                    self.broken.insert((node, spec));
                }
            }
            Step::Pass(seconds) => self.moment += seconds,
        }
    }

    fn act(&mut self, number: usize) {
        let name = NODES[number];
        let ordered = self.orders.get(name).and_then(|orders| orders.revision.clone());
        let (spec, revision) = match (self.has_rollout, ordered) {
            (false, _) => (self.spec, self.generation.to_string()),
            (true, Some(revision)) => ((0..3).find(|spec| revision_of(*spec) == revision).unwrap(), revision),
            (true, None) => match self.reports.get(name) {
                Some(report) => (report.spec, report.revision.clone()),
                None => return,
            },
        };
        let fails = self.broken.contains(&(number, spec));
        self.reports.insert(name.to_owned(), LastReport { spec, revision, fails, away: None });
        self.show_node(name);
    }

    fn control(&mut self) {
        let view = self.memory.view(&id("a")).unwrap();
        let (presence, now) = (Presence::ByPod, Instant::now());
        let round = self.rollouts.round(view, presence, now, UnixSeconds(self.moment));
        let plan = plan(view, round.aim, presence, k8s_openapi::jiff::Timestamp::UNIX_EPOCH);
        for order in round.work.orders {
            let name = NODES.iter().find(|name| order.object.ends_with(**name)).unwrap();
            self.orders.insert((*name).to_owned(), order.orders);
            self.show_node(name);
        }
        if let Some(patch) = plan.status {
            merge(&mut self.status, &patch["status"]);
            self.show_application();
            self.check_status();
        }
    }

    fn check_status(&mut self) {
        let condition = &self.status["conditions"][0];
        assert_eq!(self.status["observedGeneration"], self.generation, "{}", self.status);
        assert_eq!(condition["observedGeneration"], self.generation, "{}", self.status);
        let kind = condition["type"].as_str().unwrap().to_owned();
        let today = |report: &&LastReport| {
            report.spec == self.spec && (self.has_rollout || report.revision == self.generation.to_string())
        };
        let fails = self.reports.values().filter(today).any(|report| report.fails);
        let newest = |report: &LastReport| report.away == Some(self.generation);
        let away =
            self.reports.values().any(|report| newest(report) || (report.away.is_some() && today(&report)));
        let rollout = &self.status["rollout"];
        let failed = rollout["failedRevision"] == revision_of(self.spec).as_str();
        match kind.as_str() {
            "Success" => {
                let well = |report: &&LastReport| !report.fails && report.away.is_none();
                let done = self.reports.values().filter(today).filter(well).count();
                assert_eq!(done, NODES.len(), "{:?} {}", self.reports, self.status);
                assert!(!self.has_rollout || rollout["phase"] == "Idle", "{}", self.status);
            }
            "Error" => assert!(fails || away || failed, "{:?} {}", self.reports, self.status),
            "Pending" => {}
            other => panic!("{other}"),
        }
        self.verdicts.insert(kind);
    }
}

fn merge(value: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        value.clone_from(patch);
        return;
    };
    if !value.is_object() {
        *value = json!({});
    }
    for (key, field) in fields {
        match field {
            Value::Null => _ = value.as_object_mut().unwrap().remove(key),
            field => merge(&mut value[key], field),
        }
    }
}

proptest! {
    #[test]
    fn a_status_is_never_an_old_verdict_under_a_new_generation(steps in prop::collection::vec(step(), 0..80)) {
        let mut fleet = Fleet::new();
        for step in steps {
            fleet.take(step);
        }
    }
}

#[test]
fn undisturbed_fleet_reaches_verdict_on_newest_spec() {
    let mut fleet = Fleet::new();
    let settle = |fleet: &mut Fleet| {
        for _ in 0..20 {
            for step in [Step::Know, Step::Control, Step::Act(0), Step::Act(1), Step::Act(2), Step::Pass(6)] {
                fleet.take(step);
            }
        }
    };
    settle(&mut fleet);
    assert_eq!(fleet.status["conditions"][0]["type"], "Success", "{}", fleet.status);
    fleet.take(Step::Edit(1));
    let before = fleet.status.clone();
    fleet.take(Step::Control);
    assert_eq!(fleet.status, before, "nothing is known of generation 2 yet");
    fleet.take(Step::Break(1, 1));
    settle(&mut fleet);
    assert_eq!(fleet.status["conditions"][0]["type"], "Error", "{}", fleet.status);
    assert_eq!(fleet.status["observedGeneration"], 2);
    fleet.take(Step::Edit(0));
    settle(&mut fleet);
    assert_eq!(fleet.status["conditions"][0]["type"], "Success", "{}", fleet.status);
    assert_eq!(fleet.status["observedGeneration"], 3);
    let all = ["Error", "Pending", "Success"].map(str::to_owned);
    assert_eq!(fleet.verdicts, BTreeSet::from(all));
}
