//! Paths that lead to another network namespace between two steps: links are created where their hook was found.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bpfman_model::{AttachPoint, HookKey, HookKind};
use bpfmand_engine::{Engine, EngineError, StepObserver, UpdateLinkRequest};
use bpfmand_kernel::KernelError;
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::sim::SimKernel;

use crate::bench::Ask as _;
use crate::namespaces::{INGRESS, PROCESS, Sim, TC, hide};
use crate::points::netfilter;

type Step = (&'static str, &'static str);
const BEFORE_LINK: Step = ("attach", "make pending folder");

struct Switch {
    kernel: Arc<SimKernel>,
    netns: PathBuf,
    before: Mutex<Option<Step>>,
}

impl StepObserver for Switch {
    fn before(&self, operation: &'static str, step: &'static str) {
        let is_meant = self.before.lock().unwrap().take_if(|wanted| *wanted == (operation, step)).is_some();
        if is_meant {
            self.kernel.remove_name(&self.netns);
            self.kernel.add_namespace(&self.netns);
            self.kernel.add_interface(Some(&self.netns), "left").unwrap();
        }
    }
}

fn switched(bench: &Sim) -> (Arc<Switch>, Engine<SimKernel>) {
    let (kernel, netns) = (Arc::clone(&bench.kernel), bench.netns.clone());
    let switch = Arc::new(Switch { kernel, netns, before: Mutex::default() });
    let engine = bench.watched(Arc::clone(&switch) as Arc<dyn StepObserver>);
    (switch, engine)
}

impl Switch {
    fn arm(&self, before: Step) {
        *self.before.lock().unwrap() = Some(before);
    }

    fn is_done(&self) -> bool {
        self.before.lock().unwrap().is_none()
    }
}

fn names_at(bench: &Sim, key: &HookKey) -> Vec<String> {
    let entries = bench.kernel.hook_contents(None, key).unwrap().entries;
    let name = |program| bench.kernel.program(program).unwrap().unwrap().name;
    entries.iter().map(|entry| name(entry.program.unwrap())).collect()
}

#[test]
fn link_is_made_where_its_hook_was_found() {
    for is_reached in [true, false] {
        for (name, kind) in [("alpha", HookKind::Xdp), ("tango", TC), ("xray", HookKind::Tcx(INGRESS))] {
            let bench = crate::simulated::bench();
            let (switch, engine) = switched(&bench);
            let program = engine.loads(&bench.request("programs", &[name]))[0];
            let point = match kind {
                HookKind::Xdp => bench.xdp(1),
                HookKind::Tc(direction) => bench.tc(direction, 1),
                HookKind::Tcx(_) => bench.tcx(1),
            };
            let key = bench.kernel.find_hook(&bench.left(), kind).unwrap();
            if is_reached {
                assert!(bench.kernel.add_name(Path::new(PROCESS), bench.home()));
            }
            switch.arm(BEFORE_LINK);
            let attached = engine.try_attach(program, point);
            assert!(switch.is_done());
            if is_reached {
                attached.unwrap();
                assert_eq!(names_at(&bench, &key).len(), 1, "{name}");
            } else {
                let error = attached.unwrap_err();
                let is_lost = matches!(error, EngineError::Kernel(KernelError::NamespaceNotFound { .. }));
                assert!(is_lost && error.to_string().contains("left"), "{name}: {error}");
                assert!(engine.all_links().is_empty() && bench.kernel.snapshot().links.is_empty());
            }
            let now = bench.kernel.find_hook(&bench.left(), kind).unwrap();
            assert_ne!(now, key);
            assert_eq!(names_at(&bench, &now), [""; 0], "{name}");
        }
    }
}

#[test]
fn link_of_a_namespace_is_made_where_that_was_found() {
    for name in ["no_packet", "no_listener"] {
        let bench = crate::simulated::bench();
        let (switch, engine) = switched(&bench);
        let program = engine.loads(&bench.request("points", &[name]))[0];
        let point = match name {
            "no_packet" => netfilter(&bench, 7),
            _ => AttachPoint::Netns { netns: Some(bench.netns.clone()) },
        };
        let home = bench.home();
        assert!(bench.kernel.add_name(Path::new(PROCESS), home));
        switch.arm(BEFORE_LINK);
        let record = engine.try_attach(program, point).unwrap().record;
        assert!(switch.is_done());
        assert_eq!(record.namespace, Some(home));
        let links = bench.kernel.snapshot().links;
        let is_there = links.values().all(|link| link.place.contains(&home.inode.to_string()));
        assert!(is_there && links.len() == 1, "{links:?}");
    }
}

#[test]
fn link_is_moved_in_the_namespace_that_it_is_in() {
    let bench = crate::simulated::bench();
    let (switch, engine) = switched(&bench);
    let [xray, yankee] = engine.loads(&bench.request("programs", &["xray", "yankee"]))[..] else { panic!() };
    let first = engine.attached(xray, bench.tcx(1));
    engine.attached(yankee, bench.tcx(2));
    let key = engine.describe_link(first).unwrap().record.hook.unwrap();
    assert!(bench.kernel.add_name(Path::new(PROCESS), bench.home()));
    switch.arm(("move", "create link"));
    engine.update_link(&UpdateLinkRequest { priority: Some(9), ..UpdateLinkRequest::of(first) }).unwrap();
    assert!(switch.is_done());
    assert_eq!(names_at(&bench, &key), ["yankee", "xray"]);
}

#[test]
fn link_comes_back_in_the_namespace_that_it_was_in() {
    let bench = crate::simulated::bench();
    let (switch, engine) = switched(&bench);
    let xray = engine.loads(&bench.request("programs", &["xray"]))[0];
    let link = engine.attached(xray, bench.tcx(1));
    let key = engine.describe_link(link).unwrap().record.hook.unwrap();
    assert!(bench.kernel.add_name(Path::new(PROCESS), bench.home()));
    bench.kernel.end_link(&PathBuf::from(format!("links/{link}"))).unwrap();
    switch.arm(BEFORE_LINK);
    engine.check_all();
    assert!(switch.is_done());
    assert_eq!(names_at(&bench, &key), ["xray"]);
}

#[test]
fn start_attaches_no_link_in_another_namespace_than_it_was_in() {
    let bench = crate::simulated::bench();
    let engine = bench.engine();
    let xray = engine.loads(&bench.request("programs", &["xray"]))[0];
    let link = engine.attached(xray, bench.tcx(1));
    let key = engine.describe_link(link).unwrap().record.hook.unwrap();
    drop(engine);
    bench.kernel.end_link(&PathBuf::from(format!("links/{link}"))).unwrap();
    let home = hide(&bench);
    bench.kernel.add_namespace(&bench.netns);
    bench.kernel.add_interface(Some(&bench.netns), "left").unwrap();
    let (engine, report) = bench.start();
    assert!(report.problems.iter().any(|problem| problem.contains("cannot be reached")), "{report:?}");
    let now = bench.kernel.find_hook(&bench.left(), HookKind::Tcx(INGRESS)).unwrap();
    assert_eq!(names_at(&bench, &now), [""; 0]);
    drop(engine);
    assert!(bench.kernel.add_name(Path::new(PROCESS), home));
    let _engine = bench.engine();
    assert_eq!((names_at(&bench, &key), names_at(&bench, &now)), (vec!["xray".to_owned()], vec![]));
}
