//! Properties of every application and every daemon: the steps lead to the desired state, and then none are left.

use std::collections::{BTreeMap, BTreeSet};

use bpfman_application::place::{LinkOrder, OnUnavailable};
use bpfman_proto::v1::attach_info::Info;
use bpfman_proto::{WirePoint, v1};
use proptest::prelude::*;

use crate::content::content;
use crate::desired::{AttachmentKey, Desired, Load, Program, WantedLink};
use crate::observed::{ObservedLink, ObservedProgram, ObservedPrograms, declared};
use crate::place::HookPlace;
use crate::step::{ApplyStep, current, link_steps, load_step, steps};

const NAMES: [&str; 3] = ["count", "judge", "shape"];
const TYPES: [&str; 2] = ["XDP", "TCX"];

fn attach(kind: &str, interface: u8, priority: i32, redirect: bool) -> Info {
    let iface = format!("eth{interface}");
    match kind {
        "XDP" => Info::XdpAttachInfo(v1::XdpAttachInfo {
            priority,
            iface,
            proceed_on: if redirect { vec![2, 4] } else { vec![2, 31] },
            ..Default::default()
        }),
        _ => Info::TcxAttachInfo(v1::TcxAttachInfo {
            priority,
            iface,
            direction: "ingress".to_owned(),
            ..Default::default()
        }),
    }
}

fn links(kind: &'static str) -> impl Strategy<Value = BTreeMap<AttachmentKey, WantedLink>> {
    let link = (0..3_u8, 0..3_i32, any::<bool>(), prop::option::of(Just("firewall".to_owned())));
    prop::collection::vec(link, 0..4).prop_map(move |links| {
        let of = |(interface, priority, redirect, role): (u8, i32, bool, Option<String>)| {
            let order = role.map(|role| LinkOrder { role: Some(role), ..LinkOrder::default() });
            let point = WirePoint::from(attach(kind, interface, priority, redirect));
            let link = WantedLink { point, order, on_unavailable: OnUnavailable::default(), pod: None };
            (AttachmentKey(format!("eth{interface}")), link)
        };
        links.into_iter().map(of).collect()
    })
}

fn program(name: &'static str) -> impl Strategy<Value = Program> {
    prop::sample::select(&TYPES[..]).prop_flat_map(move |kind| {
        links(kind).prop_map(move |links| Program {
            name: name.to_owned(),
            program_type: kind,
            links,
            problems: Vec::new(),
            unmatched: Vec::new(),
            unknown: Default::default(),
        })
    })
}

fn wanted() -> impl Strategy<Value = Desired> {
    let programs = prop::sample::subsequence(NAMES.to_vec(), 1..=3)
        .prop_flat_map(|names| names.into_iter().map(program).collect::<Vec<_>>());
    let load = (programs, 0..2_u8, prop::option::of(0..2_u8)).prop_map(|(programs, version, object)| {
        let info = programs.iter().map(|program| v1::LoadInfo {
            name: program.name.clone(),
            program_type: i32::from(program.program_type == "TCX"),
            info: None,
        });
        let request = v1::LoadRequest {
            global_data: [("version".to_owned(), vec![version])].into(),
            info: info.collect(),
            ..Default::default()
        };
        Load {
            content: content(&request, None),
            request,
            values: None,
            programs,
            held: None,
            pull_policy: 0,
            object_sha256: object.map(|object| object.to_string()),
        }
    });
    prop::option::of(load).prop_map(|load| Desired { load, ..Desired::default() })
}

#[derive(Clone, Debug, Default)]
struct Model {
    seen: ObservedPrograms,
    digest: String,
    next: u32,
    calls: Vec<ApplyStep>,
}

impl Model {
    fn number(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    fn reconcile(&mut self, desired: &Desired, replaces: bool) {
        let Some(load) = &desired.load else {
            let steps = steps(desired, &self.seen, None);
            self.follow(&Load::default(), &steps);
            return;
        };
        let digest = self.digest.clone();
        if let Some(step) = load_step(load, &self.seen, Some(&digest)) {
            if let ApplyStep::Replace { old, .. } = &step {
                let runs =
                    |id: &u32| self.seen.programs.iter().any(|program| program.id == *id && program.runs);
                assert!(old.iter().all(runs), "the daemon refuses to replace what does not run");
            }
            let old: BTreeSet<u32> = match &step {
                ApplyStep::Replace { old, .. } => old.iter().copied().collect(),
                _ => BTreeSet::new(),
            };
            self.install(load, &old, replaces);
            self.calls.push(step);
        }
        let versions = current(load, &self.seen, Some(&digest));
        assert_eq!(versions.len(), load.programs.len(), "all are loaded");
        let steps = link_steps(load, &versions, &self.seen, true);
        self.follow(load, &steps);
    }

    fn install(&mut self, load: &Load, old: &BTreeSet<u32>, replaces: bool) {
        let mut new = Vec::new();
        for program in &load.programs {
            let kind = declared(program.program_type);
            let same = |other: &&ObservedProgram| {
                old.contains(&other.id) && other.identity() == (program.name.as_str(), kind.as_str())
            };
            let links = self.seen.programs.iter().find(same).filter(|_| replaces);
            let links = links.map(|old| old.links.clone()).unwrap_or_default();
            let id = self.number();
            new.push(ObservedProgram {
                inherited: false,
                id,
                uid: id.into(),
                name: program.name.clone(),
                declared: kind,
                content: load.content.clone(),
                image: String::new(),
                digest: self.digest.clone(),
                object_sha256: load.object_sha256.clone().unwrap_or_default(),
                runs: true,
                warnings: Vec::new(),
                links,
            });
        }
        if replaces {
            self.seen.programs.retain(|program| !old.contains(&program.id));
        }
        self.seen.programs.extend(new);
    }

    fn follow(&mut self, load: &Load, steps: &[ApplyStep]) {
        for step in steps {
            self.calls.push(step.clone());
            match step {
                ApplyStep::Attach { program, key } => {
                    let lost = self.seen.programs.iter().find(|program| !program.runs);
                    assert_eq!(lost, None, "the daemon changes no chain with a member that is lost");
                    let wanted = load.programs.iter().find(|one| one.name == *program).unwrap();
                    let link = &wanted.links[key];
                    let id = self.number();
                    let versions = current(load, &self.seen, Some(&self.digest));
                    let running = versions[program].id;
                    let made = ObservedLink {
                        id,
                        key: key.clone(),
                        place: HookPlace::of(link.point.as_published(), link.order.as_ref()),
                        runs: true,
                        ..ObservedLink::default()
                    };
                    self.program(running).links.push(made);
                }
                ApplyStep::Update { key, request, program } => {
                    let wanted = load.programs.iter().find(|one| one.name == *program).unwrap();
                    let place = HookPlace::of(
                        wanted.links[key].point.as_published(),
                        wanted.links[key].order.as_ref(),
                    );
                    let link = self
                        .seen
                        .programs
                        .iter_mut()
                        .flat_map(|program| &mut program.links)
                        .find(|link| link.id == request.link_id)
                        .unwrap();
                    link.place.priority = request.priority.or(link.place.priority);
                    if request.set_proceed_on {
                        link.place.proceed_on = place.proceed_on;
                    }
                    if request.order.is_some() {
                        link.place.order = place.order;
                    }
                }
                ApplyStep::Remake { .. } => unreachable!("no place here excludes another"),
                ApplyStep::Detach { link, .. } => {
                    for program in &mut self.seen.programs {
                        program.links.retain(|one| one.id != *link);
                    }
                }
                ApplyStep::Unload { id, .. } => self.seen.programs.retain(|program| program.id != *id),
                ApplyStep::Load { .. } | ApplyStep::Replace { .. } => unreachable!("they come first"),
            }
        }
    }

    fn program(&mut self, id: u32) -> &mut ObservedProgram {
        self.seen.programs.iter_mut().find(|program| program.id == id).unwrap()
    }

    fn running(&self) -> BTreeSet<(String, AttachmentKey, String)> {
        let of = |program: &ObservedProgram| {
            let name = program.name.clone();
            let links = program.links.clone();
            links.into_iter().map(move |link| (name.clone(), link.key, format!("{:?}", link.place)))
        };
        self.seen.programs.iter().flat_map(of).collect()
    }

    /// Reboots: the kernel then rejects the programs with a bit in `which`, and the daemon keeps only their records.
    fn boot(&mut self, which: u64) {
        for (at, program) in self.seen.programs.iter_mut().enumerate() {
            if which >> (at % 64) & 1 == 1 {
                program.runs = false;
                for link in &mut program.links {
                    link.state = "missing: its program is not loaded".to_owned();
                }
            }
        }
    }

    fn lose(&mut self, which: u64) {
        let mut at = 0;
        let mut goes = || {
            at += 1;
            which >> (at % 64) & 1 == 1
        };
        self.seen.programs.retain(|_| !goes());
        for program in &mut self.seen.programs {
            program.links.retain(|_| !goes());
        }
    }
}

fn wants(desired: &Desired) -> BTreeSet<(String, AttachmentKey, String)> {
    let programs = desired.load.iter().flat_map(|load| &load.programs);
    let of = |program: &Program| {
        let place = |link: &WantedLink| {
            format!("{:?}", HookPlace::of(link.point.as_published(), link.order.as_ref()))
        };
        let links: Vec<_> = program
            .links
            .iter()
            .map(|(key, link)| (program.name.clone(), key.clone(), place(link)))
            .collect();
        links
    };
    programs.flat_map(of).collect()
}

proptest! {
    #[test]
    fn every_edit_and_loss_converges_and_then_nothing_is_left_to_do(
        edits in prop::collection::vec((wanted(), any::<bool>(), prop::option::of(any::<u64>()), 0..2_u8), 1..6),
    ) {
        let mut model = Model::default();
        for (desired, replaces, lost, digest) in edits {
            if let Some(lost) = lost {
                model.lose(lost);
            }
            model.digest = digest.to_string();
            let announced = steps(&desired, &model.seen, Some(&model.digest));
            model.calls.clear();
            model.reconcile(&desired, replaces);
            prop_assert_eq!(model.running(), wants(&desired));
            let loaded = desired.load.as_ref().map_or(0, |load| load.programs.len());
            prop_assert_eq!(model.seen.programs.len(), loaded, "nothing else is left");
            if replaces {
                let told = |steps: &[ApplyStep]| steps.iter().map(ApplyStep::to_string).collect::<BTreeSet<_>>();
                prop_assert_eq!(told(&announced), told(&model.calls));
            }
            model.calls.clear();
            model.reconcile(&desired, replaces);
            prop_assert_eq!(&model.calls, &[]);
            prop_assert_eq!(steps(&desired, &model.seen, Some(&model.digest)), []);
        }
    }

    #[test]
    fn programs_lost_at_boot_are_loaded_in_the_wanted_version(
        first in wanted(), then in prop::option::of(wanted()), lost in any::<u64>(), replaces in any::<bool>(),
    ) {
        let mut model = Model::default();
        model.reconcile(&first, replaces);
        model.boot(lost);
        let then = then.unwrap_or(first);
        model.reconcile(&then, replaces);
        prop_assert_eq!(model.running(), wants(&then));
        prop_assert!(model.seen.programs.iter().all(|program| program.runs), "{:?}", model.seen);
        let links = model.seen.programs.iter().flat_map(|program| &program.links);
        prop_assert!(links.into_iter().all(|link| link.runs), "{:?}", model.seen);
        prop_assert_eq!(steps(&then, &model.seen, Some(&model.digest)), []);
    }

    #[test]
    fn programs_of_another_agent_run_until_new_ones_are_attached(wanted in wanted()) {
        let mut model = Model::default();
        model.reconcile(&wanted, true);
        for program in &mut model.seen.programs {
            // Another agent writes neither content nor keys.
            program.content.clear();
            program.links.clear();
        }
        let steps = steps(&wanted, &model.seen, Some(&model.digest));
        let replaced = steps.iter().any(|step| matches!(step, ApplyStep::Replace { .. }));
        prop_assert!(!replaced, "attachments without a key would stay beside the new ones");
        let end = steps.iter().position(|step| matches!(step, ApplyStep::Unload { .. }));
        let last = steps.iter().rposition(|step| matches!(step, ApplyStep::Attach { .. } | ApplyStep::Load { .. }));
        if let (Some(end), Some(last)) = (end, last) {
            prop_assert!(last < end, "{:?}", steps);
        }
        model.reconcile(&wanted, true);
        prop_assert_eq!(model.running(), self::wants(&wanted));
        prop_assert_eq!(model.seen.programs.len(), wanted.load.map_or(0, |load| load.programs.len()));
    }

    #[test]
    fn nothing_is_detached_before_what_is_new_is_attached(first in wanted(), then in wanted()) {
        let mut model = Model::default();
        model.reconcile(&first, true);
        let steps = steps(&then, &model.seen, Some(&model.digest));
        let end = steps.iter().position(|step| matches!(step, ApplyStep::Detach { .. } | ApplyStep::Unload { .. }));
        let last = steps.iter().rposition(|step| matches!(step, ApplyStep::Attach { .. } | ApplyStep::Update { .. }));
        if let (Some(end), Some(last)) = (end, last) {
            prop_assert!(last < end, "{:?}", steps);
        }
    }

    #[test]
    fn a_spec_that_is_refused_changes_nothing(first in wanted(), mut then in wanted()) {
        let mut model = Model::default();
        model.reconcile(&first, true);
        then.refused.push(bpfman_application::check::SpecProblem { path: "spec".into(), message: "no".into() });
        prop_assert_eq!(steps(&then, &model.seen, None), []);
    }
}
